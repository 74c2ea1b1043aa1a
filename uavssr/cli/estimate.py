"""The command that estimates an image's STF, blind or from a reference. No logic."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console
from uavssr.cli.app import app, check_outputs, check_suffix, say
from uavssr.cli.opening import open_image
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
    import xarray as xr

    from uavssr.io.msi import MsiSource


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
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", help="Known ground: an overlapping cube, or a .csv of spectra or panels."
        ),
    ] = None,
    reference_scale: Annotated[
        str | None,
        typer.Option("--reference-scale", help="Reflectance per number in the reference: 1/100."),
    ] = None,
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
    """Estimate the STF of an image, blind or calibrated with known ground; no cube is written."""
    from uavssr.io.stf import write_stf
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import plan_reconstruction

    if reference is None and reference_scale is not None:
        raise UsageError("--reference-scale without --reference")
    if reference is not None:
        _refuse_unused(context)
    msi = open_image(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    inputs = files if reference is None else [*files, reference]
    check_outputs([out, plot], inputs, overwrite=overwrite)
    check_suffix(out, ".nc")
    check_suffix(plot, ".png")
    chosen: dict[str, Any] = {"sensor": msi.sensor.name}
    if reference is None:
        plan = plan_reconstruction(
            msi,
            model=model or DEFAULT_MODEL,
            tile=tile,
            stages=stages,
            device=device,
            workers=workers,
        )
        chosen["model"] = plan.plan.model.name
        with console.progress(quiet=context.obj["quiet"]) as progress:
            found = plan.stf(progress=progress)
    else:
        found, told = _calibrated(context, msi, reference, reference_scale, model)
        chosen |= told
    if out is not None:
        write_stf(found, out, overwrite=overwrite, inputs=inputs)
        if kept := found.sizes.get("reference"):
            say(context, f"uavssr: {out} holds {kept} spectra: reconstruct --stf learns from them")
    if plot is not None:
        from uavssr.viz import draw_stf

        draw_stf(found, plot, overwrite=overwrite, inputs=inputs)
    if written := [str(path) for path in (out, plot) if path is not None]:
        say(context, "wrote " + ", ".join(written))
    rows = console.scene_rows(found)
    if as_json:
        typer.echo(jsonlib.dumps(chosen | {"scene": rows}))
    else:
        console.show(console.stf_table(rows, sensor=msi.sensor.name))


def _refuse_unused(context: typer.Context) -> None:
    """A calibration runs no network on tiles, so what steers that would be ignored."""
    for name in ("tile", "stages", "device", "workers"):
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise UsageError(f"--{name} has no effect with --reference", remedy="leave it out")


def _calibrated(
    context: typer.Context, msi: MsiSource, path: Path, scale: str | None, model: str | None
) -> tuple[xr.Dataset, dict[str, Any]]:
    """The STF from a reference, and what is told of it besides."""
    from uavssr.calibration import calibrate_scene, open_reference
    from uavssr.model import DEFAULT_MODEL, load_model

    loaded = load_model(model or DEFAULT_MODEL)
    reference = open_reference(path, msi, scale=scale)
    found = calibrate_scene(msi, reference, model=loaded)
    for warning in found.warnings:
        say(context, f"uavssr: warning: {warning}")
    told = {"kind": reference.kind, "used": found.used, "warnings": list(found.warnings)}
    return found.dataset, {"model": loaded.name, "reference": told}
