"""The accuracy protocol: all estimators on one known cube, seen by one random camera.

Every estimator gets the same simulated image. The `network` estimators share their weights and
differ in what they know of the camera's STF R. `mixture` is the network's prior without its learned
stages, `ridge` a regression trained on cameras drawn from the same distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.calibration import calibrate
from uavssr.data import RandomCameras, draw_cameras, observe
from uavssr.evaluation.coverage import INTERVAL_90, cube_coverage
from uavssr.evaluation.metrics import rmse, sam, stf_error
from uavssr.evaluation.ridge import Ridge, regress
from uavssr.model import (
    GAIN,
    SHIFT,
    STRETCH,
    PGUNet,
    ResponseFamily,
    Stf,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor

REFERENCE_PIXELS: Final = 50
"""Pixels with reference spectra in paired calibration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeErrors:
    """Errors of one estimator on one image."""

    estimator: str
    """Name of the estimator and of what it knows."""
    rmse: float
    """Over all bands and pixels, in reflectance."""
    sam: float
    """Mean spectral angle in degrees."""
    round_trip: float
    """RMS of R X - Y over the mean of Y, with the R that the estimator uses; NaN without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StfErrors:
    """Errors of an estimated STF on one image; `nominal_*`: of the data sheet on the same image."""

    relative: float
    """|R - R_true| / |R_true| (Frobenius norms)."""
    nominal_relative: float
    """|R - R_true| / |R_true| (Frobenius norms)."""
    centre: FloatArray
    """(c,) error of the band centres in nm."""
    nominal_centre: FloatArray
    """(c,) error of the band centres in nm."""
    gain: FloatArray
    """(c,) relative error of the gains."""
    nominal_gain: FloatArray
    """(c,) relative error of the gains."""
    covered: BoolArray
    """(c, 3) whether the nominal 90 % intervals of centre, width and gain hold the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """Errors of all estimators on one image."""

    cubes: list[CubeErrors]
    """Of each estimator, ridge first."""
    blind: StfErrors
    """Of the STF estimated from the image alone."""
    paired: StfErrors
    """Of the STF calibrated with reference spectra."""
    coverage: float
    """Share of all bands and pixels of the blind cube within the nominal 90 % interval."""
    corrected_coverage: float
    """The same share of the cube that is corrected with reference spectra."""


def draw_image(
    cube: Float32Array, sensor: Sensor, network: PGUNet, seed: int
) -> tuple[Tensor, RandomCameras]:
    """A random camera near a data sheet and its image (1, c, y, x) of a cube (C, y, x)."""
    rng = np.random.default_rng([seed, 5])
    cameras = draw_cameras(rng, [sensor], network.grid, knowledge=np.ones(1))
    return torch.from_numpy(observe(rng, cube[None], cameras.rows)), cameras


@torch.no_grad()
def run_protocol(
    network: PGUNet,
    ridge: Ridge,
    cube: Float32Array,
    sensor: Sensor,
    seed: int,
    *,
    pixels: int = REFERENCE_PIXELS,
) -> ImageResult:
    """Errors of all estimators on one cube (C, y, x) seen by one random camera.

    Paired calibration gets the spectra of `pixels` random pixels. The estimator "R alone" uses only
    the STF that they give; the second ridge is trained on these pixels alone.
    """
    image, cameras = draw_image(cube, sensor, network, seed)
    family = ResponseFamily.of(sensor, network.grid)
    blind = network(image, Stf.from_prior(family), estimate_stf=True)
    spectra, seen = reference_pixels(cube, image, seed, pixels)
    paired = calibrate(family, spectra, seen, basis=network.basis).stf
    correction = network.fit_correction(paired, torch.from_numpy(seen), torch.from_numpy(spectra))
    corrected = network(image, paired, estimate_stf=False, correction=correction)
    references = f"{pixels} reference spectra"
    stfs = {
        "data sheet": Stf.of(family, family.prior, torch.zeros_like(family.spread)),
        "uncertain data sheet": Stf.from_prior(family),
        "blind": blind.stf,
        f"{references}, R alone": paired,
        "true R": _true_stf(cameras, family),
    }
    cubes = {
        f"{estimator}, {knowledge}": (_estimate(network, image, stf, stages), stf)
        for estimator, stages in (("mixture", 0), ("network", None))
        for knowledge, stf in stfs.items()
    }
    cubes[f"network, {references}"] = correction.basis.expand(corrected.coefficients), paired
    reference = cube.reshape(len(cube), -1)
    pixel_ridge = regress(seen.T[None, ..., None], spectra.T[None, ..., None])
    ridges = {"ridge": ridge, f"ridge, {references}": pixel_ridge}
    return ImageResult(
        cubes=[
            *(_ridge_errors(*named, image, reference) for named in ridges.items()),
            *(_cube_errors(name, *used, image, reference) for name, used in cubes.items()),
        ],
        blind=_stf_errors(blind.stf, cameras, family),
        paired=_stf_errors(paired, cameras, family),
        coverage=cube_coverage(network, blind, image, reference),
        corrected_coverage=cube_coverage(network, corrected, image, reference, correction),
    )


def reference_pixels(
    cube: Float32Array, image: Tensor, seed: int, pixels: int = REFERENCE_PIXELS
) -> tuple[Float32Array, Float32Array]:
    """Spectra (k, C) of random pixels, and the camera's values there (k, c)."""
    rng = np.random.default_rng([seed, 50])
    spectra, seen = cube.reshape(len(cube), -1).T, image[0].flatten(1).T.numpy()
    chosen = rng.choice(len(spectra), pixels, replace=False)
    return np.ascontiguousarray(spectra[chosen]), np.ascontiguousarray(seen[chosen])


def _true_stf(cameras: RandomCameras, family: ResponseFamily) -> Stf:
    return Stf(
        family=family,
        theta=torch.from_numpy(cameras.theta),
        theta_se=torch.zeros_like(family.spread),
        rows=torch.from_numpy(cameras.rows),
    )


def _estimate(network: PGUNet, image: Tensor, stf: Stf, stages: int | None) -> Tensor:
    """The cube (1, C, y, x) with an STF held fixed, of all stages or of the mixture alone (0)."""
    result = network(image, stf, estimate_stf=False, stages=stages)
    last = result.stage_coefficients[0] if stages == 0 else result.coefficients
    return network.basis.expand(last)


def _ridge_errors(name: str, ridge: Ridge, image: Tensor, reference: Float32Array) -> CubeErrors:
    estimate = ridge(image[0].flatten(1).numpy())
    return CubeErrors(
        estimator=name,
        rmse=rmse(estimate, reference),
        sam=sam(estimate, reference),
        round_trip=float("nan"),
    )


def _cube_errors(
    name: str, cube: Tensor, stf: Stf, image: Tensor, reference: Float32Array
) -> CubeErrors:
    estimate = cube[0].flatten(1)
    misfit = stf.rows[0] @ estimate - image[0].flatten(1)  # R X - Y
    return CubeErrors(
        estimator=name,
        rmse=rmse(estimate.numpy(), reference),
        sam=sam(estimate.numpy(), reference),
        round_trip=float(misfit.square().mean().sqrt() / image.mean()),
    )


def _stf_errors(stf: Stf, cameras: RandomCameras, family: ResponseFamily) -> StfErrors:
    truth, estimate = cameras.theta[0].astype(float), stf.theta[0].double().numpy()
    score = np.abs(estimate - truth) / np.maximum(stf.theta_se[0].double().numpy(), 1e-9)
    nominal = family.rows(family.prior)[0].numpy()
    return StfErrors(
        relative=stf_error(stf.rows[0].numpy(), cameras.rows[0]),
        nominal_relative=stf_error(nominal, cameras.rows[0]),
        centre=estimate[:, SHIFT] - truth[:, SHIFT],
        nominal_centre=-truth[:, SHIFT],
        gain=np.expm1(estimate[:, GAIN] - truth[:, GAIN]),
        nominal_gain=np.expm1(-truth[:, GAIN]),
        covered=score[:, [SHIFT, STRETCH, GAIN]] < INTERVAL_90,
    )


def gap_closed(cubes: Sequence[CubeErrors], estimator: str) -> float:
    """Share of the benefit of the true R that an estimator of the network reaches.

    (e_nominal - e) / (e_nominal - e_true) of RMSEs with the same weights and the data sheet's, the
    estimator's and the true R; below 0 where the data sheet is better.
    """
    error = {cube.estimator: cube.rmse for cube in cubes}
    true, nominal = error["network, true R"], error["network, data sheet"]
    return (nominal - error[estimator]) / (nominal - true)


def mean_errors(
    images: Sequence[Sequence[CubeErrors]],
) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Means over images: estimator, RMSE, its ratio to ridge, SAM, its ratio, round trip."""
    for i, first in enumerate(images[0]):
        errors = np.array([[row[i].rmse, row[i].sam, row[i].round_trip] for row in images])
        ridge = np.array([[row[0].rmse, row[0].sam] for row in images])
        ratio = (errors[:, :2] / ridge).mean(0)
        mean = errors.mean(0)
        yield first.estimator, mean[0], ratio[0], mean[1], ratio[1], mean[2]
