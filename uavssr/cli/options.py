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
    typer.Option(
        "--sensor", help="Camera: a known name (see `uavssr sensors`) or a .yaml/.csv file."
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands", help="Roles of the bands in file order: blue,green,... (skip: unused)."
    ),
]
Bidx = Annotated[
    str | None, typer.Option("--bidx", help="Numbers of the bands to use, from one: 1,2,3.")
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", help="Reflectance = number in the file x SCALE, e.g. 1/32768."),
]
AssumeCrs = Annotated[
    str | None, typer.Option("--assume-crs", help="CRS of a file without one, e.g. EPSG:32650.")
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Allow scenes larger than the default bound.")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Released model by name, or a model folder.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda[:i].")]
TileSize = Annotated[int, typer.Option("--tile", help="Side of a tile in pixels.")]
Stages = Annotated[
    int | None, typer.Option("--stages", help="Run fewer unrolled stages than the model has.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Tiles (batches) in the network at a time; default: the cores."),
]
Batch = Annotated[
    str, typer.Option("--batch", help="Tiles in one forward pass: auto (1 on the CPU) or a number.")
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="float32 or bf16 (default on a GPU), of the Z-Nets alone."),
]
MemLimit = Annotated[
    str | None,
    typer.Option("--mem-limit", help="Memory to stay within, e.g. 4GB: fewer workers if need be."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped, if there is one.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Compute on a dask cluster: tcp://host:port, or its scheduler file.",
    ),
]
ClusterSize = Annotated[
    str | None,
    typer.Option("--cluster", help="local:N computes in N processes of this machine."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what the run would take, after a trial; write nothing."),
]
Wavelengths = Annotated[
    str | None,
    typer.Option(
        "--wavelengths", help="Only these nm: 450-900, 550,670,840, or a file with a list."
    ),
]
FormatName = Annotated[
    str | None,
    typer.Option("--format", help="gtiff, cog, envi, zarr or coefficients; else by the suffix."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
