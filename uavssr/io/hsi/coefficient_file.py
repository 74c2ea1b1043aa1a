"""Files of coefficients: opened and checked, and read as the reflectance that they stand for.

Must not write anything, or know of a network.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS, CheckedFile, check_raster
from uavssr.io.hsi.spectral_basis import CubeBasis, holds_coefficients
from uavssr.io.raster import BandReader, FileBands, Place, Request, read_place
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class CoefficientSource:
    """A scene as coefficients of a spectral basis; may be sent to other processes."""

    path: Path
    """The file as given."""
    basis: CubeBasis
    """What turns them into reflectance."""
    place: Place
    """Size, CRS and geotransform."""
    reader: BandReader
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

    def provenance(self) -> dict[str, str]:
        """The tags of a cube that is made from this: how it was made, without the basis."""
        kept = {key: text for key, text in self.tags.items() if key.startswith("uavssr_")}
        own = {key: text for key, text in kept.items() if key not in self.basis.tags()}
        size = self.reader.files[0].checked.identity[2]
        return own | {"uavssr_expanded_from": f"{self.path.name} ({size} bytes)"}

    def coefficients(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Coefficients (r, y, x) as they are stored, and the valid pixels (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        numbers, valid = self.reader.read(window)
        found = numbers.astype(np.float32, copy=False)
        return found, valid & np.isfinite(found).all(0)

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (C, y, x), NaN where invalid, and the valid pixels (y, x)."""
        return self.expanded(window, self.basis)

    def expanded(self, window: Window, basis: CubeBasis) -> tuple[Float32Array, BoolArray]:
        """The same of some of the wavelengths only, of which `basis` is the subset."""
        coefficients, valid = self.coefficients(window)
        cube = basis.expand(coefficients)
        cube[:, ~valid] = np.nan
        return cube, valid


def open_coefficients(
    path: str | os.PathLike[str], *, max_pixels: int | None = None
) -> CoefficientSource:
    """Open what `reconstruct --format coefficients` wrote, or a faithful copy of it.

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


def is_coefficient_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says in its tags that it holds coefficients.

    Raises:
        InputRefused: unsafe or broken.
    """
    with _opened(check_raster(path)) as dataset:
        return holds_coefficients(dataset.tags())


def coefficients_in(checked: CheckedFile) -> CoefficientSource | None:
    """The coefficients that a checked file holds, or None where it is something else.

    Raises:
        InputRefused: it says that it holds coefficients, but the rest does not fit.
    """
    with _opened(checked) as dataset:
        tags, count = dataset.tags(), dataset.count
        if not holds_coefficients(tags):
            return None
        place = read_place(dataset, checked, Request(paths=(checked.path,)))
    return CoefficientSource(
        path=checked.path,
        basis=CubeBasis.of_tags(tags, rank=count, path=checked.path),
        place=place,
        reader=_reader(checked, range(count), place),
        tags=tags,
    )


@contextmanager
def _opened(checked: CheckedFile) -> Iterator[DatasetReader]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # read_place refuses it in a line
        with checked.open() as dataset:
            try:
                yield dataset
            except (*GDAL_ERRORS, OSError) as err:
                raise InputRefused(f"unreadable metadata: {err}", path=checked.path) from err


def _reader(checked: CheckedFile, bands: Sequence[int], place: Place) -> BandReader:
    file = FileBands(
        checked=checked,
        indexes=tuple(k + 1 for k in bands),
        positions=tuple(bands),
        alpha=None,
        mask=None,
    )
    return BandReader(files=(file,), height=place.height, width=place.width)
