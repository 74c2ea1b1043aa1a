"""Bad inputs and models given to the command: one line on stderr, no output, bounded memory.

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

from tests.helpers.faults import Workspace, in_subprocess, new_workspace, scene
from tests.helpers.flips import KINDS, count_flips
from tests.model.test_weights import rewrite, sign
from uavssr.errors import InputRefused
from uavssr.io.msi.source import open_msi
from uavssr.tiling import Window

REPEATS = int(os.environ.get("UAVSSR_REPEATS", "1"))
"""Factor on the number of faults."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path / "workspace")


def refused(workspace: Workspace, code: int, *facts: str) -> None:
    """Check that a run fails with the facts in one line and leaves no file."""
    done = workspace.run()
    assert done.code == code, done
    assert done.as_promised
    assert done.stderr.startswith("uavssr: error: ")
    assert [fact for fact in facts if fact not in done.stderr] == [], done.stderr
    assert workspace.files() == set()


# --- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.999])
def test_truncated_image_leaves_no_output(workspace: Workspace, share: float) -> None:
    """Row 4."""
    scene(workspace.image, compress="deflate")
    content = workspace.image.read_bytes()
    workspace.image.write_bytes(content[: int(share * len(content))])
    refused(workspace, 3, "in.tif")


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_reported_where_they_can_be_recognised(tmp_path: Path, kind: str) -> None:
    """Rows 5, 22, 35, 40: 300 places, in a process of its own that may neither crash nor hang."""
    found = in_subprocess(count_flips, kind, tmp_path, 300 * REPEATS, 5)
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


def read_bomb(path: Path, stderr: Path) -> None:
    """Read an image; write the result and the growth of memory in bytes to a file."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    warnings.simplefilter("ignore")
    try:
        msi = open_msi(path)
        msi.read(Window(0, 0, msi.height, msi.width))
        result = "read"
    except InputRefused:
        result = "refused"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    stderr.write_text(json.dumps([result, 1024 * grown]))


def test_deflate_bomb_is_bounded(workspace: Workspace) -> None:
    """Row 9: a block of 4 kB that inflates to 300 MB takes no more than its pixels."""
    scene(workspace.image, compress="deflate", blockxsize=32, blockysize=32)
    bomb(workspace.image, inflated=300 * 2**20)
    with rasterio.open(workspace.image) as file:
        assert file.block_shapes[0] == (32, 32)
    result, grown = in_subprocess(read_bomb, workspace.image)
    assert result in ("read", "refused")
    assert grown < 100e6


# --- models --------------------------------------------------------------------------------------


def resign(model: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    sign(model, save(tensors))


DAMAGE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
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


@pytest.mark.parametrize("damage", DAMAGE)
def test_model_that_does_not_fit_is_refused_by_the_command(
    workspace: Workspace, damage: str
) -> None:
    """Row 36: 4 naming the key."""
    change, facts = DAMAGE[damage]
    change(workspace.model)
    refused(workspace, 4, *facts)


def test_pickle_among_the_weights_runs_no_code(workspace: Workspace, tmp_path: Path) -> None:
    """Row 34: under the very name that is loaded, and with its own SHA-256."""
    trace = tmp_path / "trace"
    code = b"cos\nsystem\n(S'touch " + os.fsencode(trace) + b"'\ntR."
    sign(workspace.model, code)
    refused(workspace, 4, "model.safetensors")
    (workspace.model / "model.pt").write_bytes(code)
    (workspace.model / "model.safetensors").unlink()
    refused(workspace, 4, "model.safetensors")
    refused(replace(workspace, model=workspace.model / "model.pt"), 4, "model.pt")
    assert not trace.exists()


def test_command_succeeds_without_faults(workspace: Workspace) -> None:
    """The workspace itself is valid."""
    assert workspace.run().code == 0
    with rasterio.open(workspace.out) as file:
        assert np.ptp(file.read(1)) > 0
