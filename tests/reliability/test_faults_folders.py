"""Names that runs share, and folders that go away while a run is on its way."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.faults import Workspace, expected_digests, new_workspace, run_result
from tests.helpers.runs import paused


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path / "workspace")


# --- names shared by two outputs (row 27) --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option", "shared"),
    [("out.dat", (), "out.stf.nc"), ("b.tif", ("--uncertainty",), "s.tif")],
)
def test_companion_of_two_outputs_belongs_to_the_first_run(
    workspace: Workspace, name: str, option: tuple[str, ...], shared: str
) -> None:
    """Row 27: two cubes with one stem share their STFs; two may be asked for one sigma."""
    more = [*option, *([workspace.folder / shared] if option else [])]
    process, stderr = workspace.start(*more, pause=2)
    other = replace(workspace, name=name)
    with paused(process):
        done = other.run(*more)
    assert done.code == 5
    assert done.as_promised, done
    assert f"{shared}: another run is writing it: process {process.pid}" in done.stderr
    assert run_result(process, stderr).code == 0
    made = {"out.tif", "out.qml", "out.stf.nc", "out.tiles.gpkg", *([shared] if option else [])}
    assert workspace.files() == made
    later = other.run(*more)
    assert later.code != 0
    assert f"{shared}: exists" in later.stderr
    assert workspace.files() == made


def test_of_two_runs_with_one_stem_that_begin_together_one_is_done(workspace: Workspace) -> None:
    """Row 27: the STFs are those of the cube that is there."""
    runs = [replace(workspace, name=name).start() for name in ("out.tif", "out.dat")]
    found = [run_result(*run) for run in runs]
    assert found[0].code == 0 or found[1].code == 0
    assert found[0].code != 0 or found[1].code != 0
    cube = {"out.tif"} if found[0].code == 0 else {"out.dat", "out.dat.hdr"}
    assert workspace.files() == {"out.qml", "out.stf.nc", "out.tiles.gpkg", *cube}


# --- folders that go away (row 44) ---------------------------------------------------------------


def test_output_folder_that_is_moved_keeps_the_tiles(workspace: Workspace) -> None:
    """Row 44, promise P2: exit code 5 with the folder's name; the run goes on at the new place."""
    with expected_digests(workspace) as expected:
        process, stderr = workspace.start(pause=2)
    moved = replace(workspace, folder=workspace.folder.with_name("moved"))
    with paused(process):
        workspace.folder.rename(moved.folder)
    done = run_result(process, moved.folder / stderr.name)
    assert done.code == 5
    assert done.as_promised, done
    assert f"the folder {workspace.folder} was moved or removed" in done.stderr
    assert not workspace.folder.exists()
    assert len(moved.finished_tiles()) >= 2
    assert moved.run("--resume").code == 0
    assert (moved.digest(), moved.stf_digest()) == expected
    assert moved.files() == {"out.tif", "out.qml", "out.stf.nc", "out.tiles.gpkg"}


def test_output_folder_that_is_removed_is_named(workspace: Workspace) -> None:
    """Row 44: nothing is made in its place."""
    process, stderr = workspace.start(pause=2)
    text = workspace.folder.with_name("stderr")
    with paused(process):
        text.hardlink_to(stderr)
        shutil.rmtree(workspace.folder)
    done = run_result(process, text)
    assert done.code == 5
    assert done.as_promised, done
    assert "was moved or removed" in done.stderr
    assert not workspace.folder.exists()


def test_input_folder_that_is_moved_keeps_the_tiles(workspace: Workspace) -> None:
    """Row 44: exit code 3; once it is back, the run goes on."""
    with expected_digests(workspace) as expected:
        process, stderr = workspace.start(pause=2)
    given = workspace.image.parent
    with paused(process):
        given.rename(given.with_name("moved"))
    done = run_result(process, stderr)
    assert done.code == 3
    assert done.as_promised, done
    assert "tiles are kept, go on with --resume" in done.stderr
    given.with_name("moved").rename(given)
    assert workspace.run("--resume").code == 0
    assert (workspace.digest(), workspace.stf_digest()) == expected


def test_file_that_appears_during_a_run_is_kept_and_the_advice_works(workspace: Workspace) -> None:
    """Row 26: --resume alone does not replace it; both ways out of the message do their work."""
    for way in ("moved", "replaced"):
        process, stderr = workspace.start(pause=2)
        with paused(process):
            workspace.out.write_text("mine")
        done = run_result(process, stderr)
        assert done.code != 0
        assert workspace.out.read_text() == "mine"
        said = "exists; move it away and pass --resume, or pass --resume --overwrite to replace it"
        assert said in done.stderr
        if way == "moved":
            workspace.out.rename(workspace.folder / "mine.txt")
            assert workspace.run("--resume").code == 0
            assert (workspace.folder / "mine.txt").read_text() == "mine"
        else:
            assert workspace.run("--resume").code != 0
            assert workspace.out.read_text() == "mine"
            assert workspace.run("--resume", "--overwrite").code == 0
        assert workspace.digest() is not None
        workspace.clear()
