"""Options and arguments that several commands share, each with its help. Calls nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path],
    typer.Argument(
        help="A multi-band GeoTIFF, or one single-band file per band.", metavar="FILE..."
    ),
]
SensorName = Annotated[
    str | None,
    typer.Option("--sensor", help="Camera: a name from `uavssr sensors`, or a .yaml or .csv file."),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands", help="Role of each band in file order: blue,green,...; skip leaves one out."
    ),
]
Bidx = Annotated[
    str | None, typer.Option("--bidx", help="Numbers of the bands to use, counted from 1: 1,2,3.")
]
ScaleOption = Annotated[
    str | None,
    typer.Option("--scale", help="Reflectance per number in the file, e.g. 1/32768."),
]
AssumeCrs = Annotated[
    str | None, typer.Option("--assume-crs", help="CRS of a file that has none, e.g. EPSG:32650.")
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Accept scenes of up to this many pixels.")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Name of a released model, or a model folder.")
]
Device = Annotated[
    str, typer.Option("--device", help="Device of the network: auto, cpu or cuda[:i].")
]
TileSize = Annotated[int, typer.Option("--tile", help="Side of a tile in pixels.")]
Stages = Annotated[
    int | None,
    typer.Option("--stages", help="Number of unrolled stages to run; default: all of the model."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Batches of tiles in the network at a time; default: number of cores."
    ),
]
BatchOption = Annotated[
    str,
    typer.Option("--batch", help="Tiles in one forward pass: auto (1 on the CPU), or a number."),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision", help="Precision of the Z-Nets: float32, or bf16 (default on a GPU)."
    ),
]
MemLimit = Annotated[
    str | None,
    typer.Option(
        "--mem-limit", help="Most memory to use, e.g. 4GB; the run takes fewer workers if needed."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue a run that was stopped, if there is one.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Compute on a dask cluster: tcp://host:port, or a scheduler file.",
    ),
]
ClusterSize = Annotated[
    str | None,
    typer.Option("--cluster", help="local:N: compute in N processes of this machine."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Try one batch, print the time, memory and space needed; write nothing."
    ),
]
Wavelengths = Annotated[
    str | None,
    typer.Option(
        "--wavelengths",
        help="Wavelengths to write in nm: 450-900, 550,670,840, or a file with a list.",
    ),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format", help="gtiff, cog, envi, zarr or coefficients; default: by the suffix."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
