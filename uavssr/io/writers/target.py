"""The raster that a writer makes: its place, its numbers, and what the file says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from uavssr.errors import OutputError
from uavssr.io.hsi import CoefficientMetadata, CubeBasis
from uavssr.io.raster import Transform
from uavssr.io.writers.encoding import NODATA, CubeDtype, cube_bytes, overview_levels
from uavssr.io.writers.metadata import CubeMetadata
from uavssr.io.writers.ownership import Replaceable
from uavssr.sensors import WavelengthGrid, subset
from uavssr.tiling import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

Format = Literal["gtiff", "cog", "envi", "zarr", "coefficients"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""The values of `--format`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(ABC):
    """A raster to write."""

    path: Path
    """Final name of the file or Zarr store."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """Coordinate reference system."""
    transform: Transform
    """(a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f."""
    dtype: CubeDtype = "uint16"
    """Stored numbers: counts of 0.0001 reflectance (nodata 65535), or float32 (nodata NaN)."""
    block: int = 256
    """Side of the file's blocks in pixels, a multiple of 16; windows must start on them."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Provenance."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    """GDAL options of GeoTIFF files; they win over the defaults."""
    overwrite: Replaceable = False
    """Whether an output at `path` may be replaced."""
    inputs: Sequence[Path] = ()
    """Files that must never be replaced."""

    classic_below: ClassVar[int] = 2**31
    """Bytes below which a GeoTIFF is no BigTIFF, which fewer programs read; 0 for cubes."""

    def __post_init__(self) -> None:
        if self.block < 16 or self.block % 16:
            raise ValueError(f"block must be a positive multiple of 16, got {self.block}")

    @property
    @abstractmethod
    def bands(self) -> int:
        """Length of the first axis."""

    @abstractmethod
    def describe(self, dataset: DatasetWriter) -> None:
        """Write all that a GeoTIFF holds beside its pixels, its place and its nodata."""

    @abstractmethod
    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `describe` wrote, or None."""

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Height and width of the image, and of each overview that a GeoTIFF gets."""
        return [(self.height, self.width)]

    @property
    def max_bytes(self) -> int:
        """The most that the file takes on disk while it is made, overviews included."""
        return cube_bytes(self.height, self.width, self.bands, dtype=self.dtype)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(band, y, x)."""
        return self.bands, self.height, self.width

    @property
    def nodata(self) -> float:
        """The number that marks invalid pixels."""
        return float(NODATA) if self.dtype == "uint16" else float("nan")

    @property
    def takes(self) -> Literal["cube", "coefficients"]:
        """What a writer is given: reflectance, or coefficients of a basis."""
        return "cube"

    @property
    def affine(self) -> Affine:
        """The transform as rasterio has it."""
        return Affine(*self.transform)

    def crs(self) -> CRS:
        """The CRS as rasterio has it; raises `OutputError` if GDAL does not understand it."""
        try:
            return CRS.from_wkt(self.crs_wkt)
        except CRSError as err:
            raise OutputError(
                f"GDAL cannot read the CRS {self.crs_wkt[:60]!r}",
                path=self.path,
                remedy="give it as EPSG:code",
            ) from err

    def blocks(self, window: Window) -> list[tuple[int, int, Window]]:
        """Row, column and pixels of the blocks that make up a window.

        Raises:
            ValueError: the window leaves the scene, or cuts a block.
        """
        bottom, right = window.row + window.height, window.col + window.width
        if window.row < 0 or window.col < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} leaves the scene of {self.height} x {self.width}")
        aligned = window.row % self.block == 0 and window.col % self.block == 0
        aligned &= bottom % self.block == 0 or bottom == self.height
        aligned &= right % self.block == 0 or right == self.width
        if not aligned:
            raise ValueError(f"{window} is not made of whole blocks of {self.block}")
        rows = range(window.row // self.block, -(-bottom // self.block))
        cols = range(window.col // self.block, -(-right // self.block))
        return [(row, col, self.block_window(row, col)) for row in rows for col in cols]

    def all_blocks(self) -> list[tuple[int, int, Window]]:
        """Row, column and pixels of all blocks."""
        return self.blocks(Window(0, 0, self.height, self.width))

    def block_window(self, row: int, col: int) -> Window:
        """The pixels of a block."""
        top, left, side = row * self.block, col * self.block, self.block
        return Window(top, left, min(side, self.height - top), min(side, self.width - left))


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeTarget(Target):
    """A hyperspectral cube, or the coefficients that stand for one."""

    format: Format = "gtiff"
    """Format of the file."""
    grid: WavelengthGrid
    """All C wavelengths of the model."""
    wavelengths: Sequence[int] | None = None
    """Increasing indices into `grid` of the wavelengths that the file is for; None for all."""
    basis: CubeBasis | None = None
    """Turns coefficients (r, y, x) into reflectance on `grid`; for the format `coefficients`."""
    classic_below = 0
    """Every cube is a BigTIFF."""

    @property
    def bands(self) -> int:
        """Wavelengths in the file, or the r coefficients."""
        return self.written_basis.rank if self.takes == "coefficients" else len(self.written_grid)

    @property
    def metadata(self) -> CubeMetadata | CoefficientMetadata:
        """The wavelengths of a cube, or the basis of coefficients."""
        if self.takes == "coefficients":
            return CoefficientMetadata(basis=self.written_basis, tags=self.tags)
        return CubeMetadata(grid=self.written_grid, dtype=self.dtype, tags=self.tags)

    def describe(self, dataset: DatasetWriter) -> None:
        """Write the metadata into an open dataset."""
        self.metadata.apply(dataset)

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part of the metadata that an open dataset lacks, or None."""
        return self.metadata.missing_from(dataset)

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Height and width of the image, and of each overview."""
        factors = [1, *overview_levels(self.height, self.width)]
        return [(-(-self.height // factor), -(-self.width // factor)) for factor in factors]

    @property
    def takes(self) -> Literal["cube", "coefficients"]:
        """What a writer is given: reflectance, or coefficients of the basis."""
        return "coefficients" if self.format == "coefficients" else "cube"

    @property
    def written_grid(self) -> WavelengthGrid:
        """The chosen wavelengths."""
        return self.grid if self.wavelengths is None else subset(self.grid, self.wavelengths)

    @property
    def written_basis(self) -> CubeBasis:
        """The basis of the chosen wavelengths; raises `ValueError` if there is none."""
        if self.basis is None:
            raise ValueError("coefficients need their basis")
        return self.basis if self.wavelengths is None else self.basis.subset(self.wavelengths)
