"""Options of a reconstruction and of its files; the plan checks those that need image or model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from uavssr.errors import UsageError
from uavssr.io.writers import CubeDtype, Format, check_format, style_path
from uavssr.model import DEFAULT_MODEL, Model
from uavssr.sensors import WavelengthGrid, select_wavelengths

if TYPE_CHECKING:
    from uavssr.reconstruction.cluster import Cluster

BLOCK: Final = 256
"""Side of a file's blocks in pixels; smaller tiles are one block each."""

StfScope = Literal["scene", "tile"]
TileStf = Literal["on", "off"]
Precision = Literal["float32", "bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionOptions:
    """Settings of the computation; `None` means that the plan chooses.

    Raises:
        UsageError: a value is out of range, or two options exclude each other.
    """

    model: str | Path | Model = DEFAULT_MODEL
    """Name of a released model, a model folder, or a loaded model."""
    stf: str | Path | None = None
    """A `.stf.nc` whose STF is held fixed. None: the STF is estimated from the image."""
    stf_only: bool = False
    """Ignore the reference spectra in `stf`: for an image of other ground."""
    stf_scope: StfScope = "scene"
    """`scene`: one STF for all tiles. `tile`: each tile's own STF, blended across borders."""
    tile_stf: TileStf = "on"
    """`on`: estimate each tile's own STF too. `off`: the STF files hold the scene's alone."""
    tile: int = 256
    """Side of a tile in pixels: a multiple of 256, or of 16 below that."""
    overlap: int | None = None
    """Pixels over which the tiles' STFs are blended, 0 to `tile`. None: 32, at most a tile."""
    stages: int | None = None
    """Unrolled stages to run. None: all of the model."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda[:i]`."""
    precision: Precision | None = None
    """Number type of the proximal networks. None: bf16 on a GPU, float32 elsewhere."""
    batch: int | None = None
    """Most tiles in one forward pass. None: as many as fit the GPU, 1 on the CPU."""
    workers: int | None = None
    """Batches in the network at a time. None: the number of cores, or 2 on a GPU."""
    mem_limit: int | None = None
    """Most memory in bytes; the run uses fewer workers to stay within. None: no limit."""
    cluster: Cluster | None = None
    """Workers that compute the tiles, from `cluster.connect` or `cluster.local_cluster`."""

    def __post_init__(self) -> None:
        self._check_stfs()
        if self.precision not in (None, *get_args(Precision)):
            raise UsageError(f"--precision must be float32 or bf16, got {self.precision!r}")
        if self.tile < 16 or self.tile % min(self.tile, BLOCK) or self.tile % 16:
            fact = f"--tile must be a multiple of 256, or of 16 below that, got {self.tile}"
            raise UsageError(fact)
        if self.overlap is not None and not 0 <= self.overlap <= self.tile:
            raise UsageError(f"--overlap must be 0-{self.tile} (the tile), got {self.overlap}")
        for name, number in (("batch", self.batch), ("workers", self.workers)):
            if number is not None and number < 1:
                raise UsageError(f"--{name} must be positive, got {number}")

    def _check_stfs(self) -> None:
        if self.stf is not None and self.stf_scope == "tile":
            fact = "--stf holds one STF fixed, --stf-scope tile estimates many"
            raise UsageError(fact, remedy="choose one")
        if self.stf_only and self.stf is None:
            raise UsageError("--stf-only without --stf", remedy="give both, or neither")
        if self.stf_scope not in get_args(StfScope):
            raise UsageError(f"--stf-scope must be scene or tile, got {self.stf_scope!r}")
        if self.tile_stf not in get_args(TileStf):
            raise UsageError(f"--tile-stf must be on or off, got {self.tile_stf!r}")
        if self.tile_stf == "off" and self.stf_scope == "tile":
            fact = "--stf-scope tile needs the tiles' own STFs, which --tile-stf off leaves out"
            raise UsageError(fact, remedy="choose one")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Names and storage of the files; nothing here changes what is computed.

    Raises:
        UsageError: the format does not fit the name, or there is no such number type.
    """

    cube: str | Path
    """The hyperspectral cube to write."""
    format: Format | None = None
    """Format of the cube. None: by the suffix of `cube`."""
    dtype: CubeDtype = "uint16"
    """`uint16`: counts of 0.0001 reflectance. `float32`: reflectance."""
    wavelengths: str | Sequence[float] | None = None
    """Wavelengths to write in nm, or the text of `--wavelengths`. None: all of the model."""
    creation_options: Mapping[str, str] | None = None
    """GDAL creation options; they win over the defaults."""
    uncertainty: str | Path | None = None
    """File for the standard errors of the cube, in the cube's form. None: not written."""
    quality: str | Path | None = None
    """GeoTIFF for the quality flags of every pixel. None: not written."""
    overwrite: bool = False
    """Replace existing outputs, and discard an unfinished run that is not resumed."""
    resume: bool = False
    """Continue an unfinished run to the same cube."""
    strict: bool = False
    """Publish nothing where the verdict finds something odd."""

    def __post_init__(self) -> None:
        check_format(self.cube, self.format)
        if self.dtype not in get_args(CubeDtype):
            raise UsageError(f"--dtype must be uint16 or float32, got {self.dtype!r}")

    @property
    def cube_format(self) -> Format:
        """Format of the cube: `format`, or what its suffix means."""
        return check_format(self.cube, self.format)

    @property
    def extra_files(self) -> tuple[Path, ...]:
        """Files of standard errors and flags that are written beside the cube."""
        return tuple(Path(path) for path in (self.uncertainty, self.quality) if path is not None)

    @property
    def cube_style(self) -> Path | None:
        """The QGIS style of the cube; None for formats that QGIS opens without."""
        styled = self.cube_format in ("gtiff", "cog", "envi")
        return style_path(self.cube) if styled else None

    @property
    def quality_style(self) -> Path | None:
        """The QGIS style of the quality flags; None without flags."""
        return None if self.quality is None else style_path(self.quality)

    @property
    def style_files(self) -> tuple[Path, ...]:
        """The QGIS styles."""
        return tuple(path for path in (self.cube_style, self.quality_style) if path is not None)

    def wavelength_indices(self, grid: WavelengthGrid) -> tuple[int, ...] | None:
        """Indices of `wavelengths` in the model's grid, increasing; None for all.

        Raises:
            UsageError: a wavelength lies outside the grid, or fewer than two are left.
        """
        if self.wavelengths is None:
            return None
        text = self.wavelengths
        if not isinstance(text, str):
            text = ",".join(str(float(wavelength)) for wavelength in text)
        return select_wavelengths(grid, text)[1]
