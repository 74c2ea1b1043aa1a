"""The commands that look at an image and reconstruct it. No logic."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uavssr import console
from uavssr.cli.app import app, check_outputs, check_suffix, creation_options, say
from uavssr.cli.options import (
    AsJson,
    AssumeCrs,
    Bands,
    Bidx,
    Device,
    Files,
    MaxPixels,
    ModelName,
    Overwrite,
    Scale,
    SensorName,
    Stages,
    TileSize,
    Workers,
)
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.inference import Plan
    from uavssr.raster.source import MsiSource


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
    check_outputs([out, quicklook], inputs, overwrite=overwrite)
    check_outputs([stf_path(out), tiles_path(out), quicklook], inputs, overwrite=overwrite)
    check_suffix(out, ".tif", ".tiff")
    check_suffix(quicklook, ".png")
    options = creation_options(co or [])
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
        say(context, "wrote " + ", ".join(str(path) for path in written.values()))


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
    check_outputs([out, plot], files, overwrite=overwrite)
    check_suffix(out, ".nc")
    check_suffix(plot, ".png")
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
            say(context, f"uavssr: warning: {warning}")
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
