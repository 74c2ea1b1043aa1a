"""A network of the architecture of MST++ with random weights, to compare its cost.

Cai et al., "MST++: Multi-stage Spectral-wise Transformer for Efficient Spectral Reconstruction",
CVPR Workshops 2022: three U-shapes in a row, made of blocks in which channels attend to each other
over the whole image. Written from the paper's description. It is never trained, so it shows time
and memory, not accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 31
"""Channels at full resolution, and of one head of the attention."""


class SpectralAttention(nn.Module):
    """Attention between channels over all pixels, softmax(s K Q^T) V for each head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // WIDTH
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.project = nn.Conv2d(channels, channels, 1)
        self.position = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        queries, keys, values = self.queries_keys_values(maps).chunk(3, 1)
        query, key, value = (
            part.flatten(2).unflatten(1, (self.heads, WIDTH)) for part in (queries, keys, values)
        )
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        weight = (self.scale * (key @ query.mT)).softmax(-1)
        attended = (weight @ value).flatten(1, 2).unflatten(-1, maps.shape[-2:])
        return self.project(attended) + self.position(values)


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """Spectral-wise attention block: attention, then a feed-forward network, each added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 4 * channels
        self.attend = SpectralAttention(channels)
        self.feed = nn.Sequential(
            PixelNorm(channels),
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
            nn.GELU(),
            nn.Conv2d(inner, channels, 1, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        maps = maps + self.attend(maps)
        return maps + self.feed(maps)


class UShape(nn.Module):
    """Single-stage transformer: three resolutions down and up again, 31, 62 and 124 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (WIDTH, 2 * WIDTH)
        self.embed = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.encode = nn.ModuleList(Block(width) for width in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False) for width in widths
        )
        self.middle = Block(4 * WIDTH)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths)
        self.join = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in widths)
        self.decode = nn.ModuleList(Block(width) for width in widths)
        self.map = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, 31, y, x) in, the same shape out; the sides are multiples of four."""
        maps, skipped = self.embed(features), []
        for encode, shrink in zip(self.encode, self.shrink, strict=True):
            skipped.append(encode(maps))
            maps = shrink(skipped[-1])
        maps = self.middle(maps)
        for level in (1, 0):
            both = torch.cat([self.grow[level](maps), skipped[level]], 1)
            maps = self.decode[level](self.join[level](both))
        return features + self.map(maps)


class MstPlusPlus(nn.Module):
    """Three U-shapes between two convolutions, from the camera's bands to the cube's."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(bands_in, WIDTH, 3, padding=1, bias=False)
        self.stages = nn.Sequential(UShape(), UShape(), UShape())
        self.last = nn.Conv2d(WIDTH, bands_out, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out; the sides are multiples of four."""
        features = self.first(image)
        return self.last(features + self.stages(features))
