"""A camera's STF from its image and a satellite's view of the same cells, in closed form, float64.

    y = R(theta) x + noise        the camera's bands of a cell
    z = exp(e) * (S x) + noise    the satellite's, of known response S
    x = mean + E a                a spectrum of the mixture prior

theta has the prior N(., .) of the camera, with a factor common to all bands; e has the prior
N(0, error^2) for each satellite band, with a factor common to all of them. The image's materials
give theta a Gaussian posterior first (`PGUNet.estimate_stf`); the cells add P(z | y, theta, e).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from uavssr.model import GAIN, Materials, PGUNet, ResponseFamily, Stf, stf_covariance

EFFECTIVE_CELLS: Final = 3.0
"""Most independent cells that all cells count for: the errors of the spectral prior are alike in
all cells of a field."""
COMMON_ERROR: Final = 0.03
"""Prior standard deviation of the logarithm of a factor that all satellite bands share: view and
illumination differ from the camera's."""
CELL_ERROR_SHARE: Final = 0.3
"""Systematic error of a single cell over that of all cells of a band: it depends on the surface."""
_LEVEL_ROUNDS: Final = 2
"""Times that the image is read at the level which the satellite gives."""
_MAX_STEPS: Final = 20
_CONVERGED: Final = 1e-3
"""Largest change of a parameter, in prior standard deviations, at which the fit ends."""
_CHUNK: Final = 64
"""Cells that are linearised at a time."""


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
class _Normal:
    """A normal distribution of the camera's parameters, flattened (3c,), common factor included."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteFit:
    """An STF from an image and a satellite's cells."""

    stf: Stf
    """The STF (S = 1); theta_se and common_se follow from the joint posterior."""
    covariance: Tensor
    """(3c, 3c) posterior covariance of theta, the common factor included."""
    learned: Tensor
    """(c, 3) share of the prior variance of shift, stretch and gain that is removed, 0..1."""
    learned_blind: Tensor
    """(c, 3) the same of the image alone."""
    error: Tensor
    """(b,) logarithm of the satellite's factor e for each band."""
    error_se: Tensor
    """(b,) standard errors of these."""
    misfit: float
    """Mean of the squared misfits of the cells over their variance: about 1."""


@torch.no_grad()
def fit_satellite(
    network: PGUNet, family: ResponseFamily, materials: Materials, cells: CellValues, error: float
) -> SatelliteFit:
    """Estimate an STF (S = 1) from an image's materials and a satellite's cells.

    Args:
        network: gives the prior of spectra and the blind estimate.
        family: the camera's data sheet or profile with its prior.
        materials: of the image, see `find_materials`.
        cells: at least one.
        error: systematic error of the satellite, standard deviation of a band's log factor.
    """
    prior = _with_common(_flat(family.prior), _flat(family.spread).square().diag(), family.common)
    likelihood = _CellLikelihood(network=network, family=family, cells=cells, error=error)
    level, blind = likelihood.posterior(prior)[0].mean - prior.mean, prior
    for _ in range(_LEVEL_ROUNDS):
        blind = _blind(network, family, materials, float(level.view(-1, 3)[:, GAIN].mean()))
        fitted, factor, misfit = likelihood.posterior(blind)
        level = fitted.mean - blind.mean
    variance = prior.covariance.diagonal()
    image_alone, joint = (
        (1 - part.covariance.diagonal() / variance).clamp(0, 1).view(-1, 3)
        for part in (blind, fitted)
    )
    return SatelliteFit(
        stf=_as_stf(family, fitted),
        covariance=fitted.covariance,
        learned=joint,
        learned_blind=image_alone,
        error=factor.mean,
        error_se=factor.covariance.diagonal().sqrt(),
        misfit=misfit,
    )


def _flat(theta: Tensor) -> Tensor:
    """Parameters (3c,) of one camera (1, c, 3), float64."""
    return theta[0].double().flatten()


def _with_common(mean: Tensor, covariance: Tensor, common: Tensor) -> _Normal:
    """The distribution with a factor common to all gains, of standard deviation `common` (1,)."""
    wider = covariance.clone()
    wider[GAIN::3, GAIN::3] += float(common[0]) ** 2
    return _Normal(mean=mean, covariance=wider)


def _blind(network: PGUNet, family: ResponseFamily, materials: Materials, level: float) -> _Normal:
    """What the image alone tells at a common factor exp(level), which is then open again."""
    shift = torch.zeros_like(family.prior)
    shift[..., GAIN] = level
    nothing = torch.zeros_like(family.common)
    known = replace(family, prior=family.prior + shift, common=nothing)
    stf = network.estimate_stf(materials, Stf.from_prior(known))[-1]
    covariance = stf_covariance(network, materials, stf)
    return _with_common(_flat(stf.theta - shift), covariance, family.common)


def _as_stf(family: ResponseFamily, fitted: _Normal) -> Stf:
    """The STF of a posterior: what gains share becomes the common factor's standard error."""
    theta, variance = (part.view(-1, 3) for part in (fitted.mean, fitted.covariance.diagonal()))
    gains, bands = fitted.covariance[GAIN::3, GAIN::3], len(theta)
    # the mean covariance of two bands' gains
    shared = (gains.sum() - gains.trace()) / max(bands * (bands - 1), 1)
    shared = shared.clamp_min(0).minimum(gains.diagonal().min())
    own = variance.clone()
    own[:, GAIN] -= shared
    theta_se = own.clamp_min(0).sqrt()
    parts = (part.to(family.prior)[None] for part in (theta, theta_se))
    return Stf.of(family, *parts, common_se=shared.sqrt().to(family.prior)[None])


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellSpectra:
    """The cells' spectra given the camera's bands y, under each of K components."""

    extended: Tensor
    """a (K, k, r+1), posterior means [A; 1]."""
    gain: Tensor
    """G (K, r, c), dA / dy."""
    covariance: Tensor
    """(K, r, r) of A."""
    level: Tensor
    """(K, k) log (weight_k P(y | k)), up to a constant."""
    tangent: Tensor
    """Q = dR / d theta [E, mean] (c, 3, r+1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellLikelihood:
    """log P(z | y, theta, e) of all cells together, by Gauss-Newton in theta and e.

    Under component k, z is N(p, V) with p = exp(e) * (S D a) and V = S E C E^T S^T + diag(noise),
    C the covariance of A given y. With D = [E, mean],

        dp / d theta_i = -exp(e) * (S E G_i) (Q_i a)    dp / d e = diag(p)
    """

    network: PGUNet
    family: ResponseFamily
    cells: CellValues
    error: float

    def posterior(self, prior: _Normal) -> tuple[_Normal, _Normal, float]:
        """The posteriors of theta and of e, and the misfit, see `SatelliteFit`."""
        bands, count = len(self.cells.response), len(prior.mean)
        precision = torch.block_diag(torch.linalg.inv(prior.covariance), self._error_precision())
        start = torch.cat([prior.mean, prior.mean.new_zeros(bands)])
        scale = torch.linalg.inv(precision).diagonal().sqrt()
        state = start.clone()
        for _ in range(_MAX_STEPS):
            information, slope, misfit = self._linearised(state[:count], state[count:])
            # (P + H) step = g - P (state - start)
            system = precision + information
            step = torch.linalg.solve(system, slope - precision @ (state - start))
            state = state + step
            if float((step / scale).abs().max()) < _CONVERGED:
                break
        covariance = torch.linalg.inv(system)
        camera = _Normal(mean=state[:count], covariance=covariance[:count, :count])
        factor = _Normal(mean=state[count:], covariance=covariance[count:, count:])
        return camera, factor, misfit

    def _error_precision(self) -> Tensor:
        """(b, b) prior precision of e: each band's own error, and a common factor."""
        own = torch.full((len(self.cells.response),), self.error**2, dtype=torch.float64)
        return torch.linalg.inv(own.diag() + COMMON_ERROR**2)

    def _linearised(self, theta: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, float]:
        """Information H (n, n) and slope g (n,) of theta and e at a state, and the misfit."""
        spectra, cells = self._spectra(theta), self.cells
        total = min(EFFECTIVE_CELLS, len(cells.msi)) / len(cells.msi)
        size = len(theta) + len(factor)
        information, slope = theta.new_zeros(size, size), theta.new_zeros(size)
        misfit = 0.0
        for first in range(0, len(cells.msi), _CHUNK):
            part = slice(first, first + _CHUNK)
            share, design, residual, root = self._cells(spectra, factor, part)
            # H = sum p J^T V^-1 J,  g = sum p J^T V^-1 r
            white = torch.linalg.solve_triangular(root, design, upper=False)
            error = torch.linalg.solve_triangular(root, residual[..., None], upper=False)
            weighted = (white * share[..., None, None]).flatten(0, 2)
            information += total * weighted.mT @ white.flatten(0, 2)
            slope += total * weighted.mT @ error.flatten()
            misfit += float((share * error.square().mean((-2, -1))).sum()) / len(cells.msi)
        return information, slope, misfit

    def _spectra(self, theta: Tensor) -> _CellSpectra:
        """The posterior of the cells' spectra given y at theta (3c,)."""
        network, mixture, cells = self.network, self.network.mixture, self.cells
        values = theta.view(1, -1, 3).to(self.family.prior)
        stf = Stf.of(self.family, values, torch.zeros_like(values))
        seen = network.observation_model(stf, stf_uncertainty=False)
        mixing, offset, tangent = (
            part[0].double() for part in (seen.mixing, seen.offset, seen.tangent)
        )
        noise = seen.component_noise[0].double() + cells.msi_se.square().mean(0)
        mean, covariance = mixture.mean.double(), mixture.covariance.double()
        # V = B C B^T + diag(noise),  G = C B^T V^-1,  A = mu + G (y - B mu - b)
        carried = covariance @ mixing.mT
        root = torch.linalg.cholesky(mixing @ carried + torch.diag_embed(noise))
        gain = torch.cholesky_solve(carried.mT, root).mT
        residual = cells.msi - (mean @ mixing.mT + offset)[:, None]
        coefficients = mean[:, None] + residual @ gain.mT
        white = torch.linalg.solve_triangular(root, residual.mT, upper=False)
        # log weight_k N(y; B mu_k + b, V)
        level = mixture.weight.double().log() - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        ones = torch.ones_like(coefficients[..., :1])
        return _CellSpectra(
            extended=torch.cat([coefficients, ones], -1),
            gain=gain,
            covariance=covariance - gain @ carried.mT,
            level=level[:, None] - white.square().sum(1) / 2,
            tangent=tangent,
        )

    def _cells(
        self, spectra: _CellSpectra, factor: Tensor, part: slice
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Probabilities p (K, k), J (K, k, b, n), z - p (K, k, b) and the root L of V = L L^T."""
        basis = self.network.basis
        acting = self.cells.response @ basis.extended.double()  # S D
        extended, bright = spectra.extended[:, part], factor.exp()
        predicted = extended @ acting.mT * bright
        residual = self.cells.reflectance[part] - predicted
        spread = acting[:, :-1] @ spectra.covariance @ acting[:, :-1].mT
        root = torch.linalg.cholesky(spread[:, None] + torch.diag_embed(self._noise(part)))
        white = torch.linalg.solve_triangular(root, residual[..., None], upper=False)
        level = spectra.level[:, part] - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        share = torch.softmax(level - white.square().sum((-2, -1)) / 2, 0)
        # dp / d theta_i = -exp(e) * (S E G_i) (Q_i a)
        passed = bright[:, None] * (acting[:, :-1] @ spectra.gain)  # (K, b, c)
        change = torch.einsum("cpi,kji->kjcp", spectra.tangent, extended)
        by_theta = -(passed[:, None, :, :, None] * change[:, :, None]).flatten(-2)
        return share, torch.cat([by_theta, torch.diag_embed(predicted)], -1), residual, root

    def _noise(self, part: slice) -> Tensor:
        """(k, b) variance of z: random, of a single cell's surface, and outside the basis."""
        cells = self.cells
        outside = cells.response @ self.network.basis.residual.double()
        own = CELL_ERROR_SHARE * self.error * cells.reflectance[part]
        return cells.reflectance_se[part].square() + own.square() + outside.square()
