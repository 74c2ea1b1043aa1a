"""The spectral library: reflectance spectra on one grid, with their kinds and sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, opened_arrays, read_array, why_unread
from uavssr.sensors import Float32Array, FloatArray, IndexArray, WavelengthGrid

StrArray = npt.NDArray[np.str_]

KINDS: Final = ("canopy", "leaf", "soil", "mineral", "manmade", "water", "other")
"""Kinds of spectra; `other` is anything else, such as a mixed pixel of an airborne scene."""
LIBRARY_REFLECTANCE: Final = (-0.02, 1.6)
"""Least and largest reflectance in a library: noise may be negative, glints exceed 1."""
MAX_LIBRARY_BYTES: Final = 2**30
"""Largest library once unpacked; a million spectra of 270 bands."""
MAX_MISSING_NM: Final = 60.0
"""Distance in nm past its own wavelengths that a spectrum may be extrapolated."""
_SLOPE_SPAN_NM: Final = 25.0
"""Wavelengths in nm at an end that a slope is fitted to."""
_SLOPE_DAMPING_NM: Final = 15.0
"""Distance in nm over which that slope dies away."""
_NEIGHBOURS: Final = 24
_NEIGHBOUR_POOL: Final = 3000


@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralLibrary:
    """Reflectance spectra on one wavelength grid.

    Raises:
        InputRefused: shapes do not fit, a value is not finite or out of range, a kind is unknown.
    """

    spectra: Float32Array
    """(n, C) reflectance, 0..1."""
    kind: StrArray
    """(n,) kind of each spectrum, one of `KINDS`."""
    source: StrArray
    """(n,) data set or model of each spectrum."""
    grid: WavelengthGrid
    """The C bands, in nm."""

    def __post_init__(self) -> None:
        count = self.spectra.shape[0]
        if self.spectra.shape != (count, len(self.grid)) or count == 0:
            raise InputRefused(f"library of shape {self.spectra.shape}, not (n, {len(self.grid)})")
        if self.kind.shape != (count,) or self.source.shape != (count,):
            raise InputRefused(f"library needs one kind and one source for each of {count} spectra")
        if not np.isfinite(self.spectra).all():
            raise InputRefused("library holds values that are not finite")
        low, high = float(self.spectra.min()), float(self.spectra.max())
        if low < LIBRARY_REFLECTANCE[0] or high > LIBRARY_REFLECTANCE[1]:
            raise InputRefused(
                f"library spans {low:.3f}..{high:.3f}, not within "
                f"{LIBRARY_REFLECTANCE[0]}..{LIBRARY_REFLECTANCE[1]}",
                remedy="give reflectance from 0 to 1",
            )
        unknown = set(self.kind.tolist()) - set(KINDS)
        if unknown:
            raise InputRefused(f"unknown kinds {sorted(unknown)}; known are {', '.join(KINDS)}")

    def __len__(self) -> int:
        return int(self.spectra.shape[0])

    def of_kind(self, *kinds: str) -> IndexArray:
        """Indices of the spectra of any of `kinds`; empty where the library has none."""
        return np.flatnonzero(np.isin(self.kind, kinds))

    def counts(self) -> dict[str, int]:
        """Number of spectra by kind, without kinds of which there are none."""
        return {kind: self.of_kind(kind).size for kind in KINDS if kind in self.kind}

    @cached_property
    def neighbours(self) -> IndexArray:
        """(n, k) indices of up to 24 similar spectra of the same kind, itself left out.

        They are the nearest, by Euclidean distance of reflectance, in a pool of at most 3000
        spectra per kind, evenly taken: exact neighbours of a dense library are all but copies.
        Of a kind with one spectrum the neighbour is itself.
        """
        result = np.empty((len(self), _NEIGHBOURS), np.intp)
        coarse = self.spectra[:, :: max(len(self.grid) // 30, 1)]
        for kind in self.counts():
            members = self.of_kind(kind)
            pool = members[:: -(-members.size // _NEIGHBOUR_POOL)]
            count = min(_NEIGHBOURS, max(pool.size - 1, 1))
            target = coarse[pool]
            norm = (target**2).sum(1)
            for start in range(0, members.size, 1000):
                part = members[start : start + 1000]
                # ||a - b||^2 - ||a||^2 of spectra a and the pool's b
                distance = norm - 2 * coarse[part] @ target.T
                distance[part[:, None] == pool] = np.inf
                nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
                result[part] = pool[nearest][:, np.arange(_NEIGHBOURS) % count]
        return result

    def save(self, path: str | Path) -> None:
        """Write a compressed .npz without pickled objects."""
        np.savez_compressed(
            path,
            spectra=self.spectra,
            kind=self.kind,
            source=self.source,
            wavelength_nm=self.grid.centres,
            fwhm_nm=self.grid.fwhm,
        )


def concatenate(parts: Sequence[SpectralLibrary]) -> SpectralLibrary:
    """All the spectra of `parts`, which must share one grid, in order."""
    grid = parts[0].grid
    if not all(part.grid.matches(grid) for part in parts):
        raise InputRefused("libraries on different grids; load them on one")
    return SpectralLibrary(
        spectra=np.concatenate([part.spectra for part in parts]),
        kind=np.concatenate([part.kind for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        grid=grid,
    )


def load_library(path: str | Path, grid: WavelengthGrid) -> SpectralLibrary:
    """Read a library that `SpectralLibrary.save` wrote, resampled to `grid`.

    Raises:
        InputRefused: not a library, or one that does not reach over the grid.
    """
    try:
        with open_regular(path) as file, opened_arrays(file, MAX_LIBRARY_BYTES) as archive:
            names = ("wavelength_nm", "fwhm_nm", "spectra", "kind", "source")
            centres, fwhm, spectra, kind, source = (read_array(archive, name) for name in names)
        _check_types(centres, fwhm, spectra, kind, source)
    except (OSError, ValueError) as err:
        raise InputRefused(
            f"not a spectral library ({why_unread(err, path)})",
            path=path,
            remedy="make one with scripts/build_library.py",
        ) from err
    if not WavelengthGrid("stored", centres, fwhm).matches(grid):
        spectra = resample(spectra, centres, grid)
    spectra = np.asarray(spectra, np.float32)
    return SpectralLibrary(spectra=spectra, kind=kind, source=source, grid=grid)


def _check_types(*arrays: npt.NDArray[Any]) -> None:
    """Refuse other types than numbers for the first three arrays and text for the others."""
    kinds = [array.dtype.kind for array in arrays]
    if not set(kinds[:3]) <= set("fiu") or not set(kinds[3:]) <= {"U"}:
        raise ValueError(f"arrays of types {', '.join(str(array.dtype) for array in arrays)}")


def resample(spectra: npt.ArrayLike, nm: npt.ArrayLike, grid: WavelengthGrid) -> Float32Array:
    """Put spectra (..., F) measured at `nm` (F,) on the grid: (..., C).

    Linear interpolation inside. Past an end the line fitted over the last 25 nm goes on with a
    slope that dies away, y + slope * 15 nm * (1 - exp(-d / 15 nm)) at distance d, and so never
    moves by more than the slope times 15 nm.

    Raises:
        InputRefused: wavelengths do not increase, or more than 60 nm are missing at an end.
    """
    values, axis = np.asarray(spectra, np.float32), np.asarray(nm, float)
    if axis.ndim != 1 or axis.size < 2 or values.shape[-1] != axis.size:
        raise InputRefused(f"{values.shape[-1]} values for {axis.size} wavelengths")
    if not np.all(np.diff(axis) > 0):
        raise InputRefused("wavelengths of the spectra do not increase")
    missing = max(axis[0] - grid.centres[0], grid.centres[-1] - axis[-1])
    if missing > MAX_MISSING_NM:
        raise InputRefused(
            f"spectra of {axis[0]:g}-{axis[-1]:g} nm miss {missing:.0f} nm at an end of the grid "
            f"{grid.name}, more than {MAX_MISSING_NM:g}",
            remedy="complete them from a library, see uavssr.spectra.SubspaceCompletion",
        )
    return np.asarray(values @ _resampling(axis, grid.centres), np.float32)


def _resampling(axis: FloatArray, centres: FloatArray) -> Float32Array:
    """The matrix (F, C) that interpolates inside and extrapolates with a damped slope outside."""
    place = np.clip(np.searchsorted(axis, centres) - 1, 0, axis.size - 2)
    share = np.clip((centres - axis[place]) / (axis[place + 1] - axis[place]), 0, 1)
    matrix, column = np.zeros((axis.size, centres.size)), np.arange(centres.size)
    np.add.at(matrix, (place, column), 1 - share)
    np.add.at(matrix, (place + 1, column), share)
    for end in (0, -1):
        beyond = np.clip((axis[0] - centres) if end == 0 else (centres - axis[-1]), 0, None)
        reach = _SLOPE_DAMPING_NM * -np.expm1(-beyond / _SLOPE_DAMPING_NM)
        matrix += _end_slope(axis, end)[:, None] * (reach if end else -reach)
    return matrix.astype(np.float32)


def _end_slope(axis: FloatArray, end: int) -> FloatArray:
    """Weights (F,) whose product with a spectrum is its least-squares slope (per nm) at an end."""
    near = np.abs(axis - axis[end]) <= _SLOPE_SPAN_NM
    near[[0, 1] if end == 0 else [-2, -1]] = True
    offset = np.where(near, axis - axis[near].mean(), 0.0)
    return np.asarray(offset / (offset**2).sum())
