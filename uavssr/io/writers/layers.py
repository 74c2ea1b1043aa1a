"""Maps out: float32 layers with names, as one GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from uavssr.io.writers.encoding import CubeDtype
from uavssr.io.writers.target import Target

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter


class Layer(NamedTuple):
    """A band of a file of maps."""

    name: str
    """Its description: NDVI, or NDVI standard error."""
    formula: str
    """What it is computed by, for its tags."""
    is_error: bool = False
    """Whether it holds standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTarget(Target):
    """A GeoTIFF of named maps, float32, NaN where there is no value."""

    dtype: CubeDtype = "float32"
    layers: tuple[Layer, ...]
    """The maps."""

    @property
    def bands(self) -> int:
        """Number of maps."""
        return len(self.layers)

    def describe(self, dataset: DatasetWriter) -> None:
        """Write names, formulas and tags into a dataset."""
        dataset.update_tags(**self.tags)
        for number, layer in enumerate(self.layers, start=1):
            dataset.set_band_description(number, layer.name)
            dataset.update_tags(number, formula=layer.formula)

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `describe` wrote, or None."""
        if dataset.descriptions != tuple(layer.name for layer in self.layers):
            return "names of the maps"
        return None if self.tags.items() <= dataset.tags().items() else "provenance tags"
