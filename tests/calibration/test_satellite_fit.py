"""The fit to a satellite's cells against draws from its own model, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import GRID, P4M, tiny_network
from uavssr.calibration import CellValues, SatelliteFit, fit_satellite, satellite_likelihood
from uavssr.calibration.satellite_likelihood import NDVI_NM
from uavssr.model import GAIN, SHIFT, Materials, PGUNet, ResponseFamily, Stf, find_materials
from uavssr.sensors import Sensor, load_satellite

NETWORK = tiny_network(asleep=True)
NETWORK.residual.zero_()  # spectra are drawn from the basis
FAMILY = ResponseFamily.of(P4M, GRID)
SENTINEL = load_satellite("sentinel2a")


@dataclass(frozen=True)
class Ground:
    """A camera and a satellite over the same spectra, all drawn from the fit's own model."""

    theta: Tensor
    """(3c,) the camera's parameters."""
    materials: Materials
    cells: CellValues

    def fit(self, error: float, cells: CellValues | None = None) -> SatelliteFit:
        return fit_satellite(NETWORK, FAMILY, self.materials, cells or self.cells, error)


def draw_spectra(network: PGUNet, count: int, rng: np.random.Generator) -> Tensor:
    """(count, C) from the mixture."""
    mixture = network.mixture
    weight = mixture.weight.double()
    chosen = rng.choice(len(weight), count, p=(weight / weight.sum()).numpy())
    root = torch.linalg.cholesky(mixture.covariance.double())[chosen]
    normal = torch.as_tensor(rng.normal(size=(count, root.shape[-1], 1)))
    coefficients = mixture.mean.double()[chosen] + (root @ normal)[..., 0]
    basis = network.basis
    return coefficients @ basis.components.double().T + basis.mean.double()


def draw_ground(
    seed: int,
    *,
    error: float = 0.05,
    count: int = 48,
    satellite: Sensor = SENTINEL,
    growth: float | None = None,
) -> Ground:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Tensor:
        return torch.as_tensor(rng.normal(size=shape))

    spectra = draw_spectra(NETWORK, count, rng)
    theta = FAMILY.spread[0].double() * normal(len(P4M), 3)
    theta[:, GAIN] += float(FAMILY.common[0]) * normal(1)
    clean = spectra @ FAMILY.rows(theta[None].float())[0].double().T
    msi = clean + 0.004 * normal(*clean.shape) + 0.02 * clean * normal(*clean.shape)
    response = torch.as_tensor(satellite.srf(GRID))
    factor = (error * normal(len(satellite)) + satellite_likelihood.COMMON_ERROR * normal(1)).exp()
    still = spectra @ response.T
    near = [int(np.abs([band.centre - nm for band in satellite.bands]).argmin()) for nm in NDVI_NM]
    red, infrared = still[:, near].split(1, 1)
    ndvi = ((infrared - red) / (infrared + red).clamp_min(1e-3)).clamp(0, 1)
    if growth is None:
        growth = satellite_likelihood.GROWTH_SPREAD * float(rng.normal())
    edge = torch.tanh(torch.as_tensor(GRID.centres - 715.0) / 15.0)
    reflectance = (still + growth * ndvi * (spectra * edge @ response.T)) * factor
    noise = torch.full_like(reflectance, 0.001)
    own = satellite_likelihood.CELL_ERROR_SHARE * error * reflectance
    reflectance = reflectance + (noise.square() + own.square()).sqrt() * normal(*noise.shape)
    cells = CellValues(
        msi=msi,
        msi_se=torch.zeros_like(msi),
        reflectance=reflectance,
        reflectance_se=noise,
        response=response,
    )
    materials = find_materials(msi.T[None].float(), pooled=True)
    return Ground(theta=theta.flatten(), materials=materials, cells=cells)


@pytest.fixture
def independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are draws from the prior here: each counts."""
    monkeypatch.setattr(satellite_likelihood, "EFFECTIVE_CELLS", 1000.0)


@pytest.mark.usefixtures("independent")
def test_standard_errors_cover_the_truth_of_the_models_own_draws() -> None:
    scores = []
    for seed in range(16):
        ground = draw_ground(seed)
        fit = ground.fit(0.05)
        error = fit.stf.theta[0].double().flatten() - ground.theta
        scores.append(error / fit.covariance.diagonal().sqrt())
    inside = (torch.stack(scores).abs() < 1.645).double().mean()
    assert 0.84 < inside < 0.96


def test_a_satellite_of_no_accuracy_leaves_the_blind_estimate() -> None:
    ground = draw_ground(0)
    blind = NETWORK.estimate_stf(ground.materials, Stf.from_prior(FAMILY))[-1]
    fit = ground.fit(1e4)
    spread = FAMILY.spread[0]
    torch.testing.assert_close(
        fit.stf.theta[0] / spread, blind.theta[0] / spread, atol=0.02, rtol=0
    )
    own, common = fit.stf.theta_se[0, :, GAIN], fit.stf.common_se
    expected = torch.hypot(blind.theta_se[0, :, GAIN], FAMILY.common)
    torch.testing.assert_close(torch.hypot(own, common), expected, atol=0, rtol=0.01)
    torch.testing.assert_close(fit.learned, fit.learned_blind, atol=0.02, rtol=0)


@pytest.mark.usefixtures("independent")
def test_an_exact_satellite_and_many_cells_give_the_camera() -> None:
    def errors(error: float, count: int) -> Tensor:
        deviations = []
        for seed in range(4):
            ground = draw_ground(seed, error=error, count=count)
            fit = ground.fit(error)
            change = fit.stf.theta[0].double().flatten() - ground.theta
            deviations.append(change.view(-1, 3) / FAMILY.spread[0])
        return torch.stack(deviations).square().mean((0, 1)).sqrt()

    centre, width, gain = errors(0.001, 600).tolist()  # in prior standard deviations
    assert centre < 0.1
    assert width < 0.8
    assert gain < 0.1


def test_the_order_of_cells_changes_nothing() -> None:
    ground = draw_ground(3)
    cells, order = ground.cells, torch.randperm(48, generator=torch.Generator().manual_seed(0))
    names = ("msi", "msi_se", "reflectance", "reflectance_se")
    shuffled = replace(cells, **{name: getattr(cells, name)[order] for name in names})
    first, second = ground.fit(0.05), ground.fit(0.05, shuffled)
    torch.testing.assert_close(first.covariance, second.covariance)
    torch.testing.assert_close(first.stf.theta, second.stf.theta)


def test_landsat_tells_less_than_sentinel_2() -> None:
    for seed in range(3):
        learned = [
            draw_ground(seed, satellite=load_satellite(name), growth=0.0).fit(0.05).learned
            for name in ("landsat8", "sentinel2a")
        ]
        assert (learned[0].mean(0) < learned[1].mean(0)).all()
        assert float(learned[1][3, GAIN]) > float(learned[0][3, GAIN])  # red edge


def test_a_smaller_error_tells_more_and_every_cell_adds() -> None:
    ground = draw_ground(5)
    shares = [float(ground.fit(error).learned[:, GAIN].mean()) for error in (0.3, 0.08, 0.03)]
    assert shares == sorted(shares)
    one = replace(
        ground.cells,
        **{
            name: getattr(ground.cells, name)[:1]
            for name in ("msi", "msi_se", "reflectance", "reflectance_se")
        },
    )
    assert ground.fit(0.05, one).learned.mean() < ground.fit(0.05).learned.mean()


@pytest.mark.parametrize("growth", [-0.1, 0.15])
def test_growth_of_the_crop_is_not_taken_for_the_camera(growth: float) -> None:
    still, grown = (draw_ground(2, growth=change).fit(0.05) for change in (0.0, growth))
    assert grown.growth - still.growth == pytest.approx(growth, abs=0.6 * abs(growth))
    change = (grown.stf.theta - still.stf.theta)[0, :, GAIN]
    assert float(change.abs().max()) < 0.5 * abs(growth)


def test_parameters_that_a_profile_holds_as_exact_stay() -> None:
    spread = FAMILY.spread.clone()
    spread[..., SHIFT] = 0
    ground = draw_ground(1)
    fit = fit_satellite(
        NETWORK, replace(FAMILY, spread=spread), ground.materials, ground.cells, 0.05
    )
    assert float(fit.stf.theta[..., SHIFT].abs().max()) < 1e-3
    assert float(fit.learned[:, GAIN].min()) > 0.5
    assert bool(torch.isfinite(fit.learned).all())


def test_the_common_factor_is_what_the_gains_share() -> None:
    fit = draw_ground(1).fit(0.05)
    gains = fit.covariance[GAIN::3, GAIN::3]
    own, common = fit.stf.theta_se[0, :, GAIN].double(), fit.stf.common_se[0].double()
    torch.testing.assert_close(own.square() + common.square(), gains.diagonal())
    assert 0 < float(common) < float(FAMILY.common[0])
