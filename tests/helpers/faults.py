"""A place to do harm in: a small scene and model, what a run gives that nothing disturbs, and runs.

Runs are processes forked from a warm one (`tests.helpers.runs`), so that a kill costs little.
"""

from __future__ import annotations

import hashlib
import json
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
from uavssr.io.writers.atomic import remove
from uavssr.io.writers.journal import journal_path

LOADED = [  # by a run on its way, so that one begins at once
    *(
        "tests.helpers.runs",
        "uavssr.reconstruction.api",
        "uavssr.io.msi.source",
        "uavssr.cli.reconstruct",
    ),
    *("distributed", "h5netcdf", "pyogrio", "shapely", "xarray.backends.h5netcdf_"),
    "hypothesis.stateful",
]
CONTEXT.set_forkserver_preload(LOADED)
HEIGHT, WIDTH, TILE = 48, 64, 16
TILES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended."""

    code: int
    """Exit code; negative for a signal."""
    said: str
    """On stderr."""

    @property
    def decent(self) -> bool:
        """Whether it ended as promised: done, or one line and a code that is no bug's."""
        if self.code in (0, -9):
            return "Traceback" not in self.said
        return self.code in (3, 4, 5, 6, 130) and len(self.said.splitlines()) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A folder for one output, and what is needed to make it."""

    folder: Path
    """Where the output is."""
    image: Path
    """A scene with a hole that empties a tile."""
    model: Path
    """A tiny network."""
    name: str = "out.tif"
    """Of the output."""
    options: tuple[object, ...] = ()
    """More of the command line."""
    numbers: list[int] = field(default_factory=list)
    """One for each run that was started."""

    @property
    def out(self) -> Path:
        """The output."""
        return self.folder / self.name

    def argv(self, *more: object) -> list[object]:
        """The command line of a run, with more behind."""
        common = ["--model", self.model, "--tile", TILE, "--workers", 2]
        return ["-q", "reconstruct", self.image, "-o", self.out, *common, *self.options, *more]

    def start(self, *more: object, **limits: int | None) -> tuple[BaseProcess, Path]:
        """A run, with the limits of `runs.start`, and the file that holds what it says."""
        self.numbers.append(0)
        said = self.folder / f"said-{len(self.numbers)}"
        return start(said, *self.argv(*more), **limits), said

    def run(self, *more: object, largest: int | None = None) -> Ended:
        """A run to its end."""
        return ended(*self.start(*more, largest=largest))

    def kept(self) -> list[Path]:
        """The finished tiles in the journal."""
        return sorted(journal_path(self.out).glob("tile-*.npz"))

    def files(self) -> set[str]:
        """What is in the folder, but for what the runs said."""
        return {path.name for path in self.folder.iterdir() if not path.name.startswith("said-")}

    def clear(self) -> None:
        """Remove the outputs, as somebody does who starts again."""
        for path in self.folder.glob(f"{self.out.stem}.*"):
            remove(path)

    def digest(self) -> str | None:
        """Of all pixels of the output; None where there is none."""
        if not self.out.exists():
            return None
        return hashlib.sha256(pixels(self.out).tobytes()).hexdigest()

    def stf_digest(self) -> str | None:
        """Of all numbers of the STFs; None where there are none."""
        path = self.out.with_suffix(".stf.nc")
        if not path.exists():
            return None
        found, seen = xr.load_dataset(path, engine="h5netcdf"), hashlib.sha256()
        for name in sorted(map(str, found.variables)):
            seen.update(name.encode() + np.ascontiguousarray(found[name]).tobytes())
        return seen.hexdigest()


def ended(process: BaseProcess, said: Path, *, timeout: float = 120) -> Ended:
    """Wait for a run."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"a run has hung: {said.read_text()}")
    return Ended(code=process.exitcode, said=said.read_text() if said.exists() else "")


def apart(function: Callable[..., None], *arguments: object, timeout: float = 120) -> Any:
    """What a function writes as JSON to the file that it is given last, in a process of its own.

    Raises:
        AssertionError: it crashed or hung.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        process = CONTEXT.Process(target=function, args=(*arguments, told))
        process.start()
        process.join(timeout)
        if process.exitcode != 0:
            process.kill()
            process.join()
            raise AssertionError(f"{function.__name__}{arguments} ended with {process.exitcode}")
        return json.loads(told.read_text())


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


def laboratory(folder: Path) -> Lab:
    """A lab in a new folder; image and model lie in one of their own."""
    (folder / "given").mkdir(parents=True)
    (folder / "out").mkdir()
    image, model = scene(folder / "given" / "in.tif"), tiny_model(folder / "given" / "tiny")
    return Lab(folder=folder / "out", image=image, model=model)


@contextmanager
def undisturbed(lab: Lab) -> Iterator[tuple[str | None, str | None]]:
    """What a run gives that nothing disturbs: digests of the pixels and of the STFs."""
    done = lab.run()
    if done.code != 0:
        raise AssertionError(f"a run that nothing disturbed failed: {done}")
    yield lab.digest(), lab.stf_digest()
    lab.clear()
