"""The command that estimates an image's STF, blind or from a reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console, tables
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
    ScaleOption,
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
        Path | None, typer.Option("--out", "-o", help="The STF to write, a .stf.nc.")
    ] = None,
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: ScaleOption = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="Known reflectance: an overlapping cube, or a .csv of spectra or panels.",
        ),
    ] = None,
    reference_scale: Annotated[
        str | None,
        typer.Option(
            "--reference-scale", help="Reflectance per number in the reference, e.g. 1/100."
        ),
    ] = None,
    model: ModelName = None,
    tile: TileSize = 256,
    stages: Stages = None,
    device: Device = "auto",
    workers: Workers = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw the nominal and the estimated STF to this .png."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the STF of an image, blind or calibrated with reference spectra."""
    from uavssr.io.stf import write_stf
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction

    if reference is None and reference_scale is not None:
        raise UsageError("--reference-scale without --reference")
    if reference is not None:
        _refuse_unused(context)
    msi = open_image(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    inputs = files if reference is None else [*files, reference]
    check_outputs([out, plot], inputs, overwrite=overwrite)
    check_suffix(out, ".nc")
    check_suffix(plot, ".png")
    facts: dict[str, Any] = {"sensor": msi.sensor.name}
    if reference is None:
        planned = plan_reconstruction(
            msi,
            ReconstructionOptions(
                model=model or DEFAULT_MODEL,
                tile=tile,
                stages=stages,
                device=device,
                workers=workers,
            ),
        )
        facts["model"] = planned.plan.model.name
        with console.progress(quiet=context.obj["quiet"]) as progress:
            estimate = planned.stf(progress=progress)
    else:
        estimate, calibration = _calibrated(context, msi, reference, reference_scale, model)
        facts |= calibration
    if out is not None:
        write_stf(estimate, out, overwrite=overwrite, inputs=inputs)
        if count := estimate.sizes.get("reference"):
            say(context, f"uavssr: {out} holds {count} spectra, which reconstruct --stf will use")
    if plot is not None:
        from uavssr.viz import draw_stf

        draw_stf(estimate, plot, overwrite=overwrite, inputs=inputs)
    if written := [str(path) for path in (out, plot) if path is not None]:
        say(context, "wrote " + ", ".join(written))
    rows = tables.scene_rows(estimate)
    if as_json:
        typer.echo(json.dumps(facts | {"scene": rows}))
    else:
        console.show(tables.stf_table(rows, sensor=msi.sensor.name))


def _refuse_unused(context: typer.Context) -> None:
    """Refuse options of the network, which a calibration does not run."""
    for name in ("tile", "stages", "device", "workers"):
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise UsageError(f"--{name} has no effect with --reference", remedy="leave it out")


def _calibrated(
    context: typer.Context, msi: MsiSource, path: Path, scale: str | None, model: str | None
) -> tuple[xr.Dataset, dict[str, Any]]:
    """The STF from a reference, and facts about the calibration for `--json`."""
    from uavssr.calibration import calibrate_scene, open_reference
    from uavssr.model import DEFAULT_MODEL, load_model

    loaded = load_model(model or DEFAULT_MODEL)
    reference = open_reference(path, msi, scale=scale)
    calibration = calibrate_scene(msi, reference, model=loaded)
    for warning in calibration.warnings:
        say(context, f"uavssr: warning: {warning}")
    facts = {
        "kind": reference.kind,
        "used": calibration.used,
        "warnings": list(calibration.warnings),
    }
    return calibration.dataset, {"model": loaded.name, "reference": facts}
