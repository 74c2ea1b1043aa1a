"""The spectral subspace in which the network works: X = mean + E A.

With E = I and mean = 0 the same code is the paper's full-band network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.sensors import FloatArray, WavelengthGrid

MAX_RELATIVE_RESIDUAL: Final = 0.007
"""What a rank chosen from the data leaves: the residual's RMS over the mean reflectance."""
MAX_RANK: Final = 32
"""A rank chosen from the data is not larger, whatever it leaves: cost grows with its square."""


def choose_rank(
    spectra: FloatArray, *, residual: float = MAX_RELATIVE_RESIDUAL, most: int = MAX_RANK
) -> int:
    """The smallest rank at which principal components leave little of spectra (n, C).

    Little is a root mean square over all bands and spectra of at most `residual` times their mean;
    where no rank up to `most` reaches that, `most` it is.
    """
    centred = spectra - spectra.mean(0)
    variance = np.linalg.eigvalsh(centred.T @ centred / len(spectra))  # increasing
    left = np.sqrt(np.maximum(variance.cumsum(), 0) / len(variance))[::-1]  # with 0, 1, ... taken
    enough = np.flatnonzero(left[1:] <= residual * abs(float(spectra.mean())))
    least = int(enough[0]) + 1 if enough.size else len(variance)
    return max(1, min(least, most))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralBasis:
    """An affine subspace of spectra, in which the training spectra have unit variance."""

    grid: WavelengthGrid
    """The cube's wavelengths."""
    mean: Tensor
    """(C,) reflectance at coefficients zero."""
    components: Tensor
    """(C, r) E: change of reflectance per unit of each coefficient."""
    residual: Tensor
    """(C,) standard deviation of the training spectra about the subspace, in reflectance."""

    def to(self, device: torch.device) -> SpectralBasis:
        """The same basis on a device."""
        return SpectralBasis(
            grid=self.grid,
            mean=self.mean.to(device),
            components=self.components.to(device),
            residual=self.residual.to(device),
        )

    @property
    def rank(self) -> int:
        """Number of coefficients r."""
        return self.components.shape[1]

    @property
    def extended(self) -> Tensor:
        """(C, r+1) D = [E, mean]: spectra of coefficients with a row of ones appended."""
        return torch.cat([self.components, self.mean[:, None]], dim=1)

    def widened(self, directions: Tensor) -> SpectralBasis:
        """The basis with further components (C, q) behind its own."""
        components = torch.cat([self.components, directions], dim=1)
        return SpectralBasis(
            grid=self.grid, mean=self.mean, components=components, residual=self.residual
        )

    def expand(self, coefficients: Tensor) -> Tensor:
        """Spectra (..., C, H, W) of coefficients (..., r, H, W)."""
        flat = torch.einsum("cr,...rn->...cn", self.components, coefficients.flatten(-2))
        flat += self.mean[:, None]
        return flat.unflatten(-1, coefficients.shape[-2:])

    def project(self, spectra: Tensor) -> Tensor:
        """Least-squares coefficients (..., r, N) of spectra (..., C, N)."""
        return torch.linalg.pinv(self.components) @ (spectra - self.mean[:, None])

    def span_share(self, rows: Tensor) -> Tensor:
        """Share (..., c) of the energy of response rows (..., c, C) that lies in span(E, mean).

        Only this part of R acts on any image; the rest is set by the prior alone.
        """
        orthonormal, _ = torch.linalg.qr(self.extended.double())
        inside = rows.double() @ orthonormal
        return (inside.square().sum(-1) / rows.double().square().sum(-1)).to(rows.dtype)

    @classmethod
    def identity(cls, grid: WavelengthGrid) -> SpectralBasis:
        """E = I: the coefficients are the spectrum itself."""
        count = len(grid)
        return cls(
            grid=grid,
            mean=torch.zeros(count),
            components=torch.eye(count),
            residual=torch.zeros(count),
        )

    @classmethod
    def fit(cls, spectra: FloatArray, grid: WavelengthGrid, *, rank: int) -> SpectralBasis:
        """Principal components of spectra (n, C), the `rank` largest, scaled to unit variance."""
        mean = spectra.mean(0)
        centred = spectra - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(spectra))
        kept = vectors[:, ::-1][:, :rank]
        signs = np.sign(kept.sum(0))
        kept = kept * np.where(signs == 0, 1, signs)
        components = kept * np.sqrt(np.maximum(values[::-1][:rank], 1e-12))
        residual = centred - centred @ kept @ kept.T
        return cls(
            grid=grid,
            mean=torch.as_tensor(mean, dtype=torch.float32),
            components=torch.as_tensor(components, dtype=torch.float32),
            residual=torch.as_tensor(residual.std(0), dtype=torch.float32),
        )


def projection_error(basis: SpectralBasis, spectra: FloatArray) -> dict[str, float]:
    """What a basis leaves of spectra (n, C): RMS, that over their mean, and the worst band's."""
    values = torch.as_tensor(spectra.T, dtype=torch.float32)
    explained = basis.expand(basis.project(values)[..., None])[..., 0]
    per_band = (values - explained).double().square().mean(1).numpy()
    worst = int(per_band.argmax())
    rms = float(np.sqrt(per_band.mean()))
    return {
        "rms": rms,
        "relative": rms / abs(float(spectra.mean())),
        "worst_nm": float(basis.grid.centres[worst]),
        "worst_rms": float(np.sqrt(per_band[worst])),
    }
