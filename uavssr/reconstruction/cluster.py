"""Tiles computed by dask.distributed workers: processes of this machine, or other machines.

The workers read the image and run the network. The run that asks them stores and writes the tiles.
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar, cast

import torch
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    WorkerPlugin,
    get_worker,
)
from distributed.comm.core import CommClosedError

from uavssr._version import __version__
from uavssr.errors import IncompleteRun, InputRefused, OutputError, UsageError
from uavssr.io.checks import Fingerprint, block_cache, envi_header, fingerprint
from uavssr.io.msi import MsiSource
from uavssr.io.writers import TileRecord
from uavssr.reconstruction.allocator import return_freed_memory, reuse_freed_memory
from uavssr.reconstruction.devices import TORCH_THREADS
from uavssr.reconstruction.fitted_scene import FittedScene, fit_scene
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.reconstruction.tile_input import TileInput
from uavssr.reconstruction.tile_record import (
    FittedStf,
    PendingRecord,
    StfNumbers,
    finished_record,
    stf_record,
)

VERSIONS: Final = (__version__, torch.__version__)
"""Versions of uavssr and torch; with others a tile may come out differently."""
JOIN_SECONDS: Final = 120
"""Longest time until the first worker joins, in seconds."""
NO_WORKER_SECONDS: Final = 600
"""Longest time without any worker before a run stops, in seconds."""
POLL_SECONDS: Final = 10
"""Time between two looks at whether there are workers, in seconds."""
QUEUED_GROUPS: Final = 2
"""Groups of tiles for each thread of a worker: one is computed, one waits."""

_opening: Final = threading.Lock()
Answer = TypeVar("Answer")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Workers of one version, from `connect` or `local_cluster`."""

    client: Client
    """Connection to the scheduler."""
    workers: Mapping[str, WorkerInfo]
    """Workers at the start, by address; others may join."""
    _jobs: list[str] = field(default_factory=list)

    def device(self, name: str) -> str:
        """`cpu` or `cuda`: where the workers run the network, for the name in `--device`."""
        if name not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {name} on a cluster, where each worker takes a GPU of its own",
                remedy="use auto, cpu or cuda",
            )
        gpus = any(worker.gpus for worker in self.workers.values())
        if name == "cuda" and not gpus:
            raise UsageError(
                "no worker declares a GPU", remedy="start workers with --resources GPU=1"
            )
        return "cuda" if gpus and name != "cpu" else "cpu"

    @property
    def gpu_memory(self) -> int:
        """Bytes of the smallest GPU among the workers; 0 without GPUs."""
        return min((w.gpu_memory for w in self.workers.values() if w.gpus), default=0)

    def thread_counts(self, device: str, *, groups: int | None = None) -> ThreadCounts:
        """Threads of this process, of which each of the `workers` waits for one remote group."""
        workers = self.workers.values()
        threads = sum(w.gpus if device == "cuda" else w.threads for w in workers)
        return ThreadCounts(workers=groups or QUEUED_GROUPS * max(1, threads))

    def fit_scene(self, plan: Plan) -> StfNumbers:
        """The scene's STF, estimated by one of the workers."""
        job = self._send(Job(plan, None))
        return self.run(plan, "the scene's STF", fit_remote_scene, job)

    def tiles(self, scene: FittedScene, engine: TileEngine, *, maps: bool) -> RemoteTiles:
        """A computer that gives the tiles of `engine`; without maps their STFs alone."""
        job = Job(scene.plan, scene, error_maps=engine.error_maps is not None, maps=maps)
        return RemoteTiles(cluster=self, plan=scene.plan, engine=engine, job=self._send(job))

    def _send(self, job: Job) -> str:
        self.client.register_plugin(job)
        self._jobs.append(job.name)
        return job.name

    def forget_jobs(self) -> None:
        """Remove the jobs from the workers, if the scheduler is still there."""
        for name in self._jobs:
            with suppress(OSError, CancelledError):  # the scheduler stops just now
                if self.client.status == "running" and self.client.scheduler is not None:
                    self.client.unregister_worker_plugin(name)

    def run(self, plan: Plan, name: str, task: Callable[..., Answer], *arguments: object) -> Answer:
        """Run a task on any worker, and on another one if that is lost.

        Raises:
            IncompleteRun: several workers died while they computed `name`.
            ClusterError: the scheduler is gone, or all workers are.
        """
        resources = {"GPU": 1} if plan.device_kind == "cuda" else None
        try:
            future = self.client.submit(task, *arguments, pure=False, resources=resources)
            self._wait(future)
            return future.result()
        except KilledWorker as err:
            raise IncompleteRun(
                f"{err.allowed_failures + 1} workers died while they computed {name}",
                remedy="look at their logs; most often memory ran out: use a smaller --tile",
            ) from err
        except (CancelledError, CommClosedError) as err:
            raise ClusterError("the scheduler is gone", remedy="start the cluster again") from err

    def _wait(self, future: Future[Answer]) -> None:
        last_seen = time.monotonic()
        while time.monotonic() - last_seen <= NO_WORKER_SECONDS:
            try:
                future.exception(timeout=POLL_SECONDS)
            except TimeoutError:
                if self.client.nthreads():
                    last_seen = time.monotonic()
            else:
                return
        raise ClusterError(f"no worker is left, for {NO_WORKER_SECONDS} s", remedy="start workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTiles:
    """A `pipeline.TileComputer` whose tiles are computed on a cluster."""

    cluster: Cluster
    """The workers."""
    plan: Plan
    """What is reconstructed."""
    engine: TileEngine
    """The engine that would compute the tiles here."""
    job: str
    """Name of the job that the workers have."""

    def groups(self) -> Iterator[Sequence[int]]:
        """All tiles, in groups that go through the network together."""
        return self.engine.groups()

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """Tiles without pixels: the workers read them."""
        return [TileInput(tile=self.engine.tiles[index], patches={}) for index in indices]

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        """Let a worker compute tiles; their records."""
        indices = tuple(given.tile.index for given in inputs)
        stfs = self.engine.tile_stfs
        tiles = self.engine.tiles
        nearby = {tile.index for index in indices for tile in tiles.neighbours(index)}
        arguments = indices, {i: stfs[i].numbers() for i in sorted(nearby) if i in stfs}
        name = f"tile {', '.join(map(str, indices))}"
        records = self.cluster.run(self.plan, name, compute_tiles, self.job, *arguments)
        return [finished_record(record) for record in records]


@contextmanager
def connect(scheduler: str | Path) -> Iterator[Cluster]:
    """A running cluster, by its scheduler's address or the path of a scheduler file.

    Raises:
        UsageError: `scheduler` is neither.
        ClusterError: no scheduler answers, no worker joins, or one has another version.
    """
    text = str(scheduler)
    given = {"address": text} if "://" in text else {"scheduler_file": text}
    if "scheduler_file" in given and not Path(text).is_file():
        raise UsageError(
            f"--scheduler {text} is neither an address such as tcp://host:8786 nor a file"
        )
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(**given, set_as_default=False, name="uavssr"))
        except (OSError, ValueError) as err:
            raise ClusterError(
                f"no scheduler answers at {text} ({err})", remedy="start it with dask scheduler"
            ) from err
        cluster = _joined(client)
        stack.callback(cluster.forget_jobs)
        yield cluster


@contextmanager
def local_cluster(count: int) -> Iterator[Cluster]:
    """A cluster of `count` processes here, which listen on the loopback device alone."""
    if count < 1:
        raise UsageError(f"--cluster local:{count} has no worker", remedy="use local:1 or more")
    logger = logging.getLogger("distributed")
    if logging.getLogger().getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.ERROR)
    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # dask would pause workers that need more than their share
            resources={"GPU": 1} if torch.cuda.is_available() else {},
            silence_logs=logging.ERROR,
            plugins=[IgnoreInterrupts()],
        ) as processes,
        Client(processes, set_as_default=False, name="uavssr") as client,
    ):
        yield _joined(client)


def _joined(client: Client) -> Cluster:
    """The cluster once it has a worker, if all workers fit."""
    try:
        client.wait_for_workers(1, timeout=JOIN_SECONDS)
    except TimeoutError as err:
        raise ClusterError(
            f"no worker has joined within {JOIN_SECONDS} s", remedy="start some with dask worker"
        ) from err
    workers = client.run(worker_info, on_error="return")
    for address, info in sorted(workers.items()):
        if isinstance(info, BaseException):
            raise ClusterError(
                f"worker {address} cannot run uavssr {VERSIONS[0]} ({info!r})",
                remedy="install the same uavssr there",
            )
        _check_versions(address, info.versions, VERSIONS)
    return Cluster(client=client, workers=workers)


# --- on the workers ------------------------------------------------------------------------------


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
    so that errors are those of a task.

    Args:
        plan: what is reconstructed, on the CPU.
        scene: the scene's STF; None if a worker is to estimate it.
        error_maps: whether records hold the maps of standard errors and flags.
        maps: whether records hold maps at all; else the tiles' STFs alone.
    """

    def __init__(
        self, plan: Plan, scene: FittedScene | None, *, error_maps: bool = False, maps: bool = False
    ) -> None:
        self.name, self.versions = f"uavssr-{uuid.uuid4()}", VERSIONS
        self.error_maps, self.maps = error_maps, maps
        here = replace(plan, options=replace(plan.options, cluster=None))
        stf = None if scene is None else scene.stf.numbers()
        self._packed = pickle.dumps((here, stf, fingerprint(_paths(plan.source))))
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
        _check_versions(worker.address, VERSIONS, self.versions)
        plan, stf, expected = pickle.loads(self._packed)  # noqa: S301 - as dask does with tasks
        _check_files(worker.address, _paths(plan.source), expected)
        device = _device(plan.device_kind, worker)
        files = (replace(file, checked=file.checked.here()) for file in plan.source.reader.files)
        source = replace(plan.source, reader=replace(plan.source.reader, files=tuple(files)))
        plan = replace(plan, source=source, network=plan.network.to(device), device=device)
        return fit_scene(plan) if stf is None else FittedScene.from_numbers(plan, stf)


class IgnoreInterrupts(WorkerPlugin):
    """Leaves a Ctrl-C in the terminal to the run, which then stops its workers."""

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Called in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def fit_remote_scene(job_name: str) -> StfNumbers:
    """Task: estimate the scene's STF."""
    return _job(job_name).scene().stf.numbers()


def compute_tiles(
    job_name: str, indices: Sequence[int], tile_stfs: Mapping[int, StfNumbers]
) -> list[TileRecord]:
    """Task: compute tiles that go through the network together.

    With STFs of their own, `tile_stfs` holds those of the tiles and their neighbours.
    """
    job = _job(job_name)
    engine = job.scene().engine(error_maps=job.error_maps)
    if tile_stfs:
        family = engine.scene_stf.family
        stfs = {i: FittedStf.from_numbers(numbers, family) for i, numbers in tile_stfs.items()}
        engine = replace(engine, tile_stfs=stfs)
    with block_cache():
        records = engine.compute(engine.read(indices))
    return records if job.maps else [stf_record(each.index, each.stf) for each in records]


def _job(name: str) -> Job:
    return cast("Job", get_worker().plugins[name])


def _check_versions(worker: str, there: Sequence[str], here: Sequence[str]) -> None:
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
            raise ClusterError(
                f"worker {worker} sees another {path}: {here}, not {there}", remedy=remedy
            )


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
