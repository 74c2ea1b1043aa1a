"""The command that draws cubes from the posterior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from uavssr.cli import console
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, image_request, option_pairs, print_outputs
from uavssr.cli.index import open_spectral_source, show_estimate
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.io.writers import CubeDtype


@app.command()
def sample(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="An image (its files), a cube, or coefficients.", metavar="INPUT..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the cubes to write.")],
    count: Annotated[int, typer.Option("--count", "-n", help="Number of cubes to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
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
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help="gtiff, cog, envi or zarr.")
    ] = "gtiff",
    wavelengths: shared.Wavelengths = None,
    dtype: shared.NumberType = "uint16",
    co: shared.CreationOptions = None,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    as_json: shared.AsJson = False,
) -> None:
    """Draw cubes from the posterior of an image or a cube, to carry errors through a model."""
    from uavssr.analysis import SampleOptions, estimate_samples, write_samples
    from uavssr.io.writers import FORMATS, SUFFIXES
    from uavssr.reconstruction import OutputOptions

    if format not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, got {format!r}")
    storage = OutputOptions(
        cube=out / f"sample{SUFFIXES[format][0]}",
        format=format,
        dtype=cast("CubeDtype", dtype),
        wavelengths=wavelengths,
        creation_options=option_pairs(co),
        overwrite=overwrite,
    )
    options = SampleOptions(folder=out, count=count, seed=seed, storage=storage)
    paths = [
        path for output in options.outputs for path in (Path(output.cube), *output.style_files)
    ]
    check_outputs(list(paths) if out.is_dir() else [out], files, overwrite=overwrite)
    request = image_request(files, sensor, bands, bidx, scale, assume_crs, max_pixels)
    source = open_spectral_source(
        context, request, model=model, stf=stf, device=device, workers=workers
    )
    if dry_run:
        show_estimate(estimate_samples(source, options), as_json=as_json)
        return
    with console.progress(quiet=context.obj["quiet"]) as progress:
        cubes = write_samples(source, options, progress=progress)
    written = {path.stem: path for path in cubes}
    print_outputs(context, written, verdict=source.verdict(), as_json=as_json)
