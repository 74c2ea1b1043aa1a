"""How a model in training does on ground that it does not train on, beside ridge regression.

Real images of pairs are taken as they are; a cube without an image is seen by a camera that is
drawn once. Must not move weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data import MARGIN, Field, TrainingData, draw_cameras, observe
from uavssr.errors import InputRefused
from uavssr.evaluation.metrics import rmse, sam
from uavssr.evaluation.ridge import Ridge, regress
from uavssr.model import PGUNet, ResponseFamily, Stf
from uavssr.sensors import SENSORS, Float32Array, Sensor, WavelengthGrid

PATCHES: Final = 8
"""Patches of a row that make one validation image, taken evenly."""
SIMULATED: Final = 6
"""Simulated images, where nothing but a library is there to validate on."""
_RIDGE_SCENES: Final = 96
_RIDGE_SIDE: Final = 16
_RIDGE_PATCHES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationImage:
    """What one camera saw of some patches, and what was there."""

    name: str
    """Which: the row's line and files."""
    sensor: Sensor
    """The camera as its data sheet has it."""
    msi: Tensor
    """(n, c, h, w) the image."""
    hsi: Tensor
    """(n, C, h, w) the cube."""
    ridge_rmse: float
    """Of ridge regression on the same image."""
    ridge_sam: float
    """In degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """Errors of a model on one validation image, its STF estimated from the image."""

    image: str
    """Which."""
    rmse: float
    """Over all bands and pixels, in reflectance."""
    sam: float
    """Mean spectral angle in degrees."""
    ridge_rmse: float
    """Of ridge on the same image."""
    ridge_sam: float
    """In degrees."""


def validation_images(data: TrainingData, *, seed: int, size: int) -> list[ValidationImage]:
    """The images to validate on: of the rows set apart, else newly simulated from the library.

    Ridge is trained on the training pairs of the same camera where there are any, else on training
    scenes seen by random cameras near its data sheet.

    Args:
        data: with what is set apart for validation.
        seed: of the cameras, and of ridge's scenes.
        size: side of an image in pixels.
    """
    apart = [f for f in data.fields if f.validate.size]
    baselines: dict[tuple[str, bool], Ridge] = {}
    images = []
    for f in apart:
        sensor = f.patches.sensor or _any_camera(data.grid)
        real = f.patches.real
        msi, hsi = _cut(f, sensor, data.grid, seed)
        key = sensor.name, real
        if key not in baselines:
            baselines[key] = _baseline(data, sensor, seed=seed, real=real)
        name = f"line {f.row.line}: {', '.join(path.name for path in (*f.row.msi, f.row.hsi))}"
        images.append(_image(name, sensor, msi, hsi, baselines[key]))
    if not apart and data.library is not None:
        images = _simulated(data, seed, size)
    return images


@torch.inference_mode()
def validate(
    network: PGUNet, images: Sequence[ValidationImage], *, half: bool = False
) -> list[Validated]:
    """The errors of a network on every image, blind; it stays in the mode in which it was."""
    device = network.mean.device
    found = []
    for image in images:
        family = ResponseFamily.of(image.sensor, network.grid).to(device)
        result = network(
            image.msi.to(device), Stf.from_prior(family), estimate_stf=True, bfloat16=half
        )
        cube = network.basis.expand(result.coefficients).cpu().numpy()
        estimate, reference = _flat(cube), _flat(image.hsi.numpy())
        found.append(
            Validated(
                image=image.name,
                rmse=rmse(estimate, reference),
                sam=sam(estimate, reference),
                ridge_rmse=image.ridge_rmse,
                ridge_sam=image.ridge_sam,
            )
        )
    return found


def figure_of(validated: Sequence[Validated]) -> float:
    """One number to choose weights by: the mean over images of RMSE over ridge's."""
    return float(np.mean([each.rmse / max(each.ridge_rmse, 1e-9) for each in validated]))


def _any_camera(grid: WavelengthGrid) -> Sensor:
    """The first known camera whose bands lie on the grid.

    Raises:
        InputRefused: there is none.
    """
    for sensor in SENSORS.values():
        try:
            sensor.srf(grid)
        except InputRefused:
            continue
        return sensor
    raise InputRefused(
        f"no known camera has all its bands within {grid.name}", remedy="name one per row: sensor"
    )


def _cut(
    f: Field, sensor: Sensor, grid: WavelengthGrid, seed: int
) -> tuple[Float32Array, Float32Array]:
    """Image (n, c, h, w) and cube of some patches that are set apart."""
    places = np.linspace(0, f.validate.size - 1, min(PATCHES, f.validate.size)).round()
    chosen = f.validate[places.astype(int)]
    hsi = f.patches.cubes(chosen)
    if f.patches.real:
        msi = f.patches.images(chosen)
    else:
        rng = np.random.default_rng([seed, 61, f.row.line])
        msi = _seen(rng, hsi, sensor, grid, each=False)
    inner = slice(MARGIN, hsi.shape[-1] - MARGIN)
    return msi[..., inner, inner], hsi[..., inner, inner]


def _seen(
    rng: np.random.Generator,
    cubes: Float32Array,
    sensor: Sensor,
    grid: WavelengthGrid,
    *,
    each: bool,
) -> Float32Array:
    """What cameras near a data sheet see of cubes: one camera for `each`, or one for all."""
    cameras = len(cubes) if each else 1
    drawn = draw_cameras(rng, [sensor] * cameras, grid, knowledge=np.ones(cameras))
    return observe(rng, cubes, np.broadcast_to(drawn.rows, (len(cubes), *drawn.rows.shape[1:])))


def _simulated(data: TrainingData, seed: int, size: int) -> list[ValidationImage]:
    sensor = _any_camera(data.grid)
    ridge = _baseline(data, sensor, seed=seed, real=False)
    images = []
    for number in range(SIMULATED):
        rng = np.random.default_rng([seed, 67, number])
        cube = data.scenes(rng, 1, size)
        msi = _seen(rng, cube, sensor, data.grid, each=True)
        images.append(_image(f"simulated {number + 1}", sensor, msi, cube, ridge))
    return images


def _baseline(data: TrainingData, sensor: Sensor, *, seed: int, real: bool) -> Ridge:
    rng = np.random.default_rng([seed, 71])
    same = [f for f in data.pairs if f.camera == sensor]
    if real and same:
        each = _RIDGE_PATCHES // len(same) + 1
        chosen = [(f.patches, rng.permutation(f.train)[:each]) for f in same]
        images = np.concatenate([patches.images(taken) for patches, taken in chosen])
        return regress(images, np.concatenate([patches.cubes(taken) for patches, taken in chosen]))
    scenes = data.scenes(rng, _RIDGE_SCENES, data.side_up_to(_RIDGE_SIDE))
    return regress(_seen(rng, scenes, sensor, data.grid, each=True), scenes)


def _image(
    name: str, sensor: Sensor, msi: Float32Array, hsi: Float32Array, ridge: Ridge
) -> ValidationImage:
    estimate, reference = ridge(_flat(msi)), _flat(hsi)
    return ValidationImage(
        name=name,
        sensor=sensor,
        msi=torch.from_numpy(np.ascontiguousarray(msi)),
        hsi=torch.from_numpy(np.ascontiguousarray(hsi)),
        ridge_rmse=rmse(estimate, reference),
        ridge_sam=sam(estimate, reference),
    )


def _flat(maps: Float32Array) -> Float32Array:
    """(n, C, h, w) as spectra (C, n h w)."""
    return maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
