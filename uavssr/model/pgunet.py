"""PGU-Net: blind spectral super-resolution by unrolled stages of closed forms and learned priors.

Method: "Physics-Guided Deep Unfolding for Blind Cross-Sensor Spectral Super-Resolution via Learning
the Spectral Transformation Function", arXiv 2606.05759. docs/design.md says where this differs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn

from uavssr.errors import ModelRefused, UsageError
from uavssr.model.basis import SpectralBasis
from uavssr.model.correction import Correction
from uavssr.model.freeform import FreeStage
from uavssr.model.materials import Materials, find_materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.parametric import ResponseStage
from uavssr.model.proximal import ZNet
from uavssr.model.solvers import wiener_gain, x_step
from uavssr.model.state import ObservationModel, Reconstruction, Stf
from uavssr.model.uncertainty import CubeUncertainty

SENSOR_NOISE: Final = (0.004, 0.02)
"""Noise of a band, absolute and relative, with which spectra are estimated.

Learned, it grew threefold and took the mixture's sharpness with it (docs/design.md).
"""

FINAL_NOISE: Final = (0.005, 0.022)
"""Noise of the last X-step, absolute and relative: how closely the cube explains the image.

Tighter costs accuracy where the STF is wrong, looser breaks the round trip (docs/design.md).
"""

FINAL_STF_VARIANCE_FACTOR: Final = 4.0
"""What the doubt of an STF that no image has told of adds to that, in variances of the doubt.

More than one, as a step takes its start to be off by as much as spectra vary, and Z-Net's is not.
"""

MAX_COMPONENTS: Final = 512
"""Of a spectral prior: more would be no prior but a library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PGUNetConfig:
    """Sizes of the network; every field is in config.json of a model folder."""

    bands: int = 270
    """C, bands of the cube."""
    rank: int = 16
    """r, spectral coefficients."""
    components: int = 32
    """K, Gaussians of the spectral prior."""
    stages: int = 4
    """Unrolled stages of the cube."""
    response_stages: int = 2
    """Unrolled stages of the STF."""
    width: int = 32
    """Channels inside Z-Net."""
    stf_width: int = 48
    """Channels inside P-Net."""
    stf: Literal["parametric", "free"] = "parametric"
    """Whether an STF is its nominal curve shifted, stretched and scaled, or any curve."""

    def __post_init__(self) -> None:
        limits = {
            "bands": 4096,
            "rank": 4096,
            "components": MAX_COMPONENTS,
            "stages": 32,
            "response_stages": 32,
            "width": 1024,
            "stf_width": 1024,
        }
        for key, limit in limits.items():
            value = getattr(self, key)
            if type(value) is not int or not 1 <= value <= limit:
                raise ModelRefused(
                    f"config {key} must be a whole number in 1-{limit}, got {value!r}"
                )
        if self.stf not in ("parametric", "free"):
            raise ModelRefused(f"config stf must be parametric or free, got {self.stf!r}")
        if self.width % 8 or self.stf_width % 8:
            raise ModelRefused("config width and stf_width must be multiples of 8")
        if self.rank > self.bands:
            raise ModelRefused(f"config rank {self.rank} exceeds bands {self.bands}")

    def to_dict(self) -> dict[str, int | str]:
        """The fields as plain values."""
        return asdict(self)


class Stage(nn.Module):
    """One unrolled iteration for the cube: X-step (closed form), then Z-Net."""

    def __init__(self, config: PGUNetConfig) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(0.0))
        self.znet = ZNet(config.rank, config.width)

    def forward(
        self, msi: Tensor, hsi: Tensor, deviation: Tensor, seen: ObservationModel, *, bfloat16: bool
    ) -> Tensor:
        """X-step in float32, Z-Net in bfloat16 if `bfloat16`. Maps are (B, ., H, W)."""
        shape = hsi.shape[-2:]
        noise = seen.noise * self.log_alpha.exp()
        flat = x_step(msi.flatten(2), hsi.flatten(2), seen.mixing, seen.offset, noise)
        misfit = msi.flatten(2) - seen.mixing @ flat - seen.offset[..., None]
        carried = wiener_gain(seen.mixing, noise) @ misfit
        maps = (part.unflatten(-1, shape) for part in (flat, carried))
        with torch.autocast(msi.device.type, torch.bfloat16, enabled=bfloat16):
            proximal: Tensor = self.znet(*maps, deviation)
        return proximal.float() if bfloat16 else proximal


class PGUNet(nn.Module):
    """The unrolled network; one set of weights for any number of camera bands.

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
        """Pixels of context that `stages` stages need on each side of a tile."""
        return ZNet.reach * self._count(stages)

    def _count(self, stages: int | None) -> int:
        count = len(self.stages) if stages is None else stages
        if not 0 <= count <= len(self.stages):
            raise UsageError(f"stages must be 0-{len(self.stages)} for this model, got {count}")
        return count

    def _stages(self, stages: int | None) -> list[Stage]:
        return [cast("Stage", stage) for stage in self.stages][: self._count(stages)]

    def observation_model(self, stf: Stf, *, stf_uncertainty: bool = True) -> ObservationModel:
        """The image's model under `stf`; its variances leave the STF's own out if so asked."""
        basis = self.basis
        tangent = stf.family.tangent(stf.theta.detach()) @ basis.extended
        absolute, relative = SENSOR_NOISE
        moments = self.mixture.second_moments()
        seen = stf.rows @ basis.extended  # (S, c, r+1)
        power = torch.einsum("sci,kij,scj->skc", seen, moments, seen)
        spread = torch.einsum("scpi,kij,scpj->skcp", tangent, moments, tangent)
        doubt = (spread * stf.theta_se.square()[:, None]).sum(-1)
        outside = (stf.rows @ basis.residual).square()
        known = absolute**2 + outside[:, None] + relative**2 * power
        doubt = doubt * float(stf_uncertainty)
        average = partial(torch.einsum, "k,skc->sc", self.weight)
        left, share = FINAL_NOISE
        final = left**2 + outside + share**2 * average(power)
        if self.config.stf == "parametric":  # a free one has no standard errors to tell by
            final = final + FINAL_STF_VARIANCE_FACTOR * stf.prior_dominance()[:, None] * average(
                doubt
            )
        return ObservationModel(
            mixing=seen[..., :-1],
            offset=seen[..., -1],
            tangent=tangent,
            noise=average(known + doubt),
            component_noise=known + doubt,
            final=final,
        )

    def estimate_stf(self, materials: Materials, stf: Stf) -> tuple[Stf, ...]:
        """The STF of scenes from their materials: where it starts, and each stage's.

        Args:
            materials: of S scenes.
            stf: where it starts; its family is the prior.
        """
        estimates = [stf]
        for stage in self.response_stages:
            seen = self.observation_model(estimates[-1], stf_uncertainty=False)
            estimates.append(stage(materials, estimates[-1], seen, self.mixture, self.basis))
        return tuple(estimates)

    def refine_stf(self, materials: Materials, stf: Stf, *, prior: Stf) -> Stf:
        """The STF of a part of a scene: the last stage alone, from `stf`, about another prior.

        Args:
            materials: of the part (S = 1).
            stf: of the scene.
            prior: mean and spread of what the part's parameters may be.
        """
        centred = Stf(
            family=stf.family.around(prior.theta, prior.theta_se),
            theta=stf.theta,
            theta_se=stf.theta_se,
            rows=stf.rows,
        )
        last, seen = self.response_stages[-1], self.observation_model(stf, stf_uncertainty=False)
        refined: Stf = last(materials, centred, seen, self.mixture, self.basis)
        return refined

    def cube_uncertainty(self, stf: Stf, correction: Correction | None = None) -> CubeUncertainty:
        """What gives the standard errors of a scene's cube with this STF (S = 1)."""
        return CubeUncertainty.of(
            stf,
            self.observation_model(stf, stf_uncertainty=False),
            self.basis,
            self.mixture,
            self.sigma_scale,
            correction=correction,
        )

    @torch.no_grad()
    def fit_correction(
        self, stf: Stf, msi: Tensor, spectra: Tensor, *, stages: int | None = None
    ) -> Correction:
        """What known spectra of a scene say of this network's error in it.

        Args:
            stf: of the scene (S = 1), held.
            msi: Y (k, c) what the camera saw of them; each is taken for a uniform piece of ground.
            spectra: X (k, C) reflectance.
            stages: how many stages will run.
        """
        reach = self.halo(stages)
        ground = msi[:, :, None, None].expand(-1, -1, 2 * reach + 1, 2 * reach + 1)
        found = self(ground, stf, estimate_stf=False, stages=stages).coefficients
        estimate = found[:, :, reach, reach]
        doubt = self.cube_uncertainty(stf)
        pixels = (each.mT[None, :, :, None] for each in (msi, estimate))
        sigma = doubt.expand(doubt.maps(*pixels))[0, :, :, 0].mT
        return Correction.fit(msi, spectra, estimate, basis=self.basis, variance=sigma.square())

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
            stf: where the STF starts (S = B, or S = 1: one camera for all B windows).
            estimate_stf: estimate the STF from the image first; otherwise it is fixed, and every
                output pixel depends on its neighbourhood of `halo()` pixels only.
            valid: (B, H, W) pixels that count for the STF; all by default.
            stages: how many stages to run, all by default; 0 is the mixture's Wiener estimate.
            bfloat16: run Z-Net in bfloat16; the solvers stay in float32.
            correction: what known spectra of the scene say; applied before the last X-step. The
                coefficients are then those of its basis.
        """
        estimates: tuple[Stf, ...] = (stf,)
        if estimate_stf:
            counted = None if valid is None else valid.flatten(1)
            pooled = stf.rows.shape[0] == 1
            estimates = self.estimate_stf(
                find_materials(msi.flatten(2), counted, pooled=pooled), stf
            )
        seen = self.observation_model(estimates[-1])
        hsi, deviation = self._start(msi, seen)
        results = [hsi]
        for stage in self._stages(stages):
            hsi = stage(msi, hsi, deviation, seen, bfloat16=bfloat16)
            results.append(hsi)
        return Reconstruction(
            coefficients=self._finished(msi, hsi, seen, estimates[-1], correction),
            stf=estimates[-1],
            stage_coefficients=tuple(results),
            stage_stf=estimates,
        )

    def _finished(
        self,
        msi: Tensor,
        hsi: Tensor,
        seen: ObservationModel,
        stf: Stf,
        correction: Correction | None,
    ) -> Tensor:
        """What is known is added, then the last X-step; it moves nothing beyond the basis."""
        image, flat, beyond = msi.flatten(2), hsi.flatten(2), None
        if correction is not None:
            rank = self.config.rank
            change = correction(msi).flatten(2)
            flat, beyond = flat + change[:, :rank], change[:, rank:]
            image = image - stf.rows @ correction.basis.components[:, rank:] @ beyond
        final = x_step(image, flat, seen.mixing, seen.offset, seen.final)
        final = final if beyond is None else torch.cat([final, beyond], 1)
        return final.unflatten(-1, msi.shape[-2:])

    @torch.no_grad()
    def _start(self, msi: Tensor, seen: ObservationModel) -> tuple[Tensor, Tensor]:
        shape = msi.shape[-2:]
        mean, variance = self.mixture.posterior(
            msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
        )
        return mean.unflatten(-1, shape), variance.sqrt().unflatten(-1, shape)
