"""A reconstruction's tiles on dask.distributed: on several processes here, or on other machines.

Workers compute, the run that asks keeps and writes. Must not know how a tile is computed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from distributed import CancelledError, Client, Future, LocalCluster
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from uavssr.errors import IncompleteRun, UsageError
from uavssr.io.writers import Checksums, TileRecord, ZarrWriter
from uavssr.reconstruction.cluster_worker import (
    VERSIONS,
    ClusterError,
    IgnoreInterrupts,
    Job,
    JobPlugin,
    StoreWriter,
    WorkerInfo,
    about,
    compute,
    find_scene,
)
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import Product, TileReceiver
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.reconstruction.tile_input import TileInput
from uavssr.reconstruction.tile_record import PendingRecord, StfNumbers, finished_record
from uavssr.tiling import Window

JOINING: Final = 120
"""Seconds until the first worker must have joined."""
PATIENCE: Final = 600
"""Seconds without any worker after which a run ends."""
LOOK: Final = 10
"""Seconds between two looks at whether there are workers."""
QUEUED: Final = 2
"""Groups of tiles that each place of a worker has: one that is computed, one that waits."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Workers that were asked who they are; made by `connect` or `local_cluster`."""

    client: Client
    """The connection to the scheduler."""
    workers: Mapping[str, WorkerInfo]
    """By address, as they were at the start; others may join."""
    _shipped: set[str] = field(default_factory=set)

    def device(self, asked: str) -> str:
        """`cpu` or `cuda`, where the workers run the network.

        Raises:
            UsageError: a certain GPU is named, or none of the workers declares one.
        """
        if asked not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {asked} on a cluster, where each worker takes a GPU of its own",
                remedy="use auto, cpu or cuda",
            )
        gpus = sum(each.gpus for each in self.workers.values())
        if asked == "cuda" and not gpus:
            raise UsageError(
                "no worker declares a GPU",
                remedy="start workers with dask worker --resources GPU=1",
            )
        return "cuda" if gpus and asked != "cpu" else "cpu"

    @property
    def gpu_memory(self) -> int:
        """Bytes of the smallest GPU among the workers; 0 where there is none."""
        return min((each.gpu_memory for each in self.workers.values() if each.gpus), default=0)

    def thread_counts(self, device: str, *, groups: int | None = None) -> ThreadCounts:
        """The threads that go with it: each of `groups` waits for one group of tiles.

        Args:
            device: from `device`.
            groups: at a time on the cluster; by default two for each place of its workers.
        """
        found = self.workers.values()
        places = sum(each.gpus if device == "cuda" else each.threads for each in found)
        return ThreadCounts(workers=groups or QUEUED * max(1, places), readers=1, writers=2)

    def fit_scene(self, plan: Plan) -> StfNumbers:
        """The scene's STF, estimated by one of the workers."""
        return self.ask(plan, find_scene, self._ship(Job.of(plan)), "the scene's STF")

    def tiles(
        self, scene: FittedScene, engine: TileEngine, products: Sequence[Product]
    ) -> tuple[RemoteTiles, list[TileReceiver]]:
        """What computes tiles, and what takes the records into the products.

        Zarr stores are written by the workers, each tile by the one that has computed it; of these
        tiles the products here get the checksums.

        Args:
            scene: the plan with the scene's STF.
            engine: as it would run here, with the tiles' own STFs where these are used.
            products: none where the tiles' STFs are all that is wanted.
        """
        sinks = [product.sink for product in products]
        parts = tuple(
            StoreWriter.of(product, sink.region) if isinstance(sink, ZarrWriter) else None
            for product, sink in zip(products, sinks, strict=True)
        )
        kit = Job.of(
            scene.plan,
            scene=scene,
            parts=parts,
            error_maps=engine.error_maps is not None,
            maps=bool(products),
        )
        remote = RemoteTiles(cluster=self, plan=scene.plan, engine=engine, key=self._ship(kit))
        shared: list[TileReceiver] = [
            SharedProduct(product=product, sink=sink, number=i, written=remote.written)
            if isinstance(sink, ZarrWriter)
            else product
            for i, (product, sink) in enumerate(zip(products, sinks, strict=True))
        ]
        return remote, shared

    def _ship(self, kit: Job) -> str:
        """Send a kit to all workers, and those that join later; returns its name there."""
        shipment = JobPlugin.of(kit)
        if shipment.key not in self._shipped:
            self.client.register_plugin(shipment, name=shipment.key)
            self._shipped.add(shipment.key)
        return shipment.key

    def forget(self) -> None:
        """Take back what was sent, if the scheduler is still there."""
        for key in self._shipped:
            with suppress(OSError, CancelledError):  # it goes just now
                if self.client.status == "running" and self.client.scheduler is not None:
                    self.client.unregister_worker_plugin(key)

    def ask(
        self, plan: Plan, task: Callable[..., Answer], key: str, what: str, *more: object
    ) -> Answer:
        """Run a task of `workbench` somewhere, elsewhere should its worker be lost.

        Raises:
            IncompleteRun: worker after worker died of it.
            ClusterError: the scheduler is gone, or all workers are.
        """
        resources = {"GPU": 1} if plan.device_kind == "cuda" else None
        try:
            future = self.client.submit(task, key, *more, pure=False, resources=resources)
            self._wait(future)
        except (CancelledError, CommClosedError) as err:
            raise _gone() from err
        try:
            return future.result()
        except KilledWorker as err:
            raise IncompleteRun(
                f"{err.allowed_failures + 1} workers died while they computed {what}",
                remedy="look at their logs; most often memory ran out: use a smaller --tile",
            ) from err
        except (CancelledError, CommClosedError) as err:
            raise _gone() from err

    def _wait(self, future: Future[Any]) -> None:
        since = time.monotonic()
        while True:
            try:
                future.exception(timeout=LOOK)
                return
            except TimeoutError:
                if self.client.nthreads():
                    since = time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise ClusterError(f"no worker is left, for {PATIENCE} s", remedy="start workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTiles:
    """A `pipeline.TileComputer` whose tiles are computed on a cluster."""

    cluster: Cluster
    """The workers."""
    plan: Plan
    """What is reconstructed."""
    engine: TileEngine
    """As it would run here."""
    key: str
    """Name of the kit that the workers have."""
    written: dict[tuple[int, int], Checksums] = field(default_factory=dict)
    """By tile and number of the product what workers have written and nobody was told yet."""

    def groups(self) -> Iterator[Sequence[int]]:
        """As of the engine."""
        return self.engine.groups()

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """Nothing: the workers read."""
        return [TileInput(tile=self.engine.tiles[index], patches={}) for index in indices]

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        """The cluster's records, which are finished."""
        group = tuple(each.tile.index for each in inputs)
        what = f"tile {', '.join(map(str, group))}"
        found = self.cluster.ask(self.plan, compute, self.key, what, group, self._local(group))
        for record, parts in found:
            for number, checksums in enumerate(parts):
                if checksums is not None:
                    self.written[record.index, number] = checksums
        return [finished_record(record) for record, _ in found]

    def _local(self, group: Sequence[int]) -> dict[int, StfNumbers]:
        """The tiles' and their neighbours' own STFs, where these are used."""
        known = self.engine.tile_stfs
        if not known:
            return {}
        near = {tile.index for index in group for tile in self.engine.tiles.neighbours(index)}
        found = {index: known.get(index) for index in sorted(near)}
        return {index: stf.numbers() for index, stf in found.items() if stf is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedProduct:
    """A store that workers write, and the run itself where it has a tile from its journal."""

    product: Product
    """The product."""
    sink: ZarrWriter
    """Its store."""
    number: int
    """Of the product."""
    written: dict[tuple[int, int], Checksums]
    """See `RemoteTiles`."""

    def add(self, window: Window, record: TileRecord) -> None:
        """Count a tile in, or write it."""
        checksums = self.written.pop((record.index, self.number), None)
        if checksums is None:
            self.product.add(window, record)
        else:
            self.sink.accept(window, checksums)


@contextmanager
def connect(scheduler: str | Path) -> Iterator[Cluster]:
    """A cluster that runs already, by its scheduler's address or the path of a scheduler file.

    Raises:
        ClusterError: nobody answers, no worker joins, or one has another version.
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
        yield from _joined(client)


@contextmanager
def local_cluster(count: int) -> Iterator[Cluster]:
    """So many worker processes on this machine, which listen on the loopback device alone.

    Raises:
        UsageError: not a positive number.
    """
    import torch

    if count < 1:
        raise UsageError(f"--cluster local:{count} has no worker", remedy="use local:1 or more")
    with (
        _quiet(),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # a tile takes what it takes; dask would stop workers halfway there
            resources={"GPU": 1} if torch.cuda.is_available() else {},
            silence_logs=logging.ERROR,
            plugins=[IgnoreInterrupts()],
        ) as processes,
        Client(processes, set_as_default=False, name="uavssr") as client,
    ):
        yield from _joined(client)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the scheduler's chatter, which it begins on import, to those who asked for more."""
    logger = logging.getLogger("distributed")
    before = logger.level
    if logging.getLogger().getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _joined(client: Client) -> Iterator[Cluster]:
    """The cluster once it has a worker, and all of its workers fit."""
    try:
        client.wait_for_workers(1, timeout=JOINING)
    except TimeoutError as err:
        raise ClusterError(
            f"no worker has joined within {JOINING} s", remedy="start some with dask worker"
        ) from err
    cluster = Cluster(client=client, workers=_checked(client.run(about, on_error="return")))
    try:
        yield cluster
    finally:
        cluster.forget()


def _checked(workers: Mapping[str, Any]) -> dict[str, WorkerInfo]:
    for address, found in sorted(workers.items()):
        if isinstance(found, BaseException):
            raise ClusterError(
                f"worker {address} cannot run uavssr {VERSIONS[0]} "
                f"({type(found).__name__}: {found})",
                remedy="install the same uavssr there",
            )
        found.check(address)
    return dict(workers)


def _gone() -> ClusterError:
    return ClusterError("the scheduler is gone", remedy="start the cluster again")
