"""The command that maps the change between two dates or fields."""

from __future__ import annotations

from dataclasses import asdict
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
    print_outputs,
    run_facts,
    say,
)
from uavssr.cli.index import estimate_maps, open_spectral_source, show_estimate
from uavssr.cli.plots import warn_outside
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.analysis import ChangeMaps, IndexRequest, SpectralSource, ZoneChange


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="An image, a cube, or coefficients.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="The same of another date or field.", metavar="B")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The map of B - A to write, a .tif.")],
    index: Annotated[
        str | None, typer.Option(help="The index of `uavssr index --list` to compare.")
    ] = None,
    formula: Annotated[str | None, typer.Option(help="A formula in place of an index.")] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="The reflectance at this wavelength in nm instead.")
    ] = None,
    zones: Annotated[
        Path | None, typer.Option(help="Also compare plots: polygons as of `uavssr plots`.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="The table of the plots to write, a .csv.")
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id", help="Column that identifies plots; default: id, plot, name ..."),
    ] = None,
    buffer: Annotated[
        float, typer.Option(help="Metres by which plots grow; -0.5 leaves out their borders.")
    ] = 0.0,
    sensor: shared.SensorName = None,
    sensor_b: Annotated[
        str | None, typer.Option(help="Camera of B; default: that of A, or what B names.")
    ] = None,
    scale: shared.ScaleOption = None,
    model: shared.ModelName = None,
    stf_a: Annotated[
        Path | None, typer.Option(help="The .stf.nc of A, as --stf of `uavssr index`.")
    ] = None,
    stf_b: Annotated[Path | None, typer.Option(help="The .stf.nc of B.")] = None,
    device: shared.Device = "auto",
    workers: shared.Workers = None,
    quicklook: Annotated[
        Path | None, typer.Option(help="Also draw A, B and the change to this .png.")
    ] = None,
    even_so: shared.EvenSo = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    as_json: shared.AsJson = False,
) -> None:
    """Map the change of an index between two dates or fields, with its standard error."""
    from uavssr.analysis import (
        read_zones,
        refuse_uncarried,
        same_stf,
        write_change,
        write_zone_changes,
        zone_changes,
    )

    request = _request(index, formula, wavelength)
    if (zones is None) != (table is None):
        raise UsageError("--zones and --table go together", remedy="give both, or neither")
    check_suffix(out, ".tif", ".tiff")
    check_suffix(table, ".csv")
    check_suffix(quicklook, ".png")
    style = out.with_suffix(".qml")
    files = [path for path in (a, b, zones, stf_a, stf_b) if path is not None]
    check_outputs([out, style, table, quicklook], files, overwrite=overwrite)
    sources = []
    for path, camera, stf in ((a, sensor, stf_a), (b, sensor_b or sensor, stf_b)):
        image = image_request([path], camera, None, None, scale, None, None)
        source = open_spectral_source(
            context, image, model=model, stf=stf, device=device, workers=workers
        )
        if not even_so:
            refuse_uncarried([request], source, camera, model)
        sources.append(source)
    first, second = sources
    if dry_run:
        passes = [estimate_maps(source, [request], out, layers=3) for source in sources]
        show_estimate(passes[0] + passes[1], as_json=as_json)
        return
    if same_stf(first, second):
        say(context, "uavssr: A and B have the same STF, so its errors cancel in part")
    inputs = [*first.inputs, *second.inputs]
    rows: list[ZoneChange] = []
    with console.progress(quiet=context.obj["quiet"]) as progress:
        outlines = None
        if zones is not None:
            in_a, in_b = (
                read_zones(zones, source, id_column=id_column, buffer=buffer) for source in sources
            )
            outlines = in_a, in_b
            outside = list(dict.fromkeys([*in_a.outside, *in_b.outside]))
            warn_outside(context, outside, len(in_a.outside) + len(in_a.zones), "A or B")
        maps = write_change(first, second, request, out, overwrite=overwrite, progress=progress)
        if outlines is not None and table is not None:
            rows = zone_changes(first, second, outlines, request, progress=progress)
            write_zone_changes(rows, table, overwrite=overwrite, inputs=inputs)
    _draw(maps, request, first, (a, b), style, quicklook, overwrite=overwrite, inputs=inputs)
    say(context, _summary(maps, rows))
    written = {"change": out, "style": style, "plots": table, "quicklook": quicklook}
    print_outputs(context, written, as_json=as_json and not rows)
    if rows:
        answer = {"rows": list(map(asdict, rows))} | run_facts(context, written)
        console.show(answer, tables.change_table(rows), as_json=as_json)


def _request(index: str | None, formula: str | None, wavelength: float | None) -> IndexRequest:
    """The one thing to compare."""
    from uavssr.analysis import IndexRequest

    given = [value for value in (index, formula, wavelength) if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"{len(given) or 'none'} of --index, --formula and --wavelength are given",
            remedy="give one of them, such as --index NDVI",
        )
    if wavelength is not None:
        formula = f"R{wavelength:g}"
    return IndexRequest.of([index] if index else [], [formula] if formula else [])[0]


def _summary(maps: ChangeMaps, rows: list[ZoneChange]) -> str:
    """What changed, in one line or two."""
    from uavssr.analysis import FALSE_DISCOVERIES

    shares = (f"{count / maps.compared:.0%}" for count in (maps.higher, maps.lower))
    text = "{} of the pixels are significantly higher in B, {} lower".format(*shares)
    if not rows:
        return text
    changed = sum(row.q < FALSE_DISCOVERIES for row in rows)
    counts = f"{changed} of {len(rows)} plots changed"
    return f"{text}\n{counts} ({FALSE_DISCOVERIES:.0%} false discoveries)"


def _draw(
    maps: ChangeMaps,
    request: IndexRequest,
    source: SpectralSource,
    names: tuple[Path, Path],
    style: Path,
    quicklook: Path | None,
    *,
    overwrite: bool,
    inputs: list[Path],
) -> None:
    """Write the style of the change, and the figure."""
    import numpy as np

    from uavssr.io.writers import CHANGE_COLOURS, write_map_style
    from uavssr.viz import CHANGE_COLOUR_MAP, MapPanel, draw_maps, value_range

    a, b, change, error, significant = maps.preview
    largest = max(map(abs, value_range(change, is_error=False)))
    write_map_style(
        style,
        low=-largest,
        high=largest,
        colours=CHANGE_COLOURS,
        overwrite=overwrite,
        inputs=inputs,
    )
    if quicklook is None:
        return
    both = value_range(np.stack([a, b]), is_error=False)
    ends = -largest, largest
    panels = [
        MapPanel(f"{request.name}, A: {names[0].name}", a, is_error=False, limits=both),
        MapPanel(f"{request.name}, B: {names[1].name}", b, is_error=False, limits=both),
        MapPanel("Change, B - A", change, is_error=False, limits=ends, colours=CHANGE_COLOUR_MAP),
    ]
    if np.isfinite(error).any():
        shown = np.where(significant == 0, np.nan, change)
        title = "Change where it is significant"
        panels.append(
            MapPanel(title, shown, is_error=False, limits=ends, colours=CHANGE_COLOUR_MAP)
        )
    draw_maps(
        panels,
        quicklook,
        title=maps.path.name,
        metres=source.pixel_size[0] * maps.step,
        overwrite=overwrite,
        inputs=[*inputs, maps.path],
    )
