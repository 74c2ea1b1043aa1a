"""Metadata of cubes: wavelengths in the four places where other software looks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from rasterio.enums import ColorInterp

from uavssr.io.writers.encoding import NODATA, SCALE, CubeDtype
from uavssr.sensors import WavelengthGrid

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

TRUE_COLOUR_NM: Final = (650.0, 560.0, 450.0)
"""Where red, green and blue are taken from, in nm."""
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeMetadata:
    """All that is written beside the pixels of a cube."""

    grid: WavelengthGrid
    """Wavelengths and widths of the C bands in nm."""
    dtype: CubeDtype
    """Of the stored numbers, which tells their scale and what marks invalid pixels."""
    tags: Mapping[str, str]
    """Provenance for the dataset's default domain."""

    def apply(self, dataset: DatasetWriter) -> None:
        """Write the four layers and the colours into an open dataset of C bands."""
        if self.dtype == "uint16":
            dataset.scales = (SCALE,) * len(self.grid)
            dataset.offsets = (0.0,) * len(self.grid)
        dataset.update_tags(**self.tags)
        dataset.update_tags(ns="ENVI", **self.envi())
        colours = [ColorInterp.undefined] * len(self.grid)
        for index, colour in zip(true_colour(self.grid) or (), _COLOURS, strict=False):
            colours[index] = colour
        dataset.colorinterp = colours
        for number, description, plain, imagery in self._bands():
            dataset.set_band_description(number, description)
            dataset.update_tags(number, **plain)
            dataset.update_tags(number, ns="IMAGERY", **imagery)

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first thing that an open dataset does not say as `apply` wrote it, or None."""
        if not self.tags.items() <= dataset.tags().items():
            return "provenance tags"
        if dataset.tags(ns="ENVI") != self.envi():
            return "ENVI wavelengths"
        for number, description, plain, imagery in self._bands():
            stored = dataset.tags(number)
            if (
                dataset.descriptions[number - 1] != description
                or not plain.items() <= stored.items()
                or dataset.tags(number, ns="IMAGERY") != imagery
            ):
                return f"wavelength of band {number}"
        return None

    def _bands(self) -> Iterator[tuple[int, str, dict[str, str], dict[str, str]]]:
        pairs = zip(self.grid.centres.tolist(), self.grid.fwhm.tolist(), strict=True)
        for number, (centre, fwhm) in enumerate(pairs, start=1):
            plain = {"wavelength": repr(centre), "wavelength_units": "nm", "fwhm": repr(fwhm)}
            imagery = {"CENTRAL_WAVELENGTH_UM": _micrometres(centre), "FWHM_UM": _micrometres(fwhm)}
            yield number, f"{centre:.1f} nm", plain, imagery

    def envi(self) -> dict[str, str]:
        """The dataset's ENVI domain, in the notation of an ENVI header."""
        fields = {
            "wavelength": _braced(self.grid.centres.tolist()),
            "fwhm": _braced(self.grid.fwhm.tolist()),
            "wavelength_units": "Nanometers",
            "data_ignore_value": str(NODATA) if self.dtype == "uint16" else "nan",
        }
        shown = true_colour(self.grid)
        return fields | ({"default_bands": _braced([k + 1 for k in shown])} if shown else {})


def true_colour(grid: WavelengthGrid) -> tuple[int, int, int] | None:
    """Indices of the bands to show as red, green and blue, or None where one is missing."""
    nearest = tuple(grid.nearest(nm) for nm in TRUE_COLOUR_NM)
    missed = [abs(grid.centres[k] - nm) for k, nm in zip(nearest, TRUE_COLOUR_NM, strict=True)]
    if len(set(nearest)) < 3 or max(missed) > 50:
        return None
    return nearest[0], nearest[1], nearest[2]


def _micrometres(nm: float) -> str:
    """Nanometres as micrometres, digit for digit: 550.2 becomes 0.5502, not 0.5502000000000001."""
    return format(Decimal(repr(nm)).scaleb(-3), "f")


def _braced(values: list[float] | list[int]) -> str:
    return "{" + ", ".join(repr(value) for value in values) + "}"
