"""The protocol `vnir`: airborne scenes seen by drone cameras and by invented ones of five bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.observed import observed_images, unnamed
from uavssr.data import (
    DISTRUSTED_NM,
    CameraSource,
    RandomCameras,
    ScenePatches,
    draw_cameras,
    invented_sensor,
    load_airborne_cube,
    read_airborne_cube,
)
from uavssr.errors import InputRefused
from uavssr.io.bounded import is_folder
from uavssr.model import ResponseFamily
from uavssr.sensors import HEADWALL_NANO, Band, Float32Array, Sensor, load_sensor
from uavssr.spectra import SubspaceCompletion, load_library, resample

VNIR_TEST_SCENES: Final = ("neon_idtrees_mlbs_1", "enmap_potsdam_west")
"""Held-out scenes: other flights, sensors and places than all others."""
DRONE_CAMERAS: Final = ("p4m", "m3m", "rededge3")
"""Sensors of a case each, by default."""
CAMERAS_A_FLIGHT: Final = 8
"""Cameras that see each held-out scene."""
INVENTED_BANDS: Final = 5
"""Bands of the invented cameras."""
_END_NM: Final = 12.0
"""Wavelengths in nm that a scene may lack at an end of the grid and still counts as full."""
_PIXELS_A_SCENE: Final = 1000
"""Pixels of each full scene that the completion is fitted to."""
_RANK: Final = 12
_MEAN_OF: Final = 512
"""Invented cameras of which the mean data sheet is made."""


def vnir_cases(
    data: Path,
    *,
    sensors: Sequence[str] = DRONE_CAMERAS,
    library: Path | None = None,
    size: int = 64,
) -> list[Case]:
    """A case for each sensor, and the case `random` of invented cameras.

    A sensor's cameras are draws near its data sheet, in training and in the test. Of an invented
    camera a method is given its own data sheet; `training.family` is then the mean of them.

    Args:
        data: folder with `vnir`, the scenes and their `meta.json`.
        sensors: names or files of cameras.
        library: spectra from which missing bands are completed; by default the pixels of those
            training scenes that cover the grid.
        size: side of training patches in pixels.

    Raises:
        InputRefused: the folder, a file or a held-out scene is missing.
    """
    training, held_out = read_vnir(data / "vnir", library=library)
    cases = []
    for number, name in enumerate(sensors):
        sensor = load_sensor(name)
        cameras = _near(sensor)
        patches = ScenePatches(
            grid=HEADWALL_NANO,
            family=cameras(np.random.default_rng(0), 1).family,
            scenes=tuple(training.values()),
            cameras=cameras,
            size=size,
        )
        tests = _tests(held_out, cameras, 100 + number)
        title = f"{sensor.title or sensor.name}, cameras near its data sheet"
        cases.append(Case(name=sensor.name, title=title, training=patches, tests=tests))
    patches = ScenePatches(
        grid=HEADWALL_NANO,
        family=_mean_family(),
        scenes=tuple(training.values()),
        cameras=_invented,
        size=size,
    )
    tests = _tests(held_out, _invented, 199)
    title = f"Invented cameras of {INVENTED_BANDS} bands, with their data sheets"
    return [*cases, Case(name="random", title=title, training=patches, tests=tests)]


def _tests(
    held_out: Mapping[str, Float32Array], cameras: CameraSource, stream: int
) -> dict[str, tuple[HeldOutImage, ...]]:
    """The set of images of a case."""
    count = CAMERAS_A_FLIGHT
    return {"random": observed_images(held_out, unnamed(cameras), stream=stream, count=count)}


def _near(sensor: Sensor) -> CameraSource:
    """Cameras near a data sheet."""
    sensor.srf(HEADWALL_NANO)  # raises where a band lies outside the grid

    def draw(rng: np.random.Generator, count: int) -> RandomCameras:
        return draw_cameras(rng, [sensor] * count, HEADWALL_NANO)

    return draw


def _invented(rng: np.random.Generator, count: int) -> RandomCameras:
    """Invented cameras, near a data sheet of their own each."""
    sheets = [invented_sensor(rng, INVENTED_BANDS, HEADWALL_NANO) for _ in range(count)]
    return draw_cameras(rng, sheets, HEADWALL_NANO)


def _mean_family() -> ResponseFamily:
    """The mean data sheet of invented cameras (S = 1), and their spread around it."""
    family = _invented(np.random.default_rng(0), _MEAN_OF).family
    bands = tuple(
        Band(role=f"b{index}", centre=float(centre), fwhm=float(width))
        for index, (centre, width) in enumerate(
            zip(family.centre.mean(0), family.fwhm.mean(0), strict=True)
        )
    )
    mean = ResponseFamily.of(Sensor(name="mean", bands=bands), HEADWALL_NANO)
    spread = mean.spread.clone()
    spread[0, :, 0] = family.centre.std(0)
    spread[0, :, 1] = family.fwhm.log().std(0)
    return replace(mean, spread=spread, common=torch.zeros(1))


def read_vnir(
    folder: Path, *, library: Path | None = None
) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
    """The scenes (C, y, x) to train on, and those held out, as reflectance on `HEADWALL_NANO`.

    Radiance is corrected from the scene itself, and bands that a scene lacks are completed, see
    `data.load_airborne_cube`. Of training scenes the ranges of `data.DISTRUSTED_NM` are completed
    too. Held-out scenes have no part in the completion.

    Raises:
        InputRefused: the folder, a file or a held-out scene is missing.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.npz"))} if is_folder(folder) else {}
    missing = [name for name in VNIR_TEST_SCENES if name not in paths]
    if missing or len(paths) == len(VNIR_TEST_SCENES):
        raise InputRefused(
            f"holds {len(paths)} scenes NAME.npz; needed are {' and '.join(VNIR_TEST_SCENES)}, "
            "and others to train on",
            path=folder,
            remedy="put the scenes there, or name the folder above it with --data",
        )
    training_paths = {name: path for name, path in paths.items() if name not in VNIR_TEST_SCENES}
    completion = _completion(training_paths, library)
    training = {
        name: load_airborne_cube(
            path, HEADWALL_NANO, completion=completion, distrusted=DISTRUSTED_NM.get(name, ())
        )
        for name, path in training_paths.items()
    }
    held_out = {
        name: load_airborne_cube(paths[name], HEADWALL_NANO, completion=completion)
        for name in VNIR_TEST_SCENES
    }
    return training, held_out


def _completion(paths: Mapping[str, Path], library: Path | None) -> SubspaceCompletion:
    """Fitted to a library, or to pixels of the scenes that cover the grid."""
    if library is not None:
        loaded = load_library(library, HEADWALL_NANO)
        return SubspaceCompletion.fit(loaded.spectra[loaded.source != "synthetic"], rank=_RANK)
    rng = np.random.default_rng(0)
    pixels = []
    for name, path in paths.items():
        cube, nm = read_airborne_cube(path)
        short = nm[0] - _END_NM > HEADWALL_NANO.centres[0]
        if short or nm[-1] + _END_NM < HEADWALL_NANO.centres[-1] or name in DISTRUSTED_NM:
            continue
        flat = cube.reshape(-1, nm.size)
        chosen = rng.choice(len(flat), min(_PIXELS_A_SCENE, len(flat)), replace=False)
        pixels.append(resample(flat[chosen], nm, HEADWALL_NANO))
    if not pixels:
        low, high = HEADWALL_NANO.centres[[0, -1]]
        raise InputRefused(
            f"no training scene covers {low:.0f}-{high:.0f} nm, to complete the others from",
            path=next(iter(paths.values())).parent,
            remedy="add one, or give a library of spectra",
        )
    return SubspaceCompletion.fit(np.concatenate(pixels), rank=_RANK)
