"""The commands that inspect an image and reconstruct its cube."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from uavssr.cli import console, tables
from uavssr.cli.app import (
    app,
    check_outputs,
    check_suffix,
    interrupt_as_error,
    option_pairs,
    print_outputs,
    say,
)
from uavssr.cli.opening import open_cluster, open_image
from uavssr.cli.options import (
    AsJson,
    AssumeCrs,
    Bands,
    BatchOption,
    Bidx,
    ClusterSize,
    Device,
    DryRun,
    Files,
    FormatName,
    MaxPixels,
    MemLimit,
    ModelName,
    Overwrite,
    PrecisionOption,
    Resume,
    ScaleOption,
    Scheduler,
    SensorName,
    Stages,
    TileSize,
    Wavelengths,
    Workers,
)
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.io.writers import CubeDtype, Format
    from uavssr.reconstruction import Precision, RunEstimate, StfScope


@app.command()
def reconstruct(
    context: typer.Context,
    files: Files,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The cube to write: .tif, .zarr, .img or .dat.")
    ],
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: ScaleOption = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    model: ModelName = None,
    stf: Annotated[
        Path | None,
        typer.Option("--stf", help="Use the STF of this .stf.nc instead of estimating it."),
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
        typer.Option(
            "--stf-scope", help="scene: one STF for all tiles; tile: the STF of each tile, blended."
        ),
    ] = "scene",
    tile: TileSize = 256,
    overlap: Annotated[
        int | None,
        typer.Option(
            "--overlap", help="Pixels over which the STFs of tiles are blended; default: 32."
        ),
    ] = None,
    stages: Stages = None,
    device: Device = "auto",
    precision: PrecisionOption = None,
    batch: BatchOption = "auto",
    workers: Workers = None,
    mem_limit: MemLimit = None,
    scheduler: Scheduler = None,
    cluster: ClusterSize = None,
    format: FormatName = None,  # noqa: A002 - the name of the option
    wavelengths: Wavelengths = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="uint16 (reflectance x 10000) or float32.")
    ] = "uint16",
    co: Annotated[
        list[str] | None, typer.Option("--co", help="GDAL creation option K=V, repeatable.")
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            "--uncertainty", help="Also write the standard errors of all bands to this file."
        ),
    ] = None,
    quality: Annotated[
        Path | None,
        typer.Option(
            "--quality", help="Also write quality flags (saturated, outlier ...) to this .tif."
        ),
    ] = None,
    quicklook: Annotated[
        Path | None, typer.Option("--quicklook", help="Also draw the cube to this .png.")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct the cube, and write its STFs (.stf.nc) and a map of tiles (.tiles.gpkg)."""
    from uavssr.io.stf import stf_path, tiles_path
    from uavssr.io.writers import was_publishing
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import (
        OutputOptions,
        ReconstructionOptions,
        parse_size,
        plan_reconstruction,
    )

    _check_trial(dry_run=dry_run, scheduler=scheduler, cluster=cluster)
    msi = open_image(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    inputs = files if stf is None else [*files, stf]
    output = OutputOptions(
        cube=out,
        format=cast("Format | None", format),
        dtype=cast("CubeDtype", dtype),
        wavelengths=wavelengths,
        creation_options=option_pairs(co or []),
        uncertainty=uncertainty,
        quality=quality,
        overwrite=overwrite,
        resume=resume,
    )
    replaceable = overwrite or (resume and was_publishing(out))
    further = [uncertainty, quality, quicklook]
    beside = [stf_path(out), tiles_path(out)]
    check_outputs([out, *further], inputs, overwrite=replaceable)
    check_outputs([*beside, *further], inputs, overwrite=replaceable)
    check_suffix(quality, ".tif", ".tiff")
    check_suffix(quicklook, ".png")
    options = ReconstructionOptions(
        model=model or DEFAULT_MODEL,
        stf=stf,
        stf_only=stf_only,
        stf_scope=cast("StfScope", stf_scope),
        tile=tile,
        overlap=overlap,
        stages=stages,
        device=device,
        precision=cast("Precision | None", precision),
        batch=_batch(batch),
        workers=workers,
        mem_limit=None if mem_limit is None else parse_size(mem_limit),
        cluster=None if dry_run else context.with_resource(open_cluster(scheduler, cluster)),
    )
    plan = plan_reconstruction(msi, options)
    for line in plan.reference_notes():
        say(context, f"uavssr: {line}")
    if dry_run:
        _print_estimate(plan.estimate_run(output), as_json=as_json)
        return
    with console.progress(quiet=context.obj["quiet"]) as progress, interrupt_as_error():
        outputs = plan.write(output, progress=progress)
    if quicklook is not None:
        from uavssr.viz import draw_quicklook

        draw_quicklook(out, quicklook, overwrite=overwrite, inputs=[*inputs, *outputs])
    written = {"cube": outputs.cube, "stf": outputs.stf, "tiles": outputs.tiles}
    extra = {"uncertainty": uncertainty, "quality": quality, "quicklook": quicklook}
    print_outputs(context, written | extra, as_json=as_json)


def _check_trial(*, dry_run: bool, scheduler: str | None, cluster: str | None) -> None:
    """Refuse a dry run on a cluster: its trial runs in this process."""
    options = {"--scheduler": scheduler, "--cluster": cluster}
    given = [option for option, value in options.items() if value is not None]
    if dry_run and given:
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


def _print_estimate(estimate: RunEstimate, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(estimate.to_dict()))
    else:
        console.show(*tables.fact_lines(estimate.lines()))


@app.command()
def inspect(
    context: typer.Context,
    files: Files,
    sensor: SensorName = None,
    bands: Bands = None,
    bidx: Bidx = None,
    scale: ScaleOption = None,
    assume_crs: AssumeCrs = None,
    max_pixels: MaxPixels = None,
    as_json: AsJson = False,
) -> None:
    """Print the input summary: bands, roles, scale and valid pixels, with the evidence for each."""
    msi = open_image(context, files, sensor, bands, bidx, scale, assume_crs, max_pixels, warn=False)
    if as_json:
        typer.echo(json.dumps(msi.summary.to_dict()))
    else:
        console.show(*tables.summary_parts(msi.summary))


@app.command()
def sensors(as_json: AsJson = False) -> None:
    """List the known cameras with their bands."""
    from uavssr.sensors import SENSORS

    if as_json:
        known = {
            name: [{"role": b.role, "centre": b.centre, "fwhm": b.fwhm} for b in sensor.bands]
            for name, sensor in SENSORS.items()
        }
        typer.echo(json.dumps(known))
        return
    console.show(tables.sensor_table(SENSORS.values()))
