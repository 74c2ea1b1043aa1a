"""The learned proximal operators: Z-Net for the cube, P-Net for the STF.

Neither knows how many bands the camera has: Z-Net sees maps of r coefficients, P-Net a set of rows.
Z-Net is local (no statistic over the tile), so a halo of `ZNet.reach` pixels makes tiles exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Reweights channels by their means over a neighbourhood of `size x size` pixels.

    The usual squeeze takes the mean over the whole image, which would make a pixel depend on the
    tile it is computed in and leave a seam at every border.
    """

    def __init__(self, channels: int, *, size: int = 5, reduction: int = 4) -> None:
        super().__init__()
        self.size = size
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, w, H, W) in, the same shape out."""
        narrow = functional.avg_pool2d(
            self.squeeze(maps), self.size, 1, self.size // 2, count_include_pad=False
        )
        return maps * torch.sigmoid(self.excite(functional.gelu(narrow)))


class ZNet(nn.Module):
    """Proximal operator of the HSI prior on coefficient maps.

    Two branches, as in the paper: plain convolutions for spatial features, and channel attention
    for spectral ones; concatenated, then refined by an attention-enhanced convolution. The output
    is a correction, zero before training.
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
            ChannelAttention(width),
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), nn.GELU(), ChannelAttention(width, size=3)
        )
        self.head = nn.Conv2d(width, rank, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, coefficients: Tensor, residual: Tensor, deviation: Tensor) -> Tensor:
        """Z (B, r, H, W) from A, the residual carried back to coefficients, and A's deviation."""
        features = functional.gelu(self.stem(torch.cat([coefficients, residual, deviation], 1)))
        both = torch.cat([self.spatial(features), self.spectral(features)], 1)
        return coefficients + self.head(self.fuse(both) + features)


class PNet(nn.Module):
    """Proximal operator of the STF prior: a set of rows in, parameters and their doubt out.

    Each row is read along the wavelength axis by convolutions of several kernel sizes, fused, and
    by a transformer over wavelength; then the rows of one camera attend to each other without any
    order, so permuting the camera's bands permutes the result.
    """

    CHANNELS = 5
    FEATURES = 9

    def __init__(
        self,
        width: int = 32,
        *,
        kernels: tuple[int, ...] = (3, 7, 15),
        tokens: int = 32,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(self.CHANNELS, width // 2, size, padding=size // 2) for size in kernels
        )
        self.fuse = nn.Conv1d(width // 2 * len(kernels), width, 3, padding=1)
        self.tokens = tokens
        self.along = _encoder(width, heads)
        self.features = nn.Linear(self.FEATURES, width)
        self.pool = nn.Linear(width, 1)
        self.across = _encoder(width, heads)
        self.head = nn.Linear(width, 6)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, curves: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Change of the parameters in prior deviations, and the share of variance removed.

        Args:
            curves: (S, c, CHANNELS, C) along the wavelength axis: the row, its R-step update, the
                scene's mean and deviation, and the position.
            features: (S, c, FEATURES) numbers of each row.

        Returns:
            change (S, c, 3), unbounded, and removed (S, c, 3) in 0..1.
        """
        cameras, bands = curves.shape[:2]
        flat = curves.flatten(0, 1)
        read = torch.cat([functional.gelu(branch(flat)) for branch in self.branches], 1)
        pooled = functional.adaptive_avg_pool1d(functional.gelu(self.fuse(read)), self.tokens)
        tokens = self.along(pooled.mT)
        row = (torch.softmax(self.pool(tokens), 1) * tokens).sum(1).unflatten(0, (cameras, bands))
        change, removed = self.head(self.across(row + self.features(features))).chunk(2, -1)
        return change, torch.sigmoid(removed)


def _encoder(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
