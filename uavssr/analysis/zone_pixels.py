"""The pixels of zones in a tile, in groups that are evaluated together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.analysis.spectral_source import SpectralTile
from uavssr.analysis.zones import Zone
from uavssr.sensors import FloatArray

PIXELS_AT_ONCE: Final = 2**16
"""Pixels of zones that are evaluated in one call, or those of one zone in a tile."""


class ZonePixels(NamedTuple):
    """The n valid pixels of a tile in a zone."""

    zone: int
    """Number of the zone."""
    positions: npt.NDArray[np.int64]
    """(n,) among the valid pixels of the tile."""
    weight: FloatArray
    """(n,) shares that the zone covers."""


def zone_pixels(tile: SpectralTile, number: int, zone: Zone) -> ZonePixels | None:
    """The valid pixels of a tile in a zone of that number, None if there are none."""
    covered = zone.within(tile.window)
    if covered is None:
        return None
    valid = tile.valid[covered.rows, covered.cols]
    if not valid.any():
        return None
    positions = tile.valid.ravel().cumsum() - 1
    flat = covered.rows[valid] * tile.valid.shape[1] + covered.cols[valid]
    return ZonePixels(number, positions[flat], covered.share[valid])


def grouped(pieces: Iterable[ZonePixels]) -> Iterator[list[ZonePixels]]:
    """Pieces of up to `PIXELS_AT_ONCE` pixels together: they are evaluated in one call."""
    group, count = list[ZonePixels](), 0
    for piece in pieces:
        if group and count + len(piece.weight) > PIXELS_AT_ONCE:
            yield group
            group, count = [], 0
        group.append(piece)
        count += len(piece.weight)
    if group:
        yield group
