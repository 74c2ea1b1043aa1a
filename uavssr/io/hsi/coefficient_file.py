"""Files of coefficients: opened and checked, and read as the reflectance that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.checks import CheckedFile, PathLike, check_raster
from uavssr.io.hsi.cube_basis import CubeBasis, holds_coefficients
from uavssr.io.hsi.cube_reader import CubeFileReader
from uavssr.io.raster import Place, opened_metadata, read_place
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class CoefficientSource:
    """A scene as r coefficients of a spectral basis; may be sent to other processes."""

    path: Path
    """The file as given."""
    basis: CubeBasis
    """Turns the coefficients into reflectance at C wavelengths."""
    place: Place
    """Size, CRS and geotransform."""
    reader: CubeFileReader
    """Gives the stored numbers."""
    tags: Mapping[str, str]
    """The file's own tags: provenance, and the basis."""

    @property
    def height(self) -> int:
        """Rows."""
        return self.place.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.place.width

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a stored block."""
        return self.reader.block

    def provenance(self) -> dict[str, str]:
        """The tags of a cube that is made from this: how it was made, without the basis."""
        basis = self.basis.tags()
        own = {k: v for k, v in self.tags.items() if k.startswith("uavssr_") and k not in basis}
        size = self.reader.files[0].checked.identity[2]
        return own | {"uavssr_expanded_from": f"{self.path.name} ({size} bytes)"}

    def coefficients(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Coefficients (r, y, x) as they are stored, and the valid pixels (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        numbers, valid = self.reader.read(window)
        coefficients = numbers.astype(np.float32, copy=False)
        return coefficients, valid & np.isfinite(coefficients).all(0)

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (C, y, x), NaN where invalid, and the valid pixels (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        coefficients, valid = self.coefficients(window)
        cube = self.basis.expand(coefficients)
        cube[:, ~valid] = np.nan
        return cube, valid

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Mean reflectance (len(bands), *shape) of some bands, NaN where there is none.

        The basis is affine, so the mean of the spectra is the spectrum of the mean coefficients.
        """
        mean = self.reader.decimated(range(self.basis.rank), shape)
        return self.basis.expand(mean, bands=bands)


def open_coefficients(path: PathLike, *, max_pixels: int | None = None) -> CoefficientSource:
    """Open what `reconstruct --format coefficients` wrote, or a faithful copy of it.

    Args:
        path: the file.
        max_pixels: the size of a scene that is larger, or a file that is sparser, than is usual.

    Raises:
        InputRefused: unsafe or broken, no coefficients, or their basis was lost.
    """
    checked = check_raster(path, max_pixels=max_pixels)
    source = coefficients_in(checked)
    if source is None:
        raise InputRefused(
            "holds no coefficients",
            path=checked.path,
            remedy="give what uavssr reconstruct --format coefficients wrote",
        )
    return source


def is_coefficient_file(path: PathLike) -> bool:
    """Whether a file's tags say that it holds coefficients.

    Raises:
        InputRefused: unsafe or broken.
    """
    with opened_metadata(check_raster(path)) as dataset:
        return holds_coefficients(dataset.tags())


def coefficients_in(checked: CheckedFile) -> CoefficientSource | None:
    """The coefficients that a checked file holds, or None where it is something else.

    Raises:
        InputRefused: its tags say that it holds coefficients, but the rest does not fit.
    """
    with opened_metadata(checked) as dataset:
        tags, rank = dataset.tags(), dataset.count
        if not holds_coefficients(tags):
            return None
        place = read_place(dataset, checked)
    return CoefficientSource(
        path=checked.path,
        basis=CubeBasis.of_tags(tags, rank=rank, path=checked.path),
        place=place,
        reader=CubeFileReader.of(checked, place, range(1, rank + 1)),
        tags=tags,
    )
