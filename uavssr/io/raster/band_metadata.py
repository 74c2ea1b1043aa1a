"""What opened rasters say about themselves: descriptions, colours, wavelengths, tags, sidecars.

Collects only; `evidence` and `scale` judge. Must not read pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from uavssr.io.checks import CheckedFile

_MICROMETRES: Final = ("um", "µm", "μm", "micrometer", "micrometers", "micrometre", "micron")
_XMP_LIMIT: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BandMetadata:
    """What one stored band says of itself."""

    file: Path
    """The file it lies in, as the user gave it."""
    index: int
    """Its number in that file, from one."""
    alone: bool
    """Whether it is the only band of its file but for alpha, so that its name may tell."""
    description: str
    """The band description, or an empty string."""
    colour: str
    """GDAL's colour interpretation."""
    wavelength: float | None
    """Centre wavelength tag in nm."""
    wavelength_from: str
    """The tag the wavelength was read from."""
    fwhm: float | None
    """Width tag in nm."""
    dtype: str
    """Name of the stored numbers' type."""
    nodata: float | None
    """The nodata tag."""
    scale: float
    """GDAL's scale tag, one when absent."""
    offset: float
    """GDAL's offset tag, zero when absent."""
    masked: bool
    """Whether the file holds a mask band of its own."""

    @property
    def label(self) -> str:
        """What to call the band in a message."""
        return self.file.name if self.alone else f"band {self.index}"


def read_band_metadata(dataset: DatasetReader, checked: CheckedFile) -> tuple[BandMetadata, ...]:
    """The facts of every band of one dataset."""
    colours = [colour.name for colour in dataset.colorinterp]
    alone = dataset.count - colours.count("alpha") == 1
    envi = dataset.tags(ns="ENVI")
    return tuple(
        _band_facts(dataset, checked, index, colours[index - 1], envi, alone=alone)
        for index in dataset.indexes
    )


def _band_facts(
    dataset: DatasetReader,
    checked: CheckedFile,
    index: int,
    colour: str,
    envi: Mapping[str, str],
    *,
    alone: bool,
) -> BandMetadata:
    wavelength, fwhm, origin = _wavelength(
        dataset.tags(index), dataset.tags(index, ns="IMAGERY"), envi, index
    )
    at = index - 1
    return BandMetadata(
        file=checked.path,
        index=index,
        alone=alone,
        description=(dataset.descriptions[at] or "").strip(),
        colour=colour,
        wavelength=wavelength,
        wavelength_from=origin,
        fwhm=fwhm,
        dtype=str(dataset.dtypes[at]),
        nodata=dataset.nodatavals[at],
        scale=float(dataset.scales[at]),
        offset=float(dataset.offsets[at]),
        # With a raw ENVI file a mask can only be a sidecar, and those are ignored.
        masked=checked.driver == "GTiff"
        and MaskFlags.per_dataset in dataset.mask_flag_enums[at]
        and MaskFlags.alpha not in dataset.mask_flag_enums[at],
    )


def _wavelength(
    band: Mapping[str, str], imagery: Mapping[str, str], envi: Mapping[str, str], index: int
) -> tuple[float | None, float | None, str]:
    """(centre, FWHM, tag): the band's own tag first, as GDAL rounds IMAGERY to 1 nm for ENVI."""
    band = {key.lower(): value for key, value in band.items()}
    imagery_nm = nanometres(imagery.get("CENTRAL_WAVELENGTH_UM"), "um")
    imagery_fwhm = nanometres(imagery.get("FWHM_UM"), "um")
    units = band.get("wavelength_units", "")
    own = nanometres(band.get("wavelength"), units)
    # A width has no size from which to guess its unit, so it follows the wavelength's.
    width_units = units or ("um" if _is_micrometres(band.get("wavelength")) else "nm")
    if own is not None:
        return own, nanometres(band.get("fwhm"), width_units) or imagery_fwhm, "wavelength"
    if imagery_nm is not None:
        return imagery_nm, imagery_fwhm, "CENTRAL_WAVELENGTH_UM"
    units = envi.get("wavelength_units", "")
    listed = nanometres(_list_item(envi.get("wavelength"), index), units)
    return listed, nanometres(_list_item(envi.get("fwhm"), index), units), "ENVI wavelength"


def _list_item(text: str | None, index: int) -> str | None:
    items = [part.strip() for part in (text or "").strip("{} \n").split(",") if part.strip()]
    return items[index - 1] if index <= len(items) else None


def _is_micrometres(text: str | None) -> bool:
    return (_number(text) or 1000) < 20


def nanometres(text: str | None, units: str) -> float | None:
    """A wavelength as text in nm; without units, numbers below 20 are taken as micrometres."""
    value = _number(text)
    if value is None or value <= 0:
        return None
    named = units.strip().lower()
    micro = named in _MICROMETRES if named else _is_micrometres(text)
    return value * 1000 if micro else value


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_tags(dataset: DatasetReader, checked: CheckedFile) -> dict[str, str]:
    """The dataset's tags with lower-case keys: default and ENVI domains, TIFF and XMP model."""
    tags: dict[str, str] = {}
    for namespace in ("ENVI", None):
        domain = dataset.tags(ns=namespace) if namespace else dataset.tags()
        tags.update({key.lower(): value for key, value in domain.items()})
    xmp = "".join(dataset.tags(ns="xml:XMP").values())[:_XMP_LIMIT]
    found = re.search(r"tiff:Model(?:=\"|>)([^\"<]{1,80})", xmp)
    if found:
        tags.setdefault("model", found[1].strip())
    if checked.layout.model:
        tags.setdefault("tifftag_model", checked.layout.model)
    return tags
