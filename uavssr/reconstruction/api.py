"""From an opened image to a cube and its STFs: a plan, then a lazy dataset or files.

The only module that builds dask graphs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dask
import dask.array
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from dask.delayed import Delayed
from dask.system import CPU_COUNT

from uavssr.errors import UsageError
from uavssr.io.raster import coordinates
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate
from uavssr.io.writers import CubeDtype, Format, TileRecord, check_format
from uavssr.model import DEFAULT_MODEL, Model, PGUNet, load_model
from uavssr.reconstruction.dry_run import RunEstimate, forecast
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorRender
from uavssr.reconstruction.memory import network_bytes, thread_counts
from uavssr.reconstruction.output_files import FileOptions, Outputs, write_files
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.plan import Preparation
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.reconstruction.provenance import Precision, Settings, StfScope
from uavssr.reconstruction.tile_engine import COEFFICIENTS, resolve_device
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.reconstruction.cluster import Cluster

__all__ = ["Outputs", "Plan", "estimate_stf", "plan_reconstruction", "reconstruct"]

DEFAULT_TILE: Final = 256
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
        out: str | Path,
        *,
        format: Format | None = None,  # noqa: A002 - the name of the option
        dtype: CubeDtype = "uint16",
        wavelengths: Sequence[int] | None = None,
        creation_options: Mapping[str, str] | None = None,
        sigma: Path | None = None,
        quality: Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Outputs:
        """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`; see `files.write_files`.

        Args:
            out: the cube.
            format: of the cube; by default what its suffix says.
            dtype: counts of 0.0001 reflectance, or float32 reflectance.
            wavelengths: indices into the model's grid of what is written; all by default.
            creation_options: GDAL options that win over the defaults.
            sigma: where to write the standard error of every band and pixel.
            quality: where to write the flags of every pixel, see `raster.flags.Quality`.
            overwrite: whether outputs may be replaced.
            resume: go on with a run to the same output that was stopped.
            progress: told of every tile.
        """
        options = FileOptions(
            format=check_format(out, format),
            dtype=dtype,
            bands=wavelengths,
            creation_options=creation_options,
            sigma=sigma,
            quality=quality,
        )
        return write_files(
            self, out, options=options, overwrite=overwrite, resume=resume, progress=progress
        )

    def forecast(
        self,
        out: str | Path,
        *,
        format: Format | None = None,  # noqa: A002 - the name of the option
        dtype: CubeDtype = "uint16",
        wavelengths: Sequence[int] | None = None,
        sigma: Path | None = None,
        quality: Path | None = None,
    ) -> RunEstimate:
        """What `write` with these arguments would take, after a trial on one tile."""
        options = FileOptions(
            format=check_format(out, format),
            dtype=dtype,
            bands=wavelengths,
            sigma=sigma,
            quality=quality,
        )
        return forecast(self, Path(out), options, cores=CPU_COUNT)


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
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    stf: str | Path | None = None,
    stf_only: bool = False,
    stf_scope: StfScope = "scene",
    tile: int = DEFAULT_TILE,
    overlap: int | None = None,
    stages: int | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    batch: int | None = None,
    workers: int | None = None,
    mem_limit: int | None = None,
    cluster: Cluster | None = None,
) -> Plan:
    """Load the model and check the options; the scene's STF is estimated when it is needed.

    Args:
        msi: from `open_msi`.
        model: a released model's name, a model folder, or a loaded model.
        stf: a file with an STF to hold fixed instead of estimating one. If it was calibrated with
            reference spectra, the cube also learns from them what the model gets wrong.
        stf_only: do not learn from reference spectra: for an image of other ground.
        stf_scope: `scene`, one STF for all; `tile`, each tile's own, blended across borders.
        tile: side of a tile in pixels: a multiple of 256, or of 16 below that.
        overlap: pixels over which the tiles' STFs are blended; by default 32, at most a tile.
        stages: unrolled stages to run, fewer than the model has for speed.
        device: auto, cpu or cuda[:i].
        precision: of the proximal networks; by default bf16 on a GPU, float32 elsewhere.
        batch: most tiles in one forward pass; by default 1, or what suits the GPU.
        workers: groups of tiles in the network at a time; by default the cores, 2 on a GPU.
        mem_limit: bytes of memory that the run may take; workers are left out until it does.
        cluster: from `cluster.connect` or `cluster.local_cluster`, whose workers then compute.

    Raises:
        UsageError, ModelRefused, InputRefused: see the options, the model and the input.
        OutputError: the limit is too low for one worker.
    """
    if stf is not None and stf_scope == "tile":
        raise UsageError("--stf holds one STF fixed, --stf-scope tile estimates many; choose one")
    if stf_only and stf is None:
        raise UsageError("--stf-only without --stf")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be positive, got {workers}")
    place = resolve_device(device if cluster is None else "cpu")
    kind = place.type if cluster is None else cluster.device(device)
    gpu = kind == "cuda"
    loaded = model if isinstance(model, Model) else load_model(model)
    on_gpu = place.type == "cuda"
    network = copy.deepcopy(loaded.network).to(place) if on_gpu else loaded.network
    halo = network.halo(stages)
    held = None if stf is None else read_stf(Path(stf), sensor=msi.sensor, grid=loaded.grid)
    references = None if held is None or stf_only else reference_pixels_of(held)
    if cluster is None:
        crew = thread_counts(workers or (GPU_WORKERS if gpu else CPU_COUNT))
        memory = torch.cuda.get_device_properties(place).total_memory // crew.workers if gpu else 0
    else:
        crew, memory = cluster.crew(kind, groups=workers), cluster.gpu_memory
    settings = Settings(
        stages=len(network.stages) if stages is None else stages,
        stf_scope=stf_scope,
        held=None if stf is None else Path(stf),
        taught=0 if references is None else len(references.msi),
        tile=tile,
        halo=halo,
        overlap=min(DEFAULT_OVERLAP, tile) if overlap is None else overlap,
        batch=_batch(network, memory, tile + 2 * halo) if batch is None else batch,
        precision=precision or ("bf16" if gpu else "float32"),
        device=kind,
    )
    return Plan(
        msi=msi,
        model=loaded,
        network=network,
        device=place,
        settings=settings,
        crew=crew,
        inputs=(*(Path(path) for path in msi.card.paths), *([] if stf is None else [Path(stf)])),
        given=None if held is None else scene_estimate(held),
        references=references,
        mem_limit=mem_limit,
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
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    stf: str | Path | None = None,
    stf_only: bool = False,
    stf_scope: StfScope = "scene",
    tile: int = DEFAULT_TILE,
    stages: int | None = None,
    device: str = "auto",
    uncertainty: bool = False,
) -> xr.Dataset:
    """The hyperspectral cube of an image, lazily; see `Plan.dataset` for what is in it.

    Arguments and errors are those of `plan_reconstruction`; `Plan.write` makes files.
    """
    return plan_reconstruction(
        msi,
        model=model,
        stf=stf,
        stf_only=stf_only,
        stf_scope=stf_scope,
        tile=tile,
        stages=stages,
        device=device,
    ).dataset(uncertainty=uncertainty)


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
