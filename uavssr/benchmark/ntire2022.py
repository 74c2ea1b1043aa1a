"""The protocol `ntire2022`: spectral recovery from RGB, with the challenge's data and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, overload

import numpy as np
import torch

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.challenge_scene import (
    CHALLENGE_GRID,
    ChallengeScene,
    read_filters,
)
from uavssr.data import ImagePatches
from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.baselines import CameraImage
from uavssr.io.bounded import is_folder, read_bytes, why_unread
from uavssr.model import ResponseFamily
from uavssr.sensors import Sensor

CHALLENGE_CROP: Final = 128
"""Pixels at each border that the challenge does not score."""
_FILTERS: Final = "RGB_Camera_QE.csv"
_MAX_LIST_BYTES: Final = 2**20
_EXPOSED_SCENES: Final = 16
"""Training scenes from which the mean and the spread of the exposure are found."""
_LEAST_SPREAD: Final = (1.0, 0.03, 0.02)
"""Prior spread of shift (nm), log stretch and log gain: there is one camera."""
_LEAST_COMMON: Final = 0.05


def ntire2022_cases(
    data: Path, *, training: Path | None = None, validation: Path | None = None, size: int = 128
) -> list[Case]:
    """The case `ntire2022`: ARAD_1K as distributed, scored on the inner part of each scene.

    Images are read from `*_RGB/NAME.jpg` where they are there. Otherwise they are made as the
    challenge publishes it, see `ChallengeScene`. A method is given the filters of the camera, and
    that the exposure differs from image to image by a common factor.

    Args:
        data: folder with `ntire2022` (`*_Spec/NAME.mat`) and `srf/RGB_Camera_QE.csv`.
        training: list of the names of training scenes, one a line; by default
            `ntire2022/split_txt/train_list.txt`.
        validation: the same of the scenes to judge on; by default `valid_list.txt`.
        size: side of training patches in pixels.

    Raises:
        UsageError: a scene is in both lists.
        InputRefused: a folder, a list or a scene is missing.
    """
    folder = data / "ntire2022"
    lists = folder / "split_txt"
    names = _names(training or lists / "train_list.txt")
    judged = _names(validation or lists / "valid_list.txt")
    if both := sorted(set(names) & set(judged)):
        fact = f"{len(both)} scenes are in both lists, e.g. {both[0]}"
        raise UsageError(fact, remedy="leave the scenes to judge on out of the training list")
    sensor, filters = read_filters(data / "srf" / _FILTERS)
    scenes = _scenes(folder, [*names, *judged], filters)
    learned, held_out = scenes[: len(names)], scenes[len(names) :]
    family = _family(sensor, learned[:: -(-len(learned) // _EXPOSED_SCENES)])
    patches = ImagePatches(grid=CHALLENGE_GRID, family=family, scenes=learned, size=size)
    tests = {"validation": _ChallengeImages(scenes=held_out, family=family)}
    title = "RGB images of the NTIRE 2022 challenge"
    return [Case(name="ntire2022", title=title, training=patches, tests=tests)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ChallengeImages(Sequence[HeldOutImage]):
    """Held-out images, each read when it is asked for: all of them take gigabytes."""

    scenes: Sequence[ChallengeScene]
    family: ResponseFamily

    def __len__(self) -> int:
        return len(self.scenes)

    @overload
    def __getitem__(self, index: int) -> HeldOutImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HeldOutImage]: ...
    def __getitem__(self, index: int | slice) -> HeldOutImage | Sequence[HeldOutImage]:
        if isinstance(index, slice):
            return replace(self, scenes=self.scenes[index])
        scene = self.scenes[index]
        if min(scene.shape) <= 2 * CHALLENGE_CROP:
            height, width = scene.shape
            raise InputRefused(
                f"has {height} x {width} pixels; the challenge leaves {CHALLENGE_CROP} out at each "
                "border",
                path=scene.path,
                remedy="take it out of the list of scenes to judge on",
            )
        image = CameraImage(msi=scene.image(), family=self.family, rows=scene.camera()[1])
        return HeldOutImage(
            scene=scene.name,
            camera="challenge",
            image=image,
            cube=scene.cube.read(),
            crop=CHALLENGE_CROP,
        )


def _family(sensor: Sensor, scenes: Sequence[ChallengeScene]) -> ResponseFamily:
    """The data sheet, with the mean and the spread of the exposure of some scenes."""
    theta = torch.from_numpy(np.stack([scene.camera()[0] for scene in scenes]))
    family = ResponseFamily.of(sensor, CHALLENGE_GRID)
    common = theta[:, 0, 2].std(correction=0).clamp_min(_LEAST_COMMON)
    spread = torch.tensor(_LEAST_SPREAD).expand(1, len(sensor), 3)
    return replace(family, prior=theta.mean(0)[None], spread=spread.clone(), common=common[None])


def _names(path: Path) -> list[str]:
    """The scenes of a list, with or without the ending of a file."""
    try:
        lines = read_bytes(path, _MAX_LIST_BYTES).decode().split()
        if not lines:
            raise ValueError("it is empty")
    except (OSError, ValueError) as err:
        raise InputRefused(
            f"no list of scenes ({why_unread(err, path)})",
            path=path,
            remedy="give a text file with the name of a scene in each line",
        ) from err
    return [line.removesuffix(".mat").removesuffix(".jpg") for line in lines]


def _scenes(folder: Path, names: Sequence[str], filters: np.ndarray) -> list[ChallengeScene]:
    """The scenes of these names, of which nothing is read yet."""
    there = is_folder(folder)
    cubes = {path.stem: path for path in folder.glob("*_Spec/*.mat")} if there else {}
    pictures = {path.stem: path for path in folder.glob("*_RGB/*.jpg")} if there else {}
    if missing := [name for name in names if name not in cubes]:
        raise InputRefused(
            f"lacks {len(missing)} of {len(names)} scenes, e.g. Train_Spec/{missing[0]}.mat",
            path=folder,
            remedy="get ARAD_1K from https://codalab.lisn.upsaclay.fr/competitions/721, or "
            "shorten the lists",
        )
    return [
        ChallengeScene(path=cubes[name], picture=pictures.get(name), filters=filters)
        for name in names
    ]
