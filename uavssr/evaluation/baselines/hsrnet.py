"""HSRnet: groups of bands by the camera's response, then units with channel attention.

He et al., "Spectral Response Function-Guided Deep Optimization-Driven Network for Spectral
Super-Resolution", IEEE TNNLS 2022, with nine units. Written from the description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from uavssr.evaluation.baselines.network_method import NetworkMethod
from uavssr.model import ResponseFamily
from uavssr.sensors import WavelengthGrid

_UNITS: Final = 9
"""Units."""
_WIDE: Final = 128
"""Channels inside a spatial-spectral block."""
_SLOPE: Final = 0.2
"""Slope of the rectifiers for negative values."""


class _ChannelAttention(nn.Module):
    """A factor for each channel from its mean and its maximum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.ReLU(),
            nn.Linear(channels, channels, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, factors (B, C, 1, 1) out."""
        mean, highest = maps.mean((-2, -1)), maps.amax((-2, -1))
        return torch.sigmoid(self.factors(mean) + self.factors(highest))[..., None, None]


class _Unit(nn.Module):
    """f <- conv(f) + a(f) f + b(f) g(f) with the block g and channel attentions a and b."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = _layer(channels, channels, 3)
        self.widen = _layer(channels, _WIDE, 3)
        self.narrow = nn.Conv2d(_WIDE, channels, 3, padding=1)
        self.project = nn.Sequential(nn.LeakyReLU(_SLOPE), _layer(channels, channels, 1))
        self.weigh_own = _ChannelAttention(channels)
        self.weigh_block = _ChannelAttention(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        block = self.project(maps + self.narrow(self.widen(maps)))
        return self.mix(maps) + maps * self.weigh_own(maps) + block * self.weigh_block(maps)


class Hsrnet(nn.Module):
    """HSRnet, from the camera's bands to the cube's.

    Args:
        groups: number of the cube's bands next to each of the c camera bands, in the order of
            wavelengths.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        inputs, bands = 2 * len(groups) - 1, sum(groups)
        self.groups = nn.ModuleList(
            nn.Sequential(_layer(inputs, size, 3), _layer(size, size, 1)) for size in groups
        )
        self.units = nn.Sequential(*(_Unit(bands) for _ in range(_UNITS)))
        self.last = _layer(2 * bands, bands, 1)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        both = torch.cat([image, image.diff(dim=1).abs()], 1)
        first = torch.cat([group(both) for group in self.groups], 1)
        return self.last(torch.cat([first, first + self.units(first)], 1))


def _layer(channels_in: int, channels_out: int, size: int) -> nn.Sequential:
    """A convolution with repeated borders and a rectifier."""
    padding = size // 2
    convolution = nn.Conv2d(
        channels_in, channels_out, size, padding=padding, padding_mode="replicate"
    )
    return nn.Sequential(convolution, nn.LeakyReLU(_SLOPE))


def band_groups(family: ResponseFamily, grid: WavelengthGrid) -> list[int]:
    """Numbers of the cube's bands that lie nearest to each band of a camera.

    Raises:
        ValueError: the camera's bands are not in the order of wavelengths.
    """
    centres = family.centre[0].numpy()
    if (np.diff(centres) <= 0).any():
        raise ValueError(f"HSRnet needs bands in the order of wavelengths, got {centres} nm")
    edges = np.searchsorted(grid.centres, (centres[1:] + centres[:-1]) / 2)
    return np.diff([0, *edges, len(grid)]).tolist()


HSRNET = NetworkMethod(
    name="hsrnet",
    build=lambda family, grid: Hsrnet(band_groups(family, grid)),
    reference="He et al., SRF-guided optimization-driven network, IEEE TNNLS 2022, nine units",
)
