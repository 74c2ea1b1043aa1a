"""How a model is judged: known cubes, random cameras, and estimators that know more or less of R.

Every estimator sees the same simulated image. `network` variants share their weights; the mixture
is the network's own prior without its learned stages, the ridge a regression trained on the same
random cameras.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.bands import Sensor
from uavssr.data.cameras import Cameras, draw_cameras, observe
from uavssr.evaluation.metrics import rmse, sam, stf_error
from uavssr.evaluation.ridge import Ridge
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import GAIN, SHIFT, STRETCH, ResponseFamily
from uavssr.model.state import Stf

Cube = npt.NDArray[np.float32]
NINETY: float = 1.645
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
    centre: npt.NDArray[np.float64]
    """Error of the centres in nm."""
    nominal_centre: npt.NDArray[np.float64]
    """Error of the data sheet's."""
    gain: npt.NDArray[np.float64]
    """Relative error of the gains."""
    nominal_gain: npt.NDArray[np.float64]
    """Error of the data sheet's."""
    covered: npt.NDArray[np.bool_]
    """(c, 3) whether the nominal 90 % intervals of centre, width and gain hold the truth."""


def draw_image(cube: Cube, sensor: Sensor, network: PGUNet, seed: int) -> tuple[Tensor, Cameras]:
    """What a random camera near `sensor` sees of a cube (C, H, W), (1, c, H, W); that camera."""
    rng = np.random.default_rng([seed, 5])
    cameras = draw_cameras(rng, [sensor], network.grid, knowledge=np.ones(1))
    return torch.from_numpy(observe(rng, cube[None], cameras.rows)), cameras


@torch.inference_mode()
def judge(
    network: PGUNet, ridge: Ridge, cube: Cube, sensor: Sensor, seed: int
) -> tuple[list[Figures], StfFigures]:
    """All estimators on one cube (C, H, W) seen by one random camera."""
    image, cameras = draw_image(cube, sensor, network, seed)
    family = ResponseFamily.of(sensor, network.grid)
    expected = Stf.expected(family)
    sure = torch.zeros_like(family.spread)
    truth = Stf(
        family=family,
        theta=torch.from_numpy(cameras.theta),
        deviation=sure,
        rows=torch.from_numpy(cameras.rows),
    )
    blind = network(image, expected, blind=True)
    runs = {
        "mixture, data sheet": (Stf.of(family, family.prior, sure), 0),
        "mixture, data sheet doubted": (expected, 0),
        "mixture, true R": (truth, 0),
        "network, data sheet": (Stf.of(family, family.prior, sure), None),
        "network, data sheet doubted": (expected, None),
        "network, blind": (blind.stf, None),
        "network, true R": (truth, None),
    }
    reference = cube.reshape(len(cube), -1)
    regressed = ridge(image[0].flatten(1).numpy())
    found = [_figures("ridge", regressed, reference, float("nan"))]
    for name, (stf, stages) in runs.items():
        result = network(image, stf, blind=False, stages=stages)
        flat = result.stage_coefficients[0] if stages == 0 else result.coefficients
        spectra = network.basis.expand(flat)[0].flatten(1)
        misfit = stf.rows[0] @ spectra - image[0].flatten(1)
        trip = float(misfit.square().mean().sqrt() / image.mean())
        found.append(_figures(name, spectra.numpy(), reference, trip))
    return found, _stf_figures(blind.stf, cameras, family)


def _figures(
    name: str, estimate: npt.NDArray[np.floating], reference: Cube, trip: float
) -> Figures:
    return Figures(
        estimator=name,
        rmse=rmse(estimate, reference),
        sam=sam(estimate, reference),
        round_trip=trip,
    )


def _stf_figures(stf: Stf, cameras: Cameras, family: ResponseFamily) -> StfFigures:
    true, found = cameras.theta[0].astype(float), stf.theta[0].double().numpy()
    score = np.abs(found - true) / np.maximum(stf.deviation[0].double().numpy(), 1e-9)
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


def table(rows: list[list[Figures]]) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Means over images: estimator, RMSE, its ratio to ridge, SAM, its ratio, round trip."""
    names = [each.estimator for each in rows[0]]
    for i, name in enumerate(names):
        errors = np.array([[row[i].rmse, row[i].sam, row[i].round_trip] for row in rows])
        base = np.array([[row[0].rmse, row[0].sam] for row in rows])
        ratio = (errors[:, :2] / base).mean(0)
        mean = errors.mean(0)
        yield name, mean[0], ratio[0], mean[1], ratio[1], mean[2]
