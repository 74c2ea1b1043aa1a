"""Classes of ground in an image, given or found, and samples of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.hsi import TargetGrid
from uavssr.reconstruction.pixels import usable_pixels
from uavssr.sensors import BoolArray, Float32Array, FloatArray, NumberArray, Sensor
from uavssr.tiling import TileGrid, Window

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.io.zones import ClassMap

CLASS_PIXELS: Final = 8192
"""Pixels of a class that are enough."""
MIN_CLASS_PIXELS: Final = 64
"""Least pixels of a class that gets an STF."""
DARK_REFLECTANCE_LIMIT: Final = 0.1
"""Mean reflectance of a class's brightest band below which it gets no STF.

The colour of water and deep shadow is that of sky light and haze. On development scenes it looks
like another STF where there is one.
"""
MAX_CLASSES: Final = 30
"""Most classes: a raster with more is a picture or a table of objects."""
VEGETATION_NDVI: Final = 0.4
"""NDVI from which ground is vegetation."""
BRIGHT_FACTOR: Final = 1.25
"""Mean reflectance over the median of ground without vegetation, from which ground is bright."""
_TILE: Final = 128
_MAX_TILES: Final = 256
"""Most tiles of an image whose classes are found, not given: 4 million pixels."""
_GOLDEN: Final = (5**0.5 - 1) / 2

Labels = tuple[NumberArray, BoolArray]
"""Codes (h, w) of the classes in a window, and the pixels (h, w) that have a class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LandCover:
    """Classes of the ground of an image."""

    labels: Callable[[Window, Float32Array | None], Labels]
    """Classes in a window with its reflectance (c, h, w), which is None where they are given."""
    name: Callable[[int], str]
    """The name of a code."""
    source: str
    """Where the classes are from."""
    automatic: bool
    """Whether they are found in the image's reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassSamples:
    """Pixels of the classes of an image."""

    pixels: Mapping[str, Float32Array]
    """(n, c) reflectance by class, n up to `CLASS_PIXELS` and a tile more."""
    left_out: Mapping[str, str]
    """Classes that get no STF, and why."""


def given_land_cover(classes: ClassMap, source: str) -> LandCover:
    """The classes of a file; `source` names it."""
    return LandCover(
        labels=lambda window, _: classes.read(window),
        name=classes.name,
        source=source,
        automatic=False,
    )


def found_land_cover(msi: MsiSource) -> LandCover:
    """Vegetation, dark, bright and other ground, by fixed rules on the reflectance of each pixel.

    Vegetation has an NDVI of 0.4 or more. Other ground is dark where no band reaches 0.1, bright
    where its mean is over 1.25 of the median of such ground, else soil.

    Raises:
        InputRefused: the camera has no red or no near infrared band.
    """
    red, nir = _band(msi.sensor, "red"), _band(msi.sensor, "nir")
    middle = _median_brightness(msi, red, nir)

    def labels(window: Window, reflectance: Float32Array | None) -> Labels:
        values = msi.read(window)[0] if reflectance is None else reflectance
        finite = np.asarray(np.isfinite(values).all(0))
        return _rule(values, red, nir, middle), usable_pixels(values, finite)

    rule = (
        f"found in the image: dark (no band over {DARK_REFLECTANCE_LIMIT:g}), vegetation (NDVI of "
        f"{VEGETATION_NDVI:g} or more), bright (mean over {BRIGHT_FACTOR * middle:.3f}), soil (the "
        "rest)"
    )
    return LandCover(labels=labels, name=FOUND_CLASSES.__getitem__, source=rule, automatic=True)


FOUND_CLASSES: Final = ("vegetation", "soil", "bright", "dark")
"""Names of the classes that are found."""


def sample_classes(source: MsiSource, cover: LandCover) -> ClassSamples:
    """Pixels of each class, of tiles spread over the image; nothing is random.

    Raises:
        InputRefused: no pixel has a class, there are too many classes, or fewer than two are left.
    """
    parts: dict[int, list[Float32Array]] = {}
    counts: dict[int, int] = {}
    for window in _spread_tiles(source, _MAX_TILES if cover.automatic else None):
        image: tuple[Float32Array, BoolArray] | None = (
            source.read(window) if cover.automatic else None
        )
        codes, known = cover.labels(window, None if image is None else image[0])
        present = np.unique(codes[known]).tolist()
        if all(counts.get(code, 0) >= CLASS_PIXELS for code in present):
            continue
        reflectance, valid = source.read(window) if image is None else image
        usable = usable_pixels(reflectance, valid) & known
        for code in present:
            chosen = reflectance[:, usable & (codes == code)].T
            if counts.get(code, 0) < CLASS_PIXELS:
                parts.setdefault(code, []).append(chosen)
            counts[code] = counts.get(code, 0) + len(chosen)
        if len(counts) > MAX_CLASSES:
            raise InputRefused(
                f"more than {MAX_CLASSES} classes of ground",
                remedy="give a map of a few classes, such as crop, soil and road",
            )
    pixels = {cover.name(code): np.concatenate(parts[code]) for code in sorted(parts)}
    return usable_classes(pixels, cover.source)


def usable_classes(
    pixels: Mapping[str, Float32Array],
    source: str,
    *,
    least: int = MIN_CLASS_PIXELS,
    unit: str = "valid pixels",
) -> ClassSamples:
    """The classes of values (n, c) that are bright enough, with `least` values or more.

    Raises:
        InputRefused: fewer than two are left.
    """
    if not any(map(len, pixels.values())):
        raise InputRefused(
            f"no valid pixel of the image has a class of {source}",
            remedy="check the coordinates of both",
        )
    left_out = {}
    for name, values in pixels.items():
        if len(values) < least:
            left_out[name] = f"{len(values)} {unit}, fewer than {least}"
        elif (brightest := float(values.mean(0).max())) < DARK_REFLECTANCE_LIMIT:
            left_out[name] = (
                f"dark: {brightest:.3f} in its brightest band, under {DARK_REFLECTANCE_LIMIT:g}"
            )
    compared = {name: values for name, values in pixels.items() if name not in left_out}
    if len(compared) < 2:
        listed = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InputRefused(
            f"{len(compared) or 'no'} class of ground to compare ({', '.join(compared) or 'none'})"
            + (f"; left out are {listed}" if listed else ""),
            remedy="give two or more classes of bright enough ground",
        )
    return ClassSamples(pixels=compared, left_out=left_out)


def classes_at(cover: LandCover, source: MsiSource, places: FloatArray) -> list[str]:
    """The classes of the pixels at places (k, 2), column and row; empty where there is none."""
    names = [""] * len(places)
    tiles = TileGrid(height=source.height, width=source.width, tile=_TILE)
    size = np.array([source.width, source.height])
    inside = np.asarray(((places >= 0) & (places < size)).all(1))
    col, row = np.floor(np.where(inside[:, None], places, 0)).astype(int).T
    across = -(-source.width // _TILE)
    number = np.where(inside, (row // _TILE) * across + col // _TILE, -1)
    for index in np.unique(number[inside]).tolist():
        core = tiles[index].core
        codes, known = cover.labels(core, None)
        for i in np.flatnonzero(number == index).tolist():
            at = row[i] - core.row, col[i] - core.col
            names[i] = cover.name(int(codes[at])) if known[at] else ""
    return names


def grid_of(source: MsiSource) -> TargetGrid:
    """The grid of an image's pixels."""
    return TargetGrid(
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
    )


def _spread_tiles(source: MsiSource, most: int | None) -> Iterator[Window]:
    """The tiles of an image in an order that spreads over it, the first `most` of them."""
    tiles = TileGrid(height=source.height, width=source.width, tile=_TILE)
    count = len(tiles)
    # multiples of the golden ratio modulo one
    order = np.argsort(np.arange(count) * _GOLDEN % 1, kind="stable")
    for index in order[:most].tolist():
        yield tiles[index].core


def _band(sensor: Sensor, role: str) -> int:
    if role not in sensor.roles:
        raise InputRefused(
            f"{sensor.name} has no {role} band, by which ground is told apart",
            remedy="give the classes: --zones classes.tif",
        )
    return sensor.roles.index(role)


def _median_brightness(msi: MsiSource, red: int, nir: int) -> float:
    """Median over bands' means of pixels without vegetation that are not dark; 1 without any."""
    parts: list[FloatArray] = []
    for window in _spread_tiles(msi, _MAX_TILES // 4):
        values, valid = msi.read(window)
        bare = usable_pixels(values, valid) & (_rule(values, red, nir, 1.0) == 1)
        parts.append(values[:, bare].mean(0))
    ground = np.concatenate(parts)
    return float(np.median(ground)) if len(ground) else 1.0


def _rule(values: Float32Array, red: int, nir: int, middle: float) -> NumberArray:
    """Positions (h, w) in `FOUND_CLASSES` of pixels (c, h, w)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ndvi = (values[nir] - values[red]) / (values[nir] + values[red])
        bright = values.mean(0) > BRIGHT_FACTOR * middle
        dark = values.max(0) < DARK_REFLECTANCE_LIMIT
        kinds = [dark, ndvi >= VEGETATION_NDVI, bright]
    return np.select(kinds, [3, 0, 2], 1).astype(np.int64)
