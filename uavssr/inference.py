"""From an opened image to a cube and its STFs: a plan, then a lazy dataset or files.

The only module that builds dask graphs. When files are written a tile's cube never leaves its task,
so memory is set by the tile and the number of workers, not by the scene.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import dask
import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.system import CPU_COUNT

from uavssr.engine import TileEngine, TileStf, resolve_device, torch_threads
from uavssr.errors import UsageError
from uavssr.estimation import held_stf, scene_stf
from uavssr.model.weights import DEFAULT_MODEL, Model, load_model
from uavssr.provenance import provenance
from uavssr.raster.georeference import coordinates
from uavssr.raster.grid import TileGrid
from uavssr.raster.output import check_output, remove_stale_parts
from uavssr.raster.sink import CubeSink
from uavssr.raster.stf import (
    StfEstimate,
    read_stf,
    scene_estimate,
    stf_dataset,
    stf_path,
    tiles_path,
    write_stf,
    write_tiles,
)

if TYPE_CHECKING:
    from uavssr.raster.source import MsiSource

Progress = Callable[[str, int, int], None]
"""Called with (what is done, pixels just finished, pixels in all) from any thread."""
StfScope = Literal["scene", "tile"]
DEFAULT_TILE: Final = 256
DEFAULT_OVERLAP: Final = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of one reconstruction."""

    cube: Path
    """The hyperspectral GeoTIFF."""
    stf: Path
    """The STF of the scene and its tiles, netCDF."""
    tiles: Path
    """Tile polygons with the scalars, GeoPackage."""

    @classmethod
    def beside(cls, cube: Path) -> Outputs:
        """The names that go with a cube.

        Raises:
            UsageError: the cube's is no .tif or .tiff.
        """
        if cube.suffix.lower() not in (".tif", ".tiff"):
            raise UsageError("the cube is a GeoTIFF", path=cube, remedy="name it .tif")
        return cls(cube=cube, stf=stf_path(cube), tiles=tiles_path(cube))

    def __iter__(self) -> Iterator[Path]:
        return iter((self.cube, self.stf, self.tiles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A reconstruction that is ready to run: the scene's STF is known, no cube was made yet."""

    msi: MsiSource
    """The input."""
    model: Model
    """The model."""
    engine: TileEngine
    """What runs for each tile, with the scene's STF."""
    scene: StfEstimate
    """The scene's STF as numbers."""
    stf_scope: StfScope
    """Whether the cube is made with the scene's STF or with each tile's own."""
    workers: int
    """Tiles in flight at a time."""
    inputs: tuple[Path, ...]
    """Files that were read and must survive."""
    held: Path | None
    """The file whose STF is held fixed; None where it is estimated."""

    @property
    def provenance(self) -> dict[str, str]:
        """What an output records: version, weights, settings, input."""
        return provenance(
            self.msi, self.model, self.engine, stf_scope=self.stf_scope, held=self.held
        )

    def dataset(self, *, progress: Progress | None = None) -> xr.Dataset:
        """The cube as a lazy dataset, one dask chunk per tile.

        Returns:
            `reflectance` (wavelength, y, x) float32, NaN where invalid; `fwhm` (wavelength) in nm;
            the scene's STF (`scene_stf` (band, wavelength), `scene_centre` (band) ... with `_se`);
            coordinates wavelength (nm), band, spatial_ref, and y, x unless the raster is rotated.
            With `stf_scope="tile"` the tiles' STFs are estimated now, the cube when it is computed.
        """
        engine, _ = self._localised(progress)
        rows, cols = engine.tiles.shape
        blocks = [[self._block(engine, i * cols + j) for j in range(cols)] for i in range(rows)]
        shape = {"height": self.msi.height, "width": self.msi.width}
        found = self._stf_dataset([]).drop_dims("tile", errors="ignore")
        found = found.assign_coords(coordinates(self.msi.crs_wkt, self.msi.transform, **shape))
        attributes = {"long_name": "reflectance", "units": "1", "grid_mapping": "spatial_ref"}
        found["reflectance"] = ("wavelength", "y", "x"), dask.array.block(blocks), attributes
        found["fwhm"] = "wavelength", self.model.grid.fwhm, {"units": "nm"}
        return found

    def stf(self, *, progress: Progress | None = None) -> xr.Dataset:
        """The STF of the scene and of every tile, without a cube."""
        return self._stf_dataset(self._tile_stfs(progress))

    def write(
        self,
        out: str | Path,
        *,
        overwrite: bool = False,
        dtype: Literal["uint16", "float32"] = "uint16",
        creation_options: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Outputs:
        """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`.

        Each name appears when its file is complete and has been read back, the cube's first.

        Raises:
            OutputError: an output exists without `overwrite`, is an input, or cannot be written.
            IncompleteRun: the network failed on a tile, which is named.
        """
        outputs, inputs = Outputs.beside(Path(out)), self.inputs
        shape = {"height": self.msi.height, "width": self.msi.width}
        for target in outputs:
            check_output(target, overwrite=overwrite, inputs=inputs)
            remove_stale_parts(target)
        sink = CubeSink(
            outputs.cube,
            **shape,
            grid=self.model.grid,
            crs_wkt=self.msi.crs_wkt,
            transform=self.msi.transform,
            dtype=dtype,
            block=min(self.engine.tiles.tile, DEFAULT_TILE),
            overwrite=overwrite,
            creation_options=creation_options,
            tags=self.provenance,
            inputs=inputs,
        )
        engine, stfs = self._localised(progress)
        job = partial(_write_tile, engine, sink, stfs)
        with sink:
            written = self._run(job, "writing the cube", progress)
            sink.finish()
        dataset = self._stf_dataset([stf for stf in written if stf is not None])
        write_stf(dataset, outputs.stf, overwrite=overwrite, inputs=inputs)
        write_tiles(dataset, outputs.tiles, overwrite=overwrite, inputs=inputs)
        return outputs

    def _localised(self, progress: Progress | None) -> tuple[TileEngine, dict[int, TileStf]]:
        """The engine to make the cube with; with `stf_scope="tile"` after a pass for the STFs."""
        if self.stf_scope == "scene":
            return self.engine, {}
        stfs = {each.index: each for each in self._tile_stfs(progress)}
        return replace(self.engine, local={i: each.stf for i, each in stfs.items()}), stfs

    def _tile_stfs(self, progress: Progress | None) -> list[TileStf]:
        found = self._run(partial(_estimate_tile, self.engine), "estimating STFs", progress)
        return [stf for stf in found if stf is not None]

    def _run(self, job: Callable[[int], T], what: str, progress: Progress | None) -> Sequence[T]:
        """Run `job` on every tile's index, at most `workers` at a time."""
        tiles = self.engine.tiles
        total = tiles.height * tiles.width

        def tracked(index: int) -> T:
            result = job(index)
            if progress is not None:
                core = tiles[index].core
                progress(what, core.height * core.width, total)
            return result

        tasks = [dask.delayed(tracked, pure=False)(index) for index in range(len(tiles))]
        threads = max(1, CPU_COUNT // self.workers)
        with torch_threads(threads):
            return dask.compute(*tasks, scheduler="threads", num_workers=self.workers)

    def _stf_dataset(self, stfs: Sequence[TileStf]) -> xr.Dataset:
        sensor = self.msi.sensor
        return stf_dataset(
            sensor=sensor,
            grid=self.model.grid,
            nominal=sensor.srf(self.model.grid),
            scene=self.scene,
            tiles=[(each.window, each.estimate) for each in stfs],
            crs_wkt=self.msi.crs_wkt,
            transform=self.msi.transform,
            attrs=self.provenance,
        )

    def _block(self, engine: TileEngine, index: int) -> dask.array.Array:
        core = engine.tiles[index].core
        shape = (len(self.model.grid), core.height, core.width)
        task = dask.delayed(partial(_cube_of, engine, shape), pure=False)(index)
        return dask.array.from_delayed(task, shape, dtype=np.float32)


def _estimate_tile(engine: TileEngine, index: int) -> TileStf | None:
    result = engine.run(index)
    return None if result is None else result.local


def _write_tile(
    engine: TileEngine, sink: CubeSink, stfs: Mapping[int, TileStf], index: int
) -> TileStf | None:
    window = engine.tiles[index].core
    if stfs:
        blended = engine.blended(index)
        if blended is None:
            return None
        sink.write(window, engine.expand(blended[0]), blended[1])
        return engine.explained(stfs[index], blended[0])
    result = engine.run(index)
    if result is None:
        return None
    sink.write(window, engine.expand(result.coefficients), result.valid)
    return result.local


def _cube_of(
    engine: TileEngine, shape: tuple[int, int, int], index: int
) -> npt.NDArray[np.float32]:
    found = engine.coefficients(index)
    if found is None:
        return np.full(shape, np.nan, np.float32)
    coefficients, valid = found
    return np.where(valid, engine.expand(coefficients), np.float32(np.nan))


def plan_reconstruction(
    msi: MsiSource,
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    stf: str | Path | None = None,
    stf_scope: StfScope = "scene",
    tile: int = DEFAULT_TILE,
    overlap: int | None = None,
    stages: int | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Plan:
    """Load the model, check the options and estimate the scene's STF.

    Args:
        msi: from `open_msi`.
        model: a released model's name, a model folder, or a loaded model.
        stf: a file with an STF to hold fixed instead of estimating one.
        stf_scope: `scene`, one STF for all; `tile`, each tile's own, blended across borders.
        tile: side of a tile in pixels: a multiple of 256, or of 16 below that.
        overlap: pixels over which the tiles' STFs are blended; by default 32, at most a tile.
        stages: unrolled stages to run, fewer than the model has for speed.
        device: auto, cpu or cuda[:i].
        workers: tiles in flight; by default the number of cores, 1 on a GPU.

    Raises:
        UsageError, ModelRefused, InputRefused: see the options, the model and the input.
    """
    if stf_scope not in ("scene", "tile"):
        raise UsageError(f"--stf-scope must be scene or tile, got {stf_scope!r}")
    if tile < 16 or tile % min(tile, DEFAULT_TILE) or tile % 16:
        raise UsageError(f"--tile must be a multiple of 256, or of 16 below that, got {tile}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be positive, got {workers}")
    if stf is not None and stf_scope == "tile":
        raise UsageError("--stf holds one STF fixed, --stf-scope tile estimates many; choose one")
    place = resolve_device(device)
    loaded = model if isinstance(model, Model) else load_model(model)
    network = copy.deepcopy(loaded.network).to(place) if place.type != "cpu" else loaded.network
    halo = network.halo(stages)
    if stf is None:
        scene, estimate = scene_stf(network, msi, device=place, stages=stages)
    else:
        given = scene_estimate(read_stf(Path(stf), sensor=msi.sensor, grid=loaded.grid))
        scene, estimate = held_stf(network, msi, given, device=place, stages=stages)
    engine = TileEngine(
        network=network,
        source=msi,
        tiles=TileGrid(height=msi.height, width=msi.width, tile=tile, halo=halo),
        scene=scene,
        device=place,
        stages=stages,
        half=place.type == "cuda",
        overlap=min(DEFAULT_OVERLAP, tile) if overlap is None else overlap,
    )
    return Plan(
        msi=msi,
        model=loaded,
        engine=engine,
        scene=estimate,
        stf_scope=stf_scope,
        inputs=(*(Path(path) for path in msi.card.paths), *([] if stf is None else [Path(stf)])),
        held=None if stf is None else Path(stf),
        workers=workers or (1 if place.type == "cuda" else CPU_COUNT),
    )


def reconstruct(
    msi: MsiSource,
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    stf: str | Path | None = None,
    stf_scope: StfScope = "scene",
    tile: int = DEFAULT_TILE,
    stages: int | None = None,
    device: str = "auto",
) -> xr.Dataset:
    """The hyperspectral cube of an image, lazily; see `Plan.dataset` for what is in it.

    Arguments and errors are those of `plan_reconstruction`; `Plan.write` makes files.
    """
    return plan_reconstruction(
        msi, model=model, stf=stf, stf_scope=stf_scope, tile=tile, stages=stages, device=device
    ).dataset()


def estimate_stf(
    msi: MsiSource,
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    tile: int = DEFAULT_TILE,
    stages: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> xr.Dataset:
    """The STF of a scene and of its tiles, with standard errors; no cube is made.

    Returns:
        The dataset that `raster.stf.write_stf` writes; docs/formats.md lists its variables.
    """
    plan = plan_reconstruction(msi, model=model, tile=tile, stages=stages, device=device)
    return plan.stf(progress=progress)
