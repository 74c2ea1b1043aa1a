"""Runs on a real dask cluster: the same bytes as here, whatever becomes of its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
import rasterio
import xarray as xr
from distributed import LocalCluster

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import P4M, tiny_msi
from tests.helpers.rasters import write
from uavssr import cli
from uavssr.batch import BatchRun, Field
from uavssr.cli.entry import as_uavssr_error
from uavssr.errors import IncompleteRun, UsageError
from uavssr.io.checks.fingerprint import Fingerprint
from uavssr.io.msi import Request
from uavssr.io.msi.source import open_msi
from uavssr.io.writers.journal import journal_path
from uavssr.reconstruction import cluster_job
from uavssr.reconstruction.api import PlannedReconstruction, plan_reconstruction
from uavssr.reconstruction.cluster import Cluster, connect, local_cluster
from uavssr.reconstruction.cluster_job import VERSIONS, ClusterError, WorkerInfo
from uavssr.reconstruction.fitted_stf import PendingRecord
from uavssr.reconstruction.options import OutputOptions, ReconstructionOptions
from uavssr.reconstruction.output_files import Outputs
from uavssr.reconstruction.pixels import TileInput
from uavssr.reconstruction.tile_engine import TileEngine

HEIGHT, WIDTH, TILE = 80, 112, 16
TILES = 35
NAMES = pytest.mark.parametrize(
    "name", ["out.tif", pytest.param("out.zarr", marks=pytest.mark.slow)]
)
"""Zarr is slow to test, because of its many files."""
BAD = 17
"""A tile in the middle."""
Planner = Callable[..., PlannedReconstruction]
Writer = Callable[..., Outputs]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated scene with a hole that empties some tiles."""
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, : 2 * TILE] = False
    numbers = np.where(mask, tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy(), np.float32(np.nan))
    path = tmp_path_factory.mktemp("in") / "in.tif"
    return write(path, numbers, tags={"sensor": "p4m"}, blockxsize=64, blockysize=64, tiled=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the scheduler of two worker processes."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=50,
    ) as processes:
        yield processes.scheduler_address


@pytest.fixture
def cluster(address: str) -> Iterator[Cluster]:
    with connect(address) as found:
        yield found
        found.client.run(undo)


@pytest.fixture
def plan(image: Path, model_folder: Path) -> Planner:
    def build(**options: object) -> PlannedReconstruction:
        given = {"model": model_folder, "tile": TILE, "device": "cpu"} | options
        return plan_reconstruction(open_msi(image), ReconstructionOptions(**given))

    return build


@pytest.fixture
def in_one_process(tmp_path: Path, plan: Planner) -> Writer:
    """Writes the same output without a cluster, in a folder beside."""

    def write_here(name: str = "out.tif", **options: object) -> Outputs:
        (tmp_path / "here").mkdir()
        return plan(**options).write(tmp_path / "here" / name)

    return write_here


def run(*arguments: object) -> int:
    return cli.main(list(map(str, arguments)))


def stored_tiles(out: Path) -> int:
    folder = journal_path(out)
    return len(list(folder.glob("tile-*.npz"))) if folder.exists() else 0


def assert_same(one: Outputs, other: Outputs) -> None:
    """The same pixels and the same STFs."""
    if one.cube.is_dir():
        first, second = (
            xr.open_zarr(each.cube, consolidated=True, decode_cf=False).load()
            for each in (one, other)
        )
        np.testing.assert_array_equal(first.reflectance, second.reflectance)
        assert int((first.reflectance != 65535).sum())
    else:
        with rasterio.open(one.cube) as first, rasterio.open(other.cube) as second:
            np.testing.assert_array_equal(first.read(), second.read())
            assert first.dataset_mask().any()
    first, second = (xr.load_dataset(each.stf, engine="h5netcdf") for each in (one, other))
    assert first.identical(second)


# --- what is done to workers: dask sends these functions to them ---------------------------------


def break_one_tile() -> None:
    """Make one tile fail in this process."""
    real = TileEngine.begin

    def begin(
        self: TileEngine, inputs: list[TileInput], *, stf: bool = True
    ) -> list[PendingRecord]:
        if BAD in [each.tile.index for each in inputs]:
            raise RuntimeError("cosmic ray")
        return real(self, inputs, stf=stf)

    TileEngine.healthy = real
    TileEngine.begin = begin


def undo() -> None:
    """Undo `break_one_tile` and `pretend_older`."""
    if hasattr(TileEngine, "healthy"):
        TileEngine.begin = TileEngine.healthy
        del TileEngine.healthy
    cluster_job.VERSIONS = VERSIONS


def pretend_older() -> None:
    """Pretend to be an older uavssr."""
    cluster_job.VERSIONS = ("0.0.1", VERSIONS[1])


def listening() -> set[str]:
    """Addresses at which this process listens."""
    found = psutil.Process().net_connections()
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


# --- the same result -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.tif", {}),
        ("out.tif", {"stf_scope": "tile"}),
        ("out.tif", {"batch": 3}),
        ("out.zarr", {}),
    ],
)
def test_cluster_makes_what_one_process_makes(
    tmp_path: Path,
    cluster: Cluster,
    plan: Planner,
    in_one_process: Writer,
    name: str,
    options: dict,
) -> None:
    there = plan(**options, cluster=cluster).write(tmp_path / name)
    assert_same(in_one_process(name, **options), there)
    assert not journal_path(there.cube).exists()


def test_standard_errors_and_flags_are_the_same_too(
    tmp_path: Path, cluster: Cluster, plan: Planner
) -> None:
    (tmp_path / "here").mkdir()
    for folder, workers in ((tmp_path / "here", None), (tmp_path, cluster)):
        names = {"uncertainty": folder / "sigma.tif", "quality": folder / "quality.tif"}
        plan(cluster=workers).write(OutputOptions(cube=folder / "out.tif", **names))
    for name in ("sigma.tif", "quality.tif"):
        with rasterio.open(tmp_path / "here" / name) as one, rasterio.open(tmp_path / name) as two:
            np.testing.assert_array_equal(one.read(), two.read())


# --- faults --------------------------------------------------------------------------------------


@NAMES
def test_killed_worker_costs_nothing_but_time(
    tmp_path: Path, cluster: Cluster, plan: Planner, in_one_process: Writer, name: str
) -> None:
    """Row 42: its tiles are computed elsewhere."""
    victim = next(iter(cluster.client.run(os.getpid).values()))
    delivered = []

    def progress(what: str, pixels: int, total: int) -> None:
        delivered.append(what)
        if len(delivered) == 5:
            os.kill(victim, signal.SIGKILL)

    there = plan(cluster=cluster).write(tmp_path / name, progress=progress)
    assert victim not in cluster.client.run(os.getpid).values()
    assert len(delivered) == TILES
    assert_same(in_one_process(name), there)


@NAMES
def test_tile_that_fails_on_a_worker_is_named_and_the_others_kept(
    tmp_path: Path, cluster: Cluster, plan: Planner, in_one_process: Writer, name: str
) -> None:
    """Row 31; and one process goes on with what a cluster began."""
    cluster.client.run(break_one_tile)
    with pytest.raises(IncompleteRun, match=rf"tile {BAD} failed.*cosmic ray") as caught:
        plan(cluster=cluster).write(tmp_path / name)
    assert "--resume" in str(caught.value)
    assert stored_tiles(tmp_path / name) == TILES - 1
    assert not (tmp_path / name).exists()
    assert_same(
        plan().write(OutputOptions(cube=tmp_path / name, resume=True)), in_one_process(name)
    )


@NAMES
def test_cluster_goes_on_with_what_one_process_began(
    tmp_path: Path, cluster: Cluster, plan: Planner, in_one_process: Writer, name: str
) -> None:
    break_one_tile()
    try:
        with pytest.raises(IncompleteRun, match=f"tile {BAD} failed"):
            plan().write(tmp_path / name)
    finally:
        undo()
    before = cluster.client.run(os.getpid)
    there = plan(cluster=cluster).write(OutputOptions(cube=tmp_path / name, resume=True))
    assert before == cluster.client.run(os.getpid)
    assert_same(in_one_process(name), there)


def test_worker_of_another_version_is_refused(address: str, cluster: Cluster) -> None:
    cluster.client.run(pretend_older)
    with (
        pytest.raises(ClusterError, match=r"worker tcp://127.+ has uavssr 0\.0\.1"),
        connect(address),
    ):
        pass


def test_worker_of_another_version_that_joins_later_is_refused(
    tmp_path: Path, cluster: Cluster, plan: Planner
) -> None:
    cluster.client.run(pretend_older)
    with pytest.raises(ClusterError, match=r"worker tcp://127.+ has uavssr 0\.0\.1"):
        plan(cluster=cluster).write(tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_worker_that_sees_another_image_is_refused(
    tmp_path: Path, cluster: Cluster, plan: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(paths: list[Path]) -> list[Fingerprint]:
        return [Fingerprint(path.name, 1, 2, "3" * 64) for path in paths]

    monkeypatch.setattr(cluster_job, "fingerprint", newer)
    with pytest.raises(ClusterError, match=r"worker tcp://127.+ sees another .*in\.tif"):
        plan(cluster=cluster).write(tmp_path / "out.tif")


@pytest.mark.slow
def test_scheduler_that_dies_leaves_what_was_finished(
    tmp_path: Path, plan: Planner, in_one_process: Writer
) -> None:
    scheduler_file = tmp_path / "scheduler.json"
    with started("scheduler", "--scheduler-file", scheduler_file) as scheduler:
        options = ("--nthreads", 1, "--no-nanny", "--death-timeout", 60)
        with started("worker", "--scheduler-file", scheduler_file, *options) as worker:
            while not scheduler_file.exists():
                time.sleep(0.05)

            def progress(*_: object) -> None:
                scheduler.kill()

            with (
                dask.config.set({"distributed.comm.timeouts.connect": "5s"}),
                connect(scheduler_file) as found,
                pytest.raises(ClusterError, match="scheduler is gone"),
            ):
                plan(cluster=found).write(tmp_path / "out.tif", progress=progress)
            worker.kill()
    assert 0 < stored_tiles(tmp_path / "out.tif") < TILES
    assert_same(
        plan().write(OutputOptions(cube=tmp_path / "out.tif", resume=True)), in_one_process()
    )


def started(kind: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A process of `dask scheduler` or `dask worker`."""
    where = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    where += ["--port", "0"] if kind == "scheduler" else []
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *where]
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# --- the command line ----------------------------------------------------------------------------


def test_command_runs_on_a_scheduler(
    tmp_path: Path, image: Path, model_folder: Path, address: str, in_one_process: Writer
) -> None:
    out = tmp_path / "out.tif"
    options = ["--model", model_folder, "--tile", TILE, "--device", "cpu", "--scheduler", address]
    assert run("-q", "reconstruct", image, "-o", out, *options) == 0
    assert_same(in_one_process(), Outputs.beside(out))


def test_command_starts_a_cluster_of_its_own(
    tmp_path: Path,
    image: Path,
    model_folder: Path,
    in_one_process: Writer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.tif"
    options = ["--model", model_folder, "--tile", TILE, "--device", "cpu", "--cluster", "local:1"]
    assert run("-q", "reconstruct", image, "-o", out, *options) == 0
    assert capfd.readouterr().err == ""
    assert_same(in_one_process(), Outputs.beside(out))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cluster", "3"], "--cluster must be local:N"),
        (["--cluster", "local:0"], "has no worker"),
        (["--cluster", "local:1", "--scheduler", "tcp://x:1"], "choose one"),
        (["--scheduler", "nowhere"], "neither an address such as"),
    ],
)
def test_command_refuses_clusters_that_make_no_sense(
    tmp_path: Path,
    image: Path,
    model_folder: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.tif"
    assert run("reconstruct", image, "-o", out, "--model", model_folder, *options) == 2
    assert said in capsys.readouterr().err


def test_command_says_that_nobody_answers(
    tmp_path: Path, image: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model_folder, "--scheduler", "tcp://127.0.0.1:9"]
    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}):
        assert run("reconstruct", image, "-o", tmp_path / "out.tif", *options) == 5
    said = capsys.readouterr().err
    assert said.startswith("uavssr: error: no scheduler answers at tcp://127.0.0.1:9")
    assert len(said.splitlines()) == 1


def test_local_cluster_listens_on_the_loopback_device_alone() -> None:
    with local_cluster(1) as found:
        addresses = set().union(listening(), *found.client.run(listening).values())
        addresses.update(*found.client.run(listening, nanny=True).values())
    assert addresses == {"127.0.0.1"}


# --- devices -------------------------------------------------------------------------------------


def workers(*gpus: int) -> Cluster:
    found = {
        f"tcp://{i}": WorkerInfo(
            versions=VERSIONS, threads=3, gpus=count, gpu_memory=(5 - i) * count
        )
        for i, count in enumerate(gpus)
    }
    return Cluster(client=None, workers=found)


def test_workers_compute_on_the_gpus_that_they_declare() -> None:
    assert workers(1, 1).device("auto") == "cuda"
    assert workers(1, 1).device("cpu") == "cpu"
    assert workers(0, 0).device("auto") == "cpu"
    assert workers(0, 1).gpu_memory == 4
    with pytest.raises(UsageError, match="no worker declares a GPU"):
        workers(0).device("cuda")
    with pytest.raises(UsageError, match="takes a GPU of its own"):
        workers(1).device("cuda:1")


def test_each_place_has_one_group_in_work_and_one_waiting() -> None:
    assert workers(0, 1).thread_counts("cpu").workers == 12
    assert workers(0, 1).thread_counts("cuda").workers == 2
    assert workers(0, 1).thread_counts("cuda", groups=7).workers == 7


@pytest.mark.parametrize("content", ['{"address": 5}', "{}", "[1]", "no JSON", '{"address": "x"}'])
def test_scheduler_file_without_an_address_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="neither an address"), connect(path):
        pass


def test_fields_of_a_batch_share_a_cluster_and_leave_no_job(
    tmp_path: Path, image: Path, model_folder: Path, cluster: Cluster
) -> None:
    options = ReconstructionOptions(model=model_folder, tile=TILE, cluster=cluster)
    fields = [
        Field(
            request=Request(paths=(image,)),
            options=options,
            output=OutputOptions(cube=tmp_path / f"{number}.tif", resume=True),
        )
        for number in range(3)
    ]
    batch = BatchRun(fields=fields, jobs=2, report=lambda _: None, as_error=as_uavssr_error)
    assert [(status.state, str(status.error)) for status in batch.run()] == [("done", "None")] * 3
    assert cluster._jobs == []
    first, *others = (xr.open_dataset(tmp_path / f"{n}.tif", engine="rasterio") for n in range(3))
    for other in others:
        np.testing.assert_array_equal(other["band_data"], first["band_data"])
