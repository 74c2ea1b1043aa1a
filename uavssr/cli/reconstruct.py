"""The commands that write cubes: reconstruct an image, expand a file of coefficients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import (
    app,
    check_outputs,
    check_suffix,
    image_request,
    open_image,
    option_pairs,
    phase,
    print_outputs,
    say,
)
from uavssr.errors import OutputExists, UsageError

if TYPE_CHECKING:
    from uavssr.batch import Field
    from uavssr.io.writers import CubeDtype, Format
    from uavssr.reconstruction import PlannedReconstruction, Precision, StfScope, TileStf
    from uavssr.reconstruction.cluster import Cluster


LARGE_BYTES: Final = 2 * 10**9
"""Bytes of outputs from which their size is printed before the run."""


@app.command()
def reconstruct(
    context: typer.Context,
    files: shared.Files,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The cube to write: .tif, .zarr, .img or .dat.")
    ],
    sensor: shared.SensorName = None,
    bands: shared.Bands = None,
    bidx: shared.Bidx = None,
    scale: shared.ScaleOption = None,
    assume_crs: shared.AssumeCrs = None,
    max_pixels: shared.MaxPixels = None,
    model: shared.ModelName = None,
    stf: Annotated[
        Path | None, typer.Option(help="Use the STF of this .stf.nc instead of estimating it.")
    ] = None,
    stf_only: Annotated[
        bool,
        typer.Option(
            "--stf-only",
            help="Ignore the reference spectra in --stf: for an image of other ground.",
        ),
    ] = False,
    stf_scope: Annotated[
        str,
        typer.Option(help="scene: one STF for all tiles; tile: the STF of each tile, blended."),
    ] = "scene",
    tile_stf: Annotated[
        str, typer.Option(help="off: estimate no STFs of tiles, and write no map of them.")
    ] = "on",
    tile: shared.TileSize = 256,
    overlap: Annotated[
        int | None,
        typer.Option(help="Pixels over which the STFs of tiles are blended; default: 32."),
    ] = None,
    stages: shared.Stages = None,
    device: shared.Device = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="Precision of the Z-Nets: float32, or bf16 (default on a GPU)."),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Tiles in one forward pass: auto (1 on the CPU), or a number.")
    ] = "auto",
    workers: shared.Workers = None,
    mem_limit: shared.MemLimit = None,
    scheduler: shared.Scheduler = None,
    cluster: shared.LocalCluster = None,
    format: Annotated[  # noqa: A002 - the name of the option
        str | None,
        typer.Option(help="gtiff, cog, envi, zarr or coefficients; default: by the suffix."),
    ] = None,
    wavelengths: shared.Wavelengths = None,
    dtype: shared.NumberType = "uint16",
    co: shared.CreationOptions = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="Also write the standard errors of all bands to this file.")
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(help="Also write quality flags (saturated, outlier ...) to this .tif."),
    ] = None,
    quicklook: shared.Quicklook = None,
    overwrite: shared.Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was stopped, if there is one.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Write no output, exit with 7, if the verdict is odd."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Try some tiles, print the time, memory and space needed; write nothing.",
        ),
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Reconstruct the cube, and write its STFs (.stf.nc) and a map of tiles (.tiles.gpkg)."""
    from uavssr import reconstruction as run
    from uavssr.batch import Field
    from uavssr.model import DEFAULT_MODEL

    field = Field(
        request=image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels),
        options=run.ReconstructionOptions(
            model=model or DEFAULT_MODEL,
            stf=stf,
            stf_only=stf_only,
            stf_scope=cast("StfScope", stf_scope),
            tile_stf=cast("TileStf", tile_stf),
            tile=tile,
            overlap=overlap,
            stages=stages,
            device=device,
            precision=cast("Precision | None", precision),
            batch=_batch(batch),
            workers=workers,
            mem_limit=None if mem_limit is None else run.parse_size(mem_limit),
        ),
        output=run.OutputOptions(
            cube=out,
            format=cast("Format | None", format),
            dtype=cast("CubeDtype", dtype),
            wavelengths=wavelengths,
            creation_options=option_pairs(co),
            uncertainty=uncertainty,
            quality=quality,
            overwrite=overwrite,
            resume=resume,
            strict=strict,
        ),
        quicklook=quicklook,
    )
    if (fields := context.obj.get("fields")) is not None:  # of a batch, which runs them
        _check_suffixes(field)
        fields.append(field)
    elif dry_run:
        refuse_cluster(scheduler=scheduler, cluster=cluster)
        _estimate(context, field, as_json=as_json)
    else:
        _run(context, field, open_cluster(scheduler, cluster), as_json=as_json)


def _estimate(context: typer.Context, field: Field, *, as_json: bool) -> None:
    """Print the time, memory and space that a run needs."""
    from uavssr.reconstruction import freed_memory_reused

    planned, _ = _planned(context, field, nullcontext())
    with freed_memory_reused():
        estimate = planned.estimate_run(field.output)
    console.show(estimate.to_dict(), *tables.fact_lines(estimate.lines()), as_json=as_json)


def _run(
    context: typer.Context,
    field: Field,
    cluster: AbstractContextManager[Cluster | None],
    *,
    as_json: bool,
) -> None:
    """Write the outputs, and print their names."""
    from uavssr.reconstruction import freed_memory_reused

    planned, existing = _planned(context, field, cluster)
    if existing is not None and planned.finished(field.output) is None:
        raise existing
    quiet = context.obj["quiet"]
    with (
        phase(context, "writing the outputs", shown=False),  # the progress bar shows it
        freed_memory_reused(),
        console.progress(quiet=quiet) as progress,
    ):
        outputs, before = field.write(planned, progress)
    if before:
        say(context, f"{field.cube}: this command has finished before, and its files are complete")
    if outputs.tiles is None:
        _say_without_tiles(context, field.cube)
    written = {kind: path for kind, path in field.outputs.items() if path.exists()}
    print_outputs(context, written, verdict=outputs.verdict, as_json=as_json)


def _planned(
    context: typer.Context, field: Field, cluster: AbstractContextManager[Cluster | None]
) -> tuple[PlannedReconstruction, OutputExists | None]:
    """The run, and the error of an output that exists, unless this very run has written it."""
    from uavssr.io.writers import PublishedFiles
    from uavssr.reconstruction import plan_reconstruction

    msi, output, existing = open_image(context, field.request), field.output, None
    rule = PublishedFiles(cube=field.cube, overwrite=output.overwrite, resume=output.resume)
    try:
        check_outputs(list(field.outputs.values()), list(field.inputs), overwrite=rule)
    except OutputExists as err:
        if not output.resume:
            raise
        existing = err
    _check_suffixes(field)
    options = replace(field.options, cluster=context.with_resource(cluster))
    with phase(context, "loading the model"):
        planned = plan_reconstruction(msi, options)
    for line in planned.reference_notes():
        say(context, f"uavssr: {line}")
    _say_size(context, field, planned)
    return planned, existing


def _say_size(context: typer.Context, field: Field, planned: PlannedReconstruction) -> None:
    """Print the size of large outputs, with the options that make them smaller."""
    from uavssr.io.checks import size_text

    size = planned.output_bytes(field.output)
    smaller = [] if field.output.wavelengths else ["--wavelengths 450-900"]
    if field.output.cube_format != "coefficients":
        smaller.append("--format coefficients, an eighth of the cube")
    if size > LARGE_BYTES and smaller:
        fact = f"the outputs have {size_text(size)} before compression"
        say(context, f"uavssr: {fact}; smaller with {', or '.join(smaller)}")


def _check_suffixes(field: Field) -> None:
    check_suffix(field.outputs.get("quality"), ".tif", ".tiff")
    check_suffix(field.outputs.get("quicklook"), ".png")


def _say_without_tiles(context: typer.Context, out: Path) -> None:
    from uavssr.io.stf import tiles_path

    say(context, "uavssr: --tile-stf off: no STFs of tiles, and no file of them (.tiles.gpkg)")
    if (old := tiles_path(out)).exists():
        say(context, f"uavssr: warning: {old.name} is of an earlier run")


def refuse_cluster(**options: str | None) -> None:
    """Refuse a cluster beside `--dry-run`."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            "--dry-run measures a run in this process, not on a cluster",
            remedy=f"leave out {' and '.join(given)}, or --dry-run",
        )


def _batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch must be auto or a positive number, got {text!r}")
    return int(text)


def open_cluster(
    scheduler: str | None, processes: str | None
) -> AbstractContextManager[Cluster | None]:
    """The cluster of `--scheduler` or `--cluster`; None without either."""
    if scheduler is None and processes is None:
        return nullcontext()
    if scheduler is not None and processes is not None:
        raise UsageError("--scheduler and --cluster name two clusters; choose one")
    try:
        from uavssr.reconstruction.cluster import connect, local_cluster
    except ModuleNotFoundError as err:
        remedy = 'pip install "uavssr[cluster]"'
        raise UsageError(f"{err.name} is not installed", remedy=remedy) from err
    if scheduler is not None:
        return connect(scheduler)
    kind, _, count = str(processes).partition(":")
    if kind != "local" or not count.isdecimal():
        raise UsageError(f"--cluster must be local:N, got {processes!r}")
    return local_cluster(int(count))


@app.command()
def expand(
    context: typer.Context,
    coefficients: Annotated[
        Path,
        typer.Argument(
            help="A file from `reconstruct --format coefficients`.", metavar="COEFFICIENTS"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The cube to write.")],
    wavelengths: shared.Wavelengths = None,
    format: Annotated[  # noqa: A002 - the name of the option
        str | None, typer.Option(help="gtiff, cog, envi or zarr; default: by the suffix.")
    ] = None,
    dtype: shared.NumberType = "uint16",
    co: shared.CreationOptions = None,
    quicklook: shared.Quicklook = None,
    workers: Annotated[
        int | None, typer.Option(help="Blocks expanded at a time; default: number of cores.")
    ] = None,
    max_pixels: shared.MaxPixels = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Write the cube of a file of coefficients, or some of its wavelengths."""
    from uavssr import reconstruction as run
    from uavssr.io.hsi import open_coefficients

    output = run.OutputOptions(
        cube=out,
        format=cast("Format | None", format),
        dtype=cast("CubeDtype", dtype),
        wavelengths=wavelengths,
        creation_options=option_pairs(co),
        overwrite=overwrite,
    )
    check_outputs([out, quicklook, output.cube_style], [coefficients], overwrite=overwrite)
    check_suffix(quicklook, ".png")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be positive, got {workers}")
    source = open_coefficients(coefficients, max_pixels=max_pixels)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        run.expand(source, output, workers=workers, progress=progress)
    if quicklook is not None:
        from uavssr.viz import draw_quicklook

        draw_quicklook(out, quicklook, overwrite=overwrite, inputs=[coefficients, out])
    style = output.cube_style if output.cube_style and output.cube_style.exists() else None
    written = {"cube": out, "quicklook": quicklook, "style": style}
    print_outputs(context, written, as_json=as_json)
