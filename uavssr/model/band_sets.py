"""Expected errors of spectra from sets of camera bands, under the spectral prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from uavssr.model.basis import SpectralBasis
from uavssr.model.mixture import SpectralMixture
from uavssr.model.state import ObservationModel


class ErrorBounds(NamedTuple):
    """Root mean square errors of reflectance, over spectra of the prior and wavelengths."""

    at_least: float
    """Of an estimator that is told each spectrum's component."""
    at_most: float
    """Of the best linear estimator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianErrors:
    """Mean square errors of the spectrum from any set s of n bands, under G Gaussian priors.

    Band b measures h_b A + noise of variance n_gb. Under prior g the error of the best estimate is

        error_g(s) = tr(W P_g),   P_g = (C_g^-1 + sum_(b in s) h_b^T h_b / n_gb)^-1

    with W = E^T E / C, so that it is the mean over the C wavelengths. All numbers are float64.
    """

    share: Tensor
    """(G,) weights of the priors in the mean of errors."""
    covariance: Tensor
    """C_g (G, r, r)."""
    mixing: Tensor
    """h (n, r)."""
    noise: Tensor
    """(G, n)."""
    weight: Tensor
    """W (r, r)."""
    outside: float
    """Mean square of what the basis cannot represent, which no band reduces."""

    def posterior(self, chosen: Sequence[int]) -> Tensor:
        """P_g (G, r, r) with the bands of these numbers."""
        rows = self.mixing[list(chosen)]
        # P = C - C B^T (B C B^T + diag(noise))^-1 B C
        carried = rows @ self.covariance
        system = carried @ rows.mT + torch.diag_embed(self.noise[:, list(chosen)])
        return self.covariance - carried.mT @ torch.linalg.solve(system, carried)

    def error(self, chosen: Sequence[int]) -> float:
        """Mean square error with the bands of these numbers."""
        # sum_g share_g tr(W P_g) + outside
        traces = torch.einsum("ij,gji->g", self.weight, self.posterior(chosen))
        return float(self.share @ traces) + self.outside

    def errors_with_each(self, chosen: Sequence[int]) -> Tensor:
        """(n,) mean square errors with the bands of these numbers and each band besides."""
        posterior = self.posterior(chosen)
        # tr(W P') = tr(W P) - h P W P h^T / (h P h^T + n)
        carried = posterior @ self.mixing.mT  # P h^T (G, r, n)
        removed = (carried * (self.weight @ carried)).sum(1)
        removed = removed / ((self.mixing.mT * carried).sum(1) + self.noise)
        traces = torch.einsum("ij,gji->g", self.weight, posterior)
        return self.share @ (traces[:, None] - removed) + self.outside


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSetErrors:
    """Expected errors of the spectrum from any set of n bands, under a Gaussian mixture prior.

    The error of the best estimate, the mixture's posterior mean, has no closed form. It lies
    between two that have one: of an estimator that is told each spectrum's component, and of the
    best linear estimator, which knows the mixture's mean and covariance alone. The components of an
    observation model's noise are its K priors; the mixture's covariance is

        sum_k w_k (C_k + (mu_k - mu)(mu_k - mu)^T),   mu = sum_k w_k mu_k
    """

    mixture: SpectralMixture
    seen: ObservationModel
    """Of the n bands (S = 1)."""
    told: GaussianErrors
    """With each spectrum's component known: a lower bound."""
    linear: GaussianErrors
    """Of the best linear estimator: an upper bound."""

    @classmethod
    def of(
        cls,
        seen: ObservationModel,
        basis: SpectralBasis,
        mixture: SpectralMixture,
        wavelengths: Sequence[int] | None = None,
    ) -> BandSetErrors:
        """The errors at the wavelengths of these numbers, by default at all of the basis."""
        at = list(range(len(basis.mean)) if wavelengths is None else wavelengths)
        components = basis.components[at].double()
        share, mean = mixture.weight.double(), mixture.mean.double()
        covariance, noise = mixture.covariance.double(), seen.component_noise[0].double()
        centred = mean - share @ mean
        # sum_k w_k (C_k + (mu_k - mu)(mu_k - mu)^T)
        total = torch.einsum("k,kij->ij", share, covariance)
        total = total + (share[:, None] * centred).mT @ centred
        told = GaussianErrors(
            share=share / share.sum(),
            covariance=covariance,
            mixing=seen.mixing[0].double(),
            noise=noise,
            weight=components.mT @ components / len(at),
            outside=float(basis.residual[at].double().square().mean()),
        )
        linear = GaussianErrors(
            share=torch.ones(1, dtype=torch.float64),
            covariance=total[None],
            mixing=told.mixing,
            noise=(told.share @ noise)[None],
            weight=told.weight,
            outside=told.outside,
        )
        return cls(mixture=mixture, seen=seen, told=told, linear=linear)

    def bounds(self, chosen: Sequence[int]) -> ErrorBounds:
        """The bounds on the error with the bands of these numbers."""
        return ErrorBounds(self.told.error(chosen) ** 0.5, self.linear.error(chosen) ** 0.5)

    def criterion(self, chosen: Sequence[int]) -> Tensor:
        """(n,) what a choice of bands minimises, for each band beside the chosen ones.

        The mean of both bounds' squares.
        """
        both = self.told.errors_with_each(chosen), self.linear.errors_with_each(chosen)
        return (both[0] + both[1]) / 2

    def simulated(self, chosen: Sequence[int], *, count: int, seed: int = 0) -> tuple[float, float]:
        """Error of the mixture's posterior mean, and its standard error, on spectra of the prior.

        Args:
            chosen: numbers of the bands.
            count: number of spectra that are drawn.
            seed: of the draws.
        """
        bands, rank = list(chosen), self.mixture.mean.shape[1]
        generator = torch.Generator().manual_seed(seed)
        k = torch.multinomial(self.told.share, count, True, generator=generator)
        normal = torch.randn(count, rank + len(bands), generator=generator, dtype=torch.float64)
        # A = mu_k + C_k^1/2 g,  Y = B A + b + noise_k^1/2 h
        root = torch.linalg.cholesky(self.told.covariance)
        own = (root[k] @ normal[:, :rank, None])[..., 0]
        coefficients = self.mixture.mean.double()[k] + own
        mixing, offset = self.seen.mixing[:, bands], self.seen.offset[:, bands]
        noise = self.seen.component_noise[..., bands]
        clean = coefficients @ mixing[0].double().mT + offset[0].double()
        image = clean + noise[0, k].double().sqrt() * normal[:, rank:]
        mean, _ = self.mixture.posterior(image.mT[None].to(mixing), mixing, offset, noise)
        error = mean[0].mT.double() - coefficients
        square = (error @ self.told.weight * error).sum(1) + self.told.outside
        rmse = float(square.mean()) ** 0.5
        return rmse, float(square.std()) / count**0.5 / (2 * rmse)
