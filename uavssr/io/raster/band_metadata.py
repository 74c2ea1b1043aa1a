"""Metadata of the bands of an open raster: descriptions, colours, wavelengths, scales, tags."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS, CheckedFile, read_envi_list

_NM_PER_UNIT: Final = {"nm": 1, "um": 1000}
_NOT_STATED: Final = ("", "unknown", "none", "undefined")
"""Units of wavelengths that say nothing, in lower case."""
_MAX_XMP: Final = 1 << 16
_MICROMETRES_BELOW: Final = 20.0
"""A wavelength without unit is in micrometres below this number, else in nanometres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandMetadata:
    """Metadata of one stored band."""

    file: Path
    """The file of the band, as the user gave it."""
    index: int
    """Number of the band in that file, from one."""
    alone: bool
    """Whether it is the only band of its file beside alpha, so that the file's name may name it."""
    description: str
    """Band description, empty if absent."""
    colour: str
    """GDAL's colour interpretation."""
    wavelength: float | None
    """Centre wavelength in nm, None without a tag."""
    wavelength_from: str
    """Name of the tag with the wavelength."""
    fwhm: float | None
    """Full width at half maximum in nm, None without a tag."""
    dtype: str
    """Name of the numpy type of the stored numbers."""
    nodata: float | None
    """Nodata tag, in stored numbers."""
    scale: float
    """GDAL's scale tag, 1 if absent."""
    offset: float
    """GDAL's offset tag, 0 if absent."""
    masked: bool
    """Whether the file holds a mask band for it."""
    bad: bool = False
    """Whether the file's list of bad bands (`bbl`) names it."""

    @property
    def is_alpha(self) -> bool:
        """Whether its colour or description says that it is an alpha band."""
        return _is_alpha(self.colour, self.description)

    @property
    def label(self) -> str:
        """Name of the band in a message."""
        return self.file.name if self.alone else f"band {self.index}"


@contextmanager
def opened_metadata(checked: CheckedFile) -> Iterator[DatasetReader]:
    """A dataset whose metadata are read in the body.

    Raises:
        InputRefused: it cannot be opened, or its metadata cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # read_place refuses such a file
        with checked.open() as dataset:
            try:
                yield dataset
            except (*GDAL_ERRORS, OSError) as err:
                raise InputRefused(f"unreadable metadata: {err}", path=checked.path) from err


def read_band_metadata(dataset: DatasetReader, checked: CheckedFile) -> tuple[BandMetadata, ...]:
    """The metadata of every band of one dataset."""
    colours = [colour.name for colour in dataset.colorinterp]
    descriptions = [(text or "").strip() for text in dataset.descriptions]
    alphas = sum(map(_is_alpha, colours, descriptions))
    # The mask of a raw ENVI file can only be a sidecar, and those are ignored.
    masks = dataset.mask_flag_enums if checked.driver == "GTiff" else [()] * dataset.count
    bad, ignored = _bad_bands(dataset, checked), _ignore_value(dataset)
    bands = []
    for i, index in enumerate(dataset.indexes):
        wavelength, fwhm, origin = _wavelength(dataset, index)
        band = BandMetadata(
            file=checked.path,
            index=index,
            alone=dataset.count - alphas == 1,
            description=descriptions[i],
            colour=colours[i],
            wavelength=wavelength,
            wavelength_from=origin,
            fwhm=fwhm,
            dtype=str(dataset.dtypes[i]),
            nodata=ignored if dataset.nodatavals[i] is None else dataset.nodatavals[i],
            scale=float(dataset.scales[i]),
            offset=float(dataset.offsets[i]),
            masked=MaskFlags.per_dataset in masks[i] and MaskFlags.alpha not in masks[i],
            bad=index in bad,
        )
        bands.append(band)
    return tuple(bands)


def _is_alpha(colour: str, description: str) -> bool:
    return colour == "alpha" or "alpha" in description.lower()


def _bad_bands(dataset: DatasetReader, checked: CheckedFile) -> frozenset[int]:
    """Numbers of the bands with a 0 in the list of bad bands (`bbl`) of an ENVI header or domain.

    A GeoTIFF may keep the list of a file that it is a part of: one of another length says nothing.
    """
    if checked.header is not None:
        items = read_envi_list(checked.header, "bbl")
    else:
        items = _list_items(dataset.tags(ns="ENVI").get("bbl", ""))
        items = items if len(items) == dataset.count else []
    try:
        flags = [float(item) for item in items] or [1.0] * dataset.count
    except ValueError:
        flags = []
    if len(flags) != dataset.count or not any(flags):
        shown = f"{items.count('0')} zeros among {len(items)} items"
        raise InputRefused(
            f"its list of bad bands (bbl) cannot be used: {shown} for {dataset.count} bands",
            path=checked.header or checked.path,
            remedy="correct the list, or remove it if all bands are good",
        )
    return frozenset(index for index, flag in enumerate(flags, start=1) if flag == 0)


def _ignore_value(dataset: DatasetReader) -> float | None:
    """ENVI's `data ignore value`, which a GeoTIFF may have in place of a nodata tag."""
    try:
        return float(dataset.tags(ns="ENVI").get("data_ignore_value", ""))
    except ValueError:
        return None


def _wavelength(dataset: DatasetReader, index: int) -> tuple[float | None, float | None, str]:
    """Centre and FWHM of a band in nm, and the name of the tag.

    The band's own tag comes first, because GDAL rounds IMAGERY to 1 nm for ENVI files.
    """
    own = {key.lower(): value for key, value in dataset.tags(index).items()}
    units = wavelength_unit(own.get("wavelength_units", ""))
    centre = nanometres(own.get("wavelength"), units)
    imagery = dataset.tags(index, ns="IMAGERY")
    imagery_fwhm = nanometres(imagery.get("FWHM_UM"), "um")
    if centre is not None:
        # A width has no size from which to guess its unit, so it follows the wavelength's.
        units = units or ("nm" if centre == nanometres(own["wavelength"], "nm") else "um")
        return centre, nanometres(own.get("fwhm"), units) or imagery_fwhm, "wavelength"
    centre = nanometres(imagery.get("CENTRAL_WAVELENGTH_UM"), "um")
    if centre is not None:
        return centre, imagery_fwhm, "CENTRAL_WAVELENGTH_UM"
    envi = dataset.tags(ns="ENVI")
    centre, fwhm = (
        nanometres(_list_item(envi.get(key, ""), index), envi.get("wavelength_units", ""))
        for key in ("wavelength", "fwhm")
    )
    return centre, fwhm, "ENVI wavelength"


def _list_item(text: str, index: int) -> str | None:
    items = _list_items(text)
    return items[index - 1] if index <= len(items) else None


def _list_items(text: str) -> list[str]:
    return [part.strip() for part in text.strip("{} \n").split(",") if part.strip()]


def nanometres(text: str | None, units: str) -> float | None:
    """A wavelength in nm from its text, None where it is no positive number of nm or um.

    Args:
        text: the number.
        units: its unit; if not stated, numbers below 20 are taken as micrometres.
    """
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    if not 0 < value < math.inf:
        return None
    unit = wavelength_unit(units) or ("um" if value < _MICROMETRES_BELOW else "nm")
    return value * _NM_PER_UNIT[unit] if unit in _NM_PER_UNIT else None


def wavelength_unit(text: str) -> str:
    """`nm` or `um` by any of their names, empty where none is stated, else the unit as it is."""
    unit = text.strip().lower()
    if unit in _NOT_STATED:
        return ""
    if unit in ("um", "µm", "μm") or unit.startswith("micro"):
        return "um"
    return "nm" if unit.startswith("nano") else unit


def read_tags(dataset: DatasetReader, checked: CheckedFile) -> dict[str, str]:
    """The dataset's tags with keys in lower case.

    They are those of the default and ENVI domains, with the camera model of XMP as `model` and that
    of the TIFF header as `tifftag_model`.
    """
    tags = {
        key.lower(): value
        for domain in ("ENVI", None)
        for key, value in dataset.tags(ns=domain).items()
    }
    xmp = "".join(dataset.tags(ns="xml:XMP").values())[:_MAX_XMP]
    model = re.search(r"tiff:Model(?:=\"|>)([^\"<]{1,80})", xmp)
    if model:
        tags.setdefault("model", model[1].strip())
    if checked.layout.model:
        tags.setdefault("tifftag_model", checked.layout.model)
    return tags
