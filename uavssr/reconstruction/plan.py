"""What is fixed before a reconstruction starts: options, image, model, tiles and threads."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from uavssr.io.stf import (
    ReferencePixels,
    StfEstimate,
    read_stf,
    reference_pixels_of,
    scene_estimate,
)
from uavssr.model import Correction, Model, PGUNet, ResponseFamily, SpectralBasis, load_model
from uavssr.reconstruction.devices import CPU_COUNT, full_float32, resolve_device, torch_threads
from uavssr.reconstruction.fitted_stf import FittedStf
from uavssr.reconstruction.memory_budget import network_bytes, thread_counts
from uavssr.reconstruction.options import Precision, ReconstructionOptions
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.stf_estimates import stf_from_estimate
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

DEFAULT_OVERLAP: Final = 32
"""Pixels over which the tiles' STFs are blended by default, in tiles of that size and more."""
GPU_WORKERS: Final = 2
"""Batches at a time on a GPU by default: one computes while the other is copied."""
MAX_BATCH: Final = 32
"""Most tiles in one forward pass by default; more fill no GPU better."""


@dataclass(frozen=True, kw_only=True)  # no slots: the cached correction lives in __dict__
class Plan:
    """A reconstruction whose options fit the image and the model; made by `make_plan`."""

    options: ReconstructionOptions
    """The options as they were given."""
    source: MsiSource
    """The multispectral image."""
    model: Model
    """The model, on the CPU."""
    network: PGUNet
    """The model's network, on `device`."""
    device: torch.device
    """Device of this process on which the network runs."""
    device_kind: str
    """`cpu` or `cuda`: where tiles are computed, on a cluster by its workers."""
    tiles: TileGrid
    """Cores and halos of the tiles."""
    stages: int
    """Unrolled stages that run."""
    overlap: int
    """Pixels over which the tiles' STFs are blended."""
    batch: int
    """Most tiles in one forward pass."""
    precision: Precision
    """Number type of the proximal networks; the solvers always run in float32."""
    threads: ThreadCounts
    """Threads, before a memory limit removes some."""
    fixed_stf: StfEstimate | None
    """The STF in `options.stf`; None if it is estimated."""
    references: ReferencePixels | None
    """Pixels of the image with known spectra, which correct the cube; None without."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read: no output may replace them."""
        paths = [*self.source.summary.paths, self.options.stf]
        return tuple(Path(path) for path in paths if path is not None)

    @property
    def family(self) -> ResponseFamily:
        """The responses that the camera can have, on `device`."""
        return ResponseFamily.of(self.source.sensor, self.model.grid).to(self.device)

    @cached_property
    def correction(self) -> Correction | None:
        """Correction of the cube by the reference spectra, computed with the fixed STF."""
        if self.references is None or self.fixed_stf is None:
            return None
        stf = stf_from_estimate(
            self.network, self.source.sensor, self.fixed_stf, device=self.device
        )
        fixed = FittedStf(stf=stf, estimate=self.fixed_stf).reloaded(self.family)
        msi, spectra = (
            torch.tensor(array, dtype=torch.float32, device=self.device)
            for array in (self.references.msi, self.references.spectra)
        )
        with torch_threads(), full_float32:
            return self.network.fit_correction(fixed.stf, msi, spectra, stages=self.stages)

    @property
    def basis(self) -> SpectralBasis:
        """Basis of the tiles' coefficients: the network's, widened by a correction."""
        return self.network.basis if self.correction is None else self.correction.basis

    def tile_done(self, progress: Progress | None, task: str, index: int) -> None:
        """Report a finished tile to `progress`, if there is one."""
        if progress is not None:
            core = self.tiles[index].core
            progress(task, core.height * core.width, self.tiles.height * self.tiles.width)


def make_plan(source: MsiSource, options: ReconstructionOptions) -> Plan:
    """Load the model and the STF file, and choose what the options leave open.

    Raises:
        UsageError, ModelRefused, InputRefused: an option, the model or the STF file does not fit.
    """
    cluster = options.cluster
    device = resolve_device(options.device if cluster is None else "cpu")
    device_kind = device.type if cluster is None else cluster.device(options.device)
    on_gpu = device_kind == "cuda"
    model = options.model if isinstance(options.model, Model) else load_model(options.model)
    network = model.network
    if device.type == "cuda":
        network = copy.deepcopy(network).to(device)
    halo = network.halo(options.stages)
    tiles = TileGrid(height=source.height, width=source.width, tile=options.tile, halo=halo)
    if cluster is None:
        threads = _thread_counts(options.workers, on_gpu=on_gpu)
        gpu_memory = torch.cuda.get_device_properties(device).total_memory if on_gpu else 0
        worker_memory = gpu_memory // threads.workers
    else:
        threads = cluster.thread_counts(device_kind, groups=options.workers)
        worker_memory = cluster.gpu_memory
    batch = options.batch or _batch(network, worker_memory, tiles.tile + 2 * tiles.halo)
    fixed_stf = references = None
    if options.stf is not None:
        dataset = read_stf(Path(options.stf), sensor=source.sensor, grid=model.grid)
        fixed_stf = scene_estimate(dataset)
        references = None if options.stf_only else reference_pixels_of(dataset)
    return Plan(
        options=options,
        source=source,
        model=model,
        network=network,
        device=device,
        device_kind=device_kind,
        tiles=tiles,
        stages=len(network.stages) if options.stages is None else options.stages,
        overlap=min(DEFAULT_OVERLAP, options.tile) if options.overlap is None else options.overlap,
        batch=batch,
        precision=options.precision or ("bf16" if on_gpu else "float32"),
        threads=replace(threads, batch=batch),
        fixed_stf=fixed_stf,
        references=references,
    )


def _thread_counts(workers: int | None, *, on_gpu: bool) -> ThreadCounts:
    """Threads for the cores that this process may use: a GPU leaves them to the other steps."""
    if not on_gpu:
        return thread_counts(workers or CPU_COUNT)
    workers = workers or GPU_WORKERS
    return thread_counts(workers, host_cores=max(1, CPU_COUNT - workers))


def _batch(network: PGUNet, memory: int, side: int) -> int:
    """Tiles that take at most half of `memory`, a worker's share of its GPU in bytes.

    A power of two; 1 without a GPU. It depends on the GPU's whole memory and not on what is free,
    so that a resumed run has the same batches.
    """
    tile_bytes = max(side, 1) ** 2 * network_bytes(network.config, len(network.stages))
    return min(MAX_BATCH, 2 ** int(math.log2(max(1, memory // 2 // tile_bytes))))
