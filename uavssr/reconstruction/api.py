"""From an opened image to a cube and its STFs: a plan, then a lazy dataset or files.

The only module that builds dask graphs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

import dask
import dask.array
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from dask.delayed import Delayed
from dask.system import CPU_COUNT

from uavssr.io.raster import coordinates
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate
from uavssr.io.writers import TileRecord
from uavssr.model import Model, PGUNet, load_model
from uavssr.reconstruction.dry_run import RunEstimate, forecast
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorRender
from uavssr.reconstruction.memory import network_bytes, thread_counts
from uavssr.reconstruction.options import (
    OutputKeywords,
    OutputOptions,
    ReconstructionKeywords,
    ReconstructionOptions,
    output_options,
)
from uavssr.reconstruction.output_files import Outputs, write_files
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.plan import Preparation
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.reconstruction.provenance import Settings
from uavssr.reconstruction.tile_engine import COEFFICIENTS, resolve_device
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

__all__ = ["Outputs", "Plan", "estimate_stf", "plan_reconstruction", "reconstruct"]

DEFAULT_OVERLAP: Final = 32
GPU_WORKERS: Final = 2
"""One computes while the other copies."""


class Plan(Preparation):
    """A reconstruction that is ready to run: all options fit, and no cube was made yet."""

    def dataset(self, *, uncertainty: bool = False, progress: Progress | None = None) -> xr.Dataset:
        """The cube as a lazy dataset, one dask chunk per tile.

        Args:
            uncertainty: add `reflectance_se`, the standard error of every band and pixel.
            progress: told of the tiles whose STFs are estimated now.

        Returns:
            `reflectance` (wavelength, y, x) float32, NaN where invalid; `fwhm` (wavelength) in nm;
            the scene's STF (`scene_stf` (band, wavelength), `scene_centre` (band) ... with `_se`);
            coordinates wavelength (nm), band, spatial_ref, and y, x unless the raster is rotated.
            With `stf_scope="tile"` the tiles' STFs are estimated now, the cube when it is computed.
        """
        plan = replace(self, doubted=True, known=self.found) if uncertainty else self
        engine = plan.localised(MemoryStore(), progress)
        indices = range(len(engine.tiles))
        records = [dask.delayed(partial(engine.record, stf=False), pure=False)(i) for i in indices]
        shape = {"height": self.msi.height, "width": self.msi.width}
        found = self.stf_dataset().drop_dims("tile", errors="ignore")
        found = found.assign_coords(coordinates(self.msi.crs_wkt, self.msi.transform, **shape))
        kinds: dict[str, tuple[str, Render, str]] = {
            "reflectance": (
                COEFFICIENTS,
                CubeRender(basis=self.basis, dtype="float32"),
                "reflectance",
            )
        }
        if uncertainty:
            sigma = ErrorRender(uncertainty=plan.doubts.uncertainty, dtype="float32")
            kinds["reflectance_se"] = ERROR_MAPS, sigma, "standard error of reflectance"
        for name, (maps, render, said) in kinds.items():
            array = _array(records, engine.tiles, len(self.model.grid), maps, render)
            attributes = {"long_name": said, "units": "1", "grid_mapping": "spatial_ref"}
            found[name] = ("wavelength", "y", "x"), array, attributes
        found["fwhm"] = "wavelength", self.model.grid.fwhm, {"units": "nm"}
        return found

    def taught_by(self) -> Iterator[str]:
        """What is to be said of the spectra that the cube learns from; nothing without them."""
        if self.references is None or self.settings.held is None:
            return
        name, image = self.settings.held.name, self.references.image
        yield f"learning from the {self.settings.taught} spectra in {name}"
        if image not in ("", self.provenance["uavssr_input"]):
            yield (
                f"warning: the spectra in {name} are of another image, {image}; if its ground is "
                "another too, give --stf-only"
            )

    def stf(self, *, progress: Progress | None = None) -> xr.Dataset:
        """The STF of the scene and of every tile, without a cube."""
        scratch = MemoryStore()
        self.find_tile_stfs(scratch, progress)
        records = (scratch.load("stf", index) for index in sorted(scratch.finished("stf")))
        return self.stf_dataset(record for record in records if record is not None)

    def write(
        self,
        out: str | Path | OutputOptions,
        *,
        progress: Progress | None = None,
        **keywords: Unpack[OutputKeywords],
    ) -> Outputs:
        """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`; see `write_files`.

        Args:
            out: the cube, or all options of the output.
            progress: called with each finished tile.
            keywords: fields of `OutputOptions`.
        """
        return write_files(self, output_options(out, keywords), progress=progress)

    def forecast(
        self, out: str | Path | OutputOptions, **keywords: Unpack[OutputKeywords]
    ) -> RunEstimate:
        """Estimate the memory, disk and time that `write` would take, by a trial on one tile."""
        return forecast(self, output_options(out, keywords), cores=CPU_COUNT)


def _array(
    records: Sequence[Delayed], tiles: TileGrid, bands: int, maps: str, render: Render
) -> dask.array.Array:
    """The tiles' maps as one lazy array (C, y, x); tiles share their records."""
    rows, cols = tiles.shape

    def block(index: int) -> dask.array.Array:
        core = tiles[index].core
        shape = (bands, core.height, core.width)
        task = dask.delayed(partial(_rendered, render, maps, bands), pure=False)(records[index])
        return dask.array.from_delayed(task, shape, dtype=np.float32)

    return dask.array.block([[block(i * cols + j) for j in range(cols)] for i in range(rows)])


def _rendered(render: Render, maps: str, bands: int, record: TileRecord) -> npt.NDArray[np.float32]:
    if maps not in record.maps:
        return np.full((bands, *record.valid.shape), np.nan, np.float32)
    return render(record.maps[maps], record.valid)


def plan_reconstruction(
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    **keywords: Unpack[ReconstructionKeywords],
) -> Plan:
    """Load the model and check the options; the scene's STF is estimated when it is needed.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Raises:
        UsageError, ModelRefused, InputRefused: see the options, the model and the input.
        OutputError: the memory limit is too low for one worker.
    """
    return _planned(msi, replace(options or ReconstructionOptions(), **keywords))


def _planned(msi: MsiSource, options: ReconstructionOptions) -> Plan:
    cluster, stf = options.cluster, None if options.stf is None else Path(options.stf)
    place = resolve_device(options.device if cluster is None else "cpu")
    kind = place.type if cluster is None else cluster.device(options.device)
    gpu = kind == "cuda"
    loaded = options.model if isinstance(options.model, Model) else load_model(options.model)
    on_gpu = place.type == "cuda"
    network = copy.deepcopy(loaded.network).to(place) if on_gpu else loaded.network
    halo = network.halo(options.stages)
    held = None if stf is None else read_stf(stf, sensor=msi.sensor, grid=loaded.grid)
    references = None if held is None or options.stf_only else reference_pixels_of(held)
    if cluster is None:
        crew = thread_counts(options.workers or (GPU_WORKERS if gpu else CPU_COUNT))
        memory = torch.cuda.get_device_properties(place).total_memory // crew.workers if gpu else 0
    else:
        crew, memory = cluster.crew(kind, groups=options.workers), cluster.gpu_memory
    settings = Settings(
        stages=len(network.stages) if options.stages is None else options.stages,
        stf_scope=options.stf_scope,
        held=stf,
        taught=0 if references is None else len(references.msi),
        tile=options.tile,
        halo=halo,
        overlap=min(DEFAULT_OVERLAP, options.tile) if options.overlap is None else options.overlap,
        batch=options.batch or _batch(network, memory, options.tile + 2 * halo),
        precision=options.precision or ("bf16" if gpu else "float32"),
        device=kind,
    )
    return Plan(
        msi=msi,
        model=loaded,
        network=network,
        device=place,
        settings=settings,
        crew=crew,
        inputs=(*(Path(path) for path in msi.summary.paths), *([] if stf is None else [stf])),
        given=None if held is None else scene_estimate(held),
        references=references,
        mem_limit=options.mem_limit,
        farm=cluster,
    )


def _batch(network: PGUNet, memory: int, side: int) -> int:
    """Tiles that take half of `memory` at most, a worker's share of its GPU in bytes; 1 without.

    A power of two up to 32. Of all memory, not of what is free now: a resumed run must have the
    same.
    """
    each = max(side, 1) ** 2 * network_bytes(network.config, len(network.stages))
    return 2 ** min(5, int(math.log2(max(1, memory // 2 // each))))


def reconstruct(
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    *,
    uncertainty: bool = False,
    **keywords: Unpack[ReconstructionKeywords],
) -> xr.Dataset:
    """The hyperspectral cube of an image, lazily; see `Plan.dataset` for what is in it.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        uncertainty: add the standard error of every band and pixel.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Errors are those of `plan_reconstruction`; `Plan.write` makes files.
    """
    return plan_reconstruction(msi, options, **keywords).dataset(uncertainty=uncertainty)


def estimate_stf(
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[ReconstructionKeywords],
) -> xr.Dataset:
    """The STF of a scene and of its tiles, with standard errors; no cube is made.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        progress: called with each finished tile.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Returns:
        The dataset that `uavssr.io.stf.write_stf` writes; docs/formats.md lists its variables.
    """
    return plan_reconstruction(msi, options, **keywords).stf(progress=progress)
