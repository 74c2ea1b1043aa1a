"""Errors of a cube drawn from their joint distribution, for samples of the posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from uavssr.model.correction import Correction
from uavssr.model.error_propagation import ErrorPropagation
from uavssr.model.mixture import SpectralMixture
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import ObservationModel, Stf

NormalNumbers = Callable[[int], Tensor]
"""Gives the next so many standard normal numbers."""


class SharedDraws(NamedTuple):
    """Standard normal numbers of one sample, for all pixels of the scene."""

    stf: Tensor
    """(c, 3) for shift, stretch and gain of each band."""
    common: Tensor
    """() for the factor that all bands share."""
    component: Tensor
    """() for the choice of components."""
    within: Tensor
    """(K, r + c) for the errors of a pixel of each component: of the prior, and of the noise."""
    residual: Tensor
    """(K, m) for what the basis cannot represent."""


class OwnDraws(NamedTuple):
    """Standard normal numbers of one sample and n pixels."""

    component: Tensor
    """(n,) for the choice of components."""
    within: Tensor
    """(r + c, n)."""
    residual: Tensor
    """(m, n)."""


class PixelPosterior(NamedTuple):
    """What is the same in all samples of n pixels."""

    image: Tensor
    """Y (c, n)."""
    cumulative: Tensor
    """(K, n) p_1 + ... + p_k of the components."""
    mean: Tensor
    """sum_k p_k m_k (r, n)."""
    extended: Tensor
    """[A; 1] (r + 1, n)."""
    scale: Tensor
    """(n,) factor on errors: small near reference spectra."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosteriorErrors:
    """Draws errors of m bands whose moments are those of `BandErrors` and `CubeUncertainty`.

        error = s (E (m_k - sum_j p_j m_j) + [E M C_k^1/2, E N_k S_k^1/2] g + residual h
                   + E N u + common_se x v),   u_b = sum_p theta_se_bp (Q a)_bp z_bp

    k is drawn with the probabilities p_k; g, h, z and v are standard normal. z and v are the same
    for all pixels of a sample. Of k, g and h a share rho of the variance is the same for all pixels
    of a component: g = sqrt(rho) g_k + sqrt(1 - rho) g_n. For k this holds for the normal number
    whose quantile among the p_k chooses it. Symbols as in `CubeUncertainty`.
    """

    mixture: SpectralMixture
    """The spectral prior, K components."""
    seen: ObservationModel
    """The observation model of the scene's STF, with its uncertainty."""
    gain: Tensor
    """(K, r, c+1) [Y; 1] to m_k."""
    within: Tensor
    """(K, m, r + c) s [E M C_k^1/2, E N_k S_k^1/2]."""
    components: Tensor
    """s E (m, r)."""
    residual: Tensor
    """(m,) s residual."""
    from_stf: Tensor
    """s E N (m, c)."""
    theta_se: Tensor
    """(c, 3) standard errors of the STF's parameters."""
    common: Tensor
    """common_se s [E, mean] (m, r+1)."""
    shared: float
    """rho."""
    correction: Correction | None
    """The correction of the cube with reference spectra."""

    @classmethod
    def of(
        cls,
        network: PGUNet,
        stf: Stf,
        correction: Correction | None,
        bands: list[int],
        *,
        shared: float,
    ) -> PosteriorErrors:
        """The errors of some bands of a cube made with a scene's STF (S = 1)."""
        basis, mixture = network.basis, network.mixture
        seen = network.observation_model(stf)
        noise = network.observation_model(stf, stf_uncertainty=False).component_noise[0]
        steps = ErrorPropagation.of(seen, basis, mixture)
        scale = network.sigma_scale
        if correction is not None:
            scale = scale * correction.sigma_scale
        scale = scale[bands, None]
        passed = steps.passed[:, bands] * scale
        root = torch.linalg.cholesky(mixture.covariance)
        of_prior, of_noise = steps.missed[:, bands] * scale @ root, passed * noise.sqrt()[:, None]
        return cls(
            mixture=mixture,
            seen=seen,
            gain=torch.cat([steps.gain, steps.constant[..., None]], -1),
            within=torch.cat([of_prior, of_noise], -1),
            components=basis.components[bands] * scale,
            residual=basis.residual[bands] * scale[:, 0],
            from_stf=torch.einsum("k,kmb->mb", mixture.weight, passed),
            theta_se=stf.theta_se[0],
            common=stf.common_se[0] * basis.extended[bands] * scale,
            shared=shared,
            correction=correction,
        )

    @property
    def normals(self) -> int:
        """Normal numbers per pixel: 1 + r + c + m."""
        return 1 + self.within.shape[2] + self.within.shape[1]

    def own_draws(self, normal: Tensor) -> OwnDraws:
        """Normal numbers (`normals`, n) of pixels by their use."""
        one, width = normal[0], self.within.shape[2]
        return OwnDraws(one, normal[1 : 1 + width], normal[1 + width :])

    def shared_draws(self, generate: NormalNumbers) -> SharedDraws:
        """The numbers of a sample, in a fixed order."""
        count, bands, width = self.within.shape
        return SharedDraws(
            stf=generate(self.theta_se.numel()).reshape(self.theta_se.shape),
            common=generate(1)[0],
            component=generate(1)[0],
            within=generate(count * width).reshape(count, width),
            residual=generate(count * bands).reshape(count, bands),
        )

    def at(self, image: Tensor, coefficients: Tensor) -> PixelPosterior:
        """The posterior of n pixels with Y (c, n) and A (r, n) or more coefficients."""
        seen, shares, means = self.seen, [], []
        for part in self.mixture.parts(image[None]):
            share = self.mixture.component_posterior(
                part, seen.mixing, seen.offset, seen.component_noise
            )[0]
            # sum_k p_k (K_k Y + constant_k)
            weighted = share[:, None] * torch.cat([part[0], torch.ones_like(part[0, :1])])
            means.append(torch.einsum("krb,kbn->rn", self.gain, weighted))
            shares.append(share)
        a = coefficients[: self.common.shape[1] - 1]
        factor = image.new_ones(image.shape[1])
        if self.correction is not None:
            factor = self.correction.variance_factor(image[None, :, :, None])[0, :, 0]
        return PixelPosterior(
            image=image,
            cumulative=torch.cat(shares, 1).cumsum(0),
            mean=torch.cat(means, 1),
            extended=torch.cat([a, torch.ones_like(a[:1])]),
            scale=factor.sqrt(),
        )

    def draw(self, pixels: PixelPosterior, own: OwnDraws, shared: SharedDraws) -> Tensor:
        """Errors (m, n), reflectance."""
        rho = self.shared
        mixed = rho**0.5 * shared.component + (1 - rho) ** 0.5 * own.component
        quantile = torch.special.ndtr(mixed)
        chosen = (pixels.cumulative < quantile).sum(0).clamp_max_(len(self.gain) - 1)
        # Q a
        tangent, a = self.seen.tangent[0], pixels.extended
        change = torch.einsum("bpr,rn->bpn", tangent, a)
        of_stf = (change * (self.theta_se * shared.stf)[..., None]).sum(1)
        error = self.from_stf @ of_stf + shared.common * (self.common @ a)
        for k in chosen.unique().tolist():
            members = (chosen == k).nonzero()[:, 0]
            within = rho**0.5 * shared.within[k][:, None]
            within = within + (1 - rho) ** 0.5 * own.within[:, members]
            outside = rho**0.5 * shared.residual[k][:, None]
            outside = outside + (1 - rho) ** 0.5 * own.residual[:, members]
            # m_k - sum_j p_j m_j
            of_pixels = self.gain[k, :, :-1] @ pixels.image[:, members] + self.gain[k, :, -1:]
            of_component = self.components @ (of_pixels - pixels.mean[:, members])
            error[:, members] += (
                of_component + self.within[k] @ within + self.residual[:, None] * outside
            )
        return error * pixels.scale
