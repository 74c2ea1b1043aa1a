"""Model-guided cross fusion: unrolled stages with a closed form of the known response.

Dian et al., "Spectral Super-Resolution via Model-Guided Cross-Fusion Network", IEEE TNNLS 2023,
with seven stages. The camera's response R is given. Written from the description.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from uavssr.evaluation.baselines.network_method import NetworkMethod, band_counts

_FIRST_WIDTH: Final = 64
"""Channels of the first stage."""
_WIDTH: Final = 32
"""Channels of the others."""
_STAGES: Final = 7
"""Stages."""
_SLOPE: Final = 0.2
"""Slope of the rectifiers for negative values."""
_FIRST_MU: Final = 1e-5
"""The penalty mu of each stage before training."""


class _ChannelWeights(nn.Module):
    """A factor for each channel, from a learned weighted mean over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, 1, 1, bias=False)
        self.factors = nn.Sequential(
            nn.Linear(channels, 1, bias=False),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(1, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        weight = self.weigh(maps).flatten(2).softmax(-1)
        mean = torch.einsum("bcn,bn->bc", maps.flatten(2), weight[:, 0])
        return maps * self.factors(mean)[..., None, None]


class _CrossFusion(nn.Module):
    """Two estimates of the cube from the last one."""

    def __init__(self, channels: int, width: int, bands: int) -> None:
        super().__init__()
        self.plain = nn.Sequential(_conv3(channels, width), nn.LeakyReLU(_SLOPE))
        self.weighted = nn.Sequential(
            _conv3(channels, width), nn.LeakyReLU(_SLOPE), _ChannelWeights(width)
        )
        self.joined = nn.Sequential(
            _conv3(2 * width, bands), nn.LeakyReLU(_SLOPE), _ChannelWeights(bands)
        )
        self.fused = _conv3(width + bands, bands)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, channels, y, x) in, two cubes (B, C, y, x) out."""
        plain = self.plain(maps)
        first = self.joined(torch.cat([self.weighted(maps), plain], 1))
        return first, self.fused(torch.cat([first, plain], 1))


class CrossFusionNetwork(nn.Module):
    """Seven stages of cross fusion and projection, from the camera's bands to the cube's."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.penalties = nn.Parameter(torch.full((_STAGES,), _FIRST_MU))
        first = _CrossFusion(bands_in, _FIRST_WIDTH, bands_out)
        others = (_CrossFusion(bands_out, _WIDTH, bands_out) for _ in range(_STAGES - 1))
        self.stages = nn.ModuleList([first, *others])

    def forward(self, image: Tensor, rows: Tensor) -> Tensor:
        """A cube (B, C, y, x) of an image (B, c, y, x) and the camera's response R (B, c, C)."""
        back = torch.einsum("bck,bcyx->bkyx", rows, image)
        maps, identity = image, torch.eye(rows.shape[-1], device=rows.device, dtype=rows.dtype)
        for penalty, stage in zip(self.penalties, self.stages, strict=True):
            first, second = stage(maps)
            # X = (R^T R + 2 mu I)^-1 (R^T Y + mu (U + V))
            right = (back + penalty * (first + second)).flatten(2)
            gram = rows.mT @ rows + 2 * penalty * identity
            maps = torch.linalg.solve(gram, right).unflatten(-1, image.shape[-2:])
        return maps


def _conv3(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


DIAN = NetworkMethod(
    name="dian",
    knows="true response",
    build=lambda family, grid: CrossFusionNetwork(*band_counts(family, grid)),
    reference="Dian et al., Model-Guided Cross-Fusion Network, IEEE TNNLS 2023, seven stages",
)
