"""Flips of single bits in every kind of file that is read, and the results of reading it.

Every function makes a file, flips bits of it one at a time, reads it, and counts the results:
`refused`, `harmless` (the content is the same), or `silent` (it differs, and nothing in the file
could show that). Any other result is an error with the bit in a note.
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch

from tests.helpers.faults import scene
from tests.helpers.models import tiny_model
from uavssr.errors import InputRefused, ModelRefused, OutputError
from uavssr.io.msi.source import open_msi
from uavssr.io.writers.journal import Journal, journal_path
from uavssr.io.writers.tile_record import TileRecord
from uavssr.model.weights import load_model
from uavssr.tiling import Window
from uavssr.training.checkpoints import CHECKPOINT_FILE, read_checkpoint, write_checkpoint

SETTINGS = {"seed": 3, "batch": 2}
IDENTITY = {"version": "1", "--tile": "16"}


def flip_each(
    path: Path, count: int, rng: random.Random, read_back: Callable[[], str]
) -> Counter[str]:
    """Flip a random bit of a file, count the result of `read_back`, restore it; `count` times."""
    whole, found = path.read_bytes(), Counter[str]()
    for _ in range(count):
        place, bit = rng.randrange(len(whole)), rng.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            found[read_back()] += 1
        except BaseException as err:
            err.add_note(f"after bit {bit} of byte {place} of {path.name} was flipped")
            raise
    path.write_bytes(whole)
    return found


def by_gdal(path: Path) -> np.ndarray | None:
    """The numbers of an image as GDAL alone reads them; None where it notices damage."""
    try:
        with rasterio.open(path, driver="GTiff") as file:
            return file.read()
    except rasterio.errors.RasterioError:
        return None


def images(folder: Path, count: int, seed: int, *, compress: str | None) -> Counter[str]:
    """Read whole: never what GDAL refuses to decode, never other numbers than GDAL decodes."""
    path = scene(folder / "in.tif", compress=compress)
    truth = by_gdal(path)

    def read_back() -> str:
        try:
            msi = open_msi(path)
            ours, valid = msi.read(Window(0, 0, msi.height, msi.width))
        except InputRefused:
            return "refused"
        alone = by_gdal(path)
        if alone is None:
            raise AssertionError("GDAL can tell, and we do not")
        if alone.shape != ours.shape or not np.array_equal(alone[:, valid], ours[:, valid]):
            raise AssertionError("read otherwise than by GDAL")
        return "harmless" if np.array_equal(alone, truth, equal_nan=True) else "silent"

    return flip_each(path, count, random.Random(seed), read_back)


def tiles(folder: Path, count: int, seed: int) -> Counter[str]:
    """A tile of the journal is given back as it was or not at all."""
    out, rng = folder / "out.tif", np.random.default_rng(seed)
    record = TileRecord(
        index=3,
        valid=rng.random((16, 16)) > 0.3,
        maps={"coefficients": rng.random((6, 16, 16)).astype("f4")},
        stf={"stf": rng.random((5, 40)).astype("f4")},
    )
    with Journal(out) as journal:
        journal.begin(IDENTITY, {"stf": record.stf["stf"]})
        journal.store("tile", record)

        def read_back() -> str:
            found = journal.load("tile", 3)
            if found is None:
                return "refused"
            same = np.array_equal(found.maps["coefficients"], record.maps["coefficients"])
            if same and np.array_equal(found.valid, record.valid):
                return "harmless"
            raise AssertionError("another tile is read than was stored")

        path = journal_path(out) / "tile-0000003.npz"
        found = flip_each(path, count, random.Random(seed), read_back)
        journal.clear()
    return found


def run_records(folder: Path, count: int, seed: int) -> Counter[str]:
    """The record of a run is that run's or is refused."""
    out = folder / "out.tif"
    with Journal(out) as journal:
        journal.begin(IDENTITY, {"stf": np.linspace(0, 1, 7)})
        journal.store("tile", TileRecord(index=0, valid=np.ones((2, 2), bool)))
        before = journal.identity, journal.scene["stf"].tolist()

    def read_back() -> str:
        try:
            with Journal(out, resume=True) as journal:
                if (journal.identity, journal.scene["stf"].tolist()) == before:
                    return "harmless"
        except OutputError:
            return "refused"
        raise AssertionError("another run is resumed than was begun")

    return flip_each(journal_path(out) / "run.json", count, random.Random(seed), read_back)


def weights(folder: Path, count: int, seed: int) -> Counter[str]:
    """Weights have a SHA-256: no flipped bit passes."""
    model = tiny_model(folder / "tiny")

    def read_back() -> str:
        try:
            load_model(model)
        except ModelRefused:
            return "refused"
        raise AssertionError("damaged weights are loaded")

    return flip_each(model / "model.safetensors", count, random.Random(seed), read_back)


def configs(folder: Path, count: int, seed: int) -> Counter[str]:
    """A model's settings are plain text without a checksum, to be edited: refused, or taken."""
    model = tiny_model(folder / "tiny")
    before = json.loads((model / "config.json").read_text())

    def read_back() -> str:
        try:
            load_model(model)
        except ModelRefused:
            return "refused"
        same = json.loads((model / "config.json").read_text()) == before
        return "harmless" if same else "silent"

    return flip_each(model / "config.json", count, random.Random(seed), read_back)


def checkpoints(folder: Path, count: int, seed: int) -> Counter[str]:
    """A training checkpoint is read as it was, or the one before it, or none."""
    torch.manual_seed(seed)
    held = {step: torch.randn(50) for step in (10, 20)}
    for step, values in held.items():
        content = {"settings": SETTINGS, "step": step, "model": {"w": values}}
        write_checkpoint(folder, content)

    def read_back() -> str:
        found = read_checkpoint(folder, SETTINGS)
        if found is None or not torch.equal(found["model"]["w"], held[found["step"]]):
            raise AssertionError("another checkpoint is read than was written")
        return "harmless" if found["step"] == 20 else "refused"

    return flip_each(folder / CHECKPOINT_FILE, count, random.Random(seed), read_back)


KINDS: dict[str, Callable[[Path, int, int], Counter[str]]] = {
    "image, plain": lambda f, n, s: images(f, n, s, compress=None),
    "image, LZW": lambda f, n, s: images(f, n, s, compress="lzw"),
    "image, DEFLATE": lambda f, n, s: images(f, n, s, compress="deflate"),
    "tile of a journal": tiles,
    "record of a run": run_records,
    "weights": weights,
    "config.json": configs,
    "checkpoint": checkpoints,
}


def count_flips(kind: str, folder: Path, count: int, seed: int, answer: Path) -> None:
    """Count the results for one kind of file, and write the counts to `answer` as JSON."""
    logging.disable(logging.WARNING)  # one for every flip
    torch.set_num_threads(1)
    answer.write_text(json.dumps(KINDS[kind](folder, count, seed)))
