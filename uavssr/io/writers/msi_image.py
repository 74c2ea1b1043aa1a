"""The writer of multispectral images, which `open_msi` reads without further options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from uavssr.io.hsi import QUANTITY_TAG, STANDARD_ERROR
from uavssr.io.writers.encoding import SCALE
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.io.writers.target import Target
from uavssr.sensors import (
    SENSOR_TAG,
    SENSORS,
    BoolArray,
    Float32Array,
    Sensor,
    sensor_json,
)
from uavssr.tiling import Window

if TYPE_CHECKING:
    from rasterio.enums import ColorInterp
    from rasterio.io import DatasetReader, DatasetWriter

Part = tuple[Window, Float32Array, BoolArray]
"""Reflectance (band, y, x) of a window, and its valid pixels (y, x)."""
IMAGE_BLOCK: Final = 128
"""Side in pixels of an image's blocks."""
_COLOUR_NM: Final = {"red": 650.0, "green": 560.0, "blue": 475.0}
"""Centres in nm of what is shown as red, green and blue, of bands at most 25 nm away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTarget(Target):
    """A multispectral image."""

    block: int = IMAGE_BLOCK
    sensor: Sensor
    """The camera."""

    @property
    def bands(self) -> int:
        """Bands of the camera."""
        return len(self.sensor)

    def describe(self, dataset: DatasetWriter) -> None:
        """Write the names of sensor and bands, scale, wavelengths and tags into a dataset."""
        sensor, counts = self.sensor, self.dtype == "uint16"
        dataset.scales = (SCALE if counts else 1.0,) * len(sensor)
        dataset.offsets = (0.0,) * len(sensor)
        # GDAL stores no scale of one, so a tag holds it for float32.
        scale = {} if counts else {"reflectance_scale_factor": "1"}
        known = SENSORS.get(sensor.name) == sensor
        definition = {} if known else {SENSOR_TAG: sensor_json(sensor)}
        dataset.update_tags(**{"sensor": sensor.name, **definition, **scale, **self.tags})
        dataset.colorinterp = _colours([band.nominal_centre for band in sensor.bands])
        for number, band in enumerate(sensor.bands, start=1):
            dataset.set_band_description(number, band.role)
            dataset.update_tags(
                number,
                wavelength=repr(band.nominal_centre),
                wavelength_units="nm",
                fwhm=repr(band.fwhm),
            )

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `describe` wrote, or None."""
        names = dataset.descriptions, dataset.tags().get("sensor")
        return None if names == (self.sensor.roles, self.sensor.name) else "band names and sensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageErrorTarget(ImageTarget):
    """The standard errors of an image; no tag or name makes an image of them."""

    @classmethod
    def of(cls, image: ImageTarget, path: Path) -> ImageErrorTarget:
        """The file beside an image."""
        given = {field.name: getattr(image, field.name) for field in fields(image)}
        tags = {**image.tags, QUANTITY_TAG: STANDARD_ERROR}
        return cls(**(given | {"path": path, "tags": tags}))

    @property
    def names(self) -> tuple[str, ...]:
        """Descriptions of the bands."""
        return tuple(f"standard error of {role}" for role in self.sensor.roles)

    def describe(self, dataset: DatasetWriter) -> None:
        """Write names, scale and tags into a dataset."""
        dataset.scales = (SCALE if self.dtype == "uint16" else 1.0,) * self.bands
        dataset.offsets = (0.0,) * self.bands
        dataset.update_tags(**self.tags)
        dataset.descriptions = self.names

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `describe` wrote, or None."""
        return None if dataset.descriptions == self.names else "band names"


def write_image(target: ImageTarget, parts: Iterable[Part]) -> Path:
    """Write a camera's image as a GeoTIFF.

    Bands carry their role as description, wavelength and FWHM of the data sheet, the scale and
    nodata; the dataset names the sensor. As uint16, reflectance is clipped to 0..6.5534 and
    rounded to 0.0001; as float32 it is kept.

    The parts are windows of whole blocks, and together all of the image. The final name is
    returned, and appears when all has been written and read back.

    Raises:
        OutputError: the output would destroy something, or the system refused to write.
        IncompleteRun: a valid pixel is not finite.
    """
    with ImageWriter(target) as writer:
        for window, image, valid in parts:
            writer.write(window, image, valid)
        return writer.finish()


class ImageWriter(GeoTiffWriter):
    """Writes the image of a camera, of which no block may be missing."""

    def _wrong(self) -> str | None:
        complete = len(self._taken) == len(self.target.all_blocks())
        return super()._wrong() if complete else "number of pixels"


def _colours(centres: list[float]) -> list[ColorInterp]:
    """The colour of each band, which programs show by; none where one of the three is missing."""
    from rasterio.enums import ColorInterp

    colours = [ColorInterp.undefined] * len(centres)
    nearest = {}
    for name, nm in _COLOUR_NM.items():
        distances = [abs(centre - nm) for centre in centres]
        nearest[name] = distances.index(min(distances))
    if all(abs(centres[k] - _COLOUR_NM[name]) <= 25 for name, k in nearest.items()):
        for name, k in nearest.items():
            colours[k] = ColorInterp[name]
    return colours
