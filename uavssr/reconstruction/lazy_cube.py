"""The cube as a lazy dataset, one dask chunk per tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.delayed import Delayed

from uavssr.io.raster import coordinates
from uavssr.io.writers import TileRecord
from uavssr.reconstruction.devices import torch_threads
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.products import CubeRender, ErrorRender, Render
from uavssr.reconstruction.tile_engine import COEFFICIENTS, ERROR_MAPS, TileEngine
from uavssr.sensors import Float32Array
from uavssr.tiling import Progress, TileGrid


def lazy_dataset(scene: FittedScene, *, uncertainty: bool, progress: Progress | None) -> xr.Dataset:
    """See `PlannedReconstruction.dataset`."""
    source, grid = scene.plan.source, scene.plan.model.grid
    engine = scene.cube_engine(MemoryStore(), progress, error_maps=uncertainty)
    record = dask.delayed(partial(_record, engine), pure=False)
    records = [record(index) for index in range(len(engine.tiles))]
    dataset = scene.stf_arrays().dataset().drop_dims("tile", errors="ignore")
    dataset = dataset.assign_coords(
        coordinates(source.crs_wkt, source.transform, height=source.height, width=source.width)
    )
    render: Render = CubeRender(basis=scene.plan.basis, dtype="float32")
    dataset["reflectance"] = _variable(
        records, engine.tiles, COEFFICIENTS, render, len(grid), "reflectance"
    )
    if uncertainty:
        render = ErrorRender(uncertainty=scene.quality().uncertainty, dtype="float32")
        dataset["reflectance_se"] = _variable(
            records, engine.tiles, ERROR_MAPS, render, len(grid), "standard error of reflectance"
        )
    width = {"units": "nm", "long_name": "full width at half maximum"}
    return dataset.assign_coords(fwhm=("wavelength", grid.fwhm, width))


def _variable(
    records: Sequence[Delayed], tiles: TileGrid, maps: str, render: Render, bands: int, title: str
) -> xr.Variable:
    """(C, y, x) of the tiles' maps; variables of the same records share their tasks."""
    rows, cols = tiles.shape
    rendered = dask.delayed(partial(_rendered, render, maps, bands), pure=False)

    def block(index: int) -> dask.array.Array:
        core = tiles[index].core
        shape = (bands, core.height, core.width)
        return dask.array.from_delayed(rendered(records[index]), shape, dtype=np.float32)

    blocks = [[block(i * cols + j) for j in range(cols)] for i in range(rows)]
    attributes = {"long_name": title, "units": "1", "grid_mapping": "spatial_ref"}
    return xr.Variable(("wavelength", "y", "x"), dask.array.block(blocks), attributes)


def _record(engine: TileEngine, index: int) -> TileRecord:
    with torch_threads():  # dask runs a tile on each core
        return engine.record(index, stf=False)


def _rendered(render: Render, maps: str, bands: int, record: TileRecord) -> Float32Array:
    if maps not in record.maps:  # an empty tile
        return np.full((bands, *record.valid.shape), np.nan, np.float32)
    with torch_threads():
        return render(record.maps[maps], record.valid)
