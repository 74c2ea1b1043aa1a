"""HSCNN+: densely connected convolutions.

Shi et al., "HSCNN+: Advanced CNN-Based Hyperspectral Recovery from RGB Images", CVPR Workshops
2018, in the size of comparisons (30 blocks). Written from the description.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from uavssr.evaluation.baselines.network_method import NetworkMethod, band_counts

_GROWTH: Final = 32
"""Channels that a block adds."""
_SQUEEZED: Final = 128
"""Channels inside a block."""
_BLOCKS: Final = 30
"""Blocks."""


class _TwoPaths(nn.Module):
    """Two paths of a 3 x 3 and a 1 x 1 convolution; all four results are joined."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(
            nn.Conv2d(channels, _GROWTH, 3, padding=1, bias=False) for _ in range(2)
        )
        self.second = nn.ModuleList(nn.Conv2d(_GROWTH, width, 1, bias=False) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, (B, 2 (32 + width), y, x) out."""
        parts = []
        for first, second in zip(self.first, self.second, strict=True):
            parts.append(functional.relu(first(maps)))
            parts.append(functional.relu(second(parts[-1])))
        return torch.cat(parts, 1)


class _DenseBlock(nn.Module):
    """Adds 32 channels to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = _GROWTH // 2
        self.squeeze = nn.Conv2d(channels, _SQUEEZED, 1, bias=False)
        self.paths = _TwoPaths(_SQUEEZED, width)
        self.fuse = nn.Conv2d(2 * (_GROWTH + width), _GROWTH, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, (B, C + 32, y, x) out."""
        added = self.fuse(self.paths(functional.relu(self.squeeze(maps))))
        return torch.cat([maps, functional.relu(added)], 1)


class HscnnPlus(nn.Module):
    """HSCNN+, from the camera's bands to the cube's."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        base = 4 * _GROWTH
        self.paths = _TwoPaths(bands_in, _GROWTH)
        self.blocks = nn.Sequential(*(_DenseBlock(base + _GROWTH * n) for n in range(_BLOCKS)))
        self.last = nn.Conv2d(base + _GROWTH * _BLOCKS, bands_out, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        return self.last(self.blocks(self.paths(image)))


HSCNN_PLUS = NetworkMethod(
    name="hscnn+",
    build=lambda family, grid: HscnnPlus(*band_counts(family, grid)),
    reference="Shi et al., HSCNN+, CVPR Workshops 2018, in the size of the MST++ toolbox",
)
