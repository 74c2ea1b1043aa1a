"""The command that converts an image or a cube to what another camera would see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, image_request, print_outputs, say
from uavssr.cli.index import open_spectral_source
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.analysis import AveragingGrid, SpectralSource
    from uavssr.io.writers import CubeDtype


@app.command()
def convert(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="An image (its files), a cube, or coefficients.", metavar="INPUT..."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="The other camera: a name from `uavssr sensors` (sentinel2a, landsat9, m3m ...), "
            "or a .yaml or .csv file."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The image to write, a .tif.")],
    uncertainty: Annotated[
        Path | None, typer.Option(help="Also write the standard errors of all bands to this .tif.")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Average over square cells of so many metres.")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(help="Average over the pixels of this raster.")
    ] = None,
    dtype: shared.NumberType = "uint16",
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
    overwrite: shared.Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Try one tile, print the bands, size, memory and time; write nothing.",
        ),
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Convert an image or a cube to the bands of another camera, with standard errors."""
    from uavssr.analysis import ImageConversion
    from uavssr.io.writers import TrueColour, style_path, write_colour_style
    from uavssr.sensors import load_sensor

    if resolution is not None and grid is not None:
        raise UsageError("--resolution and --grid name two grids", remedy="choose one")
    if dtype not in ("uint16", "float32"):
        raise UsageError(f"--dtype must be uint16 or float32, got {dtype!r}")
    target = load_sensor(to)
    for path in (out, uncertainty):
        check_suffix(path, ".tif", ".tiff")
    inputs = [*files, *([] if grid is None else [grid])]
    style = style_path(out)
    check_outputs([out, uncertainty, style], inputs, overwrite=overwrite)
    request = image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    source = open_spectral_source(
        context, request, model=model, stf=stf, device=device, workers=workers
    )
    planned = ImageConversion.of(
        source,
        target,
        out,
        uncertainty=uncertainty,
        cells=_cells(source, resolution, grid),
        dtype=cast("CubeDtype", dtype),
    )
    if planned.conversion.left_out:
        say(context, f"uavssr: {planned.conversion.left_out}")
    if planned.cells is not None:
        say(context, f"uavssr: averaging: {planned.size_text}")
    if dry_run:
        facts = planned.facts()
        console.show(facts, *tables.fact_lines(facts), as_json=as_json)
        return
    with console.progress(quiet=context.obj["quiet"]) as progress:
        planned.write(overwrite=overwrite, progress=progress)
    written = {"image": out, "uncertainty": uncertainty}
    if colours := TrueColour.of_image(out):
        write_colour_style(style, colours, overwrite=overwrite, inputs=[*source.inputs, out])
        written["style"] = style
    print_outputs(context, written, verdict=source.verdict(), as_json=as_json)


def _cells(
    source: SpectralSource, resolution: float | None, grid: Path | None
) -> AveragingGrid | None:
    """The cells to average over, None for the source's own pixels."""
    from uavssr.analysis import AveragingGrid

    if resolution is not None:
        return AveragingGrid.of_resolution(source, resolution)
    return None if grid is None else AveragingGrid.like(source, grid)
