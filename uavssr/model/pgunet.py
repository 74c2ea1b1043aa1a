"""PGU-Net: blind spectral super-resolution by unrolled stages of closed forms and learned priors.

Method: "Physics-Guided Deep Unfolding for Blind Cross-Sensor Spectral Super-Resolution via Learning
the Spectral Transformation Function", arXiv 2606.05759. docs/design.md says where this differs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn

from uavssr.errors import UsageError
from uavssr.model.band_errors import BandErrors
from uavssr.model.basis import SpectralBasis
from uavssr.model.config import PGUNetConfig
from uavssr.model.correction import Correction
from uavssr.model.freeform import FreeStage
from uavssr.model.materials import Materials, find_materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.proximal import ZNet
from uavssr.model.solvers import wiener_by_pixel, x_step
from uavssr.model.stages import (
    VARIANCE_FACTOR,
    ResponseStage,
    Stage,
    estimate_common_factor,
)
from uavssr.model.state import ObservationModel, Reconstruction, Stf
from uavssr.model.uncertainty import CubeUncertainty

SENSOR_NOISE: Final = (0.004, 0.02)
"""Standard deviation of a band's noise in the estimate of spectra: reflectance, and share of it.

Fixed: when it was learned it grew threefold and blurred the prior (docs/design.md).
"""

GROUND_AT_ONCE: Final = 256
"""Pieces of uniform ground that are reconstructed at a time, which bounds memory."""

FINAL_NOISE: Final = (0.005, 0.022)
"""Standard deviation of the misfit that the last X-step leaves: reflectance, and share of it.

Less costs accuracy where the STF is wrong, more breaks the round trip (docs/design.md).
"""

FINAL_STF_VARIANCE_FACTOR: Final = 4.0
"""Factor on the variance that an STF from the prior alone adds to `FINAL_NOISE` squared.

Greater than one, because an X-step expects errors as large as the spread of spectra. The errors
that Z-Net leaves are smaller.
"""


class PGUNet(nn.Module):
    """The unrolled network; one set of weights for any number of camera bands.

    The STF's stages come first (R-step and P-Net, on the scene's materials), then the cube's
    (X-step and Z-Net) from the mixture's Wiener estimate, and a last X-step.

    Args:
        config: sizes.
        basis: the spectral subspace (SpectralBasis.identity is the paper's full-band form).
        mixture: the spectral prior in the basis's coefficients.
    """

    mean: Tensor
    components: Tensor
    residual: Tensor
    weight: Tensor
    mixture_mean: Tensor
    covariance: Tensor
    sigma_scale: Tensor

    def __init__(
        self, config: PGUNetConfig, basis: SpectralBasis, mixture: SpectralMixture
    ) -> None:
        super().__init__()
        self.config, self.grid = config, basis.grid
        self.register_buffer("mean", basis.mean)
        self.register_buffer("components", basis.components)
        self.register_buffer("residual", basis.residual)
        self.register_buffer("weight", mixture.weight)
        self.register_buffer("mixture_mean", mixture.mean)
        self.register_buffer("covariance", mixture.covariance)
        self.register_buffer("sigma_scale", torch.ones(config.bands))
        self.stages = nn.ModuleList(Stage(config) for _ in range(config.stages))
        self.response_stages = nn.ModuleList(
            ResponseStage(config.rank, config.stf_width)
            if config.stf == "parametric"
            else FreeStage(config.stf_width)
            for _ in range(config.response_stages)
        )

    @property
    def basis(self) -> SpectralBasis:
        """The spectral subspace, on the network's device."""
        return SpectralBasis(
            grid=self.grid, mean=self.mean, components=self.components, residual=self.residual
        )

    @property
    def mixture(self) -> SpectralMixture:
        """The spectral prior, on the network's device."""
        return SpectralMixture(
            weight=self.weight, mean=self.mixture_mean, covariance=self.covariance
        )

    def halo(self, stages: int | None = None) -> int:
        """Pixels of context that `stages` stages need on each side of a tile.

        Raises:
            UsageError: the model has fewer stages.
        """
        return ZNet.reach * len(self._stages(stages))

    def _stages(self, stages: int | None) -> list[Stage]:
        count = len(self.stages) if stages is None else stages
        if not 0 <= count <= len(self.stages):
            raise UsageError(f"stages must be 0-{len(self.stages)} for this model, got {count}")
        return [cast("Stage", stage) for stage in self.stages][:count]

    def observation_model(self, stf: Stf, *, stf_uncertainty: bool = True) -> ObservationModel:
        """The image's model Y = B A + b + noise under S cameras' STFs.

            noise_k = n_0^2 + n_1^2 E_k[(B A + b)^2] + (R residual)^2
                      + sum_p theta_se_p^2 E_k[(Q a)_p^2]

        E_k is the mean over component k, (n_0, n_1) is `SENSOR_NOISE`.

        Args:
            stf: the STFs.
            stf_uncertainty: whether their standard errors count as noise.
        """
        basis, moments = self.basis, self.mixture.second_moments()
        tangent = stf.family.tangent(stf.theta.detach()) @ basis.extended
        acting = stf.rows @ basis.extended  # [B, b] (S, c, r+1)
        # E_k[(B A + b)^2],  E_k[(Q a)^2]
        power = torch.einsum("sci,kij,scj->skc", acting, moments, acting)
        spread = torch.einsum("scpi,kij,scpj->skcp", tangent, moments, tangent)
        stf_variance = (spread * stf.theta_se.square()[:, None]).sum(-1) * float(stf_uncertainty)
        outside = (stf.rows @ basis.residual).square()
        absolute, relative = SENSOR_NOISE
        known = absolute**2 + outside[:, None] + relative**2 * power
        average = partial(torch.einsum, "k,skc->sc", self.weight)  # over components
        absolute, relative = FINAL_NOISE
        final = absolute**2 + outside + relative**2 * average(power)
        if self.config.stf == "parametric":  # a free STF has no standard errors
            dominance = FINAL_STF_VARIANCE_FACTOR * stf.prior_dominance()
            final = final + dominance * average(stf_variance)
        return ObservationModel(
            mixing=acting[..., :-1],
            offset=acting[..., -1],
            tangent=tangent,
            noise=average(known + stf_variance),
            component_noise=known + stf_variance,
            final=final,
            final_factor=VARIANCE_FACTOR if self.config.prior_variance == "pixel" else None,
        )

    def estimate_stf(self, materials: Materials, stf: Stf) -> tuple[Stf, ...]:
        """The STFs of S scenes: the initial one and the result of each stage.

        The prior is that of the initial STF's family.
        """
        if self.config.local_components and bool((stf.common_se > 0).any()):
            with torch.no_grad():
                stf = estimate_common_factor(materials, self.mixture, stf, self.observation_model)
        estimates = [stf]
        for stage in self.response_stages:
            seen = self.observation_model(estimates[-1], stf_uncertainty=False)
            estimates.append(stage(materials, estimates[-1], seen, self.mixture, self.basis))
        return tuple(estimates)

    def continue_stf(self, materials: Materials, stf: Stf) -> Stf:
        """An STF that references determine in part, with what an image adds to it (S = 1).

        The prior of the estimate is the STF with its standard errors.
        """
        family = replace(
            stf.family, prior=stf.theta, spread=stf.theta_se, common=torch.zeros_like(stf.common_se)
        )
        blind = self.estimate_stf(materials, Stf.from_prior(family))[-1]
        change = stf.family.rows(blind.theta) - stf.family.rows(stf.theta)
        return replace(stf, theta=blind.theta, theta_se=blind.theta_se, rows=stf.rows + change)

    def cube_uncertainty(self, stf: Stf, correction: Correction | None = None) -> CubeUncertainty:
        """The standard errors of a scene's cube with this STF (S = 1)."""
        sensor = self.observation_model(stf, stf_uncertainty=False)
        return CubeUncertainty.of(
            stf,
            self.observation_model(stf),
            sensor.component_noise,
            self.basis,
            self.mixture,
            self.sigma_scale,
            correction=correction,
        )

    def band_errors(
        self, combinations: Tensor, stf: Stf, correction: Correction | None = None
    ) -> BandErrors:
        """The joint errors of L X, linear combinations L (m, C) of a scene's bands (S = 1)."""
        sensor = self.observation_model(stf, stf_uncertainty=False)
        scale = self.sigma_scale
        if correction is not None:
            scale = scale * correction.sigma_scale
        return BandErrors.of(
            combinations * scale,
            stf,
            self.observation_model(stf),
            sensor.component_noise,
            self.basis,
            self.mixture,
            correction=correction,
        )

    @torch.no_grad()
    def fit_correction(
        self, stf: Stf, msi: Tensor, spectra: Tensor, *, stages: int | None = None
    ) -> Correction:
        """The correction of a scene's cube with k reference spectra.

        Args:
            stf: of the scene (S = 1).
            msi: Y (k, c) the references in the image, reflectance.
            spectra: X (k, C) reflectance.
            stages: number of stages that will run.
        """
        estimate = self.reconstruct_ground(msi, stf, stages=stages)
        uncertainty = self.cube_uncertainty(stf)
        pixels = (values.mT[None, :, :, None] for values in (msi, estimate))
        sigma = uncertainty.expand(uncertainty.maps(*pixels))[0, :, :, 0].mT
        return Correction.fit(msi, spectra, estimate, basis=self.basis, variance=sigma.square())

    @torch.no_grad()
    def reconstruct_ground(
        self,
        msi: Tensor,
        stf: Stf,
        *,
        stages: int | None = None,
        correction: Correction | None = None,
    ) -> Tensor:
        """The coefficients (k, r) of k pieces of uniform ground, which do not touch each other.

        Args:
            msi: Y (k, c) reflectance.
            stf: of the scene (S = 1), held fixed.
            stages: number of stages, all by default.
            correction: with reference spectra of the scene; the coefficients are of its basis.
        """
        halo = self.halo(stages)
        ground = msi[:, :, None, None].expand(-1, -1, 2 * halo + 1, 2 * halo + 1)
        parts = [
            self(part, stf, estimate_stf=False, stages=stages, correction=correction).coefficients
            for part in ground.split(GROUND_AT_ONCE)
        ]
        return torch.cat(parts)[:, :, halo, halo]

    def forward(
        self,
        msi: Tensor,
        stf: Stf,
        *,
        estimate_stf: bool,
        valid: Tensor | None = None,
        stages: int | None = None,
        bfloat16: bool = False,
        correction: Correction | None = None,
    ) -> Reconstruction:
        """Reconstruct the coefficients of an image.

        Args:
            msi: Y (B, c, H, W) reflectance, finite everywhere.
            stf: the initial STF (S = B, or S = 1: one camera for all B windows).
            estimate_stf: estimate the STF from the image first; otherwise it is fixed, and every
                output pixel depends on its neighbourhood of `halo()` pixels only.
            valid: (B, H, W) pixels that count for the STF; all by default.
            stages: number of stages, all by default; 0 gives the mixture's Wiener estimate.
            bfloat16: run Z-Net in bfloat16; the solvers stay in float32.
            correction: with reference spectra of the scene, applied before the last X-step. The
                coefficients are then those of its basis.

        Raises:
            IncompleteRun: the STF's stages gave NaN or infinity.
        """
        estimates: tuple[Stf, ...] = (stf,)
        if estimate_stf:
            counted = None if valid is None else valid.flatten(1)
            materials = find_materials(msi.flatten(2), counted, pooled=len(stf.rows) == 1)
            estimates = self.estimate_stf(materials, stf)
        seen = self.observation_model(estimates[-1])
        hsi, deviation = self._initial_estimate(msi, seen)
        known = torch.cat([msi, deviation, torch.ones_like(msi[:, :1])], 1).flatten(2)
        results = [hsi]
        for stage in self._stages(stages):
            hsi = stage(known, hsi, seen, bfloat16=bfloat16)
            results.append(hsi)
        return Reconstruction(
            coefficients=self._last_step(known, hsi, seen, estimates[-1], correction),
            stf=estimates[-1],
            stage_coefficients=tuple(results),
            stage_stf=estimates,
        )

    def _last_step(
        self,
        known: Tensor,
        hsi: Tensor,
        seen: ObservationModel,
        stf: Stf,
        correction: Correction | None,
    ) -> Tensor:
        """A (B, r + q, H, W): the correction's change, then an X-step of the first r coefficients.

        The X-step explains Y - R E_q A_q, the image without the correction's q further directions.
        `known` is that of the stages.
        """
        rank, shape, flat, beyond = self.config.rank, hsi.shape[-2:], hsi.flatten(2), None
        image, deviation, _ = known.split([seen.mixing.shape[1], rank, 1], 1)
        if correction is not None:
            change = correction(image.unflatten(-1, shape)).flatten(2)
            flat, beyond = flat + change[:, :rank], change[:, rank:]
            image = image - stf.rows @ correction.basis.components[:, rank:] @ beyond
        if seen.final_factor is None:
            final = x_step(image, flat, seen.mixing, seen.offset, seen.final)
        else:
            misfit = image - seen.mixing @ flat - seen.offset[..., None]
            variance = seen.final_factor * deviation.square()
            final = flat + wiener_by_pixel(misfit, variance, seen.mixing, seen.final)[0]
        final = final if beyond is None else torch.cat([final, beyond], 1)
        return final.unflatten(-1, shape)

    @torch.no_grad()
    def _initial_estimate(self, msi: Tensor, seen: ObservationModel) -> tuple[Tensor, Tensor]:
        """The mixture's posterior mean and standard deviation, both (B, r, H, W)."""
        shape = msi.shape[-2:]
        mean, variance = self.mixture.posterior(
            msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
        )
        return mean.unflatten(-1, shape), variance.sqrt().unflatten(-1, shape)
