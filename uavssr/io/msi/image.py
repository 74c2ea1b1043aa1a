"""Any form in which a caller may give an image, and the options that open it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack, cast

from uavssr.errors import UsageError
from uavssr.io.checks import PathLike
from uavssr.io.msi.source import MsiSource, is_array, open_msi
from uavssr.sensors import Sensor

if TYPE_CHECKING:
    import xarray as xr

Image: TypeAlias = "PathLike | Sequence[PathLike] | MsiSource | xr.DataArray | xr.Dataset"
"""One file or a set of single-band files, an opened image, or an array (band, y, x)."""


class ImageKeywords(TypedDict, total=False):
    """Options of `open_msi`."""

    sensor: str | Path | Sensor | None
    bands: Sequence[str] | None
    bidx: Sequence[int] | None
    scale: float | str | None
    assume_crs: str | None
    max_pixels: int | None


def as_image(image: Image, **keywords: Unpack[ImageKeywords]) -> MsiSource:
    """An image as it is opened, or opened with the options of `open_msi`.

    Raises:
        UsageError: options for an image that is open already.
        InputRefused: see `open_msi`.
    """
    if isinstance(image, str | os.PathLike | Sequence) or is_array(image):
        return open_msi(image, **keywords)
    if not hasattr(image, "summary"):
        fact = f"an image of type {type(image).__name__}"
        raise UsageError(fact, remedy="give a path, an opened image, or an array of xarray")
    given = ", ".join(name for name, value in keywords.items() if value is not None)
    if given:
        raise UsageError(f"the image is open already, so {given} has no effect")
    return cast("MsiSource", image)  # no array, as checked above
