"""Where a raster lies: size, CRS and transform, taken exactly as they are, or refused.

Must not resample, or take georeferencing from a sidecar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, sidecars
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.georeference import Transform
from uavssr.io.raster.request import Request

_IDENTITY: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAME_GRID: Final = 0.01
"""Shift, in pixels at any corner, below which two grids are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Size and georeferencing of one file."""

    path: Path
    """The file as given."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """The coordinate reference system."""
    crs_name: str
    """Its EPSG code, else its name."""
    unit: str
    """Unit of its coordinates."""
    transform: Transform
    """Affine a, b, c, d, e, f."""
    warnings: tuple[str, ...] = ()
    """Sidecars that were ignored, an assumed CRS."""

    @property
    def gsd(self) -> tuple[float, float]:
        """Lengths of a pixel along a row and down a column, in `unit`."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)


def read_place(dataset: DatasetReader, checked: CheckedFile, request: Request) -> Place:
    """The place of an open dataset.

    Raises:
        InputRefused: no geotransform, no CRS and none assumed, or a degenerate geotransform.
        UsageError: `--assume-crs` is no AUTHORITY:CODE.
    """
    found = make_place(
        checked.path,
        crs=dataset.crs,
        transform=tuple(dataset.transform)[:6],
        size=(dataset.height, dataset.width),
        request=request,
    )
    ignored = [sidecar.name for pair in sidecars(checked.path) for sidecar in pair]
    said = f"sidecar files of {checked.path.name} ignored: {', '.join(ignored)}"
    return replace(found, warnings=(*found.warnings, said)) if ignored else found


def make_place(
    path: Path, *, crs: CRS | None, transform: Transform, size: tuple[int, int], request: Request
) -> Place:
    """The place of a raster of `size` (rows, columns) that states this CRS and transform.

    Raises:
        InputRefused: no geotransform, no CRS and none assumed, or a degenerate geotransform.
        UsageError: `--assume-crs` is no AUTHORITY:CODE.
    """
    _check_transform(transform, path, *sidecars(path))
    known, warnings = _crs(crs, path, request)
    return Place(
        path=path,
        height=size[0],
        width=size[1],
        crs_wkt=known.to_wkt(),
        crs_name=_crs_name(known),
        unit="degree" if known.is_geographic else str(known.linear_units),
        transform=transform,
        warnings=tuple(warnings),
    )


def _check_transform(
    transform: Transform, path: Path, worlds: Sequence[Path], others: Sequence[Path]
) -> None:
    if transform == _IDENTITY:
        holders = [*worlds, *(p for p in others if p.name.endswith(".aux.xml"))]
        if holders:
            raise InputRefused(
                f"its only georeferencing is in the sidecar {holders[0].name}, which is not read",
                path=path,
                remedy=f"embed it: gdal_translate {path.name} {path.stem}_geo.tif",
            )
        raise InputRefused(
            "no geotransform: a raw camera frame",
            path=path,
            remedy="make an orthomosaic of reflectance first (OpenDroneMap, Metashape, Pix4D)",
        )
    a, b, _, d, e, _ = transform
    if not all(map(math.isfinite, transform)) or a * e - b * d == 0:
        raise InputRefused(f"the geotransform {transform} is degenerate", path=path)


def _crs(found: CRS | None, path: Path, request: Request) -> tuple[CRS, list[str]]:
    assumed = None if request.assume_crs is None else _parse_crs(request.assume_crs)
    if found:
        if assumed is not None and assumed != found:
            raise InputRefused(
                f"has the CRS {_crs_name(found)}, not {request.assume_crs}",
                path=path,
                remedy="leave out --assume-crs, or correct the file with gdal_edit -a_srs",
            )
        return found, []
    if assumed is None:
        raise InputRefused("no CRS", path=path, remedy=_how_to_give_crs(request))
    return assumed, [f"no CRS in {path.name}: {request.assume_crs} assumed as asked"]


def _how_to_give_crs(request: Request) -> str:
    if request.subcommand is None:
        return "write the true one into the file: gdal_edit.py -a_srs EPSG:CODE FILE"
    return f"give the true one, as in: {request.command(assume_crs='EPSG:CODE')}"


def _parse_crs(text: str) -> CRS:
    """AUTHORITY:CODE only: GDAL would also take a URL or a file's name here, and open it."""
    if not re.fullmatch(r"[A-Za-z]+:[A-Za-z0-9]+", text):
        raise UsageError(f"--assume-crs {text!r} is no code such as EPSG:32650")
    try:
        return CRS.from_user_input(text)
    except CRSError as err:
        raise UsageError(f"--assume-crs {text!r} is not known: {err}") from err


def _crs_name(crs: CRS) -> str:
    code = crs.to_epsg()
    if code is not None:
        return f"EPSG:{code}"
    name = re.search(r'^\w+\["([^"]*)"', crs.to_wkt())
    return name[1] if name else "unnamed"


def check_same_grid(places: Sequence[Place], facts: Sequence[BandMetadata]) -> None:
    """Refuse a set of files unless each holds one band, of one type, on one grid.

    Raises:
        InputRefused: naming the odd one out.
    """
    for fact in facts:
        if not fact.alone:
            raise InputRefused(
                "holds several bands beside other files",
                path=fact.file,
                remedy="give one multi-band file, or files of a single band each",
            )
    _refuse_off_grid(places, remedy="bring all bands onto one grid first, e.g. with gdalwarp")
    types = [fact for fact in facts if fact.colour != "alpha"]
    _refuse_odd_type(types)


def check_aligned(place: Place, reference: Place) -> None:
    """Refuse a raster that does not lie pixel on pixel on another one.

    Raises:
        InputRefused: naming what differs: size, CRS or geotransform.
    """
    _refuse_off_grid([reference, place], remedy="bring both onto one grid, e.g. with gdalwarp")


def _refuse_off_grid(places: Sequence[Place], *, remedy: str) -> None:
    _refuse_odd(places, "size", lambda p: f"{p.width} x {p.height}", _same_size, remedy)
    _refuse_odd(places, "CRS", lambda p: p.crs_name, _same_crs, remedy)
    _refuse_odd(places, "geotransform", lambda p: str(p.transform), _same_transform, remedy)


def _refuse_odd(
    places: Sequence[Place],
    what: str,
    show: Callable[[Place], str],
    same: Callable[[Place, Place], bool],
    remedy: str,
) -> None:
    """The odd one is the one that differs from what most files share."""
    usual = max(places, key=lambda p: sum(same(p, q) for q in places))
    for place in places:
        if not same(place, usual):
            raise InputRefused(
                f"its {what} is {show(place)}, that of {usual.path.name} is {show(usual)}",
                path=place.path,
                remedy=remedy,
            )


def _refuse_odd_type(facts: Sequence[BandMetadata]) -> None:
    types = [fact.dtype for fact in facts]
    usual = max(types, key=types.count)
    for fact in facts:
        if fact.dtype != usual:
            raise InputRefused(f"holds {fact.dtype}, the other bands {usual}", path=fact.file)


def _same_size(one: Place, other: Place) -> bool:
    return (one.height, one.width) == (other.height, other.width)


def _same_crs(one: Place, other: Place) -> bool:
    return one.crs_wkt == other.crs_wkt or one.crs_name == other.crs_name != "unnamed"


def _same_transform(one: Place, other: Place) -> bool:
    """Whether no corner of the scene moves by more than a small part of a pixel."""
    a, b, c, d, e, f = (p - q for p, q in zip(one.transform, other.transform, strict=True))
    pixel = min(other.gsd)
    corners = [(x, y) for x in (0, one.width) for y in (0, one.height)]
    return all(
        math.hypot(a * x + b * y + c, d * x + e * y + f) <= SAME_GRID * pixel for x, y in corners
    )
