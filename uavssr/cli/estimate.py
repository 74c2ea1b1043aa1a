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
    from uavssr.calibration import Reference
    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import StfArrays
    from uavssr.model import Model
    from uavssr.reconstruction import ReconstructionOptions


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
    """List the known cameras and satellites with their bands."""
    from uavssr.sensors import SATELLITES, SENSORS, load_satellite

    sensors = [*SENSORS.values(), *map(load_satellite, SATELLITES)]
    known = {
        sensor.name: [
            {"role": b.role, "centre": round(b.centre, 2), "fwhm": round(b.fwhm, 2)}
            for b in sensor.bands
        ]
        for sensor in sensors
    }
    console.show(known, tables.sensor_table(sensors), as_json=as_json)


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
            help="Known reflectance: an overlapping cube, a .csv of spectra or panels, or a table "
            "of plots (.csv, .npz)."
        ),
    ] = None,
    reference_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in the reference, e.g. 1/100.")
    ] = None,
    flight: Annotated[
        str | None, typer.Option(help="Flight of the image, in a table of plots with several.")
    ] = None,
    same_camera: Annotated[
        bool,
        typer.Option("--same-camera", help="Each FILE is a flight; estimate one STF from all."),
    ] = False,
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
    from uavssr.model import DEFAULT_MODEL, load_model
    from uavssr.reconstruction import ReconstructionOptions

    _check_options(context, reference=reference, same_camera=same_camera)
    images = [
        open_image(
            context, image_request(paths, sensor, bands, bidx, scale, assume_crs, max_pixels)
        )
        for paths in ([[file] for file in files] if same_camera else [files])
    ]
    msi = images[0]
    inputs = files if reference is None else [*files, reference]
    check_outputs([out, plot], inputs, overwrite=overwrite)
    check_suffix(out, ".nc")
    check_suffix(plot, ".png")
    loaded = load_model(model or DEFAULT_MODEL)
    facts: dict[str, Any] = {"sensor": msi.sensor.name, "model": loaded.name}
    if reference is None:
        options = ReconstructionOptions(
            model=loaded, tile=tile, stages=stages, device=device, workers=workers
        )
        estimate = _blind(context, images, options, same_camera=same_camera)
    else:
        from uavssr.calibration import open_reference

        opened = open_reference(reference, msi, scale=reference_scale, flight=flight)
        estimate, facts["reference"] = _calibrated(context, msi, opened, loaded)
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


def _check_options(context: typer.Context, *, reference: Path | None, same_camera: bool) -> None:
    """Refuse options that were given and have no effect beside the others."""
    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    }
    for name in ("reference_scale", "flight"):
        if reference is None and name in given:
            fact = f"--{name.replace('_', '-')} without --reference"
            raise UsageError(fact, remedy="give both, or neither")
    beside: list[tuple[str, tuple[str, ...]]] = []
    if reference is not None:
        beside.append(("--reference", ("tile", "stages", "device", "workers")))
    if same_camera:
        beside.append(("--same-camera", ("reference", "tile", "workers")))
    for option, names in beside:
        for name in names:
            if name in given:
                raise UsageError(f"--{name} has no effect with {option}", remedy="leave it out")


def _blind(
    context: typer.Context,
    images: list[MsiSource],
    options: ReconstructionOptions,
    *,
    same_camera: bool,
) -> StfArrays:
    """The STF from the image, or one from all images."""
    from uavssr.reconstruction import estimate_camera_stf, plan_reconstruction

    if same_camera:
        return estimate_camera_stf(images, options)
    planned = plan_reconstruction(images[0], options)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        return planned.stf_arrays(progress=progress)


def _calibrated(
    context: typer.Context, msi: MsiSource, reference: Reference, model: Model
) -> tuple[StfArrays, dict[str, Any]]:
    """The STF from a reference, and facts about the calibration for `--json`."""
    from uavssr.calibration import calibrate_scene
    from uavssr.io.stf import StfArrays

    calibration = calibrate_scene(msi, reference, model=model)
    for warning in calibration.warnings:
        say(context, f"uavssr: warning: {warning}")
    facts = {
        "kind": reference.kind,
        "used": calibration.used,
        "warnings": list(calibration.warnings),
    }
    return StfArrays.of(calibration.dataset), facts
