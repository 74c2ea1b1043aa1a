"""Sums of converted bands over cells, and the means and standard errors that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from uavssr.analysis.averaging_grid import CellShares
from uavssr.analysis.conversion import BandValues, Conversion
from uavssr.analysis.zone_statistics import own_share_of_mean
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Window

MIN_COVER: Final = 0.9
"""Least share of a cell's area that valid pixels must cover."""
_COVER, _WEIGHT, _SQUARE, _FIXED = range(4)
"""Rows of the sums: covered area, weights, their squares. Then follow the m values, and with errors
the m own variances and the q numbers in which shared errors are linear, each times its weight."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellSums:
    """The sums over the cells of a grid."""

    conversion: Conversion
    """The m bands."""
    sums: FloatArray
    """(rows, y, x)."""

    @staticmethod
    def rows(conversion: Conversion) -> int:
        """Numbers that are kept of each cell."""
        bands, errors = len(conversion.sensor), conversion.errors
        return _FIXED + bands + (0 if errors is None else bands + errors.network.basis.rank + 1)

    @classmethod
    def empty(cls, conversion: Conversion, height: int, width: int) -> CellSums:
        """Sums of nothing over height x width cells."""
        return cls(conversion=conversion, sums=np.zeros((cls.rows(conversion), height, width)))

    def add(self, window: Window, of_tile: FloatArray) -> None:
        """Add what `sums_of_tile` made of a tile that reaches into a window of the cells."""
        self.sums[:, window.rows, window.cols] += of_tile

    @property
    def valid(self) -> BoolArray:
        """(y, x) cells of which valid pixels cover `MIN_COVER`."""
        return np.asarray(self.sums[_COVER] >= MIN_COVER)

    def means(self, window: Window) -> tuple[Float32Array, Float32Array | None]:
        """Means (m, h, w) over the cells of a window, and their standard errors if known.

        With weights w a mean has the variance v (rho + (1 - rho) sum w^2 / (sum w)^2) + |s|^2, as
        that of a zone (`zone_statistics`): v and s are means of own variances and shared changes.
        """
        sums, valid = self.sums[:, window.rows, window.cols], self.valid[window.rows, window.cols]
        weight = np.where(valid, sums[_WEIGHT], 1)
        means = torch.from_numpy(np.where(valid, sums[_FIXED:] / weight, 0)).float()
        bands = len(self.conversion.sensor)
        value, own, extended = means[:bands], means[bands : 2 * bands], means[2 * bands :]
        alone = np.where(valid, sums[_SQUARE] / weight**2, 0)
        own = own * torch.from_numpy(own_share_of_mean(alone))
        error = None
        if len(extended):
            flat = own.float().flatten(1), extended.flatten(1)
            error = self.conversion.standard_error(*flat)
        return value.numpy(), None if error is None else error.reshape(value.shape).numpy()


def sums_of_tile(shares: CellShares, valid: BoolArray, values: BandValues) -> FloatArray:
    """The sums (rows, h, w) over a tile's pixels, weighted with their shares in the cells.

    Args:
        shares: the tile's pixels in the cells.
        valid: (y, x) of the tile.
        values: the bands of its valid pixels.
    """
    known = valid.ravel()[shares.pixels]
    # positions among the valid pixels
    place = (valid.ravel().cumsum() - 1)[shares.pixels[known]]
    cells, share = shares.cells[known], shares.share[known]
    tensors = [values.value]
    if values.own_variance is not None and values.extended is not None:
        tensors += [values.own_variance, values.extended]
    weights = [share * shares.pixel_area, share, share**2]
    weights += [row.numpy()[place] * share for tensor in tensors for row in tensor]
    height, width = shares.window.height, shares.window.width
    sums = [np.bincount(cells, weight, minlength=height * width) for weight in weights]
    return np.array(sums, float).reshape(-1, height, width)
