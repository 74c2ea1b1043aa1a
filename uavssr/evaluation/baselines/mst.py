"""Spectral-wise transformers: MST++ and MST-L.

Cai et al., "MST++: Multi-stage Spectral-wise Transformer for Efficient Spectral Reconstruction",
CVPR Workshops 2022, and "Mask-guided Spectral-wise Transformer for Efficient Hyperspectral Image
Reconstruction", CVPR 2022: blocks in which channels attend to each other over the whole image.
Written from the papers' descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from uavssr.evaluation.baselines.network_method import NetworkMethod, band_counts

HEAD_WIDTH: Final = 31
"""Channels at full resolution, and of one head of the attention."""
_STRIDE: Final = 8
"""Sides are padded to a multiple of this many pixels."""


class SpectralAttention(nn.Module):
    """Attention between channels over all pixels, softmax(s K Q^T) V for each head."""

    def __init__(self, channels: int, *, guided: bool = False) -> None:
        super().__init__()
        self.heads = channels // HEAD_WIDTH
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.project = nn.Conv2d(channels, channels, 1)
        self.position = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        )
        self.guide = _MaskGuide(channels) if guided else None

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out; `mask` (B, C, y, x) guides the values."""
        queries, keys, values = self.queries_keys_values(maps).chunk(3, 1)
        if self.guide is not None and mask is not None:
            values = values * self.guide(mask)
        query, key, value = (
            part.flatten(2).unflatten(1, (self.heads, HEAD_WIDTH))
            for part in (queries, keys, values)
        )
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        # softmax(s K Q^T) V
        weight = (self.scale * (key @ query.mT)).softmax(-1)
        attended = (weight @ value).flatten(1, 2).unflatten(-1, maps.shape[-2:])
        return self.project(attended) + self.position(values)


class _MaskGuide(nn.Module):
    """The factor that a second branch puts on the values: m (1 + sigmoid(depthwise(m)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
            nn.Sigmoid(),
        )

    def forward(self, mask: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        mixed = self.mix(mask)
        return mixed * self.weigh(mixed) + mixed


class _PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class _Block(nn.Module):
    """Spectral-wise attention block: attention, then a feed-forward network, each added."""

    def __init__(self, channels: int, *, guided: bool = False) -> None:
        super().__init__()
        inner = 4 * channels
        self.attend = SpectralAttention(channels, guided=guided)
        self.feed = nn.Sequential(
            _PixelNorm(channels),
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
            nn.GELU(),
            nn.Conv2d(inner, channels, 1, bias=False),
        )

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        maps = maps + self.attend(maps, mask)
        return maps + self.feed(maps)


class _Blocks(nn.Module):
    """Several blocks in a row with one mask."""

    def __init__(self, channels: int, count: int, *, guided: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(channels, guided=guided) for _ in range(count))

    def forward(self, maps: Tensor, mask: Tensor | None) -> Tensor:
        """Maps (B, C, y, x) in, the same shape out."""
        for block in self.blocks:
            maps = block(maps, mask)
        return maps


class _UShape(nn.Module):
    """Single-stage transformer: three resolutions down and up again, 31, 62 and 124 channels."""

    def __init__(self, counts: Sequence[int] = (1, 1, 1), *, guided: bool = False) -> None:
        super().__init__()
        widths = (HEAD_WIDTH, 2 * HEAD_WIDTH)
        *outer, inner = counts
        sizes = list(zip(widths, outer, strict=True))
        self.encode = nn.ModuleList(_Blocks(width, n, guided=guided) for width, n in sizes)
        self.shrink = nn.ModuleList(_halved(width) for width in widths)
        self.shrink_mask = nn.ModuleList(_halved(width) for width in widths if guided)
        self.middle = _Blocks(4 * HEAD_WIDTH, inner, guided=guided)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths)
        self.join = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in widths)
        self.decode = nn.ModuleList(_Blocks(width, n, guided=guided) for width, n in sizes)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps (B, 31, y, x) in, the same shape out; the sides are multiples of four."""
        skipped: list[Tensor] = []
        masks = [mask]
        for level, encode in enumerate(self.encode):
            skipped.append(encode(maps, masks[-1]))
            maps = self.shrink[level](skipped[-1])
            masks.append(None if masks[-1] is None else self.shrink_mask[level](masks[-1]))
        maps = self.middle(maps, masks[-1])
        for level in (1, 0):
            both = torch.cat([self.grow[level](maps), skipped[level]], 1)
            maps = self.decode[level](self.join[level](both), masks[level])
        return maps


class _Stage(nn.Module):
    """A U-shape of MST++ with its own convolutions before and after it, added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = _conv3(HEAD_WIDTH, HEAD_WIDTH)
        self.shape = _UShape()
        self.map = _conv3(HEAD_WIDTH, HEAD_WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, 31, y, x) in, the same shape out."""
        return features + self.map(self.shape(self.embed(features)))


class MstPlusPlus(nn.Module):
    """MST++: three stages between two convolutions, from the camera's bands to the cube's.

    The published network adds its input of 31 maps to the output of three stages. This is done
    before the last convolution, because a cube may have another number of bands.
    """

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.first = _conv3(bands_in, HEAD_WIDTH)
        self.stages = nn.Sequential(_Stage(), _Stage(), _Stage())
        self.last = _conv3(HEAD_WIDTH, bands_out)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        features = self.first(_padded(image))
        cube = self.last(features + self.stages(features))
        return cube[..., : image.shape[-2], : image.shape[-1]]


class MstLarge(nn.Module):
    """MST-L: one U-shape of 4, 7 and 5 blocks, whose values a second embedding guides."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.embed = _conv3(bands_in, HEAD_WIDTH)
        self.embed_mask = _conv3(bands_in, HEAD_WIDTH)
        self.shape = _UShape((4, 7, 5), guided=True)
        self.map = _conv3(HEAD_WIDTH, bands_out)

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        padded = _padded(image)
        features = self.embed(padded)
        cube = self.map(features + self.shape(features, self.embed_mask(padded)))
        return cube[..., : image.shape[-2], : image.shape[-1]]


def _conv3(bands_in: int, bands_out: int) -> nn.Conv2d:
    return nn.Conv2d(bands_in, bands_out, 3, padding=1, bias=False)


def _halved(width: int) -> nn.Conv2d:
    """Half the resolution, twice the channels."""
    return nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)


def _padded(image: Tensor) -> Tensor:
    """An image with its lower and right side reflected to multiples of `_STRIDE`."""
    height, width = image.shape[-2:]
    return functional.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="reflect")


MST_PLUS_PLUS = NetworkMethod(
    name="mst++",
    build=lambda family, grid: MstPlusPlus(*band_counts(family, grid)),
    reference="Cai et al., MST++, CVPR Workshops 2022; its width stays 31 for any number of bands",
)
MST_LARGE = NetworkMethod(
    name="mst-l",
    build=lambda family, grid: MstLarge(*band_counts(family, grid)),
    reference="Cai et al., Mask-guided Spectral-wise Transformer, CVPR 2022, large",
)
