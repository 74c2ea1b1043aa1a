"""The job that a run sends to the workers of a cluster, and the tasks that they run."""

from __future__ import annotations

import pickle
import signal
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import torch
from distributed import Worker, WorkerPlugin, get_worker

from uavssr._version import __version__
from uavssr.errors import InputRefused, OutputError
from uavssr.io.checks import Fingerprint, block_cache, envi_header, fingerprint
from uavssr.io.msi import MsiSource
from uavssr.io.writers import TileRecord
from uavssr.reconstruction.devices import TORCH_THREADS, return_freed_memory, reuse_freed_memory
from uavssr.reconstruction.fitted_scene import FittedScene, fit_scene
from uavssr.reconstruction.fitted_stf import FittedStf, StfNumbers, stf_record
from uavssr.reconstruction.plan import Plan

VERSIONS: Final = (__version__, torch.__version__)
"""Versions of uavssr and torch; with others a tile may come out differently."""
_opening: Final = threading.Lock()


class ClusterError(OutputError):
    """A worker does not fit, or the cluster is gone: the run stops, and keeps what is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """Versions and devices of a worker."""

    versions: tuple[str, str]
    """Versions of uavssr and torch."""
    threads: int
    """Tasks that it runs at a time."""
    gpus: int
    """GPUs that it declares as a resource."""
    gpu_memory: int
    """Memory of its GPU in bytes; 0 without."""


def worker_info(dask_worker: Worker) -> WorkerInfo:
    """Information on the worker that runs this; dask passes it under the argument's name."""
    gpus = int(dask_worker.state.total_resources.get("GPU", 0))
    memory = 0
    if gpus and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(_device("cuda", dask_worker)).total_memory
    threads = dask_worker.state.nthreads
    return WorkerInfo(versions=VERSIONS, threads=threads, gpus=gpus, gpu_memory=memory)


class Job(WorkerPlugin):
    """All that a worker needs for the tiles of a run, except the image's pixels.

    As a plugin it reaches every worker once, also those that join later. The first task unpacks it,
    so that errors are those of a task. Without `scene` a worker estimates the scene's STF. Without
    `maps` the records hold the tiles' STFs alone.
    """

    def __init__(
        self, plan: Plan, scene: FittedScene | None, *, error_maps: bool = False, maps: bool = False
    ) -> None:
        self.name, self.versions = f"uavssr-{uuid.uuid4()}", VERSIONS
        self.error_maps, self.maps = error_maps, maps
        here = replace(plan, options=replace(plan.options, cluster=None))
        numbers = None if scene is None else scene.numbers()
        self._packed = pickle.dumps((here, numbers, fingerprint(_paths(plan.source))))
        self._scene: FittedScene | None = None

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - dask's signature
        """Keep memory between tiles, which dask's defaults return at once."""
        reuse_freed_memory()

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        """Return the memory at the end of the run."""
        return_freed_memory()

    def scene(self) -> FittedScene:
        """The scene on this worker's device; ClusterError if the worker does not fit."""
        torch.set_num_threads(TORCH_THREADS)  # of this thread
        with _opening:
            if self._scene is None:
                self._scene = self._opened(get_worker())
            return self._scene

    def _opened(self, worker: Worker) -> FittedScene:
        check_versions(worker.address, VERSIONS, self.versions)
        plan, numbers, expected = pickle.loads(self._packed)  # noqa: S301 - as dask does with tasks
        _check_files(worker.address, _paths(plan.source), expected)
        device = _device(plan.device_kind, worker)
        files = (replace(file, checked=file.checked.here()) for file in plan.source.reader.files)
        source = replace(plan.source, reader=replace(plan.source.reader, files=tuple(files)))
        plan = replace(plan, source=source, network=plan.network.to(device), device=device)
        return fit_scene(plan) if numbers is None else FittedScene.from_numbers(plan, numbers)


class IgnoreInterrupts(WorkerPlugin):
    """Leaves a Ctrl-C in the terminal to the run, which then stops its workers."""

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Called in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def fit_remote_scene(job_name: str) -> StfNumbers:
    """Task: estimate the scene's STF."""
    return _job(job_name).scene().numbers()


def compute_tiles(
    job_name: str, indices: Sequence[int], tile_stfs: Mapping[int, StfNumbers]
) -> list[TileRecord]:
    """Task: compute a group of tiles; `tile_stfs` are theirs and those of their neighbours."""
    job = _job(job_name)
    engine = job.scene().engine(quality=job.maps, error_maps=job.error_maps)
    if tile_stfs:
        family = engine.scene_stf.family
        stfs = {i: FittedStf.from_numbers(numbers, family) for i, numbers in tile_stfs.items()}
        engine = replace(engine, tile_stfs=stfs)
    with block_cache():
        records = engine.compute(engine.read(indices))
    return records if job.maps else [stf_record(each.index, each.stf) for each in records]


def _job(name: str) -> Job:
    return cast("Job", get_worker().plugins[name])


def check_versions(worker: str, there: Sequence[str], here: Sequence[str]) -> None:
    """Refuse a worker with other versions of uavssr or torch: ClusterError, which names it."""
    if there != here:
        raise ClusterError(
            f"worker {worker} has uavssr {there[0]} with torch {there[1]}, "
            f"the run uavssr {here[0]} with torch {here[1]}",
            remedy="install the same versions on all machines",
        )


def _check_files(worker: str, paths: list[Path], expected: list[Fingerprint]) -> None:
    remedy = "put the image where all machines see it, under one path"
    try:
        files = fingerprint(paths)
    except InputRefused as err:
        fact = f"worker {worker} cannot read {err.path} ({err.fact})"
        raise ClusterError(fact, remedy=remedy) from err
    for path, here, there in zip(paths, files, expected, strict=True):
        if here != there:
            fact = f"worker {worker} sees another {path}: {here}, not {there}"
            raise ClusterError(fact, remedy=remedy)


def _paths(source: MsiSource) -> list[Path]:
    """The image's files by their absolute paths, headers included."""
    paths = [Path(file.checked.absolute) for file in source.reader.files]
    headers = [envi_header(path) for path in paths] if source.summary.driver == "ENVI" else []
    return [*paths, *(path for path in headers if path is not None)]


def _device(kind: str, worker: Worker) -> torch.device:
    """The CPU, or a GPU: workers that are numbered take one after the other."""
    if kind != "cuda":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if not count:
        raise ClusterError(
            f"worker {worker.address} declares a GPU, and torch finds none there",
            remedy="install a CUDA build of torch, or use --device cpu",
        )
    return torch.device("cuda", worker.name % count if isinstance(worker.name, int) else 0)
