"""How a model is judged: known cubes, random cameras, and estimators that know more or less of R.

Every estimator sees the same simulated image. `network` variants share their weights; the mixture
is the network's own prior without its learned stages, the ridge a regression trained on the same
random cameras.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.calibration import calibrate
from uavssr.data import Cameras, draw_cameras, observe
from uavssr.evaluation.metrics import rmse, sam, stf_error
from uavssr.evaluation.ridge import Ridge, regress
from uavssr.model import (
    GAIN,
    SHIFT,
    STRETCH,
    Correction,
    PGUNet,
    Reconstruction,
    ResponseFamily,
    Stf,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor

PAIRED: Final = 50
"""Pixels of known spectra in paired calibration."""
NINETY: Final = 1.645
"""Half-width of a nominal 90 % interval in standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Errors of one estimator on one image."""

    estimator: str
    """What was run."""
    rmse: float
    """Of reflectance, over all bands and pixels."""
    sam: float
    """Mean spectral angle in degrees."""
    round_trip: float
    """RMS of R X - Y over the mean of Y, with the STF that the estimator believes in; or NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StfFigures:
    """Errors of the blind STF on one image; (c,) arrays."""

    relative: float
    """|R - R_true| / |R_true|, and of the data sheet: `nominal_relative`."""
    nominal_relative: float
    """See `relative`."""
    centre: FloatArray
    """Error of the centres in nm."""
    nominal_centre: FloatArray
    """Error of the data sheet's."""
    gain: FloatArray
    """Relative error of the gains."""
    nominal_gain: FloatArray
    """Error of the data sheet's."""
    covered: BoolArray
    """(c, 3) whether the nominal 90 % intervals of centre, width and gain hold the truth."""


def draw_image(
    cube: Float32Array, sensor: Sensor, network: PGUNet, seed: int
) -> tuple[Tensor, Cameras]:
    """What a random camera near `sensor` sees of a cube (C, H, W), (1, c, H, W); that camera."""
    rng = np.random.default_rng([seed, 5])
    cameras = draw_cameras(rng, [sensor], network.grid, knowledge=np.ones(1))
    return torch.from_numpy(observe(rng, cube[None], cameras.rows)), cameras


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Everything about one image."""

    figures: list[Figures]
    """Of each estimator, ridge first."""
    blind: StfFigures
    """The STF estimated from the image alone."""
    paired: StfFigures
    """The STF calibrated on known pixels."""
    interval: float
    """Share of all bands and pixels of the blind cube within the nominal 90 % interval."""
    taught_interval: float
    """The same of the cube that learns from known pixels."""


@torch.no_grad()
def judge(
    network: PGUNet,
    ridge: Ridge,
    cube: Float32Array,
    sensor: Sensor,
    seed: int,
    *,
    pixels: int = PAIRED,
) -> Judged:
    """All estimators on one cube (C, H, W) seen by one random camera.

    Paired calibration knows the spectra of `pixels` random pixels. "R alone" takes nothing but the
    STF from them; the regression on them, as that on random cameras, knows nothing else.
    """
    image, cameras = draw_image(cube, sensor, network, seed)
    family = ResponseFamily.of(sensor, network.grid)
    sure = torch.zeros_like(family.spread)
    truth = Stf(
        family=family,
        theta=torch.from_numpy(cameras.theta),
        theta_se=sure,
        rows=torch.from_numpy(cameras.rows),
    )
    blind = network(image, Stf.from_prior(family), estimate_stf=True)
    spectra, seen = _known(cube, image, seed, pixels)
    paired = calibrate(family, spectra, seen, basis=network.basis).stf
    correction = network.fit_correction(paired, torch.from_numpy(seen), torch.from_numpy(spectra))
    told = f"{pixels} known pixels"
    known = {
        "data sheet": Stf.of(family, family.prior, sure),
        "data sheet doubted": Stf.from_prior(family),
        "blind": blind.stf,
        f"{told}, R alone": paired,
        "true R": truth,
    }
    reference = cube.reshape(len(cube), -1)
    flat_image = image[0].flatten(1).numpy()
    found = [
        _figures(name, each(flat_image), reference, float("nan"))
        for name, each in (("ridge", ridge), (f"ridge, {told}", _regression(seen, spectra)))
    ]

    def add(name: str, cube: Tensor, stf: Stf) -> None:
        estimate = cube[0].flatten(1)
        misfit = stf.rows[0] @ estimate - image[0].flatten(1)
        trip = float(misfit.square().mean().sqrt() / image.mean())
        found.append(_figures(name, estimate.numpy(), reference, trip))

    for estimator, stages in (("mixture", 0), ("network", None)):
        for knowledge, stf in known.items():
            result = network(image, stf, estimate_stf=False, stages=stages)
            last = result.stage_coefficients[0] if stages == 0 else result.coefficients
            add(f"{estimator}, {knowledge}", network.basis.expand(last), stf)
    taught = network(image, paired, estimate_stf=False, correction=correction)
    add(f"network, {told}", correction.basis.expand(taught.coefficients), paired)
    return Judged(
        figures=found,
        blind=_stf_figures(blind.stf, cameras, family),
        paired=_stf_figures(paired, cameras, family),
        interval=_interval(network, blind, image, reference),
        taught_interval=_interval(network, taught, image, reference, correction),
    )


def _known(
    cube: Float32Array, image: Tensor, seed: int, pixels: int
) -> tuple[Float32Array, Float32Array]:
    """Spectra (k, C) of random pixels, and what the camera saw of them (k, c)."""
    rng = np.random.default_rng([seed, 50])
    spectra, seen = cube.reshape(len(cube), -1).T, image[0].flatten(1).T.numpy()
    chosen = rng.choice(len(spectra), pixels, replace=False)
    return np.ascontiguousarray(spectra[chosen]), np.ascontiguousarray(seen[chosen])


def _regression(seen: Float32Array, spectra: Float32Array) -> Ridge:
    """Ridge on known pixels (k, c) and their spectra (k, C) alone."""
    return regress(seen.T[None, ..., None], spectra.T[None, ..., None])


def _interval(
    network: PGUNet,
    result: Reconstruction,
    image: Tensor,
    reference: Float32Array,
    correction: Correction | None = None,
) -> float:
    doubt = network.cube_uncertainty(result.stf, correction)
    sigma = doubt.expand(doubt.maps(image, result.coefficients))[0].flatten(1).numpy()
    basis = network.basis if correction is None else correction.basis
    error = basis.expand(result.coefficients)[0].flatten(1).numpy() - reference
    return float((np.abs(error) < NINETY * sigma).mean())


def gap_closed(figures: Sequence[Figures], estimator: str) -> float:
    """Share of what knowing R is worth that an estimator of the network wins.

    (RMSE with the data sheet's R - its RMSE) / (RMSE with the data sheet's R - with the true R),
    with the same weights; below 0 where the data sheet is better.
    """
    error = {each.estimator: each.rmse for each in figures}
    least, most = error["network, true R"], error["network, data sheet"]
    return (most - error[estimator]) / (most - least)


def _figures(
    name: str, estimate: npt.NDArray[np.floating], reference: Float32Array, trip: float
) -> Figures:
    return Figures(
        estimator=name,
        rmse=rmse(estimate, reference),
        sam=sam(estimate, reference),
        round_trip=trip,
    )


def _stf_figures(stf: Stf, cameras: Cameras, family: ResponseFamily) -> StfFigures:
    true, found = cameras.theta[0].astype(float), stf.theta[0].double().numpy()
    score = np.abs(found - true) / np.maximum(stf.theta_se[0].double().numpy(), 1e-9)
    nominal = family.rows(family.prior)[0].numpy()
    return StfFigures(
        relative=stf_error(stf.rows[0].numpy(), cameras.rows[0]),
        nominal_relative=stf_error(nominal, cameras.rows[0]),
        centre=found[:, SHIFT] - true[:, SHIFT],
        nominal_centre=-true[:, SHIFT],
        gain=np.expm1(found[:, GAIN] - true[:, GAIN]),
        nominal_gain=np.expm1(-true[:, GAIN]),
        covered=score[:, [SHIFT, STRETCH, GAIN]] < NINETY,
    )


def table(
    rows: Sequence[Sequence[Figures]],
) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Means over images: estimator, RMSE, its ratio to ridge, SAM, its ratio, round trip."""
    names = [each.estimator for each in rows[0]]
    for i, name in enumerate(names):
        errors = np.array([[row[i].rmse, row[i].sam, row[i].round_trip] for row in rows])
        base = np.array([[row[0].rmse, row[0].sam] for row in rows])
        ratio = (errors[:, :2] / base).mean(0)
        mean = errors.mean(0)
        yield name, mean[0], ratio[0], mean[1], ratio[1], mean[2]
