"""The wavelengths of a cube as its file states them; a centre is never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import CheckedFile, read_envi_list
from uavssr.io.raster import BandMetadata, nanometres, wavelength_unit
from uavssr.sensors import WavelengthGrid

_RANGE_NM: Final = (100.0, 20_000.0)
"""Least and largest optical wavelength in nm; centres outside are in another unit."""
_REMEDY: Final = "give a cube with a wavelength for each band, such as one with an ENVI header"

Column = list[float | None]
"""Wavelengths or widths in nm, None where the file states none."""


class StatedGrid(NamedTuple):
    """The wavelengths of a file's bands."""

    grid: WavelengthGrid
    """C bands by increasing wavelength, nm."""
    indexes: tuple[int, ...]
    """Their numbers (C,) in the file, counted from one."""
    warnings: tuple[str, ...]
    """A unit that the file does not state."""


def read_grid(dataset: DatasetReader, checked: CheckedFile, indexes: Sequence[int]) -> StatedGrid:
    """The grid of the bands `indexes`, numbered from one; bands by falling wavelength are reversed.

    The first of these that names every band is taken: the bands' `wavelength` tags, the list
    in the ENVI domain, the IMAGERY domain (which GDAL rounds to 1 nm for ENVI files). An ENVI
    file's list is read from its header, as the band tags are GDAL's copy of it and may slip.
    Widths that are not given are taken to be the spacing of the bands.

    Raises:
        InputRefused: a band without a wavelength, or wavelengths that neither increase nor fall.
    """
    named = 0
    for centres, widths, unit in _stated(dataset, checked, indexes):
        count = len(indexes) - centres.count(None)
        if count == len(indexes) > 0:
            order = slice(None, None, -1 if (centres[0] or 0) > (centres[-1] or 0) else 1)
            grid = make_grid(checked.path, centres[order], widths[order])
            fact = f"no unit stated, taken as {grid.centres[0]:g} to {grid.centres[-1]:g} nm"
            warnings = () if unit else (f"{checked.path}: wavelengths: {fact}",)
            return StatedGrid(grid, tuple(indexes[order]), warnings)
        named = max(named, count)
    raise InputRefused(
        f"a wavelength for {named} of its {len(indexes)} bands", path=checked.path, remedy=_REMEDY
    )


def bad_band_warnings(bands: Sequence[BandMetadata]) -> Iterator[str]:
    """A sentence that names the bands that the file's list of bad bands (`bbl`) leaves out."""
    bad = [band.index for band in bands if band.bad]
    if bad:
        runs = np.split(bad, np.flatnonzero(np.diff(bad) > 1) + 1)
        names = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
        yield f"{bands[0].file.name}: bands {names} of {len(bands)} left out as bad (bbl)"


def make_grid(path: Path, centres: Column, widths: Column) -> WavelengthGrid:
    """The grid of centres and widths in nm; a width that is None is the spacing there."""
    nm = np.array(centres, float)
    low, high = float(nm.min()), float(nm.max())
    if nm.size < 2 or not np.all(np.diff(nm) > 0):
        raise InputRefused(
            f"{nm.size} wavelengths from {nm[0]:g} to {nm[-1]:g} nm do not increase from band to "
            "band",
            path=path,
            remedy="give a cube of two or more bands by increasing wavelength",
        )
    if low < _RANGE_NM[0] or high > _RANGE_NM[1]:
        raise InputRefused(
            f"wavelengths from {low:g} to {high:g} nm", path=path, remedy="state their units"
        )
    spacing = np.gradient(nm)
    fwhm = [gap if width is None else width for gap, width in zip(spacing, widths, strict=True)]
    return WavelengthGrid(path.name, nm, np.array(fwhm, float))


def _stated(
    dataset: DatasetReader, checked: CheckedFile, indexes: Sequence[int]
) -> Iterator[tuple[Column, Column, str]]:
    """Centres, widths and the unit stated, from one place of the file after the other."""
    envi = dataset.tags(ns="ENVI")
    units = wavelength_unit(envi.get("wavelength_units", ""))
    if checked.header is not None:
        centres, widths = (read_envi_list(checked.header, key) for key in ("wavelength", "fwhm"))
        yield *_of_lists(centres, widths, units, indexes, count=dataset.count), units
        return
    imagery = [dataset.tags(index, ns="IMAGERY") for index in indexes]
    imagery_widths = [nanometres(tags.get("FWHM_UM"), "um") for tags in imagery]
    tags = [_band_tags(dataset, index) for index in indexes]
    yield (
        *_of_tags(tags, imagery_widths),
        min((tag["wavelength_units"] for tag in tags), default=""),
    )
    centres, widths = (
        envi.get(key, "").strip("{} \n").split(",") for key in ("wavelength", "fwhm")
    )
    yield *_of_lists(centres, widths, units, indexes, count=dataset.count), units
    imagery_centres = [nanometres(tags.get("CENTRAL_WAVELENGTH_UM"), "um") for tags in imagery]
    yield imagery_centres, imagery_widths, "um"


def _of_tags(bands: Sequence[dict[str, str]], default_widths: Column) -> tuple[Column, Column]:
    centres: Column = []
    widths: Column = []
    for tags, default in zip(bands, default_widths, strict=True):
        units = tags["wavelength_units"]
        centres.append(nanometres(tags.get("wavelength"), units))
        widths.append(nanometres(tags.get("fwhm"), units or "nm") or default)
    return centres, widths


def _band_tags(dataset: DatasetReader, index: int) -> dict[str, str]:
    """A band's tags by keys in lower case, `wavelength_units` as nm, um or empty."""
    tags = {key.lower(): value for key, value in dataset.tags(index).items()}
    return tags | {"wavelength_units": wavelength_unit(tags.get("wavelength_units", ""))}


def _of_lists(
    centres: Sequence[str], widths: Sequence[str], units: str, indexes: Sequence[int], *, count: int
) -> tuple[Column, Column]:
    """Numbers of the chosen bands from lists of all bands; None from a list of another length."""
    empty: Column = [None] * len(indexes)
    if len(centres) != count:
        return empty, empty
    chosen = [nanometres(centres[index - 1], units) for index in indexes]
    if len(widths) != count:
        return chosen, empty
    # A width has no size from which to guess its unit, so it follows the wavelengths'.
    micro = not units and (nanometres(centres[0], "nm") or 1000) < 20
    return chosen, [nanometres(widths[i - 1], units or ("um" if micro else "nm")) for i in indexes]
