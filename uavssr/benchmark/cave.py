"""The protocol `cave`: indoor scenes seen by measured and by random cameras of three bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from uavssr.benchmark.case import Case
from uavssr.benchmark.cave_scenes import CAVE_GRID, read_cave
from uavssr.benchmark.measured_cameras import (
    CAMERA_TABLE,
    CameraSet,
    camera_set,
    read_camera_table,
    with_data_sheet,
)
from uavssr.benchmark.observed import observed_images, unnamed
from uavssr.data import RandomCameras, ScenePatches, draw_cameras
from uavssr.errors import InputRefused
from uavssr.sensors import Float32Array, Sensor, load_sensor

CaveSplit = Literal["ours", "dian"]

CAVE_TEST_SCENES: Final = (
    *("paints", "face", "real_and_fake_peppers"),
    *("stuffed_toys", "watercolors", "clay"),
)
"""Held-out scenes of the split "ours"."""
DIAN_TRAINING_SCENES: Final = 20
"""Training scenes of the split "dian", the first ones in alphabetical order.

The published code of Dian et al. reads 20 files of a folder; which ones is not published.
"""
NIKON: Final = "Nikon D700"
"""The only camera of the split "dian" in the literature."""


def cave_cases(data: Path, *, split: CaveSplit = "ours", size: int = 64) -> list[Case]:
    """The cases `measured`, `nikon-d700` and `random`.

    `measured`: of the 28 cameras in alphabetical order, every second is seen in training, from the
    first on; the others are unseen. So makers and models spread over both. A method is given the
    mean of the seen cameras and their spread. `nikon-d700`: that camera alone, of which a method is
    given the response. `random`: draws near the generic RGB data sheet.

    Args:
        data: folder with `cave` (scenes) and `srf` (the table of cameras).
        split: "ours" holds out `CAVE_TEST_SCENES`, and halves scenes of 512 pixels; "dian" trains
            on the first 20 scenes.
        size: side of training patches in pixels.

    Raises:
        InputRefused: a folder, a file or a held-out scene is missing.
    """
    training, held_out = split_scenes(
        read_cave(data / "cave", halved=split == "ours"), split, folder=data / "cave"
    )
    scenes = tuple(training.values())
    table = data / "srf" / CAMERA_TABLE
    cameras = read_camera_table(table, CAVE_GRID)
    if NIKON not in cameras:
        raise InputRefused(f"has no camera {NIKON}", path=table, remedy="get the whole table")
    seen, unseen = seen_and_unseen(cameras)
    seen_set = camera_set(seen, CAVE_GRID)
    unseen_set = with_data_sheet(unseen, seen_set, CAVE_GRID)
    nikon = camera_set([cameras[NIKON]], CAVE_GRID)
    return [
        Case(
            name="measured",
            title="Measured RGB cameras, half of them never seen in training",
            training=_patches(scenes, seen_set, size),
            tests={
                "seen": observed_images(held_out, seen_set.different, stream=0),
                "unseen": observed_images(held_out, unseen_set.different, stream=1),
            },
        ),
        Case(
            name="nikon-d700",
            title="One measured RGB camera, the Nikon D700",
            training=_patches(scenes, nikon, size),
            tests={"seen": observed_images(held_out, nikon.different, stream=2)},
        ),
        Case(
            name="random",
            title="Random RGB cameras near a generic data sheet",
            training=ScenePatches(
                grid=CAVE_GRID,
                family=_random_cameras(np.random.default_rng(0), 1).family,
                scenes=scenes,
                cameras=_random_cameras,
                size=size,
            ),
            tests={"random": observed_images(held_out, unnamed(_random_cameras), stream=3)},
        ),
    ]


def _patches(scenes: Sequence[Float32Array], cameras: CameraSet, size: int) -> ScenePatches:
    return ScenePatches(
        grid=CAVE_GRID, family=cameras.family, scenes=scenes, cameras=cameras, size=size
    )


def _random_cameras(rng: np.random.Generator, count: int) -> RandomCameras:
    return draw_cameras(rng, [load_sensor("rgb")] * count, CAVE_GRID)


def seen_and_unseen(cameras: Mapping[str, Sensor]) -> tuple[list[Sensor], list[Sensor]]:
    """Every second camera in alphabetical order from the first on, and the others."""
    ordered = [cameras[name] for name in sorted(cameras, key=str.casefold)]
    return ordered[::2], ordered[1::2]


def split_scenes(
    scenes: Mapping[str, Float32Array], split: CaveSplit, *, folder: Path
) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
    """The scenes to train on, and those held out.

    Raises:
        InputRefused: a held-out scene is missing, or no scene is left for one of both.
    """
    names = sorted(scenes)
    held_out = CAVE_TEST_SCENES if split == "ours" else names[DIAN_TRAINING_SCENES:]
    training = [name for name in names if name not in held_out]
    missing = sorted(set(held_out) - set(names))
    if missing or not held_out or not training:
        needed = ", ".join(missing) or "more scenes"
        raise InputRefused(
            f"holds {len(names)} scenes; the split {split!r} needs {needed}",
            path=folder,
            remedy="put all scenes of CAVE there (https://cave.cs.columbia.edu/repository/"
            "Multispectral)",
        )
    return {name: scenes[name] for name in training}, {name: scenes[name] for name in held_out}
