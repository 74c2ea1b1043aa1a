"""PGU-Net: blind spectral super-resolution by unrolled stages of closed forms and learned priors.

Method: "Physics-Guided Deep Unfolding for Blind Cross-Sensor Spectral Super-Resolution via Learning
the Spectral Transformation Function", arXiv 2606.05759. docs/design.md says where this differs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn

from uavssr.errors import IncompleteRun, ModelRefused, UsageError
from uavssr.model.basis import SpectralBasis
from uavssr.model.mixture import SpectralMixture
from uavssr.model.proximal import PNet, ZNet
from uavssr.model.solvers import (
    SceneStatistics,
    r_step,
    r_step_parametric,
    wiener_gain,
    x_step,
)
from uavssr.model.state import Observation, Reconstruction, Stf

FINAL_NOISE: Final = (0.006, 0.03)
"""Noise of the last X-step, absolute and relative: how closely the cube explains the image.

Tighter costs accuracy where the STF is wrong, looser breaks the round trip (docs/design.md).
"""

SAMPLES: Final = 30.0
"""How many independent pixels a scene is taken to be worth before training, per direction it spans.

Far fewer than it has: its materials are not drawn from the prior (docs/design.md).
"""

PREDICTIVE_VARIANCE: Final = 7e-4
"""Variance of what one such pixel says of a band, in reflectance squared, the same for all bands.

The variance given the other bands under the prior would be the textbook's; it did worse in our
trials, on scenes unlike the prior (docs/design.md).
"""


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
    """Unrolled stages."""
    width: int = 32
    """Channels inside Z-Net."""
    stf_width: int = 32
    """Channels inside P-Net."""

    def __post_init__(self) -> None:
        limits = {
            "bands": 4096,
            "rank": 4096,
            "components": 512,
            "stages": 32,
            "width": 1024,
            "stf_width": 1024,
        }
        for key, limit in limits.items():
            value = getattr(self, key)
            if type(value) is not int or not 1 <= value <= limit:
                raise ModelRefused(
                    f"config {key} must be a whole number in 1-{limit}, got {value!r}"
                )
        if self.width % 8 or self.stf_width % 8:
            raise ModelRefused("config width and stf_width must be multiples of 8")
        if self.rank > self.bands:
            raise ModelRefused(f"config rank {self.rank} exceeds bands {self.bands}")

    def to_dict(self) -> dict[str, int]:
        """The fields as plain numbers."""
        return asdict(self)


class Stage(nn.Module):
    """One unrolled iteration: X-step and Z-Net, then R-step and P-Net."""

    def __init__(self, config: PGUNetConfig) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(0.0))
        self.log_beta = nn.Parameter(torch.tensor(-4.0))
        self.log_samples = nn.Parameter(torch.tensor(math.log(SAMPLES)))
        self.znet = ZNet(config.rank, config.width)
        self.pnet = PNet(config.stf_width)

    def update_hsi(
        self, msi: Tensor, hsi: Tensor, deviation: Tensor, seen: Observation, *, half: bool
    ) -> Tensor:
        """X-step (closed form, float32), then Z-Net (bfloat16 if `half`). Maps are (B, ., H, W)."""
        shape = hsi.shape[-2:]
        noise = seen.noise * self.log_alpha.exp()
        flat = x_step(msi.flatten(2), hsi.flatten(2), seen.mixing, seen.offset, noise)
        misfit = msi.flatten(2) - seen.mixing @ flat - seen.offset[..., None]
        carried = wiener_gain(seen.mixing, noise) @ misfit
        maps = (part.unflatten(-1, shape) for part in (flat, carried))
        with torch.autocast(msi.device.type, torch.bfloat16, enabled=half):
            proximal: Tensor = self.znet(*maps, deviation)
        return proximal.float() if half else proximal

    def update_stf(
        self,
        msi: Tensor,
        hsi: Tensor,
        stf: Stf,
        seen: Observation,
        basis: SpectralBasis,
        valid: Tensor | None,
    ) -> tuple[Stf, SceneStatistics]:
        """R-step on pooled statistics (closed form), then P-Net."""
        statistics = SceneStatistics.of(
            msi.flatten(2), hsi.flatten(2), seen.mixing, seen.offset, valid=valid
        )
        return self.stf_from(statistics, stf, seen, basis), statistics

    def stf_from(
        self, statistics: SceneStatistics, stf: Stf, seen: Observation, basis: SpectralBasis
    ) -> Stf:
        """The STF from an image's statistics taken at `stf`, shrunk towards the family's prior.

        The share of information that the closed form ascribes to the image bounds what P-Net may
        change and how much doubt it may remove: without information the prior stays as it is.
        """
        family, prior, spread = stf.family, stf.family.prior, stf.family.spread
        samples = torch.minimum(self.log_samples.exp() * statistics.diversity(), statistics.pixels)
        step = r_step_parametric(
            stf.theta,
            prior,
            spread,
            seen.tangent,
            statistics,
            (samples / PREDICTIVE_VARIANCE)[:, None].expand(spread.shape[:2]),
        )
        scale = spread.clamp_min(1e-9)
        curves = _row_curves(stf.rows, statistics, basis, self.log_beta.exp())
        proposed = (step.theta - prior) / scale
        current = (stf.theta - prior) / scale
        features = torch.cat([proposed, 2 * step.share - 1, current], -1)
        change, removed = self.pnet(curves, features)
        theta = prior + (proposed + step.share * change).clamp(-4, 4) * spread
        deviation = spread * torch.sqrt(1 - 0.999 * step.share * removed)
        if not bool(torch.isfinite(theta).all() and torch.isfinite(deviation).all()):
            raise IncompleteRun(
                "the network gave NaN or infinity for the STF",
                remedy="nothing was written; check the input's values with uavssr inspect",
            )
        return Stf.of(family, theta, deviation)


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
        self.log_noise = nn.Parameter(torch.tensor([math.log(0.004), math.log(0.02)]))
        self.stages = nn.ModuleList(Stage(config) for _ in range(config.stages))

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

    def observe(self, stf: Stf) -> Observation:
        """How `stf` acts on coefficients, and how surely."""
        basis = self.basis
        tangent = stf.family.tangent(stf.theta.detach()) @ basis.extended
        sensor_noise = self.log_noise.exp().square()
        moments = self.mixture.second_moments()
        seen = stf.rows @ basis.extended  # (S, c, r+1)
        power = torch.einsum("sci,kij,scj->skc", seen, moments, seen)
        spread = torch.einsum("scpi,kij,scpj->skcp", tangent, moments, tangent)
        doubt = (spread * stf.deviation.square()[:, None]).sum(-1)
        outside = (stf.rows @ basis.residual).square()
        known = sensor_noise[0] + outside[:, None] + sensor_noise[1] * power
        average = partial(torch.einsum, "k,skc->sc", self.weight)
        absolute, relative = FINAL_NOISE
        return Observation(
            mixing=seen[..., :-1],
            offset=seen[..., -1],
            tangent=tangent,
            noise=average(known + doubt),
            component_noise=known + doubt,
            final=absolute**2 + outside + relative**2 * average(power),
        )

    def forward(
        self,
        msi: Tensor,
        stf: Stf,
        *,
        blind: bool,
        valid: Tensor | None = None,
        stages: int | None = None,
        half: bool = False,
    ) -> Reconstruction:
        """Reconstruct the coefficients of an image.

        Args:
            msi: Y (B, c, H, W) reflectance, finite everywhere.
            stf: where the STF starts (S = B, or S = 1: one camera for all B windows).
            blind: whether the stages update the STF from the image, or hold it fixed. A fixed STF
                makes every output pixel depend on its neighbourhood of `halo()` pixels only.
            valid: (B, H, W) pixels that count for the STF; all by default.
            stages: how many stages to run, all by default; 0 is the mixture's Wiener estimate.
            half: run the proximal networks in bfloat16; the solvers stay in float32.
        """
        shape = msi.shape[-2:]
        flat_valid = None if valid is None else valid.flatten(1)
        seen = self.observe(stf)
        start, deviation = self._start(msi, seen)
        hsi = start
        results, estimates, statistics = [hsi], [stf], None
        basis = self.basis
        for stage in self._stages(stages):
            hsi = stage.update_hsi(msi, hsi, deviation, seen, half=half)
            if blind:
                stf, statistics = stage.update_stf(msi, hsi, stf, seen, basis, flat_valid)
                seen = self.observe(stf)
            results.append(hsi)
            estimates.append(stf)
            if blind:  # the start moves with the STF, what was learned on top of it stays
                moved, deviation = self._start(msi, seen)
                hsi, start = hsi + moved - start, moved
        final = x_step(msi.flatten(2), hsi.flatten(2), seen.mixing, seen.offset, seen.final)
        return Reconstruction(
            coefficients=final.unflatten(-1, shape),
            stf=stf,
            statistics=statistics,
            stage_coefficients=tuple(results),
            stage_stf=tuple(estimates),
        )

    def local_stf(
        self, msi: Tensor, hsi: Tensor, stf: Stf, *, prior: Stf, valid: Tensor, stages: int | None
    ) -> Stf:
        """The STF of one tile, shrunk towards `prior` by how little the tile says.

        Args:
            msi: Y (1, c, H, W) of the tile.
            hsi: Z (1, r, H, W), the last of `stage_coefficients` of a run with `stf` fixed.
            stf: the STF of that run.
            prior: mean and spread of what a tile's parameters may be.
            valid: (1, H, W).
            stages: as in that run.
        """
        if self._count(stages) == 0:
            return prior
        seen = self.observe(stf)
        stage = self._stages(stages)[-1]
        statistics = SceneStatistics.of(
            msi.flatten(2), hsi.flatten(2), seen.mixing, seen.offset, valid=valid.flatten(1)
        )
        centred = Stf(
            family=stf.family.around(prior.theta, prior.deviation),
            theta=stf.theta,
            deviation=stf.deviation,
            rows=stf.rows,
        )
        return stage.stf_from(statistics, centred, seen, self.basis)

    @torch.no_grad()
    def _start(self, msi: Tensor, seen: Observation) -> tuple[Tensor, Tensor]:
        shape = msi.shape[-2:]
        mean, variance = self.mixture.posterior(
            msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
        )
        return mean.unflatten(-1, shape), variance.sqrt().unflatten(-1, shape)


def _row_curves(
    rows: Tensor, statistics: SceneStatistics, basis: SpectralBasis, beta: Tensor
) -> Tensor:
    """P-Net's view (S, c, 5, C) of each row: itself, its free-form update, the scene, the axis."""
    extended = basis.extended
    peak = rows.amax(-1, keepdim=True).clamp_min(1e-9)
    update = r_step(rows, extended, statistics, beta) - rows
    scene_mean = statistics.second[:, -1] @ extended.mT
    power = torch.einsum("ci,sij,cj->sc", extended, statistics.second, extended)
    scene_deviation = (power - scene_mean.square()).clamp_min(1e-8).sqrt()
    axis = torch.linspace(-1, 1, rows.shape[-1], dtype=rows.dtype, device=rows.device)
    context = torch.stack([scene_mean, scene_deviation, axis.expand_as(scene_mean)], 1)
    own = torch.stack([rows / peak, update / peak], 2)
    shared = context[:, None].expand(-1, rows.shape[1], -1, -1)
    return torch.cat([own, shared], 2)
