"""Many fields in one process: each as a single run, whatever happens to the others."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers import runs
from tests.helpers.commands import Ran, Run
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr.batch import BatchRun, Field, FieldStatus
from uavssr.cli.entry import as_uavssr_error
from uavssr.io.msi import Request
from uavssr.model import load_model
from uavssr.reconstruction import OutputOptions, ReconstructionOptions, pipeline

HEIGHT, WIDTH = 40, 48
TAGS = {"sensor": "p4m"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def image(path: Path, seed: int, **profile: object) -> Path:
    """A field of its own."""
    path.parent.mkdir(exist_ok=True, parents=True)
    numbers = tiny_msi(P4M, HEIGHT, WIDTH, seed=seed)[0].numpy()
    return write(path, numbers, tags=TAGS, **profile)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ends(path: Path) -> dict[int, dict[str, object]]:
    """The last line on each field."""
    return {int(str(line["field"])): line for line in lines(path) if "field" in line}


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture
def go(tmp_path: Path, model: Path, run: Run) -> Run:
    """Runs `batch` on files with --out-dir out and more options."""

    def ran(*arguments: object) -> Ran:
        base = ("--out-dir", tmp_path / "out", "--model", model, "--tile", 32)
        return run("batch", *arguments, *base)

    return ran


# --- the day of an engineer ----------------------------------------------------------------------


def test_day_of_an_engineer(tmp_path: Path, model: Path, go: Run, run: Run) -> None:
    """Twelve fields, two of them broken, a kill in the middle, and the same command again."""
    folder = tmp_path / "in"
    rows = ["path,out,tile,stf-scope"]
    for number in range(12):
        image(folder / f"f{number}.tif", number)
        rows.append(f"f{number}.tif,field{number},{32 if number % 2 else 16},scene")
    os.truncate(folder / "f3.tif", 900)
    write(folder / "f7.tif", np.ones((5, 9, 9), "f4") * 300, tags=TAGS)  # no reflectance
    manifest = folder / "fields.csv"
    manifest.write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    words = ("batch", manifest, "--out-dir", out, "--model", model, "--jobs", 2)
    process = runs.start(tmp_path / "stderr", *words, pause=20)
    with runs.paused(process) as number:
        reading = lines(out / "batch.jsonl")  # while it runs
        assert "running" in {line.get("state") for line in reading}
        os.kill(number, signal.SIGKILL)
    process.join()
    ran = run(*words)
    assert ran.code == 6, ran.err
    assert "2 of 12 fields failed: " in ran.err
    states = {number: end["state"] for number, end in ends(out / "batch.jsonl").items()}
    assert [number for number, state in states.items() if state == "failed"] == [4, 8]
    assert "skipped" in states.values()
    assert "done" in states.values()
    summary = lines(out / "batch.jsonl")[-1]["summary"]
    assert isinstance(summary, dict)
    assert (summary["fields"], summary["failed"], summary["stopped"]) == (12, 2, 0)
    for number in (0, 1, 5, 11):
        single = tmp_path / "single.tif"
        tile = 32 if number % 2 else 16
        words_of_one = ("-o", single, "--model", model, "--tile", tile, "--overwrite", "-q")
        assert run("reconstruct", folder / f"f{number}.tif", *words_of_one).code == 0
        assert (pixels(out / f"field{number}.tif") == pixels(single)).all()
    left = {path.name for path in out.iterdir()}
    ends_of_cube = (".tif", ".qml", ".stf.nc", ".tiles.gpkg")
    made = {f"field{n}{end}" for n in states for end in ends_of_cube}
    assert left <= made | {"batch.jsonl", *(f"field0{end}" for end in ends_of_cube)}


def test_files_and_options_of_all_fields(tmp_path: Path, go: Run) -> None:
    files = [image(tmp_path / "in" / f"{name}.tif", 1) for name in "ab"]
    ran = go(*files, "--quality", "{name}_flags.tif", "--wavelengths", "500-700", "--json")
    assert ran.code == 0, ran.err
    printed = [json.loads(line) for line in ran.out.splitlines()]
    assert printed[-1]["summary"]["done"] == 2
    assert printed[:-1] == lines(tmp_path / "out" / "batch.jsonl")[1:-1]
    for name in "ab":
        assert (tmp_path / "out" / f"{name}_cube_flags.tif").exists()
        assert 0 < len(pixels(tmp_path / "out" / f"{name}_cube.tif")) < 16
    again = go(*files, "--quality", "{name}_flags.tif", "--wavelengths", "500-700")
    assert "2 skipped" in again.out
    other = go(*files, "--wavelengths", "500-800")
    assert other.code == 6
    assert " ".join(other.out.split()).count("exists; pass --overwrite") == 2
    assert "2 done" in go(*files, "--wavelengths", "500-800", "--overwrite").out


def test_single_run_counts_as_finished(tmp_path: Path, model: Path, go: Run, run: Run) -> None:
    path = image(tmp_path / "in" / "a.tif", 1)
    (tmp_path / "out").mkdir()
    words = ("-o", tmp_path / "out" / "a_cube.tif", "--model", model, "--tile", 32)
    assert run("reconstruct", path, *words).code == 0
    assert "1 skipped" in go(path).out


def test_row_may_have_one_file_for_each_band(tmp_path: Path, go: Run) -> None:
    numbers = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    names = ("Blue", "Green", "Red", "RedEdge", "NIR")
    for name, band in zip(names, numbers, strict=True):
        write(tmp_path / f"x_{name}.tif", band[None], names=None)
    cell = "|".join(f"x_{name}.tif" for name in names)
    (tmp_path / "m.csv").write_text(f"path;sensor;out\n{cell};p4m;sub/cube\n")
    ran = go(tmp_path / "m.csv")
    assert ran.code == 0, ran.err
    assert (tmp_path / "out" / "sub" / "cube.tif").exists()


# --- refused before anything begins --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,sensr\na.tif,p4m\n", "line 1: unknown column 'sensr'; did you mean sensor? "),
        ("path,workers\na.tif,2\n", "choose from path, out, sensor, bands, "),
        ("out\nx\n", "line 1: the column path is missing"),
        ("path,tile\na.tif,abc\n", "line 2: column tile: "),
        ("path,tile\na.tif,32\na.tif,100\n", "line 3: column tile: --tile must be a multiple"),
        ("path,stf-only\na.tif,perhaps\n", "line 2: column stf_only: must be yes or no"),
        ("path,out\n,x\n", "line 2: column path: is empty"),
        ("path,out\nhttps://a.b/c.tif,x\n", "line 2: https://a.b/c.tif: URLs are not opened"),
        ("path,out\na.tif,x.png.zarr\na.tif\n", "line 3: has 1 cell, the header 2"),
        ("path\n", "no row follows the header"),
    ],
)
def test_mistakes_name_row_and_column(tmp_path: Path, go: Run, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    ran = go(tmp_path / "m.csv")
    assert ran.code == 3
    assert said in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x/a.tif", "y/a.tif"), "is an output of "),
        (("x/a.tif", "m.csv"), "one of them is a manifest"),
        (("x/a.tif", "--quicklook", "look.png"), "--quicklook {name}_quicklook.png"),
        (("x/a.tif", "--mem-limit", "4GB", "--jobs", "2"), "--mem-limit is for one field"),
        (("x/a.tif", "--dry-run", "--cluster", "local:1"), "leave out --cluster"),
        (("x/a.tif", "--status", "x/a.tif"), "is an input"),
        (("x/a.tif", "--dtype", "int8"), "--dtype must be uint16 or float32"),
        (("x/a.tif", "--jobs", "0"), "--jobs"),
    ],
)
def test_clashes_are_refused(
    tmp_path: Path, go: Run, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        image(tmp_path / name / "a.tif", 1)
    (tmp_path / "m.csv").write_text("path\nx/a.tif\n")
    ran = go(*words)
    assert ran.code in (2, 5)
    assert said in ran.err
    assert not (tmp_path / "out").exists()


def test_foreign_status_file_is_kept(tmp_path: Path, go: Run) -> None:
    path = image(tmp_path / "in" / "a.tif", 1)
    (tmp_path / "mine.txt").write_text("mine")
    ran = go(path, "--status", tmp_path / "mine.txt")
    assert ran.code == 8
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_dry_run_lists_all_and_writes_nothing(
    tmp_path: Path, go: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = image(tmp_path / "in" / "a.tif", 1)
    (tmp_path / "in" / "b.tif").write_bytes(b"II*\0")
    ran = go(good, tmp_path / "in" / "b.tif", "--dry-run", "--json")
    assert ran.code == 6
    estimate = json.loads(ran.out)
    first, second = estimate["fields"]
    assert (first["height"], first["width"], first["tiles"]) == (HEIGHT, WIDTH, 4)
    assert estimate["output_bytes"] == first["output_bytes"] > HEIGHT * WIDTH * 16 * 2
    assert second["error"]
    assert not (tmp_path / "out").exists()
    monkeypatch.chdir(tmp_path)  # a long path would be broken over lines
    assert "in/a.tif" in go("in/a.tif", "--dry-run").out


# --- the threads ---------------------------------------------------------------------------------


def fields_of(tmp_path: Path, model: Path, count: int, **options: object) -> list[Field]:
    loaded = load_model(model)
    return [
        Field(
            request=Request(paths=(image(tmp_path / f"{number}.tif", number),)),
            options=ReconstructionOptions(model=loaded, tile=16, **options),  # type: ignore[arg-type]
            output=OutputOptions(cube=tmp_path / f"cube{number}.tif", resume=True),
        )
        for number in range(count)
    ]


def run_of(
    fields: list[Field], report: Callable[[FieldStatus], None], jobs: int | None = None
) -> BatchRun:
    return BatchRun(fields=fields, jobs=jobs, report=report, as_error=as_uavssr_error)


def test_fields_begin_in_their_order_and_large_ones_run_alone(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uavssr.batch.run.CPU_COUNT", 3)
    monkeypatch.setattr("uavssr.batch.run.LARGE_TILES", 9)
    fields = fields_of(tmp_path, model, 5)
    write(fields[2].request.paths[0], tiny_msi(P4M, 48, 48)[0].numpy(), tags=TAGS)
    write(fields[3].request.paths[0], tiny_msi(P4M, 16, 16)[0].numpy(), tags=TAGS)
    inside: set[str] = set()
    together: list[set[str]] = []
    write_field = Field.write

    def noted(self: Field, *arguments: object) -> object:
        inside.add(self.cube.name)
        together.append(set(inside))
        time.sleep(0.05)
        result = write_field(self, *arguments)  # type: ignore[arg-type]
        inside.remove(self.cube.name)
        return result

    monkeypatch.setattr(Field, "write", noted)
    events: list[FieldStatus] = []
    ended = run_of([*fields[2:4], *fields[:2], fields[4]], events.append).run()
    assert [status.state for status in ended] == ["done"] * 5
    begun = [status.number for status in events if status.state == "running"]
    assert begun == sorted(begun)
    assert all(len(names) == 1 for names in together if "cube2.tif" in names)
    assert all("cube2.tif" not in names for names in together if len(names) > 1)


def test_interrupt_keeps_finished_tiles(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = fields_of(tmp_path, model, 3)
    tiles = threading.Semaphore(0)
    run_body = pipeline.run_in_thread

    def interrupted(body: Callable[[], None], stop: threading.Event) -> None:
        thread = threading.Thread(target=body)
        thread.start()
        tiles.acquire()  # a tile of the first field is finished
        stop.set()
        thread.join()
        raise KeyboardInterrupt

    def delivered(self: BatchRun, *_: object) -> None:
        tiles.release()
        while not self._stop.wait(0.01):
            continue
        raise_if_stopped(self)

    raise_if_stopped = BatchRun._raise_if_stopped
    monkeypatch.setattr("uavssr.batch.run.run_in_thread", interrupted)
    monkeypatch.setattr(
        BatchRun, "_raise_if_stopped", lambda self, *args: delivered(self) if args[0] else None
    )
    events: list[FieldStatus] = []
    with pytest.raises(KeyboardInterrupt) as stopped:
        run_of(fields, events.append, jobs=1).run()
    assert stopped.value.__notes__ == ["0 of 3 fields are finished"]
    assert [(status.number, status.state) for status in events] == [(1, "running"), (1, "stopped")]
    assert not fields[0].cube.exists()
    assert list(tmp_path.glob(".cube0.tif.uavssr/tile-*"))
    monkeypatch.undo()
    assert run_body is pipeline.run_in_thread
    assert [s.state for s in run_of(fields, events.append).run()] == ["done"] * 3


def test_full_disk_of_the_status_file_stops_the_batch(tmp_path: Path, model: Path) -> None:
    fields = fields_of(tmp_path, model, 3)

    def full(status: FieldStatus) -> None:
        if status.state == "done":
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_of(fields, full, jobs=1).run()
    assert not fields[2].cube.exists()
