"""The command that writes a page on a scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uavssr.cli import console
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, image_request, print_outputs
from uavssr.cli.index import open_spectral_source, show_estimate
from uavssr.cli.plots import estimate_plots, outlines_of
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uavssr.analysis import IndexRequest, PassEstimate, SpectralSource, Zone


@app.command()
def report(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="An image (its files), a cube, or coefficients.", metavar="INPUT..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, a .html.")],
    index: Annotated[
        list[str] | None,
        typer.Option(
            help="Indices to map: NDVI,REIP; default: up to three that the camera's cube carries."
        ),
    ] = None,
    formula: Annotated[
        list[str] | None, typer.Option(help="A formula as of `uavssr index`; repeatable.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Show the table of plots that `uavssr plots` wrote, a .csv.")
    ] = None,
    zones: Annotated[
        Path | None,
        typer.Option(help="Measure and outline plots: a GeoPackage, GeoJSON or Shapefile."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column of --zones that identifies plots.")
    ] = None,
    buffer: Annotated[
        float, typer.Option(help="Metres by which --zones grow; -0.5 leaves out their borders.")
    ] = 0.0,
    title: Annotated[
        str | None, typer.Option(help="Heading of the page; default: the file's name.")
    ] = None,
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
    even_so: shared.EvenSo = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    as_json: shared.AsJson = False,
) -> None:
    """Write one HTML page that opens offline: maps, spectra at a click, plots, verdict."""
    from uavssr.analysis import (
        IndexRequest,
        carried_indices,
        read_zone_table,
        refuse_uncarried,
        zone_statistics,
    )
    from uavssr.report import IndexNote, PageFacts, sample_spectra, write_page

    if plots is not None and zones is not None:
        raise UsageError("--plots and --zones both give plots", remedy="leave one of them out")
    check_suffix(out, ".html", ".htm")
    further = [path for path in (plots, zones) if path is not None]
    check_outputs([out], [*files, *further], overwrite=overwrite)
    rows = [] if plots is None else read_zone_table(plots)
    names = [name.strip() for text in index or [] for name in text.split(",")]
    requests = IndexRequest.of(names, formula or []) if names or formula else None
    request = image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    source = open_spectral_source(
        context, request, model=model, stf=stf, device=device, workers=workers
    )
    if requests is None:
        requests = IndexRequest.of(carried_indices(source, sensor, model), [])
    elif not even_so:
        refuse_uncarried(requests, source, sensor, model)
    zone_set = None if zones is None else outlines_of(context, zones, source, id_column, buffer)
    if dry_run:
        estimate = _estimate(source, requests, out)
        if zone_set is not None:
            estimate += estimate_plots(source, zone_set, requests, None, out)
        show_estimate(estimate, as_json=as_json)
        return
    outlines: Sequence[Zone] = () if zone_set is None else zone_set.zones
    with console.progress(quiet=context.obj["quiet"]) as progress:
        sample = sample_spectra(source, requests, progress=progress)
        verdict = source.verdict() or source.run_verdict
        if outlines:
            rows = zone_statistics(source, outlines, requests, progress=progress)
    options = {"Page": f"indices {', '.join(item.name for item in requests)}"}
    if further:
        options["Plots"] = further[0].name
    facts = PageFacts(
        title=title or files[0].name,
        verdict=verdict,
        notes=[IndexNote.of(item, source, sensor, model) for item in requests],
        plots=rows,
        zones=outlines,
        options=options,
    )
    write_page(source, sample, facts, out, overwrite=overwrite, inputs=[*source.inputs, *further])
    print_outputs(context, {"report": out}, verdict=verdict, as_json=as_json)


def _estimate(source: SpectralSource, requests: Sequence[IndexRequest], out: Path) -> PassEstimate:
    """What it takes to sample the spectra of a page."""
    from uavssr.analysis import estimate_pass
    from uavssr.report import MAX_PAGE_BYTES, sample_spectra

    return estimate_pass(
        source,
        lambda strip, _: sample_spectra(strip, requests),
        pixel_bytes=4 * (8 + 16 * len(requests)),
        output_bytes=MAX_PAGE_BYTES,
        folder=out.parent,
    )
