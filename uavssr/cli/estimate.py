"""The commands that examine an image: inspect, estimate-stf, and the list of cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import (
    app,
    check_outputs,
    check_suffix,
    image_request,
    open_image,
    print_outputs,
    say,
)
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import StfArrays


@app.command()
def inspect(
    files: shared.Files,
    sensor: shared.SensorName = None,
    bands: shared.Bands = None,
    bidx: shared.Bidx = None,
    scale: shared.ScaleOption = None,
    assume_crs: shared.AssumeCrs = None,
    max_pixels: shared.MaxPixels = None,
    as_json: shared.AsJson = False,
) -> None:
    """Print what is known of an image, all of its problems, and the command that reconstructs it.

    The exit code is 3 if there is a problem.
    """
    from uavssr.io.msi import inspect_msi

    request = image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    summary = inspect_msi(request)
    console.show(summary.to_dict(), *tables.summary_parts(summary), as_json=as_json)
    if summary.problems:
        raise typer.Exit(max(problem.exit_code for problem in summary.problems))


@app.command()
def sensors(as_json: shared.AsJson = False) -> None:
    """List the known cameras with their bands."""
    from uavssr.sensors import SENSORS

    known = {
        name: [{"role": b.role, "centre": b.centre, "fwhm": b.fwhm} for b in sensor.bands]
        for name, sensor in SENSORS.items()
    }
    console.show(known, tables.sensor_table(SENSORS.values()), as_json=as_json)


@app.command("estimate-stf")
def estimate_stf(
    context: typer.Context,
    files: shared.Files,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The STF to write, a .stf.nc.")
    ] = None,
    sensor: shared.SensorName = None,
    bands: shared.Bands = None,
    bidx: shared.Bidx = None,
    scale: shared.ScaleOption = None,
    assume_crs: shared.AssumeCrs = None,
    max_pixels: shared.MaxPixels = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Known reflectance: an overlapping cube, or a .csv of spectra or panels."
        ),
    ] = None,
    reference_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in the reference, e.g. 1/100.")
    ] = None,
    model: shared.ModelName = None,
    tile: shared.TileSize = 256,
    stages: shared.Stages = None,
    device: shared.Device = "auto",
    workers: shared.Workers = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the nominal and the estimated STF to this .png.")
    ] = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Estimate the STF of an image, blind or calibrated with reference spectra."""
    from uavssr.io.stf import write_stf
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction

    if reference is None and reference_scale is not None:
        raise UsageError("--reference-scale without --reference", remedy="give both, or neither")
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
            estimate = planned.stf_arrays(progress=progress)
    else:
        estimate, calibration = _calibrated(context, msi, reference, reference_scale, model)
        facts |= calibration
    if out is not None:
        write_stf(estimate, out, overwrite=overwrite, inputs=inputs)
        if count := estimate.sizes.get("reference"):
            say(context, f"uavssr: {out} holds {count} spectra, which reconstruct --stf will use")
    if plot is not None:
        from uavssr.viz import draw_stf

        draw_stf(estimate.dataset(), plot, overwrite=overwrite, inputs=inputs)
    print_outputs(context, {"stf": out, "plot": plot})
    rows = tables.scene_rows(estimate)
    table = tables.stf_table(rows, sensor=msi.sensor.name)
    console.show(facts | {"scene": rows}, table, as_json=as_json)


def _refuse_unused(context: typer.Context) -> None:
    """Refuse options of the network, which a calibration does not run."""
    for name in ("tile", "stages", "device", "workers"):
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise UsageError(f"--{name} has no effect with --reference", remedy="leave it out")


def _calibrated(
    context: typer.Context, msi: MsiSource, path: Path, scale: str | None, model: str | None
) -> tuple[StfArrays, dict[str, Any]]:
    """The STF from a reference, and facts about the calibration for `--json`."""
    from uavssr.calibration import calibrate_scene, open_reference
    from uavssr.io.stf import StfArrays
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
    return StfArrays.of(calibration.dataset), {"model": loaded.name, "reference": facts}
