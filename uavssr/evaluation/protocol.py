"""The accuracy protocol: all estimators on one known cube, seen by one random camera.

Every estimator gets the same simulated image. The `network` estimators share their weights and
differ in what they know of the camera's STF R. `mixture` is the network's prior without its learned
stages, `ridge` a regression trained on cameras drawn from the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.calibration import calibrate
from uavssr.data import RandomCameras, draw_cameras, observe
from uavssr.evaluation.coverage import INTERVAL_90, cube_coverage
from uavssr.evaluation.metrics import Values, rmse, sam, stf_error
from uavssr.evaluation.ridge import LinearMap, regress
from uavssr.model import GAIN, SHIFT, STRETCH, PGUNet, ResponseFamily, Stf, find_materials
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor

REFERENCE_PIXELS: Final = 50
"""Pixels with reference spectra in paired calibration."""
PARTIAL_END_NM: Final = 700.0
"""Last wavelength of references that cover a part of the bands, in nm."""


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
    """Errors of an STF on one image."""

    relative: float
    """|R - R_true| / |R_true| (Frobenius norms)."""
    centre: FloatArray
    """(c,) error of the band centres in nm."""
    gain: FloatArray
    """(c,) relative error of the gains."""
    covered: BoolArray
    """(c, 3) whether the nominal 90 % intervals of centre, width and gain hold the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """Errors of all estimators on one image."""

    cubes: list[CubeErrors]
    """Of each estimator, ridge first."""
    nominal: StfErrors
    """Of the data sheet's STF."""
    blind: StfErrors
    """Of the STF estimated from the image alone."""
    paired: StfErrors
    """Of the STF calibrated with reference spectra."""
    coverage: float
    """Share of all bands and pixels of the blind cube within the nominal 90 % interval.

    For this, and in the rows "with a common factor", all bands of the image have one factor, drawn
    from the camera's prior; the other rows do without.
    """
    partial_coverage: float
    """The same share of the cube with the STF of references that end at `PARTIAL_END_NM`."""
    corrected_coverage: float
    """The same share of the cube that is corrected with reference spectra."""


def draw_image(
    cube: Float32Array, sensor: Sensor, network: PGUNet, seed: int
) -> tuple[Tensor, RandomCameras]:
    """A random camera near a data sheet and its image (1, c, y, x) of a cube (C, y, x)."""
    rng = np.random.default_rng([seed, 5])
    cameras = draw_cameras(rng, [sensor], network.grid)
    return torch.from_numpy(observe(rng, cube[None], cameras.rows)), cameras


@torch.no_grad()
def run_protocol(
    network: PGUNet,
    ridge: LinearMap,
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
    level = np.random.default_rng([seed, 6]).normal() * float(family.common[0])
    bright = image * float(np.exp(level))
    blind_bright = network(bright, Stf.from_prior(family), estimate_stf=True)
    spectra, seen = reference_pixels(cube, image, seed, pixels)
    paired = calibrate(family, spectra, seen, basis=network.basis).stf
    factor = np.float32(np.exp(level))
    partly = _partly_calibrated(network, family, spectra, seen, image)
    partly_bright = _partly_calibrated(network, family, spectra, seen * factor, bright)
    correction = network.fit_correction(paired, torch.from_numpy(seen), torch.from_numpy(spectra))
    by_part = network(bright, partly_bright, estimate_stf=False)
    corrected = network(image, paired, estimate_stf=False, correction=correction)
    references = f"{pixels} reference spectra"
    known = torch.zeros_like(family.spread)
    theta, rows = torch.from_numpy(cameras.theta), torch.from_numpy(cameras.rows)
    stfs = {
        "data sheet": Stf.of(family, family.prior, known),
        "uncertain data sheet": Stf.from_prior(family),
        "blind": blind.stf,
        "references to 700 nm": partly,
        f"{references}, R alone": paired,
        "true R": Stf.of(family, theta, known, rows=rows),
    }
    pixel_ridge = regress(seen.T[None, ..., None], spectra.T[None, ..., None])
    msi = image[0].flatten(1).numpy()
    cubes: dict[str, tuple[Values, Stf | None]] = {
        "ridge": (ridge(msi), None),
        f"ridge, {references}": (pixel_ridge(msi), None),
    }
    cubes |= {
        f"{estimator}, {knowledge}": (_estimate(network, image, stf, stages), stf)
        for estimator, stages in (("mixture", 0), ("network", None))
        for knowledge, stf in stfs.items()
    }
    expanded = correction.basis.expand(corrected.coefficients)[0].flatten(1).numpy()
    cubes[f"network, {references}"] = expanded, paired
    for knowledge, estimate in (("blind", blind_bright), ("references to 700 nm", by_part)):
        spread = network.basis.expand(estimate.coefficients)[0].flatten(1).numpy()
        cubes[f"network, {knowledge}, with a common factor"] = spread, None
    reference = cube.reshape(len(cube), -1)
    return ImageResult(
        cubes=[_cube_errors(name, *used, msi, reference) for name, used in cubes.items()],
        nominal=_stf_errors(stfs["data sheet"], cameras),
        blind=_stf_errors(blind.stf, cameras),
        paired=_stf_errors(paired, cameras),
        coverage=cube_coverage(network, blind_bright, bright, reference),
        partial_coverage=cube_coverage(network, by_part, bright, reference),
        corrected_coverage=cube_coverage(network, corrected, image, reference, correction),
    )


def _partly_calibrated(
    network: PGUNet,
    family: ResponseFamily,
    spectra: Float32Array,
    seen: Float32Array,
    image: Tensor,
) -> Stf:
    """The STF of references up to `PARTIAL_END_NM`; the image tells of the other bands."""
    covered = family.centre[0].numpy() < PARTIAL_END_NM
    materials = find_materials(image.flatten(2), None, pooled=True)
    complete = partial(network.continue_stf, materials)
    return calibrate(
        family, spectra, seen, basis=network.basis, covered=covered, complete=complete
    ).stf


def reference_pixels(
    cube: Float32Array, image: Tensor, seed: int, pixels: int = REFERENCE_PIXELS
) -> tuple[Float32Array, Float32Array]:
    """Spectra (k, C) of random pixels, and the camera's values there (k, c)."""
    rng = np.random.default_rng([seed, 50])
    spectra, seen = cube.reshape(len(cube), -1).T, image[0].flatten(1).T.numpy()
    chosen = rng.choice(len(spectra), pixels, replace=False)
    return np.ascontiguousarray(spectra[chosen]), np.ascontiguousarray(seen[chosen])


def _estimate(network: PGUNet, image: Tensor, stf: Stf, stages: int | None) -> Float32Array:
    """Spectra (C, n) with an STF held fixed, of all stages or of the mixture alone (0)."""
    result = network(image, stf, estimate_stf=False, stages=stages)
    last = result.stage_coefficients[0] if stages == 0 else result.coefficients
    return np.asarray(network.basis.expand(last)[0].flatten(1).numpy())


def _cube_errors(
    name: str, estimate: Values, stf: Stf | None, msi: Float32Array, reference: Float32Array
) -> CubeErrors:
    round_trip = np.nan
    if stf is not None:
        misfit = stf.rows[0].numpy() @ estimate - msi  # R X - Y
        round_trip = float(np.sqrt(np.square(misfit).mean()) / msi.mean())
    return CubeErrors(
        estimator=name,
        rmse=rmse(estimate, reference),
        sam=sam(estimate, reference),
        round_trip=round_trip,
    )


def _stf_errors(stf: Stf, cameras: RandomCameras) -> StfErrors:
    truth, estimate = cameras.theta[0].astype(float), stf.theta[0].double().numpy()
    score = np.abs(estimate - truth) / np.maximum(stf.theta_se[0].double().numpy(), 1e-9)
    return StfErrors(
        relative=stf_error(stf.rows[0].numpy(), cameras.rows[0]),
        centre=estimate[:, SHIFT] - truth[:, SHIFT],
        gain=np.expm1(estimate[:, GAIN] - truth[:, GAIN]),
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


def mean_errors(images: Sequence[Sequence[CubeErrors]]) -> dict[str, tuple[float, ...]]:
    """Means over images by estimator: RMSE, its ratio to ridge, SAM, its ratio, round trip."""
    errors = np.array([[(cube.rmse, cube.sam, cube.round_trip) for cube in row] for row in images])
    mean, ratio = errors.mean(0), (errors / errors[:, :1]).mean(0)
    table = np.stack([mean[:, 0], ratio[:, 0], mean[:, 1], ratio[:, 1], mean[:, 2]], axis=1)
    return {cube.estimator: tuple(row) for cube, row in zip(images[0], table, strict=True)}
