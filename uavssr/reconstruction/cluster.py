"""Tiles computed by dask.distributed workers: processes of this machine, or other machines.

The workers read the image and run the network. The run that asks them stores and writes the tiles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import torch
from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster
from distributed.comm.core import CommClosedError

from uavssr.errors import IncompleteRun, UsageError
from uavssr.io.bounded import parse_json, read_bytes
from uavssr.io.writers import TileRecord
from uavssr.reconstruction import cluster_job
from uavssr.reconstruction.cluster_job import ClusterError, Job
from uavssr.reconstruction.devices import CPU_COUNT
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.fitted_stf import PendingRecord, StfNumbers, finished_record
from uavssr.reconstruction.memory_budget import thread_counts
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.pixels import TileInput
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.tile_engine import TileEngine

JOIN_SECONDS: Final = 120
"""Longest time until the first worker joins, in seconds."""
NO_WORKER_SECONDS: Final = 600
"""Longest time without any worker before a run stops, in seconds."""
POLL_SECONDS: Final = 10
"""Time between two looks at whether there are workers, in seconds."""
QUEUED_GROUPS: Final = 2
"""Groups of tiles for each thread of a worker: one is computed, one waits."""
_MAX_SCHEDULER_BYTES: Final = 2**20

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Workers of one version, from `connect` or `local_cluster`."""

    client: Client
    """Connection to the scheduler."""
    workers: Mapping[str, cluster_job.WorkerInfo]
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
        groups = groups or QUEUED_GROUPS * max(1, threads)
        return thread_counts(groups, host_cores=CPU_COUNT)

    def fit_scene(self, plan: Plan) -> StfNumbers:
        """The scene's STF, estimated by one of the workers."""
        job = self._send(Job(plan, None))
        return self.run(plan, cluster_job.fit_remote_scene, job, name="the scene's STF")

    def tiles(self, scene: FittedScene, engine: TileEngine, *, maps: bool) -> RemoteTiles:
        """A computer that gives the tiles of `engine`; without maps their STFs alone."""
        job = Job(scene.plan, scene, error_maps=engine.error_maps, maps=maps)
        compute = partial(self.run, scene.plan, cluster_job.compute_tiles, self._send(job))
        return RemoteTiles(engine=engine, compute=compute)

    def _send(self, job: Job) -> str:
        self.client.register_plugin(job)
        self._jobs.append(job.name)
        return job.name

    @contextmanager
    def own_jobs(self) -> Iterator[Cluster]:
        """The same cluster for one run of many, whose jobs are removed after the body."""
        cluster = replace(self, _jobs=[])
        try:
            yield cluster
        finally:
            cluster.forget_jobs()

    def forget_jobs(self) -> None:
        """Remove the jobs from the workers, if the scheduler is still there."""
        for name in self._jobs:
            with suppress(OSError, CancelledError):  # the scheduler stops just now
                if self.client.status == "running" and self.client.scheduler is not None:
                    self.client.unregister_worker_plugin(name)

    def run(self, plan: Plan, task: Callable[..., Answer], *arguments: object, name: str) -> Answer:
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
            with suppress(TimeoutError):
                future.exception(timeout=POLL_SECONDS)
                return
            if self.client.nthreads():
                last_seen = time.monotonic()
        raise ClusterError(f"no worker is left, for {NO_WORKER_SECONDS} s", remedy="start workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTiles:
    """A `pipeline.TileComputer` whose tiles are computed on a cluster."""

    engine: TileEngine
    """The engine that would compute the tiles here."""
    compute: Callable[..., list[TileRecord]]
    """Runs `compute_tiles` with the job on any worker."""

    def groups(self) -> Iterator[Sequence[int]]:
        """All tiles, in groups that go through the network together."""
        return self.engine.groups()

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """Tiles without pixels: the workers read them."""
        return [TileInput(tile=self.engine.tiles[index], patches={}) for index in indices]

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        """Let a worker compute tiles; their records."""
        indices = tuple(given.tile.index for given in inputs)
        tiles, stfs = self.engine.tiles, self.engine.tile_stfs
        nearby = {tile.index for index in indices for tile in tiles.neighbours(index)}
        numbers = {i: stfs[i].numbers() for i in sorted(nearby) if i in stfs}
        records = self.compute(indices, numbers, name=f"tile {', '.join(map(str, indices))}")
        return [finished_record(record) for record in records]


@contextmanager
def connect(scheduler: str | Path) -> Iterator[Cluster]:
    """A running cluster, by its scheduler's address or the path of a scheduler file.

    Raises:
        UsageError: `scheduler` is neither.
        ClusterError: no scheduler answers, no worker joins, or one has another version.
    """
    text = str(scheduler)
    address = text if "://" in text else _address_in(Path(text))
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, set_as_default=False, name="uavssr"))
        except (OSError, ValueError) as err:
            raise ClusterError(
                f"no scheduler answers at {text} ({err})", remedy="start it with dask scheduler"
            ) from err
        cluster = _joined(client)
        stack.callback(cluster.forget_jobs)
        yield cluster


def _address_in(path: Path) -> str:
    """The address in a scheduler file of dask."""
    try:
        content = parse_json(read_bytes(path, _MAX_SCHEDULER_BYTES))
        address = content["address"]
    except (OSError, ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str) or "://" not in address:
        raise UsageError(
            f"--scheduler {path} is neither an address such as tcp://host:8786 nor a file with one"
        )
    return address


@contextmanager
def local_cluster(count: int) -> Iterator[Cluster]:
    """A cluster of `count` processes here, which listen on the loopback device alone."""
    if count < 1:
        raise UsageError(f"--cluster local:{count} has no worker", remedy="use local:1 or more")
    if logging.getLogger().getEffectiveLevel() > logging.INFO:
        logging.getLogger("distributed").setLevel(logging.ERROR)
    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # dask would pause workers that need more than their share
            resources={"GPU": 1} if torch.cuda.is_available() else {},
            silence_logs=logging.ERROR,
            plugins=[cluster_job.IgnoreInterrupts()],
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
    workers = client.run(cluster_job.worker_info, on_error="return")
    for address, info in sorted(workers.items()):
        if isinstance(info, BaseException):
            raise ClusterError(
                f"worker {address} cannot run uavssr {cluster_job.VERSIONS[0]} ({info!r})",
                remedy="install the same uavssr there",
            )
        cluster_job.check_versions(address, info.versions, cluster_job.VERSIONS)
    return Cluster(client=client, workers=workers)
