"""A stopped run resumes to the same pixels, whatever stopped it; outputs are complete or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import uavssr
from tests.helpers.fakes import irregular_mask
from tests.helpers.models import GRID, P4M, tiny_model, tiny_msi, tiny_network
from tests.helpers.rasters import write
from tests.helpers.runs import paused, start
from uavssr import ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.io.writers import atomic as output
from uavssr.io.writers.encoding import cube_bytes
from uavssr.io.writers.journal import journal_path
from uavssr.reconstruction import provenance

KILLS = int(os.environ.get("UAVSSR_KILLS", "4"))
"""Kills in one test; more with UAVSSR_KILLS."""
HEIGHT, WIDTH, TILE = 80, 112, 16
TILES = 35
SCOPES = pytest.mark.parametrize("scope", ["scene", "tile"])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated scene with a hole that empties some tiles."""
    return scene(tmp_path_factory.mktemp("in") / "in.tif")


def scene(path: Path, *, repeat: tuple[int, int] = (1, 1)) -> Path:
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, : 2 * TILE] = False
    numbers = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    numbers = np.tile(np.where(mask, numbers, np.float32(np.nan)), (1, *repeat))
    return write(path, numbers, tags={"sensor": "p4m"}, blockxsize=64, blockysize=64, tiled=True)


Go = Callable[..., list[object]]
Golden = dict[str, tuple[str, xr.Dataset]]
"""Digest of the pixels, and the STFs, by scope."""


@pytest.fixture
def command(image: Path, model_folder: Path, tmp_path: Path) -> Go:
    """The arguments of a run to `out.tif`, with more behind."""

    def build(*more: object, source: Path = image) -> list[object]:
        out = tmp_path / "out.tif"
        common = ["--model", model_folder, "--tile", TILE, "--workers", 2]
        return ["-q", "reconstruct", source, "-o", out, *common, *more]

    return build


def digest(path: Path) -> str:
    """Of all pixels."""
    with rasterio.open(path) as file:
        return hashlib.sha256(file.read().tobytes()).hexdigest()


def stfs(path: Path) -> xr.Dataset:
    return xr.load_dataset(path.with_suffix(".stf.nc"), engine="h5netcdf")


FILES = {"out.tif", "out.qml", "s.tif", "q.tif", "q.qml", "out.stf.nc", "out.tiles.gpkg"}
"""Of a run with standard errors `s.tif` and flags `q.tif`."""


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stored_tiles(folder: Path) -> int:
    """Finished tiles in the journal of `out.tif`."""
    found = journal_path(folder / "out.tif")
    return len(list(found.glob("tile-*.npz"))) if found.exists() else 0


def run(*arguments: object) -> int:
    return cli.main(list(map(str, arguments)))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, image: Path, model_folder: Path) -> Golden:
    """Pixels and STFs of a run that nothing stopped, by scope."""
    found = {}
    for scope in ("scene", "tile"):
        out = tmp_path_factory.mktemp("golden") / "out.tif"
        options = ["--tile", TILE, "--workers", 2, "--stf-scope", scope]
        assert run("-q", "reconstruct", image, "-o", out, "--model", model_folder, *options) == 0
        found[scope] = digest(out), stfs(out)
    assert found["scene"][0] != found["tile"][0]
    return found


def finished(folder: Path, golden: tuple[str, xr.Dataset]) -> None:
    """All outputs are there, they hold what they should, and nothing else is there."""
    assert listed(folder) - {"said", "in.tif"} == {
        "out.tif",
        "out.qml",
        "out.stf.nc",
        "out.tiles.gpkg",
    }
    assert digest(folder / "out.tif") == golden[0]
    assert stfs(folder / "out.tif").identical(golden[1])


# --- kills ---------------------------------------------------------------------------------------


@SCOPES
def test_killed_run_resumes_to_the_same_pixels(
    tmp_path: Path, command: Go, golden: Golden, scope: str
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
def test_run_killed_at_a_random_tile_is_resumed(
    tmp_path: Path, command: Go, golden: Golden, seed: int
) -> None:
    """Row 21: a kill and a resume, at every stage of the run."""
    rng = random.Random(seed)
    process = start(tmp_path / "said", *command())
    wanted = rng.randrange(TILES + 1)
    while process.is_alive() and stored_tiles(tmp_path) < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.join()
    assert listed(tmp_path) <= {"said", *(n for n in listed(tmp_path) if "out." in n)}
    if process.exitcode != 0:
        assert run(*command("--resume")) == 0
    finished(tmp_path, golden["scene"])


def stop_after_naming(patch: pytest.MonkeyPatch, name: str) -> None:
    """Stop the run as soon as a file has got this name, by a link or a rename."""
    link, rename = Path.hardlink_to, Path.replace

    def linked(self: Path, target: Path) -> None:
        link(self, target)
        if self.name == name:
            raise KeyboardInterrupt

    def renamed(self: Path, target: Path) -> Path:
        path = rename(self, target)
        if path.name == name:
            raise KeyboardInterrupt
        return path

    patch.setattr(Path, "hardlink_to", linked)
    patch.setattr(Path, "replace", renamed)


@pytest.mark.parametrize("name", ["out.tif", "out.stf.nc", "out.tiles.gpkg", "out.qml"])
def test_run_killed_while_its_files_get_their_names_is_resumed(
    tmp_path: Path, command: Go, golden: Golden, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Row 21: what is there then is our own, and needs no --overwrite."""
    with monkeypatch.context() as patch:
        stop_after_naming(patch, name)
        assert run(*command()) == 130
    assert name in listed(tmp_path)
    assert stored_tiles(tmp_path) == TILES
    assert run(*command()) == 8
    assert run(*command("--resume")) == 0
    finished(tmp_path, golden["scene"])


@pytest.mark.parametrize("name", sorted(FILES))
def test_resumed_run_replaces_no_file_but_its_own(
    tmp_path: Path,
    command: Go,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Row 26: files that the stopped run published, unless another now has the name."""
    extra = ("--uncertainty", tmp_path / "s.tif", "--quality", tmp_path / "q.tif")
    with monkeypatch.context() as patch:
        stop_after_naming(patch, name)
        assert run(*command(*extra)) == 130
    published = tmp_path / name
    published.rename(tmp_path / "ours")
    published.write_bytes(b"mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    capsys.readouterr()
    assert run(*command("--resume", *extra)) == 8
    assert f"{name}: exists; pass --overwrite or choose another name" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert stored_tiles(tmp_path) == TILES
    (tmp_path / "ours").replace(published)
    assert run(*command("--resume", *extra)) == 0
    assert listed(tmp_path) == FILES


def test_file_that_appears_during_a_run_is_never_replaced(
    tmp_path: Path, command: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 26: neither by this run nor by the one that resumes it."""
    real, companion = output.publish, tmp_path / "out.stf.nc"

    def late(part: Path, path: Path, **options: object) -> Path:
        companion.write_bytes(b"mine")
        return real(part, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(output, "publish", late)
        assert run(*command()) == 8
    for options in ((), ("--resume",)):
        assert run(*command(*options)) == 8
        assert companion.read_bytes() == b"mine"
    assert run(*command("--resume", "--overwrite")) == 0
    stfs(tmp_path / "out.tif")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_within_a_tile_and_says_how_to_resume(
    tmp_path: Path, model_folder: Path, by: signal.Signals
) -> None:
    """Row 23: with a command that works."""
    large = scene(tmp_path / "large.tif", repeat=(6, 4))
    options = ["--model", model_folder, "--tile", TILE, "--stages", 1, "-q"]
    arguments = ("reconstruct", large, "-o", tmp_path / "out.tif", *options)
    process = start(tmp_path / "said", *arguments, pause=3)
    with paused(process) as number:
        os.kill(number, by)
    process.join(timeout=60)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 130, said
    count = stored_tiles(tmp_path)
    assert 3 <= count < 24 * TILES / 2
    assert listed(tmp_path) == {"said", "large.tif", ".out.tif.uavssr"}
    how = f"uavssr: interrupted; {count} of {24 * TILES} tiles are kept, go on with: uavssr "
    assert said.startswith(how)
    command_line = shlex.split(said.removeprefix(how))
    assert command_line[-1] == "--resume"
    assert run(*command_line, "--dry-run") == 0
    process = start(tmp_path / "said", *command_line)
    while process.is_alive() and stored_tiles(tmp_path) == count:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert stored_tiles(tmp_path) > count


# --- what a resumed run must share, and what it may change ---------------------------------------


def stop_at(number: int) -> Callable[..., None]:
    """A callback that interrupts the run at the tile of that number."""
    seen: list[int] = []

    def count(*_: object) -> None:
        seen.append(1)
        if len(seen) == number:
            raise KeyboardInterrupt

    return count


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory, image: Path, model_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("stopped") / "out.tif"
    plan = plan_reconstruction(
        open_msi(image), ReconstructionOptions(model=model_folder, tile=TILE, workers=2)
    )
    with pytest.raises(KeyboardInterrupt) as interrupt:
        plan.write(out, progress=stop_at(10))
    assert f"of {TILES} tiles are kept" in interrupt.value.__notes__[0]
    return out


@pytest.fixture
def stopped(tmp_path: Path, stopped_once: Path) -> Path:
    """An output of which a run was stopped after some of its tiles."""
    out = tmp_path / "out.tif"
    shutil.copytree(journal_path(stopped_once), journal_path(out))
    assert 10 <= stored_tiles(tmp_path) < TILES
    return out


def other_model(folder: Path) -> Path:
    return tiny_model(folder / "other", network=tiny_network(seed=1))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("weights", lambda folder, _: ("--model", other_model(folder))),
        ("--tile", lambda *_: ("--tile", 32)),
        ("--stages", lambda *_: ("--stages", 1)),
        ("--overlap", lambda *_: ("--overlap", 8)),
        ("--stf-scope", lambda *_: ("--stf-scope", "tile")),
        ("--tile-stf", lambda *_: ("--tile-stf", "off")),
        ("--precision", lambda *_: ("--precision", "bf16")),
        ("--batch", lambda *_: ("--batch", 2)),
        ("sensor", lambda *_: ("--sensor", "m4.csv", "--bands", "blue,green,red,rededge,nir")),
        ("scale", lambda *_: ("--scale", "0.5")),
    ],
)
def test_other_run_is_not_resumed(
    stopped: Path,
    command: Go,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    change: Callable[[Path, Path], tuple[object, ...]],
) -> None:
    """Row 28: the field is named with both values, and nothing is lost."""
    monkeypatch.chdir(stopped.parent)
    rows = [f"{b.role},{b.centre + 1},{b.fwhm},4" for b in P4M.bands]
    Path("m4.csv").write_text("\n".join(["role,centre,fwhm,shape", *rows]) + "\n")
    count = stored_tiles(stopped.parent)
    assert run(*command("--resume", *change(stopped.parent, stopped))) == 5
    said = capsys.readouterr().err
    assert f"out.tif: the run to resume had {field} " in said
    assert "give the same again, or pass --overwrite" in said
    assert len(said.splitlines()) == 1
    assert stored_tiles(stopped.parent) == count


@pytest.mark.parametrize("how", ["content", "time", "size"])
def test_other_image_is_not_resumed(
    tmp_path: Path, model_folder: Path, command: Go, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Rows 20, 28: one flipped bit under the same size and time is enough."""
    source = scene(tmp_path / "in.tif")
    plan = plan_reconstruction(
        open_msi(source), ReconstructionOptions(model=model_folder, tile=TILE, workers=2)
    )
    with pytest.raises(KeyboardInterrupt):
        plan.write(tmp_path / "out.tif", progress=stop_at(10))
    times = source.stat().st_atime_ns, source.stat().st_mtime_ns
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= how == "content"
    source.write_bytes(bytes(content) + b"\0" * (how == "size"))
    os.utime(source, ns=(times[0], times[1] + (how == "time") * 10**9))
    assert run(*command("--resume", source=source)) == 5
    wanted = {"content": "input content", "time": "input modified", "size": "input in.tif"}
    assert f"the run to resume had {wanted[how]}" in capsys.readouterr().err


def test_other_version_is_not_resumed(
    stopped: Path, command: Go, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28."""
    monkeypatch.setattr(provenance, "__version__", "99.0")
    assert run(*command("--resume")) == 5
    assert f"had version {uavssr.__version__}, and this one has 99.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [("--workers", 1), ("--workers", 5), ("--mem-limit", "3GB"), ("--overwrite",)]
)
def test_run_may_be_resumed_with_more_or_fewer_workers(
    stopped: Path, command: Go, golden: Golden, options: tuple[object, ...]
) -> None:
    assert run(*command("--resume", *options)) == 0
    finished(stopped.parent, golden["scene"])


def test_resumed_run_may_store_the_cube_otherwise(
    stopped: Path, command: Go, tmp_path: Path
) -> None:
    """The journal holds coefficients: the cube's number type may change."""
    assert run(*command("--resume", "--dtype", "float32")) == 0
    (tmp_path / "whole").mkdir()
    whole = [each if each != stopped else tmp_path / "whole" / "out.tif" for each in command()]
    assert run(*whole, "--dtype", "float32") == 0
    assert digest(stopped) == digest(tmp_path / "whole" / "out.tif")


def test_stopped_run_needs_overwrite_to_start_again(
    stopped: Path, command: Go, golden: Golden
) -> None:
    count = stored_tiles(stopped.parent)
    assert run(*command()) == 5
    assert stored_tiles(stopped.parent) == count
    assert run(*command("--overwrite")) == 0
    finished(stopped.parent, golden["scene"])


def test_tile_that_was_damaged_is_computed_again(
    stopped: Path, command: Go, golden: Golden
) -> None:
    """Row 22: cut, emptied, or with a flipped bit."""
    one, two, three = sorted(journal_path(stopped).glob("tile-*.npz"))[-3:]
    one.write_bytes(one.read_bytes()[:-100])
    two.write_bytes(b"")
    damaged = bytearray(three.read_bytes())
    damaged[-5] ^= 4
    three.write_bytes(damaged)
    assert run(*command("--resume")) == 0
    finished(stopped.parent, golden["scene"])


# --- finished runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out.img"])
def test_finished_run_says_so_and_writes_nothing(
    tmp_path: Path,
    command: Go,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Resumed, it is complete; with other options, or another file in its place, it exists."""
    extra = ["-o", tmp_path / name, "--quality", tmp_path / "q.tif", "--quicklook"]
    extra += [tmp_path / "look.png"]
    assert run(*command(*extra)) == 0

    def written() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")}

    before = written()
    monkeypatch.delattr("uavssr.reconstruction.api.fit_scene")
    assert run(*command(*extra, "--resume", "--json")[1:]) == 0  # without -q
    said = capsys.readouterr()
    assert f"{name}: this command has finished before" in said.err
    assert json.loads(said.out)["verdict"]["valid"] > 0
    for options in (
        ["--dtype", "float32"],
        ["--overlap", 8],
        ["--uncertainty", tmp_path / f"s{Path(name).suffix}"],
    ):
        assert run(*command(*extra, *options, "--resume")) == 8
    assert written() == before
    assert run(*command(*extra)) == 8
    (tmp_path / "q.tif").write_bytes(b"mine")
    assert run(*command(*extra, "--resume")) == 8
    (tmp_path / "q.tif").unlink()
    assert run(*command(*extra, "--resume")) == 8
    assert capsys.readouterr().err.count("exists; pass --overwrite") == 6


# --- two runs, full disks ------------------------------------------------------------------------


def test_second_run_is_refused_with_the_first_ones_number(
    tmp_path: Path, command: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 27: whatever it asks for; once the first is killed its lock is taken over."""
    process = start(tmp_path / "said", *command())
    while process.is_alive() and stored_tiles(tmp_path) < 1:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGSTOP)  # it holds the lock for as long as we like
    try:
        for more in ([], ["--resume"], ["--overwrite"]):
            assert run(*command(*more)) == 5
            assert f"another run is writing it: process {process.pid}" in capsys.readouterr().err
    finally:
        process.kill()
        process.join()
    assert run(*command("--resume")) == 0


def test_full_disk_keeps_the_tiles_and_the_old_output(
    tmp_path: Path, command: Go, golden: Golden
) -> None:
    """Row 24, in the middle: exit 5 with what is needed and free; more room, and it goes on."""
    old = tmp_path / "out.tif"
    old.write_bytes(b"old")
    process = start(tmp_path / "said", *command("--overwrite"), largest=100_000)
    process.join(timeout=120)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 5, said
    assert "needs up to" in said
    assert "free in" in said
    assert f"of {TILES} tiles are kept, go on with --resume" in said
    assert len(said.splitlines()) == 1
    assert old.read_bytes() == b"old"
    assert stored_tiles(tmp_path) > 0
    assert listed(tmp_path) == {"out.tif", "said", ".out.tif.uavssr"}
    assert run(*command("--resume")) == 8  # the old output is still there
    assert run(*command("--resume", "--overwrite")) == 0
    finished(tmp_path, golden["scene"])


def test_disk_too_full_for_a_tile_keeps_those_before(
    tmp_path: Path,
    command: Go,
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Row 24: when the journal is written."""
    real = output.os.fsync

    def full(handle: int) -> None:
        if stored_tiles(tmp_path) >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(output.os, "fsync", full)
        assert run(*command()) == 5
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert f"{stored_tiles(tmp_path)} of {TILES} tiles are kept" in said
    assert run(*command("--resume")) == 0
    finished(tmp_path, golden["scene"])


def test_free_space_for_the_journal_is_checked_too(
    tmp_path: Path, command: Go, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 24, at the start: the disk has space for the cube and not for both."""
    needed = cube_bytes(HEIGHT, WIDTH, len(GRID))
    usage = output.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage._replace(free=needed + 9999))
    assert run(*command()) == 5
    said = capsys.readouterr().err
    assert "needs up to" in said
    assert "are free in" in said
    assert listed(tmp_path) == set()
