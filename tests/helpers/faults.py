"""A workspace for tests of faults: a small scene and model, runs, and the expected results.

Runs are processes forked from a warm one (`tests.helpers.runs`), so that a kill costs little.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from tests.helpers.runs import CONTEXT, start
from uavssr.io.writers.journal import journal_path

LOADED = [  # by a run on its way, so that one begins at once
    *(
        "tests.helpers.runs",
        "uavssr.reconstruction.api",
        "uavssr.io.msi.source",
        "uavssr.cli.commands",
    ),
    "h5py",
    "hypothesis.stateful",
]
CONTEXT.set_forkserver_preload(LOADED)
HEIGHT, WIDTH, TILE = 48, 64, 16
TILES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Exit code and messages of a run."""

    code: int
    """Exit code; negative for a signal."""
    stderr: str
    """Text on stderr."""

    @property
    def as_promised(self) -> bool:
        """Whether it succeeded, or failed with one line and the exit code of a known error."""
        if self.code in (0, -9):
            return "Traceback" not in self.stderr
        return self.code in (3, 4, 5, 6, 7, 8, 130) and len(self.stderr.splitlines()) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A folder for one output, with the image and model that make it."""

    folder: Path
    """Where the output is."""
    image: Path
    """A scene with a hole that empties a tile."""
    model: Path
    """A tiny network."""
    name: str = "out.tif"
    """File name of the output."""
    options: tuple[object, ...] = ()
    """Further arguments of the command line."""
    numbers: list[int] = field(default_factory=list)
    """One item for each run that was started."""

    @property
    def out(self) -> Path:
        """The output."""
        return self.folder / self.name

    def argv(self, *more: object) -> list[object]:
        """The command line of a run, with more behind."""
        common = ["--model", self.model, "--tile", TILE, "--workers", 2]
        return ["-q", "reconstruct", self.image, "-o", self.out, *common, *self.options, *more]

    def start(self, *more: object, **limits: int | None) -> tuple[BaseProcess, Path]:
        """Start a run with the limits of `runs.start`; the process and the file of its stderr."""
        self.numbers.append(0)
        stderr = self.folder / f"stderr-{len(self.numbers)}"
        return start(stderr, *self.argv(*more), **limits), stderr

    def run(self, *more: object, largest: int | None = None) -> RunResult:
        """Run the command to its end."""
        return run_result(*self.start(*more, largest=largest))

    def finished_tiles(self) -> list[Path]:
        """The finished tiles in the journal."""
        return sorted(journal_path(self.out).glob("tile-*.npz"))

    def files(self) -> set[str]:
        """File names in the folder, without those of stderr."""
        return {path.name for path in self.folder.iterdir() if not path.name.startswith("stderr-")}

    def clear(self) -> None:
        """Remove the outputs."""
        for path in self.folder.glob(f"{self.out.stem}.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def digest(self) -> str | None:
        """SHA-256 of the output's pixels; None without an output."""
        if not self.out.exists():
            return None
        return hashlib.sha256(pixels(self.out).tobytes()).hexdigest()

    def stf_digest(self) -> str | None:
        """SHA-256 of all numbers of the STFs; None without them."""
        path = self.out.with_suffix(".stf.nc")
        if not path.exists():
            return None
        found, seen = xr.load_dataset(path, engine="h5netcdf"), hashlib.sha256()
        for name in sorted(map(str, found.variables)):
            seen.update(name.encode() + np.ascontiguousarray(found[name]).tobytes())
        return seen.hexdigest()


def run_result(process: BaseProcess, stderr: Path, *, timeout: float = 120) -> RunResult:
    """Wait for the end of a run."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"a run has hung: {stderr.read_text()}")
    return RunResult(code=process.exitcode, stderr=stderr.read_text() if stderr.exists() else "")


def in_subprocess(function: Callable[..., None], *arguments: object, timeout: float = 120) -> Any:
    """Run a function in a process of its own; the JSON that it writes to its last argument.

    Raises:
        AssertionError: it crashed or hung.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        process = CONTEXT.Process(target=function, args=(*arguments, answer))
        process.start()
        process.join(timeout)
        if process.exitcode != 0:
            process.kill()
            process.join()
            raise AssertionError(f"{function.__name__}{arguments} ended with {process.exitcode}")
        return json.loads(answer.read_text())


def pixels(path: Path) -> np.ndarray:
    """All numbers of an output, by GDAL or, of a store, by xarray."""
    if path.is_dir():
        with xr.open_zarr(path, chunks=None, mask_and_scale=False) as found:
            return found.reflectance.values
    with rasterio.open(path) as file:
        return file.read()


def scene(path: Path, *, repeat: tuple[int, int] = (1, 1), **profile: object) -> Path:
    """A simulated scene with a hole, several times over."""
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, :TILE] = False
    numbers = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    numbers = np.tile(np.where(mask, numbers, np.float32(np.nan)), (1, *repeat))
    layout = {"blockxsize": 32, "blockysize": 32, "tiled": True} | profile
    return write(path, numbers, tags={"sensor": "p4m"}, **layout)


def new_workspace(folder: Path) -> Workspace:
    """A workspace in a new folder; image and model lie in one of their own."""
    (folder / "given").mkdir(parents=True)
    (folder / "out").mkdir()
    image, model = scene(folder / "given" / "in.tif"), tiny_model(folder / "given" / "tiny")
    return Workspace(folder=folder / "out", image=image, model=model)


@contextmanager
def expected_digests(workspace: Workspace) -> Iterator[tuple[str | None, str | None]]:
    """Digests of the pixels and of the STFs of a run without faults."""
    done = workspace.run()
    if done.code != 0:
        raise AssertionError(f"a run without faults failed: {done}")
    yield workspace.digest(), workspace.stf_digest()
    workspace.clear()
