"""`open_satellite`: a satellite image of any kind that is read."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.bounded import is_folder
from uavssr.io.checks import check_path_text, is_file
from uavssr.io.satellite.image import SatelliteImage
from uavssr.io.satellite.landsat import landsat_product, open_landsat
from uavssr.io.satellite.product_name import check_level, read_product_name
from uavssr.io.satellite.request import SatelliteRequest
from uavssr.io.satellite.sentinel2 import METADATA, open_safe
from uavssr.io.satellite.stack import open_stack

_L1C: Final = "MTD_MSIL1C.xml"
_UNPACKING: Final = {".zip": "unzip", ".tar": "tar -xf", ".gz": "tar -xzf", ".tgz": "tar -xzf"}
"""Commands that unpack what agencies deliver, by suffix."""
_STORE_FILES: Final = (".zgroup", ".zattrs", "zarr.json")


def names_product(path: Path) -> bool:
    """Whether a path is a folder or file of a satellite product, and no cube or table.

    A folder is one unless it is a Zarr store. A GeoTIFF may be either, so this is False.
    """
    if is_folder(path):
        return not any(is_file(path / name) for name in _STORE_FILES)
    return path.name in (METADATA, _L1C) or path.suffix.lower() in _UNPACKING


def open_satellite(request: SatelliteRequest) -> SatelliteImage:
    """Open a .SAFE folder, a folder of Landsat bands, or a GeoTIFF with all bands.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the product is unsafe, damaged, incomplete, of another level or satellite, or
            its scale, bands or date are neither stated nor given.
    """
    path = request.path
    check_path_text(str(path))
    if path.name in (METADATA, _L1C) and is_file(path):
        request = replace(request, path=path.parent)
        path = path.parent
    if command := _UNPACKING.get(path.suffix.lower()):
        remedy = f"unpack it first: {shlex.join([*command.split(), str(path)])}"
        raise InputRefused("is an archive", path=path, remedy=remedy)
    if not is_folder(path):
        return open_stack(request)
    if is_file(path / METADATA):
        return open_safe(request)
    named = read_product_name(path.name)
    if is_file(path / _L1C) or (named and named.level == "L1C"):
        check_level("L1C", path)
    if product := landsat_product(path):
        return open_landsat(request, product)
    raise InputRefused(
        "is a folder without a satellite product",
        path=path,
        remedy=f"give the .SAFE folder that holds {METADATA}, or the folder of Landsat's "
        "*_SR_B*.TIF files",
    )
