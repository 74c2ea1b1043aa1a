"""The learned proximal operators: Z-Net for the cube, P-Net for the STF.

Neither depends on the number of camera bands. Z-Net takes no statistic over the tile, so a halo of
`ZNet.reach` pixels makes tiles exact.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution of maps (B, H, W, channels): one matrix product with its bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, outputs)."""
        return functional.linear(maps, self.weight.flatten(1), self.bias)


class Convolution(nn.Conv2d):
    """A 3 x 3 convolution of maps (B, H, W, channels), zeros outside."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, outputs)."""
        return super().forward(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ChannelAttention(nn.Module):
    """Reweights channels by their means over a neighbourhood of `size x size` pixels.

    Means over the whole image, as usual, would leave a seam at every border of a tile.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.squeeze = Pointwise(channels, channels // 4)
        self.excite = Pointwise(channels // 4, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, w) in, the same shape out."""
        narrow = _neighbourhood_mean(self.squeeze(maps), self.size)
        return maps * self.excite(functional.gelu(narrow)).sigmoid_()


def _neighbourhood_mean(maps: Tensor, size: int) -> Tensor:
    """Mean over the square of `size` pixels around each pixel, without what lies outside.

    On a CPU rows are added first and then columns, in half the time of torch's own pooling.
    """
    reach = size // 2
    if maps.is_cuda:
        pooled = functional.avg_pool2d(
            maps.permute(0, 3, 1, 2), size, 1, reach, count_include_pad=False
        )
        return pooled.permute(0, 2, 3, 1)
    for axis, edge in ((1, [0, 0, 0, 0, reach, reach]), (2, [0, 0, reach, reach])):
        length = maps.shape[axis]
        padded = functional.pad(maps, edge)
        total = padded.narrow(axis, 0, length) + padded.narrow(axis, 1, length)
        for k in range(2, size):
            total += padded.narrow(axis, k, length)
        place = torch.arange(length, device=maps.device)
        count = (place.clamp(max=reach) + (length - 1 - place).clamp(max=reach) + 1).to(maps.dtype)
        maps = total.div_(count[:, None] if axis == 2 else count[:, None, None])
    return maps


class ZNet(nn.Module):
    """Proximal operator of the HSI prior on coefficient maps.

    Two branches, as in the paper: plain convolutions for spatial features, and channel attention
    for spectral ones; concatenated, then refined by an attention-enhanced convolution. The change
    is zero before training. Maps have their channels last: a pixel's lie together in memory.
    """

    reach = 4
    """Pixels of context on each side that an output pixel depends on."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.stem = Pointwise(3 * rank, width)
        self.spatial = nn.Sequential(
            Convolution(width, width), nn.GELU(), Convolution(width, width)
        )
        self.spectral = nn.Sequential(
            Pointwise(width, 2 * width),
            nn.GELU(),
            Pointwise(2 * width, width),
            ChannelAttention(width, size=5),
        )
        self.fuse = nn.Sequential(
            Pointwise(2 * width, width), nn.GELU(), ChannelAttention(width, size=3)
        )
        self.head = Convolution(width, rank)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, coefficients: Tensor, stem: Tensor) -> Tensor:
        """Z (B, H, W, r) from A (B, H, W, r) and the stem's maps (B, H, W, w).

        The stem reads A, the residual G (Y - B A - b), and the standard deviation of A; `Stage`
        applies it, in one product with the X-step.
        """
        features = functional.gelu(stem)
        fused = self.fuse[2](self._fused(features))
        return coefficients + self.head(fused.add_(features))

    def _fused(self, features: Tensor) -> Tensor:
        """`fuse` of the two branches before its attention, without their concatenation.

        With fuse's weights [F_s, F_q] and bias f, W and d of the last spatial convolution, its
        input s and the spectral branch q:

            F_s (W * s + d) + F_q q + f = (F_s W) * s + (F_s d + f) + F_q q
        """
        first, activation, last = self.spatial
        last, mix = cast("Convolution", last), cast("Pointwise", self.fuse[0])
        of_spatial, of_spectral = mix.weight.flatten(1).split(features.shape[-1], 1)
        spatial = functional.conv2d(
            activation(first(features)).permute(0, 3, 1, 2),
            torch.einsum("os,siyx->oiyx", of_spatial, last.weight),
            of_spatial @ last.bias + mix.bias,
            padding=1,
        )
        spectral = self.spectral(features).flatten(0, 2)
        total = spatial.permute(0, 2, 3, 1).flatten(0, 2)
        total = total.addmm_(spectral, of_spectral.mT.to(spectral))
        fused: Tensor = self.fuse[1](total.unflatten(0, features.shape[:-1]))
        return fused


class PNet(nn.Module):
    """Proximal operator of the STF prior, from tokens of one material in one band each.

    Tokens of a material share its spectrum under the prior. Tokens of a band are pooled over the
    materials, and the bands attend to each other in no order. So permuting materials changes
    nothing, and permuting the camera's bands permutes the result.
    """

    TOKEN = 4
    """Numbers of a material in a band, see `stages._tokens`."""
    BAND = 11
    """Numbers of a band: place (2), R-step, current value and information (3 each)."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.token = _perceptron(self.TOKEN + self.BAND, width)
        self.material = _perceptron(rank + width, width)
        self.reading = _perceptron(3 * width, width)
        self.band = nn.Linear(3 * width + self.BAND, width)
        self.across = nn.Sequential(encoder(width), encoder(width))
        self.head = nn.Linear(width, 6)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, tokens: Tensor, materials: Tensor, weight: Tensor, bands: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Change and shrinkage (S, c, 3) of the parameters, as `ResponseStage` uses them.

        Both are unbounded, and zero before training.

        Args:
            tokens: (S, J, c, TOKEN) numbers of a material in a band.
            materials: (S, J, r) coefficients of each material's spectrum.
            weight: (S, J) of the materials, summing to one.
            bands: (S, c, BAND) numbers of each band.
        """
        count = bands.shape[1]
        own = bands[:, None].expand(-1, tokens.shape[1], -1, -1)
        read = self.token(torch.cat([tokens, own], -1))
        material = self.material(torch.cat([materials, read.mean(2)], -1))
        scene = _weighted_mean(material, weight)[:, None].expand_as(material)
        about = torch.cat([material, scene], -1)[:, :, None].expand(-1, -1, count, -1)
        read = self.reading(torch.cat([read, about], -1))
        mean = _weighted_mean(read, weight)
        spread = (_weighted_mean(read.square(), weight) - mean.square()).clamp_min(1e-6).sqrt()
        counted = read.masked_fill(weight[..., None, None] == 0, -1)  # below what GELU gives
        pooled = torch.cat([mean, spread, counted.amax(1), bands], -1)
        change, shrinkage = self.head(self.across(self.band(pooled))).chunk(2, -1)
        return change, shrinkage


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over materials (S, J, ...) -> (S, ...)."""
    return (values * weight.reshape(*weight.shape, *[1] * (values.dim() - 2))).sum(1)


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU())


def encoder(width: int) -> nn.TransformerEncoderLayer:
    """A transformer's layer of four heads."""
    return nn.TransformerEncoderLayer(
        width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
