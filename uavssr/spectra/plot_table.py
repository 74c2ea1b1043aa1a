"""Tables of plots: means over n plots of a camera's image and of reference spectra (npz or CSV)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused, UsageError
from uavssr.io.bounded import open_regular, opened_arrays, read_array, why_unread
from uavssr.io.checks import check_path_text
from uavssr.sensors import BoolArray, FloatArray, Sensor
from uavssr.spectra.cells import (
    MAX_TABLE_BYTES,
    TABLE_REMEDY,
    check_wavelengths,
    is_number,
    numbers_of,
    read_cells,
    wavelengths_of,
)
from uavssr.spectra.field_table import PLACE_COLUMNS, plausible_rows
from uavssr.spectra.library import StrArray

MAX_CENTRE_DISTANCE_NM: Final = 12.0
"""Largest distance in nm of `ms_centre_nm` from the centre of the sensor's band that it means."""
_FLIGHT: Final = ("flight", "date", "stage")
"""Columns that name a flight, the first of them that a table has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlotTable:
    """Means over n plots."""

    path: Path
    """The file as given."""
    nm: FloatArray
    """(W,) wavelengths in nm, increasing."""
    spectra: FloatArray
    """(n, W) reference reflectance."""
    msi: FloatArray
    """(n, c) reflectance in the image, in the sensor's band order."""
    flight: StrArray
    """(n,) name of the flight; the file's stem where it names none."""
    plot: StrArray
    """(n,) name of the plot, empty if unknown."""
    accept: StrArray
    """(n,) checks whose findings the table accepts, as written; empty without a column."""
    places: FloatArray
    """(n, 2) x and y, or longitude and latitude in degrees; NaN where the table has none."""
    geographic: bool
    """Whether places are longitude and latitude (WGS 84), else coordinates of the image's CRS."""
    skipped: int = 0
    """Rows left out, because reflectance is missing or out of range."""

    @property
    def flights(self) -> tuple[str, ...]:
        """Names of the flights, sorted."""
        return tuple(np.unique(self.flight).tolist())

    def of(self, flight: str) -> PlotTable:
        """The plots of one flight.

        Raises:
            UsageError: there is no such flight.
        """
        chosen = self.flight == flight
        if not chosen.any():
            names = ", ".join(self.flights)
            raise UsageError(f"no flight {flight!r}", path=self.path, remedy=f"it has {names}")
        return self.rows(chosen)

    def rows(self, chosen: BoolArray, *, skipped: int = 0) -> PlotTable:
        """The rows of a mask (n,)."""
        return PlotTable(
            path=self.path,
            nm=self.nm,
            spectra=self.spectra[chosen],
            msi=self.msi[chosen],
            flight=self.flight[chosen],
            plot=self.plot[chosen],
            accept=self.accept[chosen],
            places=self.places[chosen],
            geographic=self.geographic,
            skipped=skipped,
        )


def holds_plots(path: Path, sensor: Sensor) -> bool:
    """Whether a file is a table of plots: an .npz with `ms`, or a .csv with a band's column.

    Raises:
        InputRefused: there is no such file, or it cannot be read.
    """
    if path.suffix.lower() == ".npz":
        return True
    if path.suffix.lower() != ".csv":
        return False
    names = {_compact(role) for role in sensor.roles}
    return bool(names & {_compact(name) for name in read_cells(path)[0]})


def read_plot_table(
    path: Path, sensor: Sensor, *, scale: float = 1.0, msi_scale: float = 1.0
) -> PlotTable:
    """Read a table of plots, see "Tables of plots" in docs/formats.md.

    Args:
        path: an .npz with `ms` (n, c), `hs` (n, W), `wavelength_nm` (W,), and maybe `flight` (n,),
            `plot` (n,), `accept` (n,), `x` and `y` or `lon` and `lat` (n,), `ms_centre_nm` (c,); or
            a .csv with a row for each plot and columns headed by wavelengths in nm and by the roles
            of the sensor's bands.
        sensor: the camera of the image.
        scale: reference reflectance = number x scale.
        msi_scale: reflectance in the image = number x scale.

    Raises:
        InputRefused: no such file, bands or wavelengths that are missing or do not fit, a cell that
            is no number, or most values out of range.
    """
    read = _read_arrays if path.suffix.lower() == ".npz" else _read_csv
    table = read(path, sensor, (scale, msi_scale))
    usable = plausible_rows(np.concatenate([table.spectra, table.msi], axis=1), path)
    return table.rows(usable, skipped=int((~usable).sum()))


def _read_csv(path: Path, sensor: Sensor, scales: tuple[float, float]) -> PlotTable:
    header, rows = read_cells(path)
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise InputRefused(f"column {min(twice)!r} comes twice", path=path, remedy=TABLE_REMEDY)
    nm = [name for name in header if is_number(name)]
    named = {_compact(name): name for name in header}
    missing = [role for role in sensor.roles if _compact(role) not in named]
    if missing or not nm:
        fact = f"no column of band {missing[0]} of {sensor.name}" if missing else "no wavelengths"
        raise InputRefused(
            f"{fact}; its columns are {', '.join(header[:8])}{', ...' if header[8:] else ''}",
            path=path,
            remedy=f"head columns by nm and by {', '.join(sensor.roles)}",
        )
    bands = [named[_compact(role)] for role in sensor.roles]
    scale, msi_scale = scales
    flight = next((name for name in _FLIGHT if name in header), None)

    def texts(name: str | None) -> StrArray:
        column = header.index(name) if name in header else None
        return np.array(["" if column is None else row[column].strip() for row in rows], str)

    pair = _place_columns(header, path)
    return PlotTable(
        path=path,
        nm=wavelengths_of(nm, path),
        spectra=numbers_of(header, rows, nm, path) * scale,
        msi=numbers_of(header, rows, bands, path) * msi_scale,
        flight=_flights(texts(flight), path, named=flight is not None),
        plot=texts("plot"),
        accept=texts("accept"),
        places=_places(numbers_of(header, rows, pair, path) if pair else None, len(rows)),
        geographic=pair == PLACE_COLUMNS[1],
    )


def _place_columns(names: Collection[str], path: Path) -> tuple[str, str] | None:
    """The two columns of places of a table, if any."""
    held = [pair for pair in PLACE_COLUMNS if set(pair) <= set(names)]
    if len(held) > 1:
        raise InputRefused("both x,y and lon,lat", path=path, remedy="leave out one of the two")
    return held[0] if held else None


def _places(numbers: FloatArray | None, count: int) -> FloatArray:
    return np.full((count, 2), np.nan) if numbers is None else numbers


def _flights(names: StrArray, path: Path, *, named: bool) -> StrArray:
    """Names of the flights (n,); the file's stem where the table has no such column."""
    if not named:
        return np.full(len(names), path.stem)
    if (empty := names == "").any():
        row = int(empty.argmax()) + 1
        raise InputRefused(f"row {row} names no flight", path=path, remedy="name it in each row")
    return names


def _read_arrays(path: Path, sensor: Sensor, scales: tuple[float, float]) -> PlotTable:
    check_path_text(str(path))
    try:
        with open_regular(path) as file, opened_arrays(file, MAX_TABLE_BYTES) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            pair = _place_columns(held, path)
            known = ("ms", "hs", "wavelength_nm", *_FLIGHT, "plot", "accept", *(pair or ()))
            wanted = {*known[:3], *(held & {*known, "ms_centre_nm"})}
            arrays = {name: read_array(archive, name) for name in sorted(wanted)}
        numbers = {
            name: np.asarray(arrays.pop(name), float)
            for name in ("ms", "hs", "wavelength_nm", "ms_centre_nm", *(pair or ()))
            if name in arrays
        }
    except OSError as err:
        remedy = "give the path of a local file"
        raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
    except ValueError as err:
        raise InputRefused(f"not a table of plots ({err})", path=path, remedy=TABLE_REMEDY) from err
    _check_shapes(numbers | arrays, sensor, path)
    ms, hs, nm = (numbers[name] for name in ("ms", "hs", "wavelength_nm"))
    check_wavelengths(nm, path)
    scale, msi_scale = scales
    flight = next((name for name in _FLIGHT if name in arrays), None)

    def texts(name: str | None) -> StrArray:
        return arrays[name].astype(str) if name in arrays else np.full(len(ms), "")

    return PlotTable(
        path=path,
        nm=nm,
        spectra=hs * scale,
        msi=ms[:, _order(numbers.get("ms_centre_nm"), sensor, path)] * msi_scale,
        flight=_flights(texts(flight), path, named=flight is not None),
        plot=texts("plot"),
        accept=texts("accept"),
        places=_places(np.stack([numbers[name] for name in pair], 1) if pair else None, len(ms)),
        geographic=pair == PLACE_COLUMNS[1],
    )


def _check_shapes(arrays: Mapping[str, npt.NDArray[Any]], sensor: Sensor, path: Path) -> None:
    count, wavelengths = len(arrays["ms"]), arrays["wavelength_nm"].size
    wanted: dict[str, tuple[int, ...]] = {
        "ms": (count, len(sensor)),
        "hs": (count, wavelengths),
        "wavelength_nm": (wavelengths,),
        "ms_centre_nm": (len(sensor),),
    }
    for name, array in arrays.items():
        shape = wanted.get(name, (count,))
        if array.shape != shape or not array.size:
            fact = f"{name} is {array.shape}, not {shape}, for the {len(sensor)} bands"
            raise InputRefused(f"{fact} of {sensor.name}", path=path, remedy=TABLE_REMEDY)


def _order(centres: FloatArray | None, sensor: Sensor, path: Path) -> list[int]:
    """The index in `ms` of each band of the sensor, by its centres in nm if they are stated."""
    if centres is None:
        return list(range(len(sensor)))
    nominal = np.array([band.nominal_centre for band in sensor.bands])
    distance = np.abs(np.subtract.outer(nominal, centres))
    if not (distance.min(1) <= MAX_CENTRE_DISTANCE_NM).all():
        stated = ", ".join(f"{centre:g}" for centre in centres.ravel()[:8])
        raise InputRefused(
            f"ms_centre_nm is {stated}, the bands of {sensor.name} lie at "
            f"{', '.join(f'{centre:g}' for centre in nominal)} nm",
            path=path,
            remedy="give the camera with --sensor",
        )
    order: list[int] = distance.argmin(1).tolist()
    if len(set(order)) < len(order):
        raise InputRefused("two bands have the same ms_centre_nm", path=path, remedy=TABLE_REMEDY)
    return order


def _compact(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
