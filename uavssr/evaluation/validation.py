"""Validation of a model in training: errors on ground kept out of training, beside ridge.

Images of pairs are taken as they are; of tables of plots each plot is uniform ground by itself. A
cube without an image is seen by one random camera, the same at every validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data import MAX_BAND_SHIFT, SceneSplit, TrainingData, draw_cameras, observe
from uavssr.errors import InputRefused
from uavssr.evaluation.metrics import rmse, sam
from uavssr.evaluation.ridge import LinearMap, regress
from uavssr.model import PGUNet, ResponseFamily, Stf, find_materials
from uavssr.sensors import SENSORS, Float32Array, Sensor, WavelengthGrid

PATCHES_PER_IMAGE: Final = 8
"""Patches of a row that make one validation image, evenly spaced."""
SIMULATED_IMAGES: Final = 6
"""Simulated images, where there is nothing but a library to validate on."""
_RIDGE_SCENES: Final = 96  # scenes to train ridge on
_RIDGE_SIDE: Final = 16  # their side in pixels, where patches are not smaller
_RIDGE_PATCHES: Final = 64  # training patches of a camera to train its ridge on


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationImage:
    """Patches of a cube, their image, and the errors of ridge regression on it."""

    name: str
    """Line of the manifest and files, or a number."""
    sensor: Sensor
    """Data sheet of the camera."""
    msi: Tensor
    """(n, c, y, x) the image, reflectance; n plots are single pixels."""
    hsi: Tensor
    """(n, C, y, x) the cube, reflectance."""
    ridge_rmse: float
    """RMSE of ridge regression in reflectance."""
    ridge_sam: float
    """Mean spectral angle of ridge regression in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageErrors:
    """Errors of a blind reconstruction of one validation image."""

    image: str
    """Name of the image."""
    rmse: float
    """Over all bands and pixels, in reflectance."""
    sam: float
    """Mean spectral angle in degrees."""
    ridge_rmse: float
    """RMSE of ridge regression on the same image."""
    ridge_sam: float
    """Mean spectral angle of ridge regression on the same image."""


def validation_images(data: TrainingData, *, seed: int, size: int) -> list[ValidationImage]:
    """The images to validate on: of the ground kept out, else simulated from the library.

    Simulated images are `size` pixels wide. Ridge is trained on the training pairs of the same
    camera if there are any, else on training scenes seen by random cameras near its data sheet.
    """
    splits = [split for split in data.splits if split.validate.size]
    if not splits:
        return [] if data.library is None else _simulated_images(data, seed, size)
    ridges: dict[tuple[str, bool], LinearMap] = {}
    images = []
    for split in splits:
        sensor, real = split.patches.sensor or _first_camera(data.grid), split.patches.has_image
        key = sensor.name, real
        if key not in ridges:
            ridges[key] = _fit_baseline(data, sensor, seed=seed, real=real)
        msi, hsi = _read_patches(split, sensor, data.grid, seed)
        files = ", ".join(path.name for path in (*split.row.msi, split.row.hsi))
        flight = split.patches.facts.get("flight", "")
        name = f"line {split.row.line}: {files} {flight}".rstrip()
        images.append(_image(name, sensor, msi, hsi, ridges[key]))
    return images


@torch.inference_mode()
def validate(
    network: PGUNet, images: Sequence[ValidationImage], *, half: bool = False
) -> list[ImageErrors]:
    """The errors of a network on every image, with the STF estimated from the image.

    The network's mode does not change. With `half` its proximal networks run in bfloat16.
    """
    device = network.mean.device
    errors = []
    for image in images:
        start = Stf.from_prior(ResponseFamily.of(image.sensor, network.grid).to(device))
        msi = image.msi.to(device)
        if msi.shape[-2:] == (1, 1):
            stf = network.estimate_stf(find_materials(msi.flatten(2), pooled=True), start)[-1]
            coefficients = network.reconstruct_ground(msi[..., 0, 0], stf)[..., None, None]
        else:
            coefficients = network(msi, start, estimate_stf=True, bfloat16=half).coefficients
        cube = network.basis.expand(coefficients).cpu().numpy()
        estimate, reference = _spectra(cube), _spectra(image.hsi.numpy())
        errors.append(
            ImageErrors(
                image=image.name,
                rmse=rmse(estimate, reference),
                sam=sam(estimate, reference),
                ridge_rmse=image.ridge_rmse,
                ridge_sam=image.ridge_sam,
            )
        )
    return errors


def mean_ratio_to_ridge(errors: Sequence[ImageErrors]) -> float:
    """The mean over images of RMSE / RMSE of ridge, by which the best weights are chosen."""
    return float(np.mean([image.rmse / max(image.ridge_rmse, 1e-9) for image in errors]))


def _first_camera(grid: WavelengthGrid) -> Sensor:
    """The first known camera whose bands lie on the grid."""
    for sensor in SENSORS.values():
        with suppress(InputRefused):
            sensor.srf(grid)
            return sensor
    raise InputRefused(
        f"no known camera has all its bands within {grid.name}", remedy="name one per row: sensor"
    )


def _read_patches(
    split: SceneSplit, sensor: Sensor, grid: WavelengthGrid, seed: int
) -> tuple[Float32Array, Float32Array]:
    """Image (n, c, y, x) and cube (n, C, y, x) of some validation patches of a scene."""
    last = split.validate.size - 1
    places = np.linspace(0, last, min(PATCHES_PER_IMAGE, last + 1)).round()
    chosen = split.validate[places.astype(int)]
    hsi = split.patches.cubes(chosen)
    if split.patches.has_image:
        msi = split.patches.images(chosen)
    else:
        rng = np.random.default_rng([seed, 61, split.row.line])
        msi = _simulate_images(rng, hsi, sensor, grid, cameras=1)
    if split.row.kind == "plots":
        return _plots_of(msi, hsi)
    inner = slice(MAX_BAND_SHIFT, hsi.shape[-1] - MAX_BAND_SHIFT)
    return msi[..., inner, inner], hsi[..., inner, inner]


def _plots_of(msi: Float32Array, hsi: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The n plots of mosaics, without noise, as single pixels (n, c, 1, 1) and (n, C, 1, 1)."""
    spectra, plot, count = np.unique(
        _spectra(hsi).T, axis=0, return_inverse=True, return_counts=True
    )
    total = np.zeros((len(spectra), msi.shape[1]))
    np.add.at(total, plot.ravel(), _spectra(msi).T)
    means = (total / count[:, None]).astype(np.float32)
    return means[..., None, None], spectra[..., None, None]


def _simulate_images(
    rng: np.random.Generator,
    cubes: Float32Array,
    sensor: Sensor,
    grid: WavelengthGrid,
    *,
    cameras: int,
) -> Float32Array:
    """Images (n, c, y, x) of cubes (n, C, y, x) by one random camera, or by n of them."""
    drawn = draw_cameras(rng, [sensor] * cameras, grid)
    return observe(rng, cubes, np.broadcast_to(drawn.rows, (len(cubes), *drawn.rows.shape[1:])))


def _simulated_images(data: TrainingData, seed: int, size: int) -> list[ValidationImage]:
    sensor = _first_camera(data.grid)
    ridge = _fit_baseline(data, sensor, seed=seed, real=False)
    images = []
    for number in range(SIMULATED_IMAGES):
        rng = np.random.default_rng([seed, 67, number])
        cube = data.draw_scenes(rng, 1, size)
        msi = _simulate_images(rng, cube, sensor, data.grid, cameras=1)
        images.append(_image(f"simulated {number + 1}", sensor, msi, cube, ridge))
    return images


def _fit_baseline(data: TrainingData, sensor: Sensor, *, seed: int, real: bool) -> LinearMap:
    rng = np.random.default_rng([seed, 71])
    pairs = [split for split in data.pairs if split.patches.sensor == sensor]
    if real and pairs:
        count = _RIDGE_PATCHES // len(pairs) + 1
        chosen = [(split.patches, rng.permutation(split.train)[:count]) for split in pairs]
        images = np.concatenate([patches.images(index) for patches, index in chosen])
        return regress(images, np.concatenate([patches.cubes(index) for patches, index in chosen]))
    scenes = data.draw_scenes(rng, _RIDGE_SCENES, data.side_up_to(_RIDGE_SIDE))
    images = _simulate_images(rng, scenes, sensor, data.grid, cameras=len(scenes))
    return regress(images, scenes)


def _image(
    name: str, sensor: Sensor, msi: Float32Array, hsi: Float32Array, ridge: LinearMap
) -> ValidationImage:
    estimate, reference = ridge(_spectra(msi)), _spectra(hsi)
    msi, hsi = np.ascontiguousarray(msi), np.ascontiguousarray(hsi)
    return ValidationImage(
        name=name,
        sensor=sensor,
        msi=torch.from_numpy(msi),
        hsi=torch.from_numpy(hsi),
        ridge_rmse=rmse(estimate, reference),
        ridge_sam=sam(estimate, reference),
    )


def _spectra(maps: Float32Array) -> Float32Array:
    """Maps (n, C, y, x) as spectra (C, n y x)."""
    return maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
