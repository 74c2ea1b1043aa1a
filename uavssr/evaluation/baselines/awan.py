"""AWAN: adaptive weighted attention network.

Li et al., "Adaptive Weighted Attention Network with Camera Spectral Sensitivity Prior for Spectral
Reconstruction from RGB Images", CVPR Workshops 2020, in the size of comparisons (96 channels).
Written from the description.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from uavssr.evaluation.baselines.network_method import NetworkMethod, band_counts

_CHANNELS: Final = 96
"""Channels of the network."""
_BLOCKS: Final = 8
"""Dual residual attention blocks."""
_REDUCTION: Final = 16
"""Factor by which the channel attention narrows."""
_NARROWED: Final = 8
"""Factor by which the second-order attention narrows."""


class _ReflectedConv(nn.Sequential):
    """A convolution without bias on an image whose borders are reflected."""

    def __init__(self, channels_in: int, channels_out: int, size: int = 3) -> None:
        convolution = nn.Conv2d(channels_in, channels_out, size, bias=False)
        super().__init__(nn.ReflectionPad2d(size // 2), convolution)


class _WeightedChannelAttention(nn.Module):
    """A factor for each channel, from a learned weighted mean over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, 1, 1, bias=False)
        self.factors = nn.Sequential(
            nn.Linear(channels, channels // _REDUCTION, bias=False),
            nn.PReLU(),
            nn.Linear(channels // _REDUCTION, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        weight = self.weigh(maps).flatten(2).softmax(-1)
        mean = torch.einsum("bcn,bn->bc", maps.flatten(2), weight[:, 0])
        return maps * self.factors(mean)[..., None, None]


class _DualResidualBlock(nn.Module):
    """Two convolutions, then a wide one with attention; each half has its own way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _ReflectedConv(_CHANNELS, _CHANNELS),
            nn.PReLU(),
            _ReflectedConv(_CHANNELS, _CHANNELS),
        )
        self.activate_inner = nn.PReLU()
        self.wide = _ReflectedConv(_CHANNELS, _CHANNELS, 5)
        self.activate_wide = nn.PReLU()
        self.attend = _WeightedChannelAttention(_CHANNELS)
        self.last = _ReflectedConv(_CHANNELS, _CHANNELS)
        self.activate_last = nn.PReLU()

    def forward(self, maps: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, 96, y, x) and what the second way carries; both anew."""
        features = self.activate_inner(self.inner(maps) + maps)
        carried = self.activate_wide(self.wide(features)) + carried
        return self.activate_last(self.last(self.attend(carried)) + maps), carried


class _SecondOrderAttention(nn.Module):
    """Attention by the covariance of narrowed channels, apart in each quarter of the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // _NARROWED)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, narrow, 1, bias=False)
        self.widen = nn.Conv2d(narrow, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        rows = [self._rows(half) for half in maps.tensor_split(2, -2)]
        return torch.cat(rows, -2)

    def _rows(self, half: Tensor) -> Tensor:
        return torch.cat([self._attended(quarter) for quarter in half.tensor_split(2, -1)], -1)

    def _attended(self, maps: Tensor) -> Tensor:
        query, value = self.query(maps).flatten(2), self.value(maps).flatten(2)
        centred = query - query.mean(-1, keepdim=True)
        # softmax(Q Q^T / n) V
        weight = (centred @ centred.mT / query.shape[-1]).softmax(-1)
        attended = (weight @ value).unflatten(-1, maps.shape[-2:])
        return maps + self.widen(attended)


class Awan(nn.Module):
    """AWAN, from the camera's bands to the cube's."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_ReflectedConv(bands_in, _CHANNELS), nn.PReLU())
        self.head = _ReflectedConv(_CHANNELS, _CHANNELS)
        self.blocks = nn.ModuleList(_DualResidualBlock() for _ in range(_BLOCKS))
        self.tail = _ReflectedConv(_CHANNELS, _CHANNELS)
        self.activate = nn.PReLU()
        self.last = _ReflectedConv(_CHANNELS, bands_out)
        self.attend = _SecondOrderAttention(bands_out)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        features = self.first(image)
        maps = carried = self.head(features)
        for block in self.blocks:
            maps, carried = block(maps, carried)
        return self.attend(self.last(self.activate(self.tail(maps) + features)))


AWAN = NetworkMethod(
    name="awan",
    build=lambda family, grid: Awan(*band_counts(family, grid)),
    reference="Li et al., Adaptive Weighted Attention Network, CVPR Workshops 2020, 96 channels",
)
