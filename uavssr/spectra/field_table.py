"""Tables (CSV) of field spectra or grey panels at coordinates; the columns say which they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors import FINE_NM, BoolArray, FloatArray
from uavssr.spectra.cells import (
    TABLE_REMEDY,
    check_not_turned,
    is_number,
    numbers_of,
    read_cells,
    wavelengths_of,
)

TableKind = Literal["spectra", "panels"]

FIELD_REFLECTANCE: Final = (-0.05, 1.5)
"""Least and largest measured reflectance that is plausible; panels reach 1, glints more."""
PLACE_COLUMNS: Final = (("x", "y"), ("lon", "lat"))
"""Columns of places: in the image's CRS, or in degrees (WGS 84)."""
_OTHERS: Final = {"radius", "name"}
_PANEL: Final = "reflectance"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FieldTable:
    """Reflectance measured at n places."""

    path: Path
    """The file as given."""
    kind: TableKind
    """Spectra, or panels of one reflectance at all wavelengths."""
    geographic: bool
    """Whether places are longitude and latitude (WGS 84), else coordinates of the image's CRS."""
    places: FloatArray
    """(n, 2) x and y, or longitude and latitude in degrees."""
    radius: FloatArray
    """(n,) metres around the place that were measured; 0 for the one pixel there."""
    nm: FloatArray
    """(W,) wavelengths in nm, increasing."""
    spectra: FloatArray
    """(n, W) reflectance."""
    skipped: int
    """Rows left out, because their reflectance is missing or out of range."""


def read_field_table(path: Path, *, scale: float = 1.0) -> FieldTable:
    """Read a table of reflectance / scale: a header, then a row for each place.

    Columns are `x,y` or `lon,lat`, then either `reflectance` (of a grey panel) or a column for each
    wavelength, headed by it in nm. Columns `radius` and `name` may be added.

    Raises:
        InputRefused: no such file, columns that are missing, unknown or ambiguous, a cell that is
            no number, or most values out of range.
    """
    header, rows = read_cells(path)
    kind, place, names = _columns(header, path)
    nm = FINE_NM[[0, -1]] if kind == "panels" else wavelengths_of(names, path)
    reflectance = numbers_of(header, rows, names, path) * scale
    spectra = np.repeat(reflectance, 2, axis=1) if kind == "panels" else reflectance
    places = numbers_of(header, rows, place, path)
    radius = np.zeros(len(rows))
    if "radius" in header:
        radius = numbers_of(header, rows, ["radius"], path)[:, 0]
    _check_places(places, radius, path)
    plausible = plausible_rows(reflectance, path)
    return FieldTable(
        path=path,
        kind=kind,
        geographic=place == PLACE_COLUMNS[1],
        places=places[plausible],
        radius=radius[plausible],
        nm=nm,
        spectra=spectra[plausible],
        skipped=int((~plausible).sum()),
    )


def read_spectra_table(path: Path, *, scale: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Wavelengths (W,) in nm and numbers x scale (n, W) of the rows of a table without places.

    Columns headed by a number are wavelengths, others are ignored. An empty cell is NaN.

    Raises:
        InputRefused: not a table, no wavelengths, or a table with a spectrum in each column.
    """
    header, rows = read_cells(path)
    check_not_turned(header, rows, path)
    names = [name for name in header if is_number(name)]
    if not names:
        raise InputRefused(
            f"none of its {len(header)} columns is headed by a wavelength in nm",
            path=path,
            remedy="write a header such as name,400,405,410 and a row for each spectrum, and "
            "separate cells by commas",
        )
    return wavelengths_of(names, path), numbers_of(header, rows, names, path) * scale


def _columns(header: list[str], path: Path) -> tuple[TableKind, tuple[str, str], list[str]]:
    """The kind of a table, the two columns of its places, and those of its reflectance."""
    shown = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")

    def refused(fact: str) -> InputRefused:
        return InputRefused(f"{fact}; its columns are {shown}", path=path, remedy=TABLE_REMEDY)

    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise refused(f"column {min(twice)!r} comes twice")
    places = [pair for pair in PLACE_COLUMNS if set(pair) <= set(header)]
    if len(places) != 1:
        raise refused("both x,y and lon,lat" if places else "neither x,y nor lon,lat")
    wavelengths = [name for name in header if is_number(name)]
    known = {*places[0], *_OTHERS, _PANEL, *wavelengths}
    unknown = [name for name in header if name not in known]
    if unknown:
        raise refused(f"column {unknown[0]!r} is unknown")
    if bool(wavelengths) == (_PANEL in header):
        both = "both wavelengths and" if wavelengths else "neither wavelengths nor"
        raise refused(f"{both} the column 'reflectance'")
    return ("spectra", places[0], wavelengths) if wavelengths else ("panels", places[0], [_PANEL])


def _check_places(places: FloatArray, radius: FloatArray, path: Path) -> None:
    for values, name in ((places.sum(1), "coordinates"), (radius, "radius")):
        if not np.isfinite(values).all():
            row = np.isfinite(values).argmin() + 1
            raise InputRefused(f"row {row} has no {name}", path=path, remedy=TABLE_REMEDY)
    if radius.min() < 0:
        raise InputRefused(f"a radius of {radius.min():g} m", path=path, remedy=TABLE_REMEDY)


def plausible_rows(reflectance: FloatArray, path: Path) -> BoolArray:
    """Mask (n,) of the rows with a plausible reflectance at all W wavelengths: most must have."""
    low, high = FIELD_REFLECTANCE
    complete = np.isfinite(reflectance).all(1)
    inside = (reflectance >= low) & (reflectance <= high)  # false where it is NaN
    plausible = np.asarray(inside.all(1))
    if plausible.sum() * 2 <= complete.sum() or not complete.any():
        raise InputRefused(
            f"{(~plausible).sum()} of {len(plausible)} rows miss a reflectance or go beyond "
            f"{low:g} to {high:g}; the largest is {np.nanmax(reflectance, initial=-np.inf):g}",
            path=path,
            remedy="give what a number means in reflectance, such as --reference-scale 1/100",
        )
    return plausible
