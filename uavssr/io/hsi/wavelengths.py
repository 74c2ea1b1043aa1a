"""The wavelengths of a cube as its file states them; a centre is never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import CheckedFile, envi_header, read_envi_list
from uavssr.io.raster import nanometres
from uavssr.sensors import WavelengthGrid

_RANGE_NM: Final = (100.0, 20_000.0)
"""Least and largest optical wavelength in nm; centres outside are in another unit."""
_REMEDY: Final = "give a cube with a wavelength for each band, such as one with an ENVI header"

Column = list[float | None]
"""Wavelengths or widths in nm, None where the file states none."""


def read_grid(
    dataset: DatasetReader, checked: CheckedFile, indexes: Sequence[int]
) -> WavelengthGrid:
    """The grid of the bands `indexes`, numbered from one.

    The first of these that names every band is taken: the bands' `wavelength` tags, the list
    in the ENVI domain, the IMAGERY domain (which GDAL rounds to 1 nm for ENVI files). An ENVI
    file's list is read from its header, as the band tags are GDAL's copy of it and may slip.
    Widths that are not given are taken to be the spacing of the bands.

    Raises:
        InputRefused: a band without a wavelength, or wavelengths that do not increase.
    """
    named = 0
    for centres, widths in _stated(dataset, checked, indexes):
        count = len(indexes) - centres.count(None)
        if count == len(indexes) > 0:
            return make_grid(checked.path, centres, widths)
        named = max(named, count)
    raise InputRefused(
        f"a wavelength for {named} of its {len(indexes)} bands", path=checked.path, remedy=_REMEDY
    )


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
) -> Iterator[tuple[Column, Column]]:
    """Centres and widths of the bands, from one place of the file after the other."""
    envi = dataset.tags(ns="ENVI")
    units = envi.get("wavelength_units", "")
    header = envi_header(Path(checked.absolute)) if checked.driver == "ENVI" else None
    if header is not None:
        centres, widths = read_envi_list(header, "wavelength"), read_envi_list(header, "fwhm")
        yield _of_lists(centres, widths, units, indexes, count=dataset.count)
        return
    imagery = [dataset.tags(index, ns="IMAGERY") for index in indexes]
    imagery_widths = [nanometres(tags.get("FWHM_UM"), "um") for tags in imagery]
    yield _of_tags(dataset, indexes, imagery_widths)
    centres, widths = (
        envi.get(key, "").strip("{} \n").split(",") for key in ("wavelength", "fwhm")
    )
    yield _of_lists(centres, widths, units, indexes, count=dataset.count)
    yield [nanometres(tags.get("CENTRAL_WAVELENGTH_UM"), "um") for tags in imagery], imagery_widths


def _of_tags(
    dataset: DatasetReader, indexes: Sequence[int], default_widths: Column
) -> tuple[Column, Column]:
    centres: Column = []
    widths: Column = []
    for index, default in zip(indexes, default_widths, strict=True):
        tags = {key.lower(): value for key, value in dataset.tags(index).items()}
        units = tags.get("wavelength_units", "")
        centres.append(nanometres(tags.get("wavelength"), units))
        widths.append(nanometres(tags.get("fwhm"), units or "nm") or default)
    return centres, widths


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
    micro = not units.strip() and (nanometres(centres[0], "nm") or 1000) < 20
    return chosen, [nanometres(widths[i - 1], units or ("um" if micro else "nm")) for i in indexes]
