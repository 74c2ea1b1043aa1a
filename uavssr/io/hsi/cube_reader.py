"""Stored numbers of a cube's file: window by window, or decimated through its overviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rasterio.enums import Resampling

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS, CheckedFile
from uavssr.io.raster import BandReader, FileBands, Place
from uavssr.sensors import Float32Array


class CubeFileReader(BandReader):
    """Reads the bands of one file, from any thread or process."""

    @classmethod
    def of(
        cls,
        checked: CheckedFile,
        place: Place,
        indexes: Sequence[int],
        *,
        alphas: Sequence[int] = (),
        mask: int | None = None,
    ) -> CubeFileReader:
        """A reader of the bands `indexes`, numbered from one, in this order."""
        bands, positions = tuple(indexes), tuple(range(len(indexes)))
        file = FileBands(
            checked=checked, indexes=bands, positions=positions, alphas=tuple(alphas), mask=mask
        )
        return cls(files=(file,), height=place.height, width=place.width)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a stored block; of a plain strip a part can be read."""
        layout = self.files[0].checked.layout
        return (1, self.width) if layout.plain_strips else layout.block

    def of_bands(self, bands: Sequence[int]) -> CubeFileReader:
        """A reader of some of the bands, by their positions here; it shares the open files."""
        file = self.files[0]
        indexes = tuple(file.indexes[k] for k in bands)
        chosen = replace(file, indexes=indexes, positions=tuple(range(len(indexes))))
        return replace(self, files=(chosen,))

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of the valid stored numbers, from overviews; NaN: none."""
        file = self.files[0]
        with file.checked.open() as dataset:
            try:
                numbers = dataset.read(
                    [file.indexes[k] for k in bands],
                    out_shape=(len(bands), *shape),
                    resampling=Resampling.average,
                    masked=True,
                )
            except GDAL_ERRORS as err:
                raise InputRefused(
                    f"cannot be read: {err.__cause__ or err}",
                    path=file.checked.path,
                    remedy="the file is damaged: copy or export it again",
                ) from err
        return np.ma.filled(numbers.astype(np.float32), np.nan)
