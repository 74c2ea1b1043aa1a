"""The command that measures indices and spectra over plots."""

from __future__ import annotations

from collections.abc import Sequence
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
    print_outputs,
    run_facts,
    say,
)
from uavssr.cli.index import open_spectral_source, show_estimate
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.analysis import (
        IndexRequest,
        PassEstimate,
        SpectralSource,
        ZoneRow,
        ZoneSet,
    )
    from uavssr.sensors import WavelengthGrid


@app.command()
def plots(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="An image (its files), a cube, or coefficients.", metavar="INPUT..."),
    ],
    zones: Annotated[
        Path, typer.Option(help="Polygons: a GeoPackage, GeoJSON or Shapefile, in any CRS.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write, a .csv.")],
    index: Annotated[
        list[str] | None, typer.Option(help="Index of `uavssr index --list`; repeatable.")
    ] = None,
    formula: Annotated[
        list[str] | None, typer.Option(help="A formula as of `uavssr index`; repeatable.")
    ] = None,
    spectra: Annotated[
        bool, typer.Option("--spectra", help="Also measure spectra, to <out>_spectra.csv.")
    ] = False,
    wavelengths: shared.Wavelengths = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id", help="Column that identifies plots; default: id, plot, name ..."),
    ] = None,
    buffer: Annotated[
        float, typer.Option(help="Metres by which plots grow; -0.5 leaves out their borders.")
    ] = 0.0,
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
        Path | None, typer.Option(help="Also draw the plots with their intervals to this .png.")
    ] = None,
    even_so: shared.EvenSo = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    as_json: shared.AsJson = False,
) -> None:
    """Measure indices and spectra over plots, with standard errors of values and to compare."""
    from uavssr.analysis import (
        IndexRequest,
        refuse_uncarried,
        write_zone_spectra,
        write_zone_table,
        zone_statistics,
    )

    if not (index or formula or spectra):
        remedy = "name one: --index NDVI, or give --formula or --spectra"
        raise UsageError("no index is named", remedy=remedy)
    if wavelengths is not None and not spectra:
        fact = "--wavelengths selects bands of --spectra, which is missing"
        raise UsageError(fact, remedy="give --spectra too")
    requests = IndexRequest.of(index or [], formula or []) if index or formula else []
    check_suffix(out, ".csv")
    check_suffix(quicklook, ".png")
    if quicklook is not None and not requests:
        raise UsageError("--quicklook draws indices, and none is named", remedy="give --index NDVI")
    spectra_out = out.with_name(f"{out.stem}_spectra.csv") if spectra else None
    check_outputs([out, spectra_out, quicklook], [*files, zones], overwrite=overwrite)
    request = image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    source = open_spectral_source(
        context, request, model=model, stf=stf, device=device, workers=workers
    )
    if not even_so:
        refuse_uncarried(requests, source, sensor, model)
    measured = _bands(source.grid, wavelengths) if spectra else None
    outlines = outlines_of(context, zones, source, id_column, buffer)
    if dry_run:
        show_estimate(estimate_plots(source, outlines, requests, measured, out), as_json=as_json)
        return
    with console.progress(quiet=context.obj["quiet"]) as progress:
        rows = zone_statistics(source, outlines.zones, requests, bands=measured, progress=progress)
    inputs = [*source.inputs, zones]
    write_zone_table(rows, out, overwrite=overwrite, inputs=inputs)
    if spectra_out is not None:
        centres = source.grid.centres[measured]
        write_zone_spectra(rows, centres, spectra_out, overwrite=overwrite, inputs=inputs)
    if quicklook is not None:
        _draw(rows, outlines, source, quicklook, overwrite=overwrite, inputs=[*inputs, out])
    written = {"plots": out, "spectra": spectra_out, "quicklook": quicklook}
    verdict = source.verdict()
    print_outputs(context, written, verdict=verdict)
    answer = {"rows": list(map(_plain, rows))} | run_facts(context, written, verdict)
    console.show(answer, tables.zone_table(rows), as_json=as_json)


def outlines_of(
    context: typer.Context,
    path: Path,
    source: SpectralSource,
    id_column: str | None,
    buffer: float,
) -> ZoneSet:
    """The zones of a file that lie in an image; a warning names the others."""
    from uavssr.analysis import read_zones

    zones = read_zones(path, source, id_column=id_column, buffer=buffer)
    warn_outside(context, zones.outside, len(zones.outside) + len(zones.zones), "the image")
    return zones


def warn_outside(context: typer.Context, outside: Sequence[str], count: int, images: str) -> None:
    """Name the first of `count` plots that lie outside `images`, if any do."""
    from uavssr.analysis import outside_notice

    if outside:
        say(context, f"uavssr: warning: {outside_notice(outside, count, images)}")


def estimate_plots(
    source: SpectralSource,
    outlines: ZoneSet,
    requests: Sequence[IndexRequest],
    bands: Sequence[int] | None,
    out: Path,
) -> PassEstimate:
    """What it takes to measure the plots, if they cover their tiles."""
    from uavssr.analysis import estimate_pass, whole_image, zone_statistics, zones_by_tile

    def measure(strip: SpectralSource, _: Path) -> object:
        return zone_statistics(strip, [whole_image(strip)], requests, bands=bands)

    count, columns = len(outlines.zones), 5 * len(requests) + 4 + 7 * len(bands or ())
    return estimate_pass(
        source,
        measure,
        tiles=len(zones_by_tile(source.tiles, outlines.zones)),
        pixel_bytes=4 * (3 * len(bands or ()) + 20 * len(requests) + 50),
        output_bytes=12 * columns * count,
        folder=out.parent,
    )


def _bands(grid: WavelengthGrid, wavelengths: str | None) -> list[int]:
    """The bands that `--wavelengths` selects, by default all."""
    from uavssr.sensors import select_wavelengths

    if wavelengths is None:
        return list(range(len(grid)))
    return list(select_wavelengths(grid, wavelengths)[1])


def _draw(
    rows: Sequence[ZoneRow],
    zones: ZoneSet,
    source: SpectralSource,
    path: Path,
    *,
    overwrite: bool,
    inputs: Sequence[Path],
) -> None:
    """Write the figure of the plots."""
    import numpy as np

    from uavssr.viz import PlotOutline, PlotPanel, draw_plots

    numbers = {
        name: np.array([row.indices[name][:] for row in rows], float) for name in rows[0].indices
    }
    panels = [
        PlotPanel(name, mean, value_se, compare_se)
        for name, (mean, _, _, value_se, compare_se) in ((n, t.T) for n, t in numbers.items())
    ]
    draw_plots(
        [PlotOutline(zone.name, zone.rings()) for zone in zones.zones],
        panels,
        path,
        title=f"{source.inputs[0].name}, {inputs[-2].name}",
        metres=source.pixel_size[0],
        overwrite=overwrite,
        inputs=inputs,
    )


def _plain(row: ZoneRow) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in ("zone", "pixels", "valid", "outlier")}
    return facts | {"indices": {name: of._asdict() for name, of in row.indices.items()}}
