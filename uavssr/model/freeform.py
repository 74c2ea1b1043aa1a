"""The paper's own STF stage: a free R in closed form, then a P-Net along the wavelength axis.

The training alone decides the part of R that no image determines. So there are no standard errors,
and every band is called prior-driven (docs/design.md compares the two kinds).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from uavssr.model.basis import SpectralBasis
from uavssr.model.likelihood import StfLikelihood
from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.proximal import encoder
from uavssr.model.response import ResponseFamily
from uavssr.model.solvers import SceneStatistics, r_step_free
from uavssr.model.state import ObservationModel, Stf


class CurveNet(nn.Module):
    """The paper's P-Net, proximal operator of free responses: curves in, a change of each out.

    Convolutions of several kernel sizes along the wavelength, fused, then a transformer over
    wavelength. Bands are read one by one, so their order does not matter.
    """

    CHANNELS = 5
    """Curves of a band, see `_curves`."""
    KERNELS = (3, 7, 15)
    """Sizes of the convolutions, in cube bands."""
    TOKENS = 32
    """Wavelengths that the transformer reads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(self.CHANNELS, width // 2, size, padding=size // 2) for size in self.KERNELS
        )
        self.fuse = nn.Conv1d(width // 2 * len(self.KERNELS), width, 3, padding=1)
        self.along = encoder(width)
        self.head = nn.Conv1d(2 * width, 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, curves: Tensor) -> Tensor:
        """Change (S, c, C) of curves (S, c, 5, C) over their peaks; zero before training."""
        cameras, bands, _, count = curves.shape
        flat = curves.flatten(0, 1)
        read = torch.cat([functional.gelu(branch(flat)) for branch in self.branches], 1)
        local = functional.gelu(self.fuse(read))
        distant = self.along(functional.adaptive_avg_pool1d(local, self.TOKENS).mT).mT
        spread = functional.interpolate(distant, size=count, mode="linear", align_corners=False)
        change: Tensor = self.head(torch.cat([local, spread], 1))
        return change[:, 0].unflatten(0, (cameras, bands))


class FreeStage(nn.Module):
    """One unrolled iteration for a free STF: R-step (closed form), then P-Net."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_beta = nn.Parameter(torch.tensor(0.0))
        self.pnet = CurveNet(width)

    def forward(
        self,
        materials: Materials,
        stf: Stf,
        seen: ObservationModel,
        mixture: SpectralMixture,
        basis: SpectralBasis,
    ) -> Stf:
        """The STF from a scene's materials: R = argmin |Y - R Z|^2 / N + beta |R - P|^2, and P-Net.

        Z are the materials' posterior mean spectra.
        """
        with torch.no_grad():
            spectra = StfLikelihood.of(materials, mixture, seen).coefficients.mT
            statistics = SceneStatistics.of(
                materials.values.mT,
                spectra,
                seen.mixing,
                seen.offset,
                valid=materials.weight * materials.weight.shape[1],
            )
        update = r_step_free(stf.rows, basis.extended, statistics, self.log_beta.exp())
        peak = stf.rows.detach().abs().amax(-1, keepdim=True).clamp_min(1e-9)
        change = self.pnet(_curves(stf.rows, update, peak, statistics, basis))
        rows = update + change * peak
        centres = basis.grid.centres
        theta = moment_parameters(rows, stf.family, float(centres[-1] - centres[0]) / 2)
        return Stf.of(stf.family, theta, stf.family.spread, rows=rows, common_se=stf.common_se)


def moment_parameters(rows: Tensor, family: ResponseFamily, half_span: float) -> Tensor:
    """Shift (nm), stretch and gain (logarithms) of free rows against the nominal ones (S, c, 3).

        shift = m - m_0,  stretch = log(s / s_0),  gain = log(sum R / sum R_0)

    m and s are mean and standard deviation of wavelength under the positive part of a row.

    Args:
        rows: R (S, c, C).
        family: the nominal responses.
        half_span: half of the wavelength range of the rows, nm.
    """
    nominal = family.rows(torch.zeros_like(family.prior))
    axis = torch.linspace(-1, 1, rows.shape[-1], dtype=rows.dtype, device=rows.device)

    def moments(curves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        positive = curves.clamp_min(0)
        share = positive / positive.sum(-1, keepdim=True).clamp_min(1e-9)
        centre = (share * axis).sum(-1)
        width = (share * (axis - centre[..., None]).square()).sum(-1).clamp_min(1e-9).sqrt()
        return curves.sum(-1).clamp_min(1e-6), centre, width

    total, centre, width = moments(rows)
    total_0, centre_0, width_0 = moments(nominal)
    return torch.stack(
        [(centre - centre_0) * half_span, (width / width_0).log(), (total / total_0).log()], -1
    )


def _curves(
    rows: Tensor, update: Tensor, peak: Tensor, statistics: SceneStatistics, basis: SpectralBasis
) -> Tensor:
    """P-Net's input (S, c, 5, C): R, its R-step, the scene's mean and deviation, the axis."""
    # mean = D M_[., r+1],  deviation^2 = diag(D M D^T) - mean^2
    extended = basis.extended
    mean = statistics.second[:, -1] @ extended.mT
    power = torch.einsum("ci,sij,cj->sc", extended, statistics.second, extended)
    deviation = (power - mean.square()).clamp_min(1e-8).sqrt()
    axis = torch.linspace(-1, 1, rows.shape[-1], dtype=rows.dtype, device=rows.device)
    context = torch.stack([mean, deviation, axis.expand_as(mean)], 1)
    own = torch.stack([rows / peak, (update - rows) / peak], 2)
    return torch.cat([own, context[:, None].expand(-1, rows.shape[1], -1, -1)], 2)
