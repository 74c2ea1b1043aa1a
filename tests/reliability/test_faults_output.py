"""Disks that really fill up, at every moment of a run, and under a training."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.faults import TILES, Workspace, expected_digests, in_subprocess, new_workspace
from tests.helpers.models import CONFIG, tiny_library
from tests.helpers.places import REPO
from tests.helpers.runs import paused
from tests.training.test_loop import CONFIG_OF_RUN
from uavssr.errors import UavssrError
from uavssr.io.writers.journal import journal_path
from uavssr.training.checkpoints import CHECKPOINT_FILE
from uavssr.training.loop import train


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path / "workspace")


def limits(workspace: Workspace) -> list[int]:
    """Sizes just below those that the files of a run have: each is the first that does not fit."""
    assert workspace.run().code == 0
    cube, stf = workspace.out.stat().st_size, workspace.out.with_suffix(".stf.nc").stat().st_size
    workspace.clear()
    process, _ = workspace.start(pause=2)
    with paused(process):
        process.kill()
    process.join()
    record = (journal_path(workspace.out) / "run.json").stat().st_size
    tile = max(path.stat().st_size for path in workspace.finished_tiles())
    for left in workspace.folder.glob(".out.*"):  # the journal, and parts that the kill left
        shutil.rmtree(left)
    return sorted({1000, record - 1, tile - 1, tile + 1, cube // 2, cube - 1, stf - 1, stf + 1})


@pytest.mark.slow
def test_disk_that_is_full_at_any_moment_costs_no_pixel(workspace: Workspace) -> None:
    """Row 24, promises P1, P2: a limit on the size of files, higher each time it goes on.

    The record of the run, a tile, the cube, its end, the STFs and the map of tiles each fail once.
    """
    with expected_digests(workspace) as (expected, stf):
        pass
    codes = []
    for limit in limits(workspace):
        done = workspace.run("--resume", largest=limit)
        codes.append(done.code)
        assert done.as_promised, done
        if done.code == 0:
            break
        assert done.code == 5
        assert "free in" in done.stderr
        assert workspace.digest() in (None, expected)
        assert [name for name in workspace.files() if ".part" in name] == []
    assert codes[0] == 5
    assert workspace.run("--resume").code == (0 if codes[-1] else 5)
    assert (workspace.digest(), workspace.stf_digest()) == (expected, stf)
    assert workspace.files() == {"out.tif", "out.qml", "out.stf.nc", "out.tiles.gpkg"}


FULL = f"""
import subprocess, sys
from pathlib import Path
from tests.helpers.faults import *
from tests.helpers.runs import paused

def main(folder):
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", disk], check=True)
    workspace = new_workspace(disk / "workspace")
    with expected_digests(workspace) as expected:
        pass
    process, stderr = workspace.start(pause=2)
    ballast = disk / "ballast"
    with paused(process), ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as err:
            assert err.errno == {errno.ENOSPC}, err
    done = run_result(process, stderr)
    assert done.code == 5 and workspace.digest() is None, done
    count = len(workspace.finished_tiles())
    assert 2 <= count <= {TILES}
    ballast.unlink()
    assert workspace.run("--resume").code == 0
    assert (workspace.digest(), workspace.stf_digest()) == expected
    print("went on from", count)

if __name__ == "__main__":
    main(Path(sys.argv[1]))
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.mark.slow
def test_disk_that_fills_up_in_the_middle_keeps_what_was_finished(tmp_path: Path) -> None:
    """Row 24, in the middle: a real file system of 20 MB that something else fills to the brim."""
    mount = "mount -t tmpfs none /mnt"
    allowed = (
        shutil.which("unshare")
        and not subprocess.run(
            [*NAMESPACE, "sh", "-c", mount], capture_output=True, check=False
        ).returncode
    )
    if not allowed:
        pytest.skip("this system lets nobody mount a file system in a namespace")
    code = tmp_path / "full.py"
    code.write_text(FULL)
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(code), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("went on from")


# --- training ------------------------------------------------------------------------------------


def train_on_full_disk(out: Path, largest: int, answer: Path) -> None:
    """Go on with a training while no file may grow beyond `largest`; tell the error's code."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        train(tiny_library(), out, start=CONFIG, config=CONFIG_OF_RUN)
        code, stderr = 0, ""
    except UavssrError as err:
        code, stderr = err.exit_code, str(err)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer.write_text(json.dumps([code, stderr]))


class Stopped(Exception):
    """Raised to stop a training."""


def stopped(out: Path) -> bytes:
    """Stop a training after its first checkpoint; returns that."""

    def stop(step: int, _: object) -> None:
        if step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(tiny_library(), out, start=CONFIG, config=CONFIG_OF_RUN, progress=stop)
    return (out / CHECKPOINT_FILE).read_bytes()


@pytest.mark.slow
def test_disk_that_is_full_under_a_checkpoint_costs_no_step(tmp_path: Path) -> None:
    """Row 40: the checkpoint before is gone on from, and the curve is that of a run in peace."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(tiny_library(), whole, start=CONFIG, config=CONFIG_OF_RUN)
    before = stopped(cut)
    code, stderr = in_subprocess(train_on_full_disk, cut, len(before) // 2)
    assert code == 5, stderr
    assert "free some space and run again" in stderr
    assert (cut / CHECKPOINT_FILE).read_bytes() == before
    train(tiny_library(), cut, start=CONFIG, config=CONFIG_OF_RUN)
    assert (cut / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()
    states = [torch.load(out / CHECKPOINT_FILE, weights_only=True)["model"] for out in (whole, cut)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_disk_too_full_for_the_log_of_a_training_is_reported(tmp_path: Path) -> None:
    """Row 40: 5 here too, when a line is added to the log."""
    before = stopped(tmp_path)
    code, stderr = in_subprocess(train_on_full_disk, tmp_path, 250)
    assert code == 5, stderr
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
