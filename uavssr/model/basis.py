"""The spectral subspace in which the network works: X = mean + E A."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.sensors import FloatArray, WavelengthGrid

MAX_RELATIVE_RESIDUAL: Final = 0.007
"""Residual of an automatic rank: root mean square over mean reflectance."""
MAX_RANK: Final = 32
"""Largest automatic rank: the cost grows with its square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralBasis:
    """An affine subspace of spectra, X = mean + E A, scaled to unit variance of A in training."""

    grid: WavelengthGrid
    """The C wavelengths of the cube."""
    mean: Tensor
    """(C,) reflectance at coefficients zero."""
    components: Tensor
    """E (C, r) change of reflectance per unit of each coefficient."""
    residual: Tensor
    """(C,) standard deviation of the training spectra about the subspace, reflectance."""

    def to(self, device: torch.device) -> SpectralBasis:
        """The same basis on a device."""
        names = ("mean", "components", "residual")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def rank(self) -> int:
        """Number of coefficients r."""
        return self.components.shape[1]

    @property
    def extended(self) -> Tensor:
        """D = [E, mean] (C, r+1), so that X = D a with a = [A; 1]."""
        return torch.cat([self.components, self.mean[:, None]], dim=1)

    def expand(self, coefficients: Tensor) -> Tensor:
        """Spectra X (..., C, H, W), reflectance, of coefficients A (..., r, H, W)."""
        # X = D [A; 1]
        flat = coefficients.flatten(-2)
        with_one = torch.cat([flat, torch.ones_like(flat[..., :1, :])], -2)
        return (self.extended @ with_one).unflatten(-1, coefficients.shape[-2:])

    def project(self, spectra: Tensor) -> Tensor:
        """Least-squares coefficients A (..., r, N) of spectra X (..., C, N)."""
        # A = E^+ (X - mean)
        return torch.linalg.pinv(self.components) @ (spectra - self.mean[:, None])

    def span_share(self, rows: Tensor) -> Tensor:
        """Share (..., c) of the energy of response rows R (..., c, C) that lies in span(E, mean).

        Only this part of R acts on any image; the prior alone sets the rest.
        """
        # |R Q|^2 / |R|^2 with D = Q T, Q orthonormal
        orthonormal, _ = torch.linalg.qr(self.extended.double())
        inside = rows.double() @ orthonormal
        return (inside.square().sum(-1) / rows.double().square().sum(-1)).to(rows.dtype)

    @classmethod
    def identity(cls, grid: WavelengthGrid) -> SpectralBasis:
        """E = I and mean = 0, the paper's full band: the coefficients are the spectrum itself."""
        count = len(grid)
        eye, mean, residual = torch.eye(count), torch.zeros(count), torch.zeros(count)
        return cls(grid=grid, mean=mean, components=eye, residual=residual)

    @classmethod
    def fit(cls, spectra: FloatArray, grid: WavelengthGrid, *, rank: int) -> SpectralBasis:
        """The `rank` largest principal components of spectra (n, C), scaled to unit variance."""
        mean = spectra.mean(0)
        centred = spectra - mean
        # cov(X) = V diag(variance) V^T,  E = V sqrt(variance)
        variance, vectors = np.linalg.eigh(centred.T @ centred / len(spectra))
        axes = vectors[:, ::-1][:, :rank]
        signs = np.sign(axes.sum(0))
        axes = axes * np.where(signs == 0, 1, signs)
        components = axes * np.sqrt(np.maximum(variance[::-1][:rank], 1e-12))
        residual = centred - centred @ axes @ axes.T
        return cls(
            grid=grid,
            mean=torch.as_tensor(mean, dtype=torch.float32),
            components=torch.as_tensor(components, dtype=torch.float32),
            residual=torch.as_tensor(residual.std(0), dtype=torch.float32),
        )


def choose_rank(
    spectra: FloatArray, *, residual: float = MAX_RELATIVE_RESIDUAL, max_rank: int = MAX_RANK
) -> int:
    """The smallest rank whose principal components reproduce spectra (n, C).

    Args:
        spectra: reflectance.
        residual: largest root mean square error over all bands and spectra, over their mean.
        max_rank: the rank where no smaller one reaches that.
    """
    centred = spectra - spectra.mean(0)
    variance = np.linalg.eigvalsh(centred.T @ centred / len(spectra))  # increasing
    # rms(r)^2 = sum of the C - r smallest variances / C
    rms = np.sqrt(np.maximum(variance.cumsum(), 0) / len(variance))[::-1]  # of rank 0, 1, ...
    enough = np.flatnonzero(rms[1:] <= residual * abs(float(spectra.mean())))
    least = int(enough[0]) + 1 if enough.size else len(variance)
    return max(1, min(least, max_rank))


def projection_error(basis: SpectralBasis, spectra: FloatArray) -> dict[str, float]:
    """The error of a basis on spectra (n, C): RMS, over their mean, and of the worst band in nm."""
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
