"""What a satellite's view of some cells tells of a camera, given the camera's view; float64.

    y = R(theta) x + noise                      the camera's bands of a cell
    z = exp(e) * (S (1 + g ndvi t) x) + noise   the satellite's, of known response S
    x = mean + E a                              a spectrum of the mixture prior

theta are the camera's parameters; e has the prior N(0, error^2) for each satellite band, and a
factor common to all of them. g is the growth of a crop between the two days: t is -1 in the
visible and 1 in the near infrared, and ndvi that of the cell. The cells give P(z | y, theta, e, g).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.model import ObservationModel, PGUNet, ResponseFamily, Stf

EFFECTIVE_CELLS: Final = 3.0
"""Most independent cells that all cells count for: the errors of the spectral prior are alike in
all cells of a field."""
COMMON_ERROR: Final = 0.03
"""Prior standard deviation of the logarithm of a factor that all satellite bands share: view and
illumination differ from the camera's."""
CELL_ERROR_SHARE: Final = 0.3
"""Systematic error of a single cell over that of all cells of a band: it depends on the surface."""
GROWTH_SPREAD: Final = 0.05
"""Prior standard deviation of the growth g of a crop of NDVI 1, for five days between flight and
satellite. On ten development scenes it costs nothing where nothing grew, and keeps the accuracy
where g is 0.15."""
EDGE_NM: Final = 715.0
"""Wavelength at which the change of a growing crop turns its sign."""
EDGE_WIDTH_NM: Final = 15.0
"""Width of that turn, t = tanh((nm - EDGE_NM) / EDGE_WIDTH_NM)."""
NDVI_NM: Final = (665.0, 840.0)
"""Wavelengths of red and near infrared; the satellite's nearest bands give a cell's NDVI."""
_MAX_STEPS: Final = 20
_CONVERGED: Final = 0.01
"""Largest change of a parameter, in prior standard deviations, at which the fit ends."""
_CHUNK: Final = 64
"""Cells that are linearised at a time."""
_MIN_LOG_RATIO: Final = -20.0
"""Least logarithm of a component's probability given the image over the largest one's: components
below it in all cells are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellValues:
    """k cells seen by a camera of c bands and a satellite of b bands; float64 tensors."""

    msi: Tensor
    """y (k, c) reflectance in the image."""
    msi_se: Tensor
    """(k, c) standard deviation of its random error."""
    reflectance: Tensor
    """z (k, b) reflectance that the satellite gives."""
    reflectance_se: Tensor
    """(k, b) standard deviation of its random error."""
    response: Tensor
    """S (b, C) the satellite's responses on the cube's wavelengths; each row has a sum of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThetaNormal:
    """A normal distribution of parameters; gains include a factor common to all bands."""

    mean: Tensor
    """(n,)."""
    covariance: Tensor
    """(n, n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPosterior:
    """The joint posterior of a camera's parameters and what else differs at the satellite."""

    theta: ThetaNormal
    """Of the camera, (3c,)."""
    satellite: ThetaNormal
    """Of e and g, (b+1,)."""
    misfit: float
    """See `SatelliteFit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellSpectra:
    """The spectra of k cells given the camera's bands y, under each of K likely components."""

    extended: Tensor
    """a (K, k, r+1), posterior means [A; 1]."""
    gain: Tensor
    """G (K, k, r, c), dA / dy."""
    carried: Tensor
    """C B^T (K, r, c)."""
    covariance: Tensor
    """C (K, r, r) before y; after it C - G B C."""
    level: Tensor
    """(K, k) log (weight_k P(y | k)), up to a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLikelihood:
    """log P(z | y, theta, e, g) of all cells together, by Gauss-Newton steps.

    Under a component, z is N(p, V) with p = exp(e) * (S (1 + g ndvi t) D a), D = [E, mean], a the
    posterior mean of [A; 1] given y, and V = S E (C - G B C) E^T S^T + diag(noise). With
    Q = dR / d theta D, for small e and g,

        dp / d theta_i = -exp(e) * (S E G_i) (Q_i a)
        dp / d e = diag(p)
        dp / d g = exp(e) * (S ndvi t D a)
    """

    network: PGUNet
    """Gives the prior of spectra."""
    family: ResponseFamily
    """Of the camera (S = 1)."""
    cells: CellValues
    """The cells."""
    error: float
    """Prior standard deviation of e beside the common factor."""
    growth_spread: float
    """Prior standard deviation of g."""

    def posterior(self, prior: ThetaNormal, start: CellPosterior | None) -> CellPosterior:
        """The posterior by Gauss-Newton steps from another one, or from the prior's mean."""
        count, others = len(prior.mean), self._satellite_precision()
        precision = torch.block_diag(torch.linalg.inv(prior.covariance), others)
        mean = torch.cat([prior.mean, prior.mean.new_zeros(len(others))])
        scale = torch.linalg.inv(precision).diagonal().sqrt()
        state = mean if start is None else torch.cat([start.theta.mean, start.satellite.mean])
        for _ in range(_MAX_STEPS):
            information, slope, misfit = self._linearised(state[:count], state[count:])
            # (P + H) step = slope - P (state - mean)
            system = precision + information
            step = torch.linalg.solve(system, slope - precision @ (state - mean))
            state = state + step
            if float((step / scale).abs().max()) < _CONVERGED:
                break
        covariance = torch.linalg.inv(system)
        return CellPosterior(
            theta=ThetaNormal(mean=state[:count], covariance=covariance[:count, :count]),
            satellite=ThetaNormal(mean=state[count:], covariance=covariance[count:, count:]),
            misfit=misfit,
        )

    def _satellite_precision(self) -> Tensor:
        """(b+1, b+1) prior precision: of e, each band's own error and a common factor, and of g."""
        own = torch.full((len(self.cells.response),), self.error**2, dtype=torch.float64)
        growth = torch.tensor([[self.growth_spread**-2]], dtype=torch.float64)
        return torch.block_diag(torch.linalg.inv(own.diag() + COMMON_ERROR**2), growth)

    def _linearised(self, theta: Tensor, satellite: Tensor) -> tuple[Tensor, Tensor, float]:
        """Information H (n, n) and slope (n,) of theta, e and g at a state, and the misfit."""
        cells, seen = self.cells, self._camera(theta)
        count, size = len(cells.msi), len(theta) + len(satellite)
        information, slope = theta.new_zeros(size, size), theta.new_zeros(size)
        misfit, weight = 0.0, min(EFFECTIVE_CELLS, count) / count
        for first in range(0, count, _CHUNK):
            part = slice(first, first + _CHUNK)
            spectra = self._spectra(seen, part)
            share, design, error = self._satellite(seen, spectra, satellite, part)
            # H = sum p J^T V^-1 J,  slope = sum p J^T V^-1 r
            weighted = (design * share[..., None, None]).flatten(0, 2)
            information += weight * weighted.mT @ design.flatten(0, 2)
            slope += weight * weighted.mT @ error.flatten()
            misfit += float((share * error.square().mean(-1)).sum()) / count
        return information, slope, misfit

    def _camera(self, theta: Tensor) -> ObservationModel:
        """The camera's observation model at theta (3c,), in the network's precision."""
        values = theta.view(1, -1, 3).to(self.family.prior)
        stf = Stf.of(self.family, values, torch.zeros_like(values))
        return self.network.observation_model(stf, stf_uncertainty=False)

    def _spectra(self, seen: ObservationModel, part: slice) -> _CellSpectra:
        """The posterior of some cells' spectra given y."""
        mixture, msi = self.network.mixture, self.cells.msi[part]
        mixing, offset = seen.mixing[0].double(), seen.offset[0].double()
        own = self.cells.msi_se[part].square()
        noise = seen.component_noise[0].double()[:, None] + own  # (K, k, c)
        mean, covariance = mixture.mean.double(), mixture.covariance.double()
        # V = B C B^T + diag(noise),  G = C B^T V^-1,  A = mu + G (y - B mu - b)
        carried = covariance @ mixing.mT
        root = torch.linalg.cholesky((mixing @ carried)[:, None] + torch.diag_embed(noise))
        residual = msi - (mean @ mixing.mT + offset)[:, None]
        white = torch.linalg.solve_triangular(root, residual[..., None], upper=False)
        # log weight_k N(y; B mu_k + b, V)
        level = mixture.weight.double().log()[:, None] - _log_determinant(root)
        level = level - white.square().sum((-2, -1)) / 2
        likely = (level - level.amax(0)).amax(1) > _MIN_LOG_RATIO
        carried = carried[likely]
        backward = carried.mT[:, None].expand(-1, len(msi), -1, -1)
        gain = torch.cholesky_solve(backward, root[likely]).mT
        change = (gain @ residual[likely][..., None]).squeeze(-1)
        coefficients = mean[likely][:, None] + change
        return _CellSpectra(
            extended=torch.cat([coefficients, torch.ones_like(coefficients[..., :1])], -1),
            gain=gain,
            carried=carried,
            covariance=covariance[likely],
            level=level[likely],
        )

    def _satellite(
        self, seen: ObservationModel, spectra: _CellSpectra, satellite: Tensor, part: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities p (K, k), L^-1 J (K, k, b, n) and L^-1 (z - p) (K, k, b), V = L L^T."""
        basis, response = self.network.basis.extended.double(), self.cells.response
        bright, growth = satellite[:-1].exp(), satellite[-1]
        acting = response @ basis  # S D
        inner = acting[:, :-1]
        # exp(e) * (S ndvi t D a)
        by_growth = spectra.extended @ (response * self._edge() @ basis).mT * self._ndvi(part)
        by_growth = by_growth * bright
        predicted = spectra.extended @ acting.mT * bright + growth * by_growth
        # V = S E (C - G B C) E^T S^T + diag(noise)
        passed = inner @ spectra.gain  # S E G (K, k, b, c)
        known = passed @ (inner @ spectra.carried).mT[:, None]
        spread = (inner @ spectra.covariance @ inner.mT)[:, None] - known
        root = torch.linalg.cholesky(spread + torch.diag_embed(self._noise(part)))
        # dp / d theta_i = -exp(e) * (S E G_i) (Q_i a)
        change = torch.einsum("cpi,kji->kjcp", seen.tangent[0].double(), spectra.extended)
        by_theta = -(bright[:, None, None] * passed[..., None] * change[:, :, None]).flatten(-2)
        residual = self.cells.reflectance[part] - predicted
        columns = [by_theta, torch.diag_embed(predicted), by_growth[..., None], residual[..., None]]
        white = torch.linalg.solve_triangular(root, torch.cat(columns, -1), upper=False)
        design, error = white[..., :-1], white[..., -1]
        level = spectra.level - _log_determinant(root) - error.square().sum(-1) / 2
        return torch.softmax(level, 0), design, error

    def _edge(self) -> Tensor:
        """Direction t (C,) of a crop's growth: -1 in the visible, 1 in the near infrared."""
        nm = torch.as_tensor(self.network.grid.centres)
        return torch.tanh((nm - EDGE_NM) / EDGE_WIDTH_NM)

    def _ndvi(self, part: slice) -> Tensor:
        """NDVI (k, 1) that the satellite shows, 0 to 1; 0 where it has no infrared band."""
        response, nm = self.cells.response, torch.as_tensor(self.network.grid.centres)
        centres = response @ nm / response.sum(1)
        bands = [int((centres - at).abs().argmin()) for at in NDVI_NM]
        red, infrared = self.cells.reflectance[part][:, bands].unbind(1)
        return ((infrared - red) / (infrared + red).clamp_min(1e-3)).clamp(0, 1)[:, None]

    def _noise(self, part: slice) -> Tensor:
        """(k, b) variance of z: random, of a single cell's surface, and outside the basis."""
        cells = self.cells
        outside = cells.response @ self.network.basis.residual.double()
        own = CELL_ERROR_SHARE * self.error * cells.reflectance[part]
        return cells.reflectance_se[part].square() + own.square() + outside.square()


def _log_determinant(root: Tensor) -> Tensor:
    """Logarithm of |V|^1/2 (...,) of V = L L^T, with the root L (..., n, n)."""
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
