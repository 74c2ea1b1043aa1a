"""Bad inputs and models through the command: a word on stderr, nothing written, nothing eaten up.

The single refusals are tested beside the code that makes them; docs/reliability.md lists them all.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save

from tests.helpers.faults import Lab, apart, laboratory, scene
from tests.helpers.flips import KINDS, counted
from tests.model.test_weights import rewrite, sign
from uavssr.errors import InputRefused
from uavssr.io.msi.source import open_msi
from uavssr.tiling import Window

REPEATS = int(os.environ.get("UAVSSR_REPEATS", "1"))
"""How many times as much harm is done as it is by default."""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return laboratory(tmp_path / "lab")


def refused(lab: Lab, code: int, *facts: str) -> None:
    """The run says the facts in one line and leaves nothing."""
    done = lab.run()
    assert done.code == code, done
    assert done.decent
    assert done.said.startswith("uavssr: error: ")
    assert [fact for fact in facts if fact not in done.said] == [], done.said
    assert lab.files() == set()


# --- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.999])
def test_truncated_image_leaves_no_output(lab: Lab, share: float) -> None:
    """Row 4."""
    scene(lab.image, compress="deflate")
    content = lab.image.read_bytes()
    lab.image.write_bytes(content[: int(share * len(content))])
    refused(lab, 3, "in.tif")


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_told_where_anything_can_tell(tmp_path: Path, kind: str) -> None:
    """Rows 5, 22, 35, 40: 300 places, in a process of its own that may neither crash nor hang."""
    found = apart(counted, kind, tmp_path, 300 * REPEATS, 5)
    assert sum(found.values()) == 300 * REPEATS
    assert found["refused" if kind != "image, plain" else "harmless"] > 0
    if not kind.startswith(("image", "config")):
        assert "silent" not in found


def bomb(path: Path, *, inflated: int) -> None:
    """Replace a block of a deflated TIFF with one that inflates to so many bytes."""
    content = bytearray(path.read_bytes())
    assert content[:4] == b"II*\0"
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    entries = [directory + 2 + 12 * i for i in range(count)]
    where = {struct.unpack_from("<H", content, at)[0]: at for at in entries}
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(inflated >> 20))
    packed += packer.flush()
    for tag, value in ((324, len(content)), (325, len(packed))):  # offsets and sizes of the blocks
        kind, number, at = struct.unpack_from("<HII", content, where[tag] + 2)
        assert number > 2  # else they would stand in the entry itself
        struct.pack_into({3: "<H", 4: "<I"}[kind], content, at, value)
    path.write_bytes(bytes(content) + packed)


def read_bomb(path: Path, said: Path) -> None:
    """Read an image and write down what came of it, and by how many bytes memory grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    warnings.simplefilter("ignore")
    try:
        msi = open_msi(path)
        msi.read(Window(0, 0, msi.height, msi.width))
        word = "read"
    except InputRefused:
        word = "refused"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    said.write_text(json.dumps([word, 1024 * grown]))


def test_deflate_bomb_is_bounded(lab: Lab) -> None:
    """Row 9: a block of 4 kB that inflates to 300 MB takes no more than its pixels."""
    scene(lab.image, compress="deflate", blockxsize=32, blockysize=32)
    bomb(lab.image, inflated=300 * 2**20)
    with rasterio.open(lab.image) as file:
        assert file.block_shapes[0] == (32, 32)
    word, grown = apart(read_bomb, lab.image)
    assert word in ("read", "refused")
    assert grown < 100e6


# --- models --------------------------------------------------------------------------------------


def resign(model: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    sign(model, save(tensors))


HARM: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "another shape": (
        lambda m: resign(m, lambda t: t.update(mean=t["mean"][:-1].clone())),
        ("model.safetensors", "tensor mean"),
    ),
    "a tensor less": (
        lambda m: resign(m, lambda t: t.pop("covariance")),
        ("model.safetensors", "covariance"),
    ),
    "NaN": (
        lambda m: resign(m, lambda t: t["mean"].fill_(torch.nan)),
        ("model.safetensors", "mean", "NaN or infinity"),
    ),
    "another grid": (
        lambda m: rewrite(m, lambda c: [c["grid"][k].pop() for k in ("centres_nm", "fwhm_nm")]),
        ("config.json", "39 wavelengths"),
    ),
    "absurd sizes": (
        lambda m: rewrite(m, lambda c: c["network"].update(width=10**9)),
        ("config.json", "width must be a whole number"),
    ),
    "40 GB of weights": (
        lambda m: rewrite(m, lambda c: c["network"].update(width=1024, stages=32, components=512)),
        ("model.safetensors", "config.json calls for"),
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_model_that_does_not_fit_is_refused_by_the_command(lab: Lab, harm: str) -> None:
    """Row 36: 4 naming the key."""
    change, facts = HARM[harm]
    change(lab.model)
    refused(lab, 4, *facts)


def test_pickle_among_the_weights_runs_no_code(lab: Lab, tmp_path: Path) -> None:
    """Row 34: under the very name that is loaded, and with its own SHA-256."""
    trace = tmp_path / "trace"
    code = b"cos\nsystem\n(S'touch " + os.fsencode(trace) + b"'\ntR."
    sign(lab.model, code)
    refused(lab, 4, "model.safetensors")
    (lab.model / "model.pt").write_bytes(code)
    (lab.model / "model.safetensors").unlink()
    refused(lab, 4, "model.safetensors")
    refused(replace(lab, model=lab.model / "model.pt"), 4, "model.pt")
    assert not trace.exists()


def test_scene_of_nothing_but_numbers_is_unharmed(lab: Lab) -> None:
    """The lab itself: without harm the command is content."""
    assert lab.run().code == 0
    with rasterio.open(lab.out) as file:
        assert np.ptp(file.read(1)) > 0
