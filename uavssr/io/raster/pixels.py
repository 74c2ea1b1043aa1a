"""Reflectance of windows with its valid pixels: the only way in which rasters are read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uavssr.io.raster.nodata import ValidityRule
from uavssr.io.raster.sample import WindowReader
from uavssr.io.raster.scale import Scale
from uavssr.sensors import BoolArray, Float32Array, NumberArray
from uavssr.tiling import Window


class ReflectanceWindow(NamedTuple):
    """The pixels of a window."""

    numbers: NumberArray
    """(band, y, x) as stored."""
    reflectance: Float32Array
    """(band, y, x), NaN where invalid."""
    valid: BoolArray
    """(y, x)."""
    stated: BoolArray
    """(y, x) that masks let be valid."""


def read_pixels(
    reader: WindowReader, rule: ValidityRule, scale: Scale, window: Window
) -> ReflectanceWindow:
    """Read a window, and what lies around it where the rule needs that.

    Raises:
        ValueError: the window reaches outside the scene.
        InputRefused: a block cannot be decoded, or a file changed since it was opened.
    """
    scene = Window(0, 0, reader.height, reader.width)
    if window.intersection(scene) != window:
        raise ValueError(f"{window} reaches outside a scene of {scene.height} x {scene.width}")
    outer = window.grown(rule.margin, height=scene.height, width=scene.width)
    numbers, stated = reader.read(outer)
    reflectance = scale.reflectance(numbers)
    valid = rule.valid(numbers, reflectance, stated)
    rows, cols = window.within(outer)
    reflectance, valid = np.ascontiguousarray(reflectance[:, rows, cols]), valid[rows, cols]
    reflectance[:, ~valid] = np.nan
    return ReflectanceWindow(numbers[:, rows, cols], reflectance, valid, stated[rows, cols])
