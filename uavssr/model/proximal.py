"""The learned proximal operators: Z-Net for the cube, P-Net for the STF.

Neither depends on the number of camera bands. Z-Net takes no statistic over the tile, so a halo of
`ZNet.reach` pixels makes tiles exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Reweights channels by their means over a neighbourhood of `size x size` pixels.

    Means over the whole image, as usual, would leave a seam at every border of a tile.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, w, H, W) in, the same shape out."""
        narrow = _neighbourhood_mean(self.squeeze(maps), self.size)
        return maps * torch.sigmoid(self.excite(functional.gelu(narrow)))


def _neighbourhood_mean(maps: Tensor, size: int) -> Tensor:
    """Mean over the square of `size` pixels around each pixel, without what lies outside.

    Rows are added first and then columns, in a third of the time of torch's own pooling on a CPU.
    """
    for axis in (-2, -1):
        length, reach = maps.shape[axis], size // 2
        edge = [0, 0, reach, reach] if axis == -2 else [reach, reach]
        padded = functional.pad(maps, edge)
        total = padded.narrow(axis, 0, length)
        for k in range(1, size):
            total = total + padded.narrow(axis, k, length)
        place = torch.arange(length, device=maps.device)
        count = (place.clamp(max=reach) + (length - 1 - place).clamp(max=reach) + 1).to(maps.dtype)
        maps = total / (count[:, None] if axis == -2 else count)
    return maps


class ZNet(nn.Module):
    """Proximal operator of the HSI prior on coefficient maps.

    Two branches, as in the paper: plain convolutions for spatial features, and channel attention
    for spectral ones; concatenated, then refined by an attention-enhanced convolution. The change
    is zero before training.
    """

    reach = 4
    """Pixels of context on each side that an output pixel depends on."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * rank, width, 1)
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.spectral = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
            ChannelAttention(width, size=5),
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), nn.GELU(), ChannelAttention(width, size=3)
        )
        self.head = nn.Conv2d(width, rank, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, coefficients: Tensor, residual: Tensor, deviation: Tensor) -> Tensor:
        """Z (B, r, H, W) from A, the residual G (Y - B A - b), and the standard deviation of A."""
        features = functional.gelu(self.stem(torch.cat([coefficients, residual, deviation], 1)))
        both = torch.cat([self.spatial(features), self.spectral(features)], 1)
        return coefficients + self.head(self.fuse(both) + features)


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
