"""A scene of the NTIRE 2022 challenge: a MATLAB cube, and the RGB image of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.bounded import read_bytes, read_table, why_unread
from uavssr.io.matlab import MatCube, open_mat_cube
from uavssr.io.pictures import decode_picture, encode_jpeg, read_picture
from uavssr.model import GAIN, PARAMETERS
from uavssr.sensors import Band, Float32Array, FloatArray, Sensor, WavelengthGrid
from uavssr.tiling import Window

CHALLENGE_GRID: Final = WavelengthGrid.regular("arad-1k", 400.0, 700.0, 31)
"""The bands of the cubes: 31, 10 nm apart."""
TYPICAL_REFLECTIVITY: Final = 0.18
"""Mean of an exposed image, as a share of full scale."""
PHOTO_ELECTRONS: Final = 750.0
"""Electrons of a signal of 1, of which the noise is drawn."""
JPEG_QUALITY: Final = 65
"""The published sample value; that of the challenge is near it and secret, as is the noise's."""
CHANNEL_GAINS: Final = (1.62308182, 1.0, 2.2933984)
"""Gains of blue, green and red."""
_COLUMNS: Final = {"blue": "B", "green": "G1", "red": "R"}
_MAX_FILTER_BYTES: Final = 2**20
_MAX_JPEG_BYTES: Final = 2**26
_NOISE_STREAM: Final = 2022


@dataclass(kw_only=True, eq=False)
class ChallengeScene:
    """A scene whose image is read, or made as the challenge publishes it.

    The cube is seen through the filters (clipped at 0), Poisson noise is drawn, the mean is brought
    to 0.18 of full scale, numbers are cut to 8 bits, and compressed as JPEG. The image is kept so,
    the cube is not kept: it is read window by window.
    """

    path: Path
    """The .mat file of the cube."""
    picture: Path | None
    """The .jpg file of the image; None: it is made."""
    filters: FloatArray
    """(3, C) quantum efficiency times gain, blue first."""

    @property
    def name(self) -> str:
        """Name of the scene."""
        return self.path.stem

    @cached_property
    def cube(self) -> MatCube:
        """The cube, of which nothing is in memory."""
        cube = open_mat_cube(self.path)
        if (
            cube.shape[0] != len(CHALLENGE_GRID)
            or np.abs(cube.nm - CHALLENGE_GRID.centres).max() > 1
        ):
            raise InputRefused(
                f"{cube.shape[0]} bands of {cube.nm[0]:g}-{cube.nm[-1]:g} nm, not 31 of 400-700 nm",
                path=self.path,
                remedy="take it out of the list of scenes",
            )
        return cube

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cube.shape[1:]

    def read(self, window: Window) -> tuple[Float32Array, Float32Array]:
        """The image (3, y, x), blue first, and the cube (C, y, x) of a window."""
        return self.image()[:, window.rows, window.cols], self.cube.read(window)

    def image(self) -> Float32Array:
        """The image (3, y, x), blue first, as a share of full scale."""
        numbers = decode_picture(self._taken[1])
        if numbers.shape != (3, *self.shape):
            raise InputRefused(
                f"has the shape {numbers.shape}, its cube {self.cube.shape} (band, y, x)",
                path=self.picture,
                remedy="get the image of this scene",
            )
        return np.ascontiguousarray(numbers[::-1], np.float32) / np.float32(255)

    def camera(self) -> tuple[Float32Array, Float32Array]:
        """Theta (3, 3) and the response (3, C), with the exposure of this image."""
        rows = self._taken[0] * self.filters
        theta = np.zeros((len(rows), PARAMETERS), np.float32)
        theta[:, GAIN] = np.log(rows.sum(1))
        return theta, rows.astype(np.float32)

    @cached_property
    def _taken(self) -> tuple[float, bytes]:
        """The factor of the exposure, and the image as JPEG."""
        # signal = R X
        signal = np.clip(np.einsum("bc,cyx->byx", self.filters, self.cube.read()), 0, None)
        if not signal.mean() > 0:
            raise InputRefused(
                "is dark everywhere", path=self.path, remedy="take it out of the list"
            )
        exposure = TYPICAL_REFLECTIVITY / float(signal.mean())
        if self.picture is not None:
            read_picture(self.picture)  # names the file if it is damaged
            return exposure, read_bytes(self.picture, _MAX_JPEG_BYTES)
        return exposure, encode_jpeg(self._exposed(signal)[::-1], quality=JPEG_QUALITY)

    def _exposed(self, signal: FloatArray) -> np.ndarray:
        """Numbers of 8 bits of a signal with noise, a function of the scene's name."""
        rng = np.random.default_rng([_NOISE_STREAM, zlib.crc32(self.name.encode())])
        noisy = rng.poisson(signal * PHOTO_ELECTRONS) / PHOTO_ELECTRONS
        exposed = noisy * (TYPICAL_REFLECTIVITY / noisy.mean()) * 255
        return np.asarray(np.clip(exposed, 0, 255).astype(np.uint8))


def read_filters(path: Path) -> tuple[Sensor, FloatArray]:
    """The challenge's camera as a data sheet, and its filters (3, C) times gains, blue first.

    The filters are sampled at the bands of the cubes, as the challenge does. The data sheet reaches
    5 nm past the cube's ends, so that their bands count whole in it too.

    Raises:
        InputRefused: no such file, or it lacks a column.
    """
    try:
        header, *rows = read_table(path, _MAX_FILTER_BYTES)
        table = np.array(rows, float).T
        curves = [table[header.index(column)] for column in _COLUMNS.values()]
        nm = table[header.index("Wavelength[nm]")]
        near = (nm >= CHALLENGE_GRID.centres[0] - 5) & (nm <= CHALLENGE_GRID.centres[-1] + 5)
        bands = tuple(
            Band.from_curve(role, nm[near].tolist(), curve[near].tolist())
            for role, curve in zip(_COLUMNS, curves, strict=True)
        )
    except (OSError, ValueError) as err:
        raise InputRefused(
            f"no table of the challenge's camera ({why_unread(err, path)})",
            path=path,
            remedy="get it from https://github.com/boazarad/NTIRE2022_spectral (resources)",
        ) from err
    sampled = np.stack([np.interp(CHALLENGE_GRID.centres, nm, curve) for curve in curves])
    sensor = Sensor(name="ntire2022", title="Camera of the NTIRE 2022 challenge", bands=bands)
    return sensor, sampled * np.array(CHANNEL_GAINS)[:, None]
