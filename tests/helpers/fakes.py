"""Fakes for tests, ours and those of code built on us: images in memory, random STFs, sizes.

Must not be imported by the rest of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from pyproj import CRS

from uavssr.errors import InputRefused
from uavssr.io.msi import InputSummary
from uavssr.io.msi.input_summary import BandSummary
from uavssr.model import ResponseFamily, Stf
from uavssr.sensors import Sensor
from uavssr.tiling import Window

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FakeSource:
    """An image in memory with the interface of `raster.source.MsiSource`; it counts its reads."""

    image: Image
    """(c, y, x) reflectance."""
    sensor: Sensor
    """The camera, c bands."""
    mask: Mask
    """(y, x) valid pixels."""
    paths: tuple[Path, ...] = (Path(__file__),)
    """The files it claims to come from: they must exist, as outputs record their sizes."""
    crs_wkt: str = field(default_factory=lambda: CRS.from_epsg(32650).to_wkt("WKT1_GDAL"))
    """Coordinate reference system."""
    transform: tuple[float, float, float, float, float, float] = (0.1, 0, 5e5, 0, -0.1, 3e6)
    """Affine a, b, c, d, e, f."""
    before_read: Callable[[Window], None] | None = None
    """Called before every read: to fail, to wait, to look."""
    reads: list[Window] = field(default_factory=list)
    """Every window that was read, in order."""

    def __post_init__(self) -> None:
        if self.image.shape != (len(self.sensor), *self.mask.shape):
            raise ValueError(f"image {self.image.shape}, mask {self.mask.shape}, {self.sensor}")

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.mask.shape[1])

    @property
    def summary(self) -> InputSummary:
        """The smallest possible input summary."""
        return InputSummary(
            paths=self.paths,
            driver="MEM",
            width=self.width,
            height=self.height,
            crs="EPSG:32650",
            gsd=(0.1, 0.1),
            gsd_unit="metre",
            sensor=self.sensor.name,
            sensor_title=self.sensor.title,
            sensor_evidence="fake",
            bands=tuple(
                BandSummary(
                    role=band.role,
                    file=self.paths[0],
                    index=number,
                    wavelength=band.centre,
                    fwhm=band.fwhm,
                    evidence="fake",
                    dtype="float32",
                    nodata=None,
                    scale=1.0,
                    offset=0.0,
                    facts=None,
                )
                for number, band in enumerate(self.sensor.bands, 1)
            ),
            left_out=(),
            scale=1.0,
            scale_evidence="fake",
            mask_evidence="fake",
            valid_fraction=float(self.mask.mean()),
            valid_fraction_sampled=False,
            warnings=(),
        )

    def read(self, window: Window) -> tuple[Image, Mask]:
        """Reflectance (c, y, x), NaN where invalid, and the valid pixels (y, x)."""
        self.reads.append(window)
        if self.before_read is not None:
            self.before_read(window)
        bottom, right = window.row + window.height, window.col + window.width
        if window.row < 0 or window.col < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} leaves a scene of {self.height} x {self.width}")
        mask = self.mask[window.rows, window.cols].copy()
        image = self.image[:, window.rows, window.cols].copy()
        image[:, ~mask] = np.nan
        return image, mask


def coordinate_image(bands: int, height: int, width: int) -> Image:
    """Reflectance 0.05-0.55 (band, y, x) that no two pixels share: a misplaced one shows."""
    count = bands * height * width
    values = np.linspace(0.05, 0.55, count, dtype=np.float64).astype(np.float32)
    scattered = values[np.random.default_rng(0).permutation(count)]
    return np.ascontiguousarray(scattered.reshape(bands, height, width))


def irregular_mask(height: int, width: int, *, seed: int, share: float = 0.3) -> Mask:
    """Valid pixels of a scene with about `share` of it lost to a blob and to single pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y - rng.uniform(0, height)) / height, (x - rng.uniform(0, width)) / width)
    limit = np.quantile(distance, 0.8 * share)
    mask = (distance > limit) & (rng.random((height, width)) > 0.2 * share)
    mask[rng.integers(height), rng.integers(width)] = True
    return np.asarray(mask)


def failing_at(count: int) -> Callable[[Window], None]:
    """A `before_read` that refuses the read number `count`, from one, and all after it."""
    seen: list[Window] = []

    def refuse(window: Window) -> None:
        seen.append(window)
        if len(seen) >= count:
            raise InputRefused(f"a block at row {window.row} cannot be decoded", path="fake.tif")

    return refuse


def random_stf(family: ResponseFamily, *, seed: int) -> Stf:
    """An STF drawn from the family's prior, known to a fifth of it."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(family.prior.shape, generator=generator).clamp(-2, 2)
    return Stf.of(family, family.prior + draw * family.spread, 0.2 * family.spread)


def scene_sizes(largest: int = 80) -> SearchStrategy[tuple[int, int]]:
    """Rows and columns for hypothesis: single lines, primes, and whatever else."""
    from hypothesis import strategies

    primes = [p for p in (2, 3, 17, 31, 37, 53, 61, 67, 79) if p <= largest]
    side = strategies.one_of(
        strategies.just(1), strategies.sampled_from(primes), strategies.integers(1, largest)
    )
    return strategies.tuples(side, side)
