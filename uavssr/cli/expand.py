"""The command that writes the cube of a file of coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from uavssr.cli import console
from uavssr.cli.app import app, check_outputs, check_suffix, option_pairs, print_outputs
from uavssr.cli.options import AsJson, MaxPixels, Overwrite
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.io.writers import CubeDtype, Format


@app.command()
def expand(
    context: typer.Context,
    coefficients: Annotated[
        Path,
        typer.Argument(
            help="A file from `reconstruct --format coefficients`.", metavar="COEFFICIENTS"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The cube to write.")],
    wavelengths: Annotated[
        str | None,
        typer.Option(
            "--wavelengths",
            help="Wavelengths to write in nm: 450-900, 550,670,840, or a file with a list.",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        str | None,
        typer.Option("--format", help="gtiff, cog, envi or zarr; default: by the suffix."),
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="uint16 (reflectance x 10000) or float32.")
    ] = "uint16",
    co: Annotated[
        list[str] | None, typer.Option("--co", help="GDAL creation option K=V, repeatable.")
    ] = None,
    quicklook: Annotated[
        Path | None, typer.Option("--quicklook", help="Also draw the cube to this .png.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Blocks expanded at a time; default: number of cores."),
    ] = None,
    max_pixels: MaxPixels = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the cube of a file of coefficients, or some of its wavelengths."""
    from uavssr.io.hsi import open_coefficients
    from uavssr.reconstruction import OutputOptions
    from uavssr.reconstruction import expand as write_cube

    output = OutputOptions(
        cube=out,
        format=cast("Format | None", format),
        dtype=cast("CubeDtype", dtype),
        wavelengths=wavelengths,
        creation_options=option_pairs(co or []),
        overwrite=overwrite,
    )
    check_outputs([out, quicklook], [coefficients], overwrite=overwrite)
    check_suffix(quicklook, ".png")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be positive, got {workers}")
    source = open_coefficients(coefficients, max_pixels=max_pixels)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        write_cube(source, output, workers=workers, progress=progress)
    if quicklook is not None:
        from uavssr.viz import draw_quicklook

        draw_quicklook(out, quicklook, overwrite=overwrite, inputs=[coefficients, out])
    print_outputs(context, {"cube": out, "quicklook": quicklook}, as_json=as_json)
