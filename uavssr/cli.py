"""The command line: parse, call, print, turn errors into one line and an exit code. No logic."""

from __future__ import annotations

import json as jsonlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer._click.exceptions import ClickException  # Typer has carried its own Click since 0.26

from uavssr import __version__, console
from uavssr.errors import OutputError, UavssrError, UsageError

if TYPE_CHECKING:
    from uavssr.inference import Plan
    from uavssr.raster.source import MsiSource

app = typer.Typer(
    name="uavssr",
    help="Hyperspectral cubes, and the camera's true response, from multispectral drone images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Files = Annotated[
    list[Path],
    typer.Argument(
        help="A multi-band GeoTIFF, or one single-band file per band.", metavar="FILE..."
    ),
]
SensorName = Annotated[
    str | None,
    typer.Option(
        "--sensor", help="Camera: a known name (see `uavssr sensors`) or a .yaml/.csv file."
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands", help="Roles of the bands in file order: blue,green,... (skip: unused)."
    ),
]
Bidx = Annotated[
    str | None, typer.Option("--bidx", help="Numbers of the bands to use, from one: 1,2,3.")
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", help="Reflectance = number in the file x SCALE, e.g. 1/32768."),
]
AssumeCrs = Annotated[
    str | None, typer.Option("--assume-crs", help="CRS of a file without one, e.g. EPSG:32650.")
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Allow scenes larger than the default bound.")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Released model by name, or a model folder.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda[:i].")]
TileSize = Annotated[int, typer.Option("--tile", help="Side of a tile in pixels.")]
Stages = Annotated[
    int | None, typer.Option("--stages", help="Run fewer unrolled stages than the model has.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Tiles in flight; default: cores, 1 on a GPU.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


INTERRUPTED = 130
"""Exit code after Ctrl-C, which Click makes of it."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uavssr {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Say more; -vv for tracebacks.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""
    context.obj = {"quiet": quiet, "verbose": verbose}
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


@app.command()
def reconstruct(
    context: typer.Context,
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="The cube to write, a .tif.")],
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: Scale = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    model: ModelName = None,
    stf: Annotated[
        Path | None, typer.Option("--stf", help="Hold the STF of this .stf.nc fixed.")
    ] = None,
    stf_scope: Annotated[
        str, typer.Option("--stf-scope", help="scene: one STF; tile: each tile's own, blended.")
    ] = "scene",
    tile: TileSize = 256,
    overlap: Annotated[
        int | None,
        typer.Option("--overlap", help="Pixels over which the tiles' STFs are blended; 32."),
    ] = None,
    stages: Stages = None,
    device: Device = "auto",
    workers: Workers = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="uint16 (reflectance x 10000) or float32.")
    ] = "uint16",
    co: Annotated[
        list[str] | None, typer.Option("--co", help="GDAL creation option K=V, repeatable.")
    ] = None,
    quicklook: Annotated[
        Path | None, typer.Option("--quicklook", help="Also draw the cube as this PNG.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the hyperspectral cube, its STFs (.stf.nc) and a map of them (.tiles.gpkg)."""
    from uavssr.raster.stf import stf_path, tiles_path

    msi = _open(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    inputs = files if stf is None else [*files, stf]
    _check_outputs([out, quicklook], inputs, overwrite=overwrite)
    _check_outputs([stf_path(out), tiles_path(out), quicklook], inputs, overwrite=overwrite)
    options = _creation_options(co or [])
    if dtype not in ("uint16", "float32"):
        raise UsageError(f"--dtype must be uint16 or float32, got {dtype!r}")
    chosen: Literal["uint16", "float32"] = "uint16" if dtype == "uint16" else "float32"
    plan = _plan(
        msi, model, stf=stf, stf_scope=stf_scope, tile=tile, overlap=overlap, stages=stages,
        device=device, workers=workers,
    )  # fmt: skip
    with console.progress(quiet=context.obj["quiet"]) as progress:
        outputs = plan.write(
            out, overwrite=overwrite, dtype=chosen, creation_options=options, progress=progress
        )
    written = {"cube": outputs.cube, "stf": outputs.stf, "tiles": outputs.tiles}
    if quicklook is not None:
        from uavssr.raster.plots import draw_quicklook

        written["quicklook"] = draw_quicklook(
            out, quicklook, overwrite=overwrite, inputs=[*inputs, *outputs]
        )
    if as_json:
        typer.echo(jsonlib.dumps({key: str(path) for key, path in written.items()}))
    else:
        _say(context, "wrote " + ", ".join(str(path) for path in written.values()))


@app.command("estimate-stf")
def estimate_stf(
    context: typer.Context,
    files: Files,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The netCDF to write, a .stf.nc.")
    ] = None,
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: Scale = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    model: ModelName = None,
    tile: TileSize = 256,
    stages: Stages = None,
    device: Device = "auto",
    workers: Workers = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw nominal and estimated STF as this PNG.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the STF of the scene and of its tiles, without writing a cube."""
    from uavssr.raster.stf import write_stf

    msi = _open(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    _check_outputs([out, plot], files, overwrite=overwrite)
    plan = _plan(msi, model, tile=tile, stages=stages, device=device, workers=workers)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        found = plan.stf(progress=progress)
    if out is not None:
        write_stf(found, out, overwrite=overwrite)
    if plot is not None:
        from uavssr.raster.plots import draw_stf

        draw_stf(found, plot, overwrite=overwrite, inputs=files)
    rows = console.scene_rows(found)
    if as_json:
        typer.echo(
            jsonlib.dumps({"sensor": msi.sensor.name, "model": plan.model.name, "scene": rows})
        )
    else:
        console.show(console.stf_table(rows, sensor=msi.sensor.name))


@app.command()
def inspect(
    context: typer.Context,
    files: Files,
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: Scale = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    as_json: AsJson = False,
) -> None:
    """Print the input card: bands, roles, scale, validity, and the evidence for each."""
    msi = _open(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels, warn=False)
    if as_json:
        typer.echo(jsonlib.dumps(msi.card.to_dict()))
    else:
        console.show(*console.card_parts(msi.card))


@app.command()
def sensors(as_json: AsJson = False) -> None:
    """List the known cameras with their bands."""
    from uavssr.bands import SENSORS

    if as_json:
        known = {
            name: [{"role": b.role, "centre": b.centre, "fwhm": b.fwhm} for b in sensor.bands]
            for name, sensor in SENSORS.items()
        }
        typer.echo(jsonlib.dumps(known))
        return
    console.show(console.sensor_table(SENSORS.values()))


@app.command()
def train(
    context: typer.Context,
    spectra: Annotated[
        Path,
        typer.Option("--spectra", help="Spectral library (.npz), see scripts/build_library.py."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run and of the model.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model.")] = "custom",
    steps: Annotated[int, typer.Option("--steps", help="Optimiser steps in all.")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    components: Annotated[
        int, typer.Option("--components", help="Gaussians of the spectral prior.")
    ] = 48,
    rank: Annotated[int, typer.Option("--rank", help="Spectral coefficients.")] = 16,
    stage_count: Annotated[int, typer.Option("--stages", help="Unrolled stages.")] = 4,
    width: Annotated[int, typer.Option("--width", help="Channels inside Z-Net.")] = 32,
    device: Device = "auto",
) -> None:
    """Train on scenes simulated from a spectral library; run again to resume."""
    from uavssr.bands import HEADWALL_NANO
    from uavssr.data.library import load_library
    from uavssr.engine import resolve_device
    from uavssr.model.pgunet import PGUNetConfig
    from uavssr.training import TrainingConfig, train_model

    library = load_library(spectra, HEADWALL_NANO)
    network = PGUNetConfig(
        bands=len(HEADWALL_NANO), rank=rank, components=components, stages=stage_count, width=width
    )
    config = TrainingConfig(steps=steps, seed=seed)
    place = str(resolve_device(device))
    with console.progress(quiet=context.obj["quiet"]) as progress:

        def tracked(_: int, figures: dict[str, float]) -> None:
            if progress is not None:
                progress(f"training, loss {figures['loss']:.3f}", 1, steps)

        folder = train_model(
            library, out, name=name, network=network, config=config, device=place, progress=tracked
        )
    _say(context, f"wrote {folder}")


def _open(
    context: typer.Context,
    files: list[Path],
    sensor: str | None,
    bands: str | None,
    bidx: str | None,
    scale: str | None,
    assume_crs: str | None,
    max_pixels: int | None,
    *,
    warn: bool = True,
) -> MsiSource:
    from uavssr.raster.source import open_msi

    msi = open_msi(
        files,
        sensor=sensor,
        bands=None if bands is None else [role.strip() for role in bands.split(",")],
        bidx=None if bidx is None else _whole_numbers(bidx),
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
    )
    if warn:
        for warning in msi.card.warnings:
            _say(context, f"uavssr: warning: {warning}")
    return msi


def _plan(msi: MsiSource, model: str | None, **options: Any) -> Plan:
    from uavssr.inference import plan_reconstruction
    from uavssr.model.weights import DEFAULT_MODEL

    return plan_reconstruction(msi, model=model or DEFAULT_MODEL, **options)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as err:
        raise UsageError(f"--bidx must be whole numbers such as 1,2,3, got {text!r}") from err


def _creation_options(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--co must be K=V, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _check_outputs(paths: list[Path | None], inputs: list[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, outputs that stand in each other's or an input's way."""
    from uavssr.raster.output import check_output

    given = [path for path in paths if path is not None]
    for path in given:
        if [each.absolute() for each in given].count(path.absolute()) > 1:
            raise UsageError("is asked for as two outputs", path=path, remedy="give two names")
        check_output(path, overwrite=overwrite, inputs=inputs)


def _say(context: typer.Context, text: str) -> None:
    if not context.obj["quiet"]:
        typer.echo(text, err=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/errors.md)."""
    arguments = _common_first(sys.argv[1:] if argv is None else argv)
    try:
        code = app(args=arguments, prog_name="uavssr", standalone_mode=False)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except ClickException as err:
        return _fail_usage(err, arguments)
    except UavssrError as err:
        return _fail(err, err, arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as err:
        told = OutputError("out of memory", remedy="use a smaller --tile or fewer --workers")
        return _fail(told, err, arguments)
    except Exception as err:  # noqa: BLE001 - the one handler: a bug is one line too, -vv shows it
        told_bug = UavssrError(f"{type(err).__name__}: {err}", remedy="a bug: report it with -vv")
        return _fail(told_bug, err, arguments)
    if code == INTERRUPTED:
        typer.echo("uavssr: interrupted; nothing was left half-written", err=True)
    return int(code or 0)


def _common_first(arguments: list[str]) -> list[str]:
    """The arguments with -v and -q moved before the command, where people also type them after."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common = {"-q", "--quiet", "-v", "-vv", "--verbose"}
    first = [a for a in arguments[:end] if a in common]
    return [*first, *(a for a in arguments[:end] if a not in common), *arguments[end:]]


def _fail_usage(err: ClickException, arguments: list[str]) -> int:
    """What Click says of the command line, in our one line; nothing where it has shown the help."""
    if not err.format_message():
        return err.exit_code
    command = getattr(getattr(err, "ctx", None), "command_path", "uavssr")
    told = UsageError(err.format_message().rstrip("."), remedy=f"see {command} --help")
    return _fail(told, err, arguments)


def _fail(told: UavssrError, cause: Exception, arguments: list[str]) -> int:
    if "-vv" in arguments:
        import traceback

        traceback.print_exception(cause)
    typer.echo(f"uavssr: error: {told}", err=True)
    return told.exit_code
