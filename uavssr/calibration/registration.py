"""How well an image and a cube of the same ground fit together: their shift and their brightness.

The cube is integrated with the camera's nominal response and compared with the image. Must not
read anything but windows, or decide what a training does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from typing import Final, Protocol

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import WarpedCube
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor
from uavssr.tiling import Window

RATIOS: Final = (0.1, 4.0)
"""Least and largest pixel of a cube, in pixels of the image, between which a pair is of use."""
LEAST_CORRELATION: Final = 0.5
"""Correlation of the reference band below which image and cube do not show the same ground."""
MOST_SPREAD: Final = 1.0
"""Pixels by which the shift may vary over the scene before no one shift can be right."""
SLOPES: Final = (0.5, 2.0)
"""Slope of image against cube, per band, outside which the reflectance of one must be wrong."""
MOST_OFFSET: Final = 0.1
"""Offset of image against cube, in reflectance, beyond which the same holds."""
SUSPECT_SLOPES: Final = (0.8, 1.25)
"""Outside these a warning is given: three standard deviations of the gains drawn in training."""
SUSPECT_OFFSET: Final = 0.03
"""The same for the offset."""

_REFERENCE_NM: Final = 660.0
_LATTICES: Final = ((192, 3), (96, 6), (48, 12))
"""Longest side in pixels, and number along each axis, of the windows that are tried: large ones
first, small ones for narrow strips."""
_WINDOWS: Final = 9
"""Windows that are compared."""
_LEAST_SIDE: Final = 32
_LEAST_VALID: Final = 0.75
_DETAIL: Final = 4.0
"""Standard deviation in pixels of what is taken off before correlating: structure finer than this
tells where things are, brightness across the window does not."""
_STEPS: Final = 50
"""Parts of a pixel to which the shift is found."""


class Image(Protocol):
    """What is asked of `raster.source.MsiSource`."""

    @property
    def sensor(self) -> Sensor:
        """The camera."""

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (band, y, x) and the valid pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """A pair's fit: what was measured before and after the cube was moved."""

    warped: WarpedCube
    """The cube on the image's grid, moved to where the image has it."""
    remaining: float
    """Pixels of shift that are still measured after the correction."""
    spread: float
    """Pixels by which windows differ in their shift, the median over them."""
    windows: int
    """How many windows were compared."""
    reference: str
    """The band whose structure was compared."""
    slope: FloatArray
    """(c,) image = slope x integrated cube + offset, least squares over the windows."""
    offset: FloatArray
    """(c,) in reflectance."""
    correlation: FloatArray
    """(c,) of the same."""

    @property
    def shift(self) -> tuple[float, float]:
        """Pixels of the image by which the cube lay too far up and too far left."""
        return self.warped.shift

    def refusal(self, sensor: Sensor, *, max_shift: float) -> str | None:
        """Why the pair is of no use, None where it is of use."""
        down, right = self.shift
        length = float(np.hypot(down, right))
        best = float(self.correlation[sensor.roles.index(self.reference)])
        told = f"{down:+.2f} rows and {right:+.2f} columns"
        if best < LEAST_CORRELATION:
            return (
                f"image and cube do not show the same ground: {self.reference} correlates by "
                f"{best:.2f}, less than {LEAST_CORRELATION}, at the best shift, {told}"
            )
        if length > max_shift:
            return (
                f"the cube is shifted by {told}, {length:.2f} pixels of the image, more than "
                f"{max_shift:g}; georeference it again, or raise data.max_shift"
            )
        if self.spread > MOST_SPREAD:
            return (
                f"the shift varies by {self.spread:.2f} pixels over the scene, more than "
                f"{MOST_SPREAD:g}: one of the two is distorted; georeference it again"
            )
        return self._radiometric_refusal(sensor)

    def _radiometric_refusal(self, sensor: Sensor) -> str | None:
        for role, slope, offset in zip(sensor.roles, self.slope, self.offset, strict=True):
            if not SLOPES[0] <= slope <= SLOPES[1] or abs(offset) > MOST_OFFSET:
                return (
                    f"band {role} is {slope:.2f} x the integrated cube {offset:+.3f}, outside "
                    f"{SLOPES[0]:g}-{SLOPES[1]:g} and +-{MOST_OFFSET:g}: one of the two is no "
                    "reflectance; correct msi_scale, hsi_scale or the bands"
                )
        return None

    def warnings(self, sensor: Sensor) -> list[str]:
        """What to be wary of in a pair that is of use."""
        return [
            f"band {role} is {slope:.2f} x the integrated cube {offset:+.3f}"
            for role, slope, offset in zip(sensor.roles, self.slope, self.offset, strict=True)
            if not SUSPECT_SLOPES[0] <= slope <= SUSPECT_SLOPES[1] or abs(offset) > SUSPECT_OFFSET
        ]

    def facts(self, sensor: Sensor) -> dict[str, object]:
        """The figures as plain numbers, for the card."""
        bands = zip(sensor.roles, self.slope, self.offset, self.correlation, strict=True)
        return {
            "shift_rows": round(self.shift[0], 3),
            "shift_columns": round(self.shift[1], 3),
            "remaining": round(self.remaining, 3),
            "spread": round(self.spread, 3),
            "windows": self.windows,
            "reference": self.reference,
            "resolution_ratio": round(self.warped.ratio, 3),
            "bands": {
                role: {
                    "slope": round(float(slope), 4),
                    "offset": round(float(offset), 4),
                    "correlation": round(float(correlation), 4),
                }
                for role, slope, offset, correlation in bands
            },
        }


def check_installed() -> None:
    """Refuse to begin where the libraries that pairs need are missing.

    Raises:
        UsageError: scikit-image, which brings scipy, is not installed.
    """
    if find_spec("skimage") is None:
        raise UsageError(
            "pairs are registered with scikit-image, which is not installed",
            remedy='pip install "uavssr[train]"',
        )


def register(image: Image, warped: WarpedCube) -> Registration:
    """Measure how a cube lies against an image, move it, and compare what both say of brightness.

    The shift is the median over up to 3 x 3 windows of the sub-pixel phase correlation of one band,
    found twice: the second time on the cube as the first moved it, which leaves no bias.

    Raises:
        InputRefused: no common ground, or pixels that differ too much in size.
    """
    if not RATIOS[0] <= warped.ratio <= RATIOS[1]:
        raise InputRefused(
            f"a pixel of the cube is {warped.ratio:.3g} pixels of the image long, not "
            f"{RATIOS[0]:g}-{RATIOS[1]:g}",
            path=warped.cube.path,
            remedy="bring the finer one to the resolution of the coarser one first",
        )
    srf = image.sensor.srf(warped.cube.grid).astype(np.float32)
    centres = np.array([band.centre for band in image.sensor.bands])
    band = int(np.abs(centres - _REFERENCE_NM).argmin())
    first = _shifts(_views(image, warped, srf), band)
    if not len(first):
        raise InputRefused(
            f"image and cube share no window of {_LEAST_SIDE} pixels or more, three quarters valid",
            path=warped.cube.path,
            remedy="check their CRS, footprints and nodata",
        )
    down, right = (float(value) for value in np.median(first, axis=0))
    moved = replace(warped, shift=(warped.shift[0] + down, warped.shift[1] + right))
    views = _views(image, moved, srf)
    second = _shifts(views, band)
    if len(second):
        down, right = (float(value) for value in np.median(second, axis=0))
        moved = replace(moved, shift=(moved.shift[0] + down, moved.shift[1] + right))
        views = _views(image, moved, srf)
    return _compared(moved, image.sensor.roles[band], views, _shifts(views, band))


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A window as both see it: (c, y, x) each, and the pixels valid in both."""

    image: Float32Array
    cube: Float32Array
    valid: BoolArray


def _views(image: Image, warped: WarpedCube, srf: Float32Array) -> list[_View]:
    """What both see in up to nine windows, from all over the ground that both cover."""
    for side, places in _LATTICES:
        windows = _windows(warped, side, places)
        order = np.random.default_rng(places).permutation(len(windows))
        views = (_view(image, warped, srf, windows[i]) for i in order)
        found = list(islice((view for view in views if view is not None), _WINDOWS))
        if found:
            return found
    return []


def _view(image: Image, warped: WarpedCube, srf: Float32Array, window: Window) -> _View | None:
    """What both see in a window, None where too little of it is valid in both."""
    seen, valid = image.read(window)
    if valid.mean() < _LEAST_VALID:
        return None
    spectra, cube_valid = warped.read(window)
    valid = valid & cube_valid
    if valid.mean() < _LEAST_VALID:
        return None
    return _View(image=seen, cube=np.tensordot(srf, spectra, 1), valid=valid)


def _windows(warped: WarpedCube, side: int, places: int) -> list[Window]:
    """Windows over the part of the image under which the cube lies, at most `places` squared."""
    common = warped.common()
    if common is None or min(common.height, common.width) < _LEAST_SIDE:
        return []
    rows = _spans(common.row, common.height, side, places)
    columns = _spans(common.col, common.width, side, places)
    return [Window(row, col, h, w) for row, h in rows for col, w in columns]


def _spans(start: int, length: int, side: int, places: int) -> list[tuple[int, int]]:
    """First pixel and length, `side` at most, in the middle of up to `places` equal parts."""
    parts = min(places, max(length // side, 1))
    found = []
    for part in range(parts):
        first, last = part * length // parts, (part + 1) * length // parts
        size = min(side, last - first)
        found.append((start + first + (last - first - size) // 2, size))
    return found


def _shifts(views: Sequence[_View], band: int) -> FloatArray:
    """(n, 2) rows and columns by which the cube must move, of each window."""
    from skimage.registration import phase_cross_correlation

    found = []
    for view in views:
        one, other = (_detail(each[band], view.valid) for each in (view.image, view.cube))
        # Without the usual whitening: the two differ in sharpness, and fine noise would decide.
        shift, _, _ = phase_cross_correlation(
            one, other, upsample_factor=_STEPS, normalization=None
        )
        found.append(shift)
    return np.asarray(found, float).reshape(-1, 2)


def _detail(band: Float32Array, valid: BoolArray) -> FloatArray:
    """A band's fine structure, faded out towards the edges; invalid pixels have none."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(valid.astype(float), _DETAIL)
    filled = np.where(valid, band, 0).astype(float)
    smooth = gaussian_filter(filled, _DETAIL) / np.maximum(weight, 1e-6)
    fade = np.outer(np.hanning(band.shape[0]), np.hanning(band.shape[1]))
    return np.asarray(np.where(valid, filled - smooth, 0) * fade)


def _compared(
    moved: WarpedCube, reference: str, views: Sequence[_View], shifts: FloatArray
) -> Registration:
    image = np.concatenate([view.image[:, view.valid] for view in views], axis=1).astype(float)
    cube = np.concatenate([view.cube[:, view.valid] for view in views], axis=1).astype(float)
    means = image.mean(1), cube.mean(1)
    image, cube = image - means[0][:, None], cube - means[1][:, None]
    power, both = (cube**2).sum(1), (image * cube).sum(1)
    slope = both / np.maximum(power, 1e-12)
    middle = np.median(shifts, axis=0)
    return Registration(
        warped=moved,
        remaining=float(np.hypot(*middle)),
        spread=float(np.median(np.hypot(*(shifts - middle).T))),
        windows=len(views),
        reference=reference,
        slope=slope,
        offset=means[0] - slope * means[1],
        correlation=both / np.maximum(np.sqrt(power * (image**2).sum(1)), 1e-12),
    )
