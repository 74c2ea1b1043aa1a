"""A reconstruction as a lazy dataset: a dask graph with one task per tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.delayed import Delayed

from uavssr.io.raster import coordinates
from uavssr.io.writers import TileRecord
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorRender
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.reconstruction.tile_engine import COEFFICIENTS
from uavssr.reconstruction.tile_stf_pass import cube_engine
from uavssr.sensors import Float32Array
from uavssr.tiling import Progress, TileGrid


def lazy_dataset(
    scene: FittedScene, *, uncertainty: bool = False, progress: Progress | None = None
) -> xr.Dataset:
    """The cube as a lazy dataset, one dask chunk per tile; see `PlannedReconstruction.dataset`."""
    plan = scene.plan
    source, grid = plan.source, plan.model.grid
    engine = cube_engine(scene, MemoryStore(), progress, error_maps=uncertainty)
    record = dask.delayed(partial(engine.record, stf=False), pure=False)
    records = [record(index) for index in range(len(engine.tiles))]
    dataset = scene.stf_dataset().drop_dims("tile", errors="ignore")
    dataset = dataset.assign_coords(
        coordinates(source.crs_wkt, source.transform, height=source.height, width=source.width)
    )
    for name, title, maps, render in _variables(scene, uncertainty=uncertainty):
        array = _lazy_array(records, engine.tiles, len(grid), maps, render)
        attributes = {"long_name": title, "units": "1", "grid_mapping": "spatial_ref"}
        dataset[name] = ("wavelength", "y", "x"), array, attributes
    dataset["fwhm"] = "wavelength", grid.fwhm, {"units": "nm"}
    return dataset


def _variables(scene: FittedScene, *, uncertainty: bool) -> Iterator[tuple[str, str, str, Render]]:
    """Name, title, maps in a record and rendering of each variable made of tiles."""
    cube = CubeRender(basis=scene.plan.basis, dtype="float32")
    yield "reflectance", "reflectance", COEFFICIENTS, cube
    if uncertainty:
        errors = ErrorRender(uncertainty=scene.error_maps().uncertainty, dtype="float32")
        yield "reflectance_se", "standard error of reflectance", ERROR_MAPS, errors


def _lazy_array(
    records: Sequence[Delayed], tiles: TileGrid, bands: int, maps: str, render: Render
) -> dask.array.Array:
    """(C, y, x) of the tiles' maps; arrays of the same records share their tasks."""
    rows, cols = tiles.shape

    def block(index: int) -> dask.array.Array:
        core = tiles[index].core
        shape = (bands, core.height, core.width)
        task = dask.delayed(partial(_rendered, render, maps, bands), pure=False)(records[index])
        return dask.array.from_delayed(task, shape, dtype=np.float32)

    return dask.array.block([[block(i * cols + j) for j in range(cols)] for i in range(rows)])


def _rendered(render: Render, maps: str, bands: int, record: TileRecord) -> Float32Array:
    if maps not in record.maps:  # an empty tile
        return np.full((bands, *record.valid.shape), np.nan, np.float32)
    return render(record.maps[maps], record.valid)
