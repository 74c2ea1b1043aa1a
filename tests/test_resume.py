"""Whatever stops a run, it is gone on from to the same pixels; the output is there whole or not."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from tests.models import P4M, tiny_model, tiny_msi
from tests.rasters import write
from tests.runs import start
from uavssr import cli
from uavssr.engine import torch_threads
from uavssr.raster.journal import journal_path
from uavssr.testing import irregular_mask

KILLS = int(os.environ.get("UAVSSR_KILLS", "8"))
"""Kills in one test; more with UAVSSR_KILLS."""
HEIGHT, WIDTH, TILE = 80, 112, 16
TILES = 35
SCOPES = pytest.mark.parametrize("scope", ["scene", "tile"])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated scene with a hole that empties some tiles."""
    return scene(tmp_path_factory.mktemp("in") / "in.tif")


def scene(path: Path, *, seed: int = 0) -> Path:
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, : 2 * TILE] = False
    numbers = tiny_msi(P4M, HEIGHT, WIDTH, seed=seed)[0].numpy()
    numbers = np.where(mask, numbers, np.float32(np.nan))
    return write(path, numbers, tags={"sensor": "p4m"}, blockxsize=64, blockysize=64, tiled=True)


Go = Callable[..., list[object]]


@pytest.fixture
def command(image: Path, model: Path, tmp_path: Path) -> Go:
    """The arguments of a run to `out.tif`, with more behind."""

    def build(*more: object, source: Path = image) -> list[object]:
        out = tmp_path / "out.tif"
        common = ["--model", model, "--tile", TILE, "--workers", 2]
        return ["-q", "reconstruct", source, "-o", out, *common, *more]

    return build


def digest(path: Path) -> str:
    """Of all pixels."""
    with rasterio.open(path) as file:
        return hashlib.sha256(file.read().tobytes()).hexdigest()


def stfs(path: Path) -> xr.Dataset:
    return xr.load_dataset(path.with_suffix(".stf.nc"), engine="h5netcdf")


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def kept(folder: Path) -> int:
    """Finished tiles in the journal of `out.tif`."""
    found = journal_path(folder / "out.tif")
    return len(list(found.glob("tile-???????"))) if found.exists() else 0


def run(*arguments: object) -> int:
    return cli.main(list(map(str, arguments)))


@pytest.fixture(scope="module")
def golden(
    tmp_path_factory: pytest.TempPathFactory, image: Path, model: Path
) -> dict[str, tuple[str, xr.Dataset]]:
    """Pixels and STFs of a run that nothing stopped, by scope."""
    found = {}
    for scope in ("scene", "tile"):
        out = tmp_path_factory.mktemp("golden") / "out.tif"
        options = ["--tile", TILE, "--workers", 2, "--stf-scope", scope]
        assert run("-q", "reconstruct", image, "-o", out, "--model", model, *options) == 0
        found[scope] = digest(out), stfs(out)
    assert found["scene"][0] != found["tile"][0]
    return found


def finished(folder: Path, golden: tuple[str, xr.Dataset]) -> None:
    """All outputs are there, they hold what they should, and nothing else is there."""
    assert listed(folder) - {"said", "in.tif"} == {"out.tif", "out.stf.nc", "out.tiles.gpkg"}
    assert digest(folder / "out.tif") == golden[0]
    assert stfs(folder / "out.tif").identical(golden[1])


# --- kills ---------------------------------------------------------------------------------------


@SCOPES
def test_killed_run_is_gone_on_from_to_the_same_pixels(
    tmp_path: Path, command: Go, golden: dict[str, tuple[str, xr.Dataset]], scope: str
) -> None:
    """Row 21, promises P1 and P2: kill -9 at random until it comes through."""
    rng, kills = random.Random(KILLS), 0
    options = ("--stf-scope", scope)
    while kills < KILLS:
        process = start(tmp_path / "said", *command("--resume", *options))
        process.join(timeout=rng.uniform(0.05, 1.5))
        process.kill()
        process.join()
        kills += 1
        if (tmp_path / "out.tif").exists():
            assert digest(tmp_path / "out.tif") == golden[scope][0]
            if process.exitcode == 0:
                finished(tmp_path, golden[scope])
                for path in tmp_path.glob("out.*"):
                    path.unlink()
    assert run(*command("--resume", *options)) == 0
    finished(tmp_path, golden[scope])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_run_killed_at_a_random_tile_is_gone_on_from(
    tmp_path: Path, command: Go, golden: dict[str, tuple[str, xr.Dataset]], seed: int
) -> None:
    """Row 21: a kill and a resume, at every stage of the run."""
    rng = random.Random(seed)
    process = start(tmp_path / "said", *command())
    wanted = rng.randrange(TILES + 1)
    while process.is_alive() and kept(tmp_path) < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.join()
    assert listed(tmp_path) <= {"said", *(n for n in listed(tmp_path) if "out." in n)}
    if process.exitcode != 0:
        assert run(*command("--resume")) == 0
    finished(tmp_path, golden["scene"])


@pytest.mark.parametrize("name", ["out.tif", "out.stf.nc", "out.tiles.gpkg"])
def test_run_killed_while_its_files_get_their_names_is_gone_on_from(
    tmp_path: Path,
    command: Go,
    golden: dict[str, tuple[str, xr.Dataset]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Row 21: what is there then is our own, and needs no --overwrite."""
    real = Path.replace

    def cut_short(self: Path, target: Path) -> Path:
        found = real(self, target)
        if target.name == name:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_short)
        assert run(*command()) == 130
    assert name in listed(tmp_path)
    assert kept(tmp_path) == TILES
    assert run(*command()) == 5
    assert run(*command("--resume")) == 0
    finished(tmp_path, golden["scene"])


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_within_a_tile_and_says_how_to_go_on(
    tmp_path: Path, command: Go, golden: dict[str, tuple[str, xr.Dataset]], by: signal.Signals
) -> None:
    """Row 23: and the very command works."""
    process = start(tmp_path / "said", *command())
    while process.is_alive() and kept(tmp_path) < 3:
        time.sleep(0.002)
    os.kill(process.pid, by)
    process.join(timeout=60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 130, said
    count = kept(tmp_path)
    assert 3 <= count < TILES
    assert "out.tif" not in listed(tmp_path)
    assert not [name for name in listed(tmp_path) if "part" in name]
    start_of_it = f"uavssr: interrupted; {count} of {TILES} tiles are kept, go on with: uavssr -q "
    assert said.startswith(start_of_it)
    assert said.endswith(" --resume\n")
    told = said.split("go on with: uavssr ")[1].split()
    assert run(*told) == 0
    finished(tmp_path, golden["scene"])
