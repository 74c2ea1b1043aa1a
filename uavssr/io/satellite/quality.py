"""Quality masks of satellite products: which pixels show ground, and why others do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from uavssr.io.raster import BandReader, Transform
from uavssr.sensors import BoolArray, IndexArray, NumberArray
from uavssr.tiling import Window

MaskKind = Literal["SCL", "QA_PIXEL"]
CLOUD: Final = "under cloud, cirrus or snow"
SHADOW: Final = "in the shadow of a cloud"
BAD: Final = "without data in the satellite image"
_SCL: Final = {BAD: (0, 1), SHADOW: (2, 3), CLOUD: (8, 9, 10, 11)}
"""Classes of Sentinel-2's scene classification (SCL) that are no ground, by reason.

0 no data, 1 saturated or defective, 2 cast shadow, 3 cloud shadow, 8-9 clouds of medium and high
probability, 10 cirrus, 11 snow. 4 vegetation, 5 bare, 6 water and 7 unclassified remain.
"""
_QA_PIXEL: Final = {BAD: 0b1, SHADOW: 0b10000, CLOUD: 0b101110}
"""Bits of Landsat's QA_PIXEL by reason: 0 fill; 4 shadow; 1 dilated cloud, 2 cirrus, 3 cloud,
5 snow (USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMask:
    """A mask of classes or bits on a grid of its own."""

    kind: MaskKind
    """What its numbers mean."""
    reader: BandReader
    """Reads its numbers (1, y, x)."""
    transform: Transform
    """Its place, in the CRS of the bands; not rotated."""

    def reasons(self, x: IndexArray, y: IndexArray) -> dict[str, BoolArray]:
        """Where the pixels of columns `x` and rows `y` are no ground (y, x), by reason.

        Those outside the mask are without data.
        """
        inside = np.ix_((y >= 0) & (y < self.reader.height), (x >= 0) & (x < self.reader.width))
        bad = np.ones((len(y), len(x)), bool)
        bad[inside] = False
        masks = {reason: np.zeros(bad.shape, bool) for reason in (CLOUD, SHADOW)} | {BAD: bad}
        rows, cols = np.clip(y, 0, self.reader.height - 1), np.clip(x, 0, self.reader.width - 1)
        top, left = int(rows.min()), int(cols.min())
        window = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
        numbers = self.reader.read(window)[0][0][np.ix_(rows - top, cols - left)]
        for reason, marked in self._marked(numbers).items():
            masks[reason] |= marked
        return masks

    def _marked(self, numbers: NumberArray) -> dict[str, BoolArray]:
        if self.kind == "SCL":
            return {reason: np.isin(numbers, classes) for reason, classes in _SCL.items()}
        bits = numbers.astype(np.int64)
        return {reason: (bits & mask) != 0 for reason, mask in _QA_PIXEL.items()}
