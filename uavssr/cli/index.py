"""The command that maps spectral indices with their standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from uavssr.cli.index_list import print_indices
from uavssr.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from uavssr.analysis import IndexMaps, IndexRequest, PassEstimate, SpectralSource
    from uavssr.io.msi import Request


@app.command()
def index(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="An image or a cube, then indices: field.tif NDVI REIP.",
            metavar="INPUT... NAME...",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The maps to write, a .tif.")
    ] = None,
    formula: Annotated[
        list[str] | None,
        typer.Option(help='A formula, such as "(R800 - R670) / (R800 + R670)"; repeatable.'),
    ] = None,
    as_camera: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Evaluate indices of broad bands as this camera would: sentinel2a, landsat9 ...",
        ),
    ] = None,
    list_all: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print all indices with formula and source; with --sensor also how far to trust "
            "them.",
        ),
    ] = False,
    sensor: shared.SensorName = None,
    bands: shared.Bands = None,
    bidx: shared.Bidx = None,
    scale: shared.ScaleOption = None,
    assume_crs: shared.AssumeCrs = None,
    max_pixels: shared.MaxPixels = None,
    model: shared.ModelName = None,
    stf: shared.StfOfSpectra = None,
    device: shared.Device = "auto",
    workers: shared.Workers = None,
    quicklook: Annotated[
        Path | None, typer.Option(help="Also draw the maps with legend and scale bar to this .png.")
    ] = None,
    even_so: shared.EvenSo = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    as_json: shared.AsJson = False,
) -> None:
    """Map spectral indices of an image or a cube, each with its standard error."""
    if list_all:
        print_indices(sensor, model, as_json=as_json)
        return
    import numpy as np

    from uavssr.analysis import IndexRequest, refuse_uncarried, write_index_maps
    from uavssr.sensors import load_sensor

    paths, names = inputs_and_names(arguments or [])
    requests = IndexRequest.of(names, formula or [])
    if out is None:
        raise UsageError("--out is missing", remedy="name the maps to write, such as --out map.tif")
    camera = None if as_camera is None else load_sensor(as_camera)
    check_suffix(out, ".tif", ".tiff")
    check_suffix(quicklook, ".png")
    style = out.with_suffix(".qml")
    check_outputs([out, style, quicklook], paths, overwrite=overwrite)
    request = image_request(paths, sensor, bands, bidx, scale, assume_crs, max_pixels)
    source = open_spectral_source(
        context, request, model=model, stf=stf, device=device, workers=workers
    )
    if not even_so:
        refuse_uncarried(requests, source, sensor, model)
    if dry_run:
        show_estimate(estimate_maps(source, requests, out), as_json=as_json)
        return
    with console.progress(quiet=context.obj["quiet"]) as progress:
        maps = write_index_maps(
            source, requests, out, camera=camera, overwrite=overwrite, progress=progress
        )
    for layer, values in zip(maps.layers, maps.preview, strict=True):
        if not layer.is_error and np.isnan(values).all():
            say(context, f"uavssr: warning: {layer.name} ({layer.formula}) has no value anywhere")
    _draw(maps, source, style, quicklook, overwrite=overwrite)
    written = {"maps": out, "style": style, "quicklook": quicklook}
    print_outputs(context, written, verdict=source.verdict(), as_json=as_json)


def inputs_and_names(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """The files at the start of the arguments, and the names after them.

    Raises:
        InputRefused: the first is no file.
        UsageError: there is none.
    """
    if not arguments:
        raise UsageError("no input is named", remedy="give an image or a cube, then indices")
    count = next(
        (number for number, text in enumerate(arguments) if not Path(text).exists()),
        len(arguments),
    )
    if not count:
        raise InputRefused("does not exist", path=arguments[0], remedy="check the path")
    return [Path(text) for text in arguments[:count]], arguments[count:]


def open_spectral_source(
    context: typer.Context,
    request: Request,
    *,
    model: str | None,
    stf: Path | None,
    device: str,
    workers: int | None,
) -> SpectralSource:
    """The spectra of a cube, or those that a reconstruction of an image gives."""
    from uavssr.analysis import holds_spectra, of_cube, of_image
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction

    if len(request.paths) == 1 and holds_spectra(request.paths[0]):
        source = of_cube(request.paths[0], stf=stf, model=model, sensor=request.sensor)
        for warning in source.warnings:
            say(context, f"uavssr: warning: {warning}")
        return source
    options = ReconstructionOptions(
        model=model or DEFAULT_MODEL, stf=stf, device=device, workers=workers
    )
    planned = plan_reconstruction(open_image(context, request), options)
    for line in planned.reference_notes():
        say(context, f"uavssr: {line}")
    return of_image(planned)


def estimate_maps(
    source: SpectralSource,
    requests: Sequence[IndexRequest],
    out: Path,
    *,
    layers: int | None = None,
) -> PassEstimate:
    """What it takes to write maps of indices, or of so many layers."""
    from uavssr.analysis import estimate_pass, write_index_maps

    count = 2 * len(requests) if layers is None else layers
    return estimate_pass(
        source,
        lambda strip, folder: write_index_maps(strip, requests, folder / "maps.tif"),
        pixel_bytes=4 * (count + 8 * len(requests)),
        output_bytes=4 * count * source.height * source.width,
        folder=out.parent,
    )


def show_estimate(estimate: PassEstimate, *, as_json: bool) -> None:
    """Print what a pass takes."""
    facts = tables.fact_lines(estimate.lines())
    console.show(estimate.to_dict(), *facts, as_json=as_json)


def _draw(
    maps: IndexMaps, source: SpectralSource, style: Path, quicklook: Path | None, *, overwrite: bool
) -> None:
    """Write the style of the first map, and the figure."""
    from uavssr.io.writers import write_map_style
    from uavssr.viz import MapPanel, draw_maps, value_range

    panels = [
        MapPanel(layer.name, values, layer.is_error)
        for layer, values in zip(maps.layers, maps.preview, strict=True)
    ]
    low, high = value_range(panels[0].values, is_error=False)
    write_map_style(style, low=low, high=high, overwrite=overwrite, inputs=source.inputs)
    if quicklook is not None:
        draw_maps(
            panels,
            quicklook,
            title=source.inputs[0].name,
            metres=source.pixel_size[0] * maps.step,
            overwrite=overwrite,
            inputs=[*source.inputs, maps.path],
        )
