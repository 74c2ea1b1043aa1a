"""Maps and true colour as images of a web page.

matplotlib is imported when an image is made.
"""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.sensors import Float32Array
from uavssr.viz.map_figure import ERROR_COLOURS, VALUE_COLOURS, value_range

RgbaArray = npt.NDArray[np.uint8]
"""(y, x, 4) red, green, blue and opacity."""
_STEPS: Final = 64
"""Colours of a map: more would make its image larger, and hardly be told apart."""
_STOPS: Final = 9
"""Colours of a legend."""
_STRETCH: Final = (2.0, 98.0)
"""Percentiles of reflectance at black and white."""


class MapImage(NamedTuple):
    """A map in colours."""

    pixels: RgbaArray
    """Transparent where there is no value."""
    low: float
    """Value of the first colour; lower ones have it, too."""
    high: float
    """Value of the last colour; higher ones have it, too."""
    stops: tuple[str, ...]
    """The colours from low to high at even steps: #rrggbb."""


def map_image(values: Float32Array, *, is_error: bool) -> MapImage:
    """A map (y, x) in the colours of its kind, see `draw_maps`."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = value_range(values, is_error=is_error)
    ramp = colormaps[ERROR_COLOURS if is_error else VALUE_COLOURS]
    table = np.zeros((_STEPS + 1, 4), np.uint8)
    table[:_STEPS] = np.rint(255 * ramp(np.linspace(0, 1, _STEPS)))
    finite = np.isfinite(values)
    share = np.clip((np.where(finite, values, low) - low) / (high - low), 0, 1)
    pixels = table[np.where(finite, np.rint(share * (_STEPS - 1)), _STEPS).astype(int)]
    stops = tuple(to_hex(ramp(at)) for at in np.linspace(0, 1, _STOPS).tolist())
    return MapImage(pixels, low, high, stops)


def colour_image(bands: Float32Array) -> RgbaArray:
    """True colour of reflectance (3, y, x); transparent where a band is NaN."""
    valid = np.isfinite(bands).all(0)
    low, high = np.percentile(bands[:, valid], _STRETCH) if valid.any() else (0, 1)
    image = np.zeros((*valid.shape, 4), np.uint8)
    share = np.clip((bands[:, valid] - low) / max(float(high - low), 1e-6), 0, 1)
    image[valid, :3] = np.rint(255 * share.T)
    image[valid, 3] = 255
    return image


def webp(pixels: RgbaArray, *, lossless: bool) -> bytes:
    """An image as a WebP file, which browsers since 2020 show."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    quality = {"quality": 60} if lossless else {"quality": 88}
    imsave(file, pixels, format="webp", pil_kwargs={"lossless": lossless, **quality})
    return file.getvalue()
