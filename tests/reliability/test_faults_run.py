"""What happens to a run while it runs: kills in every format, a changing input, other runs."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.faults import (
    TILES,
    Workspace,
    expected_digests,
    in_subprocess,
    new_workspace,
    run_result,
    scene,
)
from tests.helpers.runs import paused
from uavssr.errors import ModelRefused, OutputError
from uavssr.io.msi.source import open_msi
from uavssr.io.writers.journal import journal_path
from uavssr.model.weights import DEFAULT_MODEL, find_model
from uavssr.reconstruction import output_files as files
from uavssr.reconstruction.api import plan_reconstruction
from uavssr.reconstruction.memory_budget import memory_budget
from uavssr.reconstruction.options import OutputOptions, ReconstructionOptions
from uavssr.reconstruction.products import OutputWriters

REPEATS = int(os.environ.get("UAVSSR_REPEATS", "1"))
"""Factor on the number of kills."""
FORMS = {"c.zarr": "zarr", "c.img": "envi", "cog.tif": "cog", "coeff.tif": "coefficients"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path / "workspace")


# --- kills (in the default format: test_resume.py) -----------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_killed_run_is_gone_on_from_in_every_format(workspace: Workspace, name: str) -> None:
    """Row 21, promises P1, P2: kill -9 after a random number of tiles, then --resume."""
    workspace = replace(workspace, name=name, options=("--format", FORMS[name]))
    with expected_digests(workspace) as expected:
        rng = random.Random(name)
    for _ in range(2 * REPEATS):
        process, _ = workspace.start("--resume")
        wanted = rng.randrange(1, TILES + 1)
        while process.is_alive() and len(workspace.finished_tiles()) < wanted:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        assert workspace.digest() in (None, expected[0])
        if process.exitcode != 0:
            assert workspace.run("--resume").code == 0
        assert (workspace.digest(), workspace.stf_digest()) == expected
        assert not journal_path(workspace.out).exists()
        workspace.clear()


# --- an input that does not stay what it was -----------------------------------------------------


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def exchange(path: Path) -> None:
    other = scene(path.with_name("other.tif"), repeat=(2, 2))
    other.replace(path)


@pytest.mark.parametrize("change", [shorten, exchange, Path.unlink, Path.touch])
def test_input_that_changes_under_a_run_stops_it(
    workspace: Workspace, change: Callable[[Path], None]
) -> None:
    """Row 20: 3, no output, and no journal that nothing could go on with.

    An input that has gone may come back, so the tiles are kept for it.
    """
    process, stderr = workspace.start("--workers", 1, pause=1)
    with paused(process):
        change(workspace.image)
    done = run_result(process, stderr)
    assert done.code == 3, done
    assert done.as_promised
    assert "in.tif" in done.stderr
    assert workspace.files() == ({".out.tif.uavssr"} if change is Path.unlink else set())


# --- two at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [(), ("--resume",)])
def test_of_runs_that_begin_together_one_is_done(
    workspace: Workspace, option: tuple[str, ...]
) -> None:
    """Row 27: the others exit with code 5 and leave no file."""
    with expected_digests(workspace) as expected:
        runs = [workspace.start(*option) for _ in range(3)]
    found = [run_result(*run) for run in runs]
    assert sorted(each.code for each in found) == [0, 5, 5], found
    assert all(each.as_promised for each in found)
    messages = " ".join(each.stderr for each in found)
    assert "another run is writing it" in messages or "exists" in messages
    assert (workspace.digest(), workspace.stf_digest()) == expected
    assert workspace.files() == {"out.tif", "out.qml", "out.stf.nc", "out.tiles.gpkg"}


def test_run_that_waited_for_another_does_not_replace_its_output(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 27: --resume is no --overwrite, though the other was giving its files their names."""
    torch.set_num_threads(1)
    first, second = (
        plan_reconstruction(
            open_msi(workspace.image),
            ReconstructionOptions(model=workspace.model, tile=16, workers=1, stages=stages),
        )
        for stages in (None, 1)
    )
    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_stfs", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            first.write(workspace.out)
    assert (journal_path(workspace.out) / "publishing").exists()
    real, resumed = files.Journal, OutputOptions(cube=workspace.out, resume=True)

    def late(*arguments: object, **options: object) -> files.Journal:
        monkeypatch.setattr(files, "Journal", real)
        first.write(resumed)  # the other one ends just before the lock is taken
        return real(*arguments, **options)

    monkeypatch.setattr(files, "Journal", late)
    with pytest.raises(OutputError, match="exists"):
        second.write(resumed)


# --- memory --------------------------------------------------------------------------------------


def remember(image: Path, model: str, out: Path, messages: Path) -> None:
    """Reconstruct in this process; tell the most memory that it had, and what was reckoned."""
    torch.set_num_threads(1)
    plan = plan_reconstruction(open_msi(image), ReconstructionOptions(model=model, workers=2))
    output = OutputOptions(cube=out, wavelengths=plan.plan.model.grid.centres[:20])
    plan.write(output)
    most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writers = OutputWriters.of(plan.plan, output, overwrite=True)
    budget = memory_budget(plan.plan, writers.pixel_bytes, error_maps=False)
    messages.write_text(json.dumps([most, budget.total]))


@pytest.mark.slow
def test_memory_stays_below_the_formula(workspace: Workspace) -> None:
    """Row 30, promise P6: the released network on tiles of the default size, two at a time."""
    try:
        find_model(DEFAULT_MODEL)
    except ModelRefused:
        pytest.skip(f"the released model {DEFAULT_MODEL} is not here")
    image = scene(workspace.image.with_name("large.tif"), repeat=(6, 8))
    most, reckoned = in_subprocess(remember, image, DEFAULT_MODEL, workspace.out, timeout=280)
    assert reckoned / 4 < most < reckoned
