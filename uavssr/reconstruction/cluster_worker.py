"""What a worker of a cluster holds and does: the kit of a run, sent once, and tiles by number.

Must not know the run that asks, or where other workers are.
"""

from __future__ import annotations

import hashlib
import pickle
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import torch
from distributed import Worker, WorkerPlugin, get_worker

from uavssr._version import __version__
from uavssr.errors import InputRefused, OutputError
from uavssr.io.checks import Fingerprint, block_cache, envi_header, fingerprint
from uavssr.io.msi import MsiSource
from uavssr.io.writers import Checksums, TileRecord, ZarrRegion, write_failed
from uavssr.reconstruction.allocator import return_freed_memory, reuse_freed_memory
from uavssr.reconstruction.devices import TORCH_THREADS
from uavssr.reconstruction.fitted_scene import FittedScene, fit_scene
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import Product, Render
from uavssr.reconstruction.tile_record import FittedStf, StfNumbers, stf_record
from uavssr.tiling import Window

VERSIONS: Final = (__version__, torch.__version__)
"""Of uavssr and of torch: with another of either a tile may come out differently."""


Result = tuple[TileRecord, list[Checksums | None]]
"""A tile, and the checksums of what was written of it by the product's number."""


class ClusterError(OutputError):
    """A worker does not fit, or the cluster is gone: the run stops, and keeps what is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What a worker says of itself."""

    versions: tuple[str, str]
    """Of uavssr and torch."""
    threads: int
    """Tasks at a time."""
    gpus: int
    """GPUs that it declares as a resource."""
    gpu_memory: int
    """Bytes of the one it takes; 0 without."""

    def check(self, worker: object) -> None:
        """Refuse a worker of another version.

        Raises:
            ClusterError: its versions differ; the worker is named.
        """
        _check_versions(worker, self.versions, VERSIONS)


def about(dask_worker: Worker) -> WorkerInfo:
    """This worker; dask gives it by the argument's name."""
    gpus = int(dask_worker.state.total_resources.get("GPU", 0))
    memory = 0
    if gpus and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(_device("cuda", dask_worker)).total_memory
    threads = dask_worker.state.nthreads
    return WorkerInfo(versions=VERSIONS, threads=threads, gpus=gpus, gpu_memory=memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreWriter:
    """A store that workers write."""

    maps: str
    """Name of the stack it is made of."""
    render: Render
    """Makes its numbers."""
    region: ZarrRegion
    """Writes them."""

    @classmethod
    def of(cls, product: Product, region: ZarrRegion) -> Self | None:
        """The part of a product; None where its sink takes the maps as they are."""
        if product.render is None:
            return None
        there = replace(region, folder=region.folder.absolute())
        return cls(maps=product.maps, render=product.render, region=there)

    def write(self, window: Window, record: TileRecord) -> Checksums | None:
        """Store a tile's part; None where it is empty.

        Raises:
            ClusterError: the store is not to be seen from here.
            OutputError: the system refused, a full disk most often.
        """
        if self.maps not in record.maps:
            return None
        if not self.region.folder.is_dir():
            raise ClusterError(
                f"worker {_name()} does not see {self.region.folder}",
                remedy="write to a file system that all machines share, or use --format gtiff",
            )
        array = self.render(record.maps[self.maps], record.valid)
        try:
            return self.region.write_quantised(window, array)
        except OSError as err:
            path = self.region.target.path
            raise write_failed(path, err, needed_bytes=array.nbytes) from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker needs for the tiles of a run, but for the image's pixels."""

    plan: Plan
    """What is reconstructed, on the CPU."""
    scene: StfNumbers | None
    """The scene's STF; None if a worker is to estimate it."""
    files: tuple[Fingerprint, ...]
    """The image's files as the run sees them."""
    parts: tuple[StoreWriter | None, ...]
    """What is written of each tile, by the product's number."""
    error_maps: bool
    """Whether tiles have the maps of standard errors and flags."""
    maps: bool
    """Whether the maps of a tile are sent back; else its STF alone."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        scene: FittedScene | None = None,
        parts: tuple[StoreWriter | None, ...] = (),
        error_maps: bool = False,
        maps: bool = False,
    ) -> Self:
        """The kit of a plan."""
        return cls(
            plan=replace(plan, options=replace(plan.options, cluster=None)),
            scene=None if scene is None else scene.stf.numbers(),
            files=tuple(fingerprint(_paths(plan.source))),
            parts=parts,
            error_maps=error_maps,
            maps=maps,
        )

    def open(self) -> FittedScene:
        """The scene as this worker runs it, on a device of its own.

        Raises:
            ClusterError: the image here is another, or there is no GPU; the worker is named.
        """
        self._check_files()
        plan = self.plan
        device = _device(plan.device_kind, get_worker())
        network, source = plan.network.to(device), _seen_here(plan.source)
        plan = replace(plan, source=source, network=network, device=device)
        if self.scene is None:
            return fit_scene(plan)
        return FittedScene.from_numbers(plan, self.scene)

    def result(self, record: TileRecord) -> Result:
        """What is sent back of a tile, after its part of each store has been written."""
        if not self.maps:
            return stf_record(record.index, record.stf), []
        core = self.plan.tiles[record.index].core
        written = [None if part is None else part.write(core, record) for part in self.parts]
        return record, written

    def _check_files(self) -> None:
        paths = _paths(self.plan.source)
        try:
            found = fingerprint(paths)
        except InputRefused as err:
            raise ClusterError(
                f"worker {_name()} cannot read {err.path} ({err.fact})",
                remedy="put the image where all machines see it, under one path",
            ) from err
        for path, here, there in zip(paths, found, self.files, strict=True):
            if here != there:
                raise ClusterError(
                    f"worker {_name()} sees another {path}: {here.size} bytes of {here.mtime_ns}, "
                    f"content {here.sha256[:12]}; here {there.size} of {there.mtime_ns}, "
                    f"{there.sha256[:12]}",
                    remedy="put the image where all machines see it, under one path",
                )


class IgnoreInterrupts(WorkerPlugin):
    """Lets Ctrl-C in a terminal stop the run alone, which then stops its workers in good order."""

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - dask's own signature
        """Dask calls it in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class JobPlugin(WorkerPlugin):
    """A kit on its way: unpacked at the first tile, so that whatever is wrong is told by a task.

    Args:
        key: its name, the SHA-256 of its bytes, weights included.
        data: the kit.
    """

    idempotent = True

    def __init__(self, key: str, data: bytes) -> None:
        self.key, self.versions, self._data = key, VERSIONS, data

    @classmethod
    def of(cls, kit: Job) -> Self:
        """Pack a kit."""
        data = pickle.dumps(kit)
        return cls(hashlib.sha256(data).hexdigest(), data)

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - dask's own signature
        """Dask calls it on every worker, also on those that join later."""
        _ARRIVED[self.key] = self
        reuse_freed_memory()

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        """Dask calls it when the run ends."""
        _ARRIVED.pop(self.key, None)
        _unpacked.cache_clear()  # another run's kit is unpacked again
        if not _ARRIVED:
            return_freed_memory()

    def unpacked(self) -> Job:
        """The kit.

        Raises:
            ClusterError: this worker has other versions, or the bytes are not those that were sent.
        """
        _check_versions(_name(), VERSIONS, self.versions)
        if hashlib.sha256(self._data).hexdigest() != self.key:
            raise ClusterError(f"worker {_name()} got damaged weights", remedy="start it again")
        kit: Job = pickle.loads(self._data)  # noqa: S301 - dask itself runs what a client sends
        return kit


_ARRIVED: dict[str, JobPlugin] = {}
_OPENING = threading.Lock()


def find_scene(key: str) -> StfNumbers:
    """The scene's STF."""
    _, scene = _opened(key)
    return scene.stf.numbers()


def compute(key: str, indices: Sequence[int], local: Mapping[int, StfNumbers]) -> list[Result]:
    """Tiles of the run whose kit this is, each with what was written of it.

    Args:
        key: of the kit.
        indices: tiles that go together.
        local: the STFs of tiles and their neighbours, where each tile has its own.
    """
    kit, scene = _opened(key)
    engine = scene.engine(error_maps=kit.error_maps)
    if local:
        family = engine.scene_stf.family
        found = {i: FittedStf.from_numbers(numbers, family) for i, numbers in local.items()}
        engine = replace(engine, tile_stfs=found)
    with block_cache():
        records = engine.compute(engine.read(indices))
    return [kit.result(record) for record in records]


def _opened(key: str) -> tuple[Job, FittedScene]:
    torch.set_num_threads(TORCH_THREADS)  # for this thread
    with _OPENING:
        return _unpacked(key)


@lru_cache(8)
def _unpacked(key: str) -> tuple[Job, FittedScene]:
    shipment = _ARRIVED.get(key)
    if shipment is None:
        raise ClusterError(f"worker {_name()} has nothing of this run", remedy="start it again")
    kit = shipment.unpacked()
    return kit, kit.open()


def _check_versions(worker: object, there: Sequence[str], here: Sequence[str]) -> None:
    if there != here:
        raise ClusterError(
            f"worker {worker} has uavssr {there[0]} with torch {there[1]}, "
            f"the run uavssr {here[0]} with torch {here[1]}",
            remedy="install the same versions on all machines",
        )


def _paths(msi: MsiSource) -> list[Path]:
    """The image's files by their absolute paths, headers included."""
    paths = [Path(file.checked.absolute) for file in msi.reader.files]
    headers = [envi_header(path) for path in paths] if msi.summary.driver == "ENVI" else []
    return [*paths, *(path for path in headers if path is not None)]


def _seen_here(msi: MsiSource) -> MsiSource:
    """The same image with the devices and inodes of this machine."""
    files = (replace(file, checked=file.checked.here()) for file in msi.reader.files)
    return replace(msi, reader=replace(msi.reader, files=tuple(files)))


def _device(kind: str, worker: Worker) -> torch.device:
    """The CPU, or a GPU: workers that are numbered take one after the other.

    Raises:
        ClusterError: there is no GPU.
    """
    if kind != "cuda":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if not count:
        raise ClusterError(
            f"worker {worker.address} declares a GPU, and torch finds none there",
            remedy="install a CUDA build of torch, or use --device cpu",
        )
    return torch.device("cuda", worker.name % count if isinstance(worker.name, int) else 0)


def _name() -> str:
    return str(get_worker().address)
