"""Options and arguments that several commands share, and the groups of all options in help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

Files = Annotated[
    list[Path],
    typer.Argument(
        help="A multi-band GeoTIFF, or one single-band file per band.", metavar="FILE..."
    ),
]
SensorName = Annotated[
    str | None, typer.Option(help="Camera: a name from `uavssr sensors`, or a .yaml or .csv file.")
]
Bands = Annotated[
    str | None,
    typer.Option(help="Role of each band in file order: blue,green,...; skip leaves one out."),
]
Bidx = Annotated[
    str | None, typer.Option(help="Numbers of the bands to use, counted from 1: 1,2,3.")
]
ScaleOption = Annotated[
    str | None, typer.Option(help="Reflectance per number in the file, e.g. 1/32768.")
]
AssumeCrs = Annotated[
    str | None, typer.Option(help="CRS of a file that has none, e.g. EPSG:32650.")
]
MaxPixels = Annotated[int | None, typer.Option(help="Accept scenes of up to this many pixels.")]
ModelName = Annotated[str | None, typer.Option(help="Name of a released model, or a model folder.")]
Device = Annotated[str, typer.Option(help="Device of the network: auto, cpu or cuda[:i].")]
TileSize = Annotated[int, typer.Option(help="Side of a tile in pixels.")]
Stages = Annotated[
    int | None, typer.Option(help="Number of unrolled stages to run; default: all of the model.")
]
Workers = Annotated[
    int | None,
    typer.Option(help="Batches of tiles in the network at a time; default: number of cores."),
]
MemLimit = Annotated[
    str | None,
    typer.Option(help="Most memory to use, e.g. 4GB; the run takes fewer workers if needed."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Compute on a dask cluster: tcp://host:port, or a scheduler file."),
]
LocalCluster = Annotated[
    str | None, typer.Option(help="local:N: compute in N processes of this machine.")
]
Wavelengths = Annotated[
    str | None,
    typer.Option(help="Wavelengths to write in nm: 450-900, 550,670,840, or a file with a list."),
]
NumberType = Annotated[str, typer.Option(help="uint16 (reflectance x 10000) or float32.")]
CreationOptions = Annotated[
    list[str] | None, typer.Option(help="GDAL creation option K=V, repeatable.")
]
Quicklook = Annotated[Path | None, typer.Option(help="Also draw the cube to this .png.")]
Accept = Annotated[
    str | None,
    typer.Option(help="Checks of pairs whose odd result is accepted: ratio,correlation."),
]
StfOfSpectra = Annotated[
    Path | None,
    typer.Option(help="The .stf.nc to hold fixed; of a cube, that of the run that made it."),
]
EvenSo = Annotated[
    bool,
    typer.Option("--even-so", help="Also compute indices that the camera's cube does not carry."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Try some tiles, print the time, memory and space needed; write nothing.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

PANELS: Final[Mapping[str, str]] = {
    "Input": "data split training validation "
    "sensor sensor_b candidates compare bands bidx scale assume_crs max_pixels",
    "References and plots": "reference reference_sensor reference_scale reference_offset "
    "reference_bands reference_date reference_error flight_date max_days flight flights test "
    "same_camera zones "
    "zone_field spectra plots id buffer true_stf pred_scale ref_scale pairs accept max_shift",
    "Network": "model arch stf stf_a stf_b stf_only stf_scope tile_stf stages precision init steps "
    "rank components width seed set methods cases seeds budget repeat",
    "What is computed": "wavelengths wavelength count formula index as to resolution grid epsilon "
    "data_range per_band snr_db misregistration perfect even_so list",
    "Output": "out out_dir format dtype co uncertainty quality quicklook plot stf_out csv table "
    "figure title status name log overwrite resume strict dry_run json",
    "Resources": "device workers threads jobs batch tile overlap mem_limit scheduler cluster",
}
"""Groups of `--help`, each with the keys of its options."""


def panel_of(key: str) -> str | None:
    """The group of an option; None if it is in none."""
    return next((name for name, keys in PANELS.items() if key in keys.split()), None)
