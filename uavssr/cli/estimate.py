"""The commands that examine an image: inspect and estimate-stf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console, land_cover, satellite, tables
from uavssr.cli import options as shared
from uavssr.cli.app import (
    app,
    check_outputs,
    check_suffix,
    image_request,
    open_image,
    print_outputs,
    run_facts,
    say,
)
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uavssr.calibration import Reference
    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import ClassStfs, StfArrays
    from uavssr.model import Model
    from uavssr.reconstruction import LandCover, ReconstructionOptions


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
        list[Path] | None,
        typer.Option(
            help="Known reflectance: an overlapping cube, a .csv of spectra or panels, a table "
            "of plots (.csv, .npz), or a satellite image (.SAFE or Landsat folder, GeoTIFF); "
            "two of these are interpolated in time."
        ),
    ] = None,
    reference_sensor: Annotated[
        str | None,
        typer.Option(help="Satellite: sentinel2a, sentinel2b, landsat8, landsat9, or a file."),
    ] = None,
    reference_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in the reference, e.g. 1/100.")
    ] = None,
    reference_offset: Annotated[
        float | None,
        typer.Option(help="Satellite GeoTIFF: reflectance of the number 0, e.g. -0.1."),
    ] = None,
    reference_bands: Annotated[
        str | None,
        typer.Option(help="Satellite GeoTIFF: each band in file order: b2,b3,...; skip, scl."),
    ] = None,
    reference_date: Annotated[
        list[str] | None,
        typer.Option(help="Satellite GeoTIFF: its day, YYYY-MM-DD, one for each --reference."),
    ] = None,
    reference_error: Annotated[
        float,
        typer.Option(help="Satellite: relative error that all pixels of a band share."),
    ] = satellite.ERROR_DEFAULT,
    flight_date: Annotated[
        str | None, typer.Option(help="Day of the flight, YYYY-MM-DD, if no tag states it.")
    ] = None,
    max_days: Annotated[
        int, typer.Option(min=0, help="Days between flight and satellite that are accepted.")
    ] = satellite.MAX_DAYS_DEFAULT,
    flight: Annotated[
        str | None, typer.Option(help="Flight of the image, in a table of plots with several.")
    ] = None,
    same_camera: Annotated[
        bool,
        typer.Option("--same-camera", help="Each FILE is a flight; estimate one STF from all."),
    ] = False,
    zones: Annotated[
        str | None,
        typer.Option(
            help="Classes of ground, each with an STF: a raster of integers, polygons, or auto."
        ),
    ] = None,
    zone_field: Annotated[
        str | None, typer.Option(help="Column of the polygons that holds the class.")
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
    from uavssr.model import DEFAULT_MODEL, load_model
    from uavssr.reconstruction import ReconstructionOptions

    references = reference or []
    by_satellite = satellite.are_satellites(references, reference_sensor)
    _check_options(context, references, by_satellite=by_satellite, same_camera=same_camera)
    images = [
        open_image(
            context, image_request(paths, sensor, bands, bidx, scale, assume_crs, max_pixels)
        )
        for paths in ([[file] for file in files] if same_camera else [files])
    ]
    msi = images[0]
    inputs = [*files, *references, *land_cover.zone_files(zones)]
    check_outputs([out, plot], inputs, overwrite=overwrite)
    check_suffix(out, ".nc")
    check_suffix(plot, ".png")
    loaded = load_model(model or DEFAULT_MODEL)
    facts: dict[str, Any] = {"sensor": msi.sensor.name, "model": loaded.name}
    parts: list[RenderableType] = []
    shown: list[RenderableType] = []
    cover = None if zones is None else land_cover.open_land_cover(msi, zones, zone_field)
    classes: ClassStfs | None = None
    if not references:
        options = ReconstructionOptions(
            model=loaded, tile=tile, stages=stages, device=device, workers=workers
        )
        estimate, classes = _blind(context, images, options, cover, same_camera=same_camera)
    elif by_satellite:
        given = satellite.SatelliteOptions(
            sensor=reference_sensor,
            scale=reference_scale,
            offset=reference_offset,
            bands=reference_bands,
            dates=reference_date,
            error=reference_error,
            flight_date=flight_date,
            max_days=max_days,
        )
        estimate, calibration = satellite.satellite_stf(context, msi, references, given, loaded)
        facts["reference"] = calibration
        parts = satellite.satellite_parts(calibration, msi.sensor.roles)
    else:
        from uavssr.calibration import calibrate_classes, open_reference
        from uavssr.io.stf import scene_estimate

        opened = open_reference(references[0], msi, scale=reference_scale, flight=flight)
        estimate, facts["reference"] = _calibrated(context, msi, opened, loaded)
        if cover is not None:
            scene = scene_estimate(estimate.dataset())
            classes = calibrate_classes(msi, opened, cover, scene, model=loaded)
    if classes is not None:
        estimate, shown = land_cover.add_classes(estimate, classes, facts)
    if out is not None:
        write_stf(estimate, out, overwrite=overwrite, inputs=inputs)
        if count := estimate.sizes.get("reference"):
            say(context, f"uavssr: {out} holds {count} spectra, which reconstruct --stf will use")
    if plot is not None:
        from uavssr.viz import draw_stf

        draw_stf(estimate.dataset(), plot, overwrite=overwrite, inputs=inputs)
    written = {"stf": out, "plot": plot}
    print_outputs(context, written)
    rows = tables.scene_rows(estimate)
    table = tables.stf_table(rows, sensor=msi.sensor.name)
    answer = facts | {"scene": rows} | run_facts(context, written)
    console.show(answer, *parts, table, *shown, as_json=as_json)


def _check_options(
    context: typer.Context, references: list[Path], *, by_satellite: bool, same_camera: bool
) -> None:
    """Refuse options of the command line that have no effect beside the others."""
    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    needs_reference = ("reference_scale", "reference_sensor", "flight", *satellite.SATELLITE_ONLY)
    needed = dict.fromkeys(() if references else needs_reference, "reference")
    if "zones" not in given:
        needed["zone_field"] = "zones"
    for name in needed.keys() & given:
        fact = f"--{name.replace('_', '-')} without --{needed[name]}"
        raise UsageError(fact, remedy="give both, or neither")
    if references and not by_satellite:
        _check_single(references, given)
    beside: list[tuple[str, tuple[str, ...]]] = []
    if by_satellite:
        beside.append(("a satellite image", ("flight", "zones")))
    if references:
        beside.append(("--reference", ("tile", "stages", "device", "workers")))
    if same_camera:
        beside.append(("--same-camera", ("reference", "tile", "workers", "zones")))
    for option, names in beside:
        for name in names:
            if name in given:
                raise UsageError(f"--{name} has no effect with {option}", remedy="leave it out")


def _check_single(references: list[Path], given: set[str]) -> None:
    """Refuse several references, and options of satellite images, where none is a satellite's."""
    remedy = "name the satellite with --reference-sensor, or leave it out"
    for name in satellite.SATELLITE_ONLY:
        if name in given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is for satellite images", remedy=remedy)
    if len(references) > 1:
        remedy = "give one, or name the satellite of two images with --reference-sensor"
        raise UsageError(f"{len(references)} references are given", remedy=remedy)


def _blind(
    context: typer.Context,
    images: list[MsiSource],
    options: ReconstructionOptions,
    cover: LandCover | None,
    *,
    same_camera: bool,
) -> tuple[StfArrays, ClassStfs | None]:
    """The STF from the image, or one from all images; and those of classes of ground."""
    from uavssr.reconstruction import class_stfs, estimate_camera_stf, plan_reconstruction

    if same_camera:
        return estimate_camera_stf(images, options), None
    planned = plan_reconstruction(images[0], options)
    classes = None if cover is None else class_stfs(planned.scene, cover)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        return planned.stf_arrays(progress=progress), classes


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
