"""The closed forms of the unrolled stages and the statistics they need.

    X-step:  argmin_A (Y - R X)^T S^-1 (Y - R X) + (A - Z)^T D^-1 (A - Z)  with X = mean + E A
    R-step:  argmin_R |Y - R X|^2 / N + beta |R - P|^2

Images are (B, c, N), cameras (S, ...) with S = B or S = 1: one camera shared by all windows.
float32 or float64 follows the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_PIXELS_AT_ONCE: Final = {"cpu": 2**14, "cuda": 2**18}
"""Pixels whose c x c systems are solved together: what fits a CPU's cache, a little GPU memory."""


def x_step(msi: Tensor, prior: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor) -> Tensor:
    """Coefficients A (B, r, N) that explain the image and stay near `prior`.

        A = Z + B^T (B B^T + S)^-1 (Y - B Z - b), which has D = I

    The data step of half-quadratic splitting, by the Woodbury identity (1950): a c x c system
    whatever the number of cube bands.

    Args:
        msi: Y (B, c, N).
        prior: Z (B, r, N), the proximal copy, in coefficients of unit prior variance.
        mixing: B = R E (S, c, r).
        offset: b = R mean (S, c).
        noise: (S, c) diagonal of S: the variance of a band's misfit, relative to that of A - Z.
    """
    # A = (I - G B) Z + G (Y - b),  G = B^T (B B^T + S)^-1
    gain = wiener_gain(mixing, noise)
    shrink = torch.eye(mixing.shape[-1], dtype=msi.dtype, device=msi.device) - gain @ mixing
    constant, shrink, gain = (
        part.expand(len(msi), -1, -1) for part in (-gain @ offset[..., None], shrink, gain)
    )
    return torch.baddbmm(constant, gain, msi).baddbmm_(shrink, prior)


def wiener_gain(mixing: Tensor, noise: Tensor) -> Tensor:
    """G = B^T (B B^T + S)^-1 (S, r, c) for mixing B (S, c, r) and the diagonal of S (S, c)."""
    # G^T = (B B^T + S)^-1 B
    system = mixing @ mixing.mT + torch.diag_embed(noise)
    return torch.linalg.solve(system, mixing).mT


def wiener_by_pixel(
    misfit: Tensor, variance: Tensor, mixing: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """G d and G (d - B G d), both (B, r, N), with a gain G of each pixel's own.

        G = D B^T (B D B^T + S)^-1,   D = diag(variance) of the pixel

    So an X-step is A = Z + G d for d = Y - B Z - b, and the second is what it leaves to explain.

    Args:
        misfit: d (B, c, N).
        variance: (B, r, N) prior variance of A - Z, zero or more.
        mixing: B = R E (S, c, r).
        noise: (S, c) diagonal of S, in the units of d squared.
    """
    bands = mixing.shape[1]
    # B D B^T is linear in D: its entry ij is the product of D with (B_i B_j)
    products = (mixing[:, :, None] * mixing[:, None]).flatten(1, 2)  # (S, c c, r)
    diagonal = noise.diag_embed()[..., None]
    count = _PIXELS_AT_ONCE[misfit.device.type]
    parts = []
    for values, spread in zip(misfit.split(count, -1), variance.split(count, -1), strict=True):
        columns = _cholesky((products @ spread).unflatten(1, (bands, bands)) + diagonal)
        # w = V^-1 d,  d - B D B^T w = S w
        first = _cholesky_solve(columns, values)
        second = _cholesky_solve(columns, noise[..., None] * first)
        parts.append(torch.stack([spread * (mixing.mT @ each) for each in (first, second)]))
    explained, left = torch.cat(parts, -1)
    return explained, left


def _cholesky(system: Tensor) -> list[Tensor]:
    """Columns of L with V = L L^T of N matrices V (B, c, c, N), each from its diagonal down.

    On maps of pixels: a library's solver of many small matrices takes far longer.
    """
    columns = []
    for _ in range(system.shape[1]):
        column = system[:, :, 0] * system[:, :1, 0].rsqrt()
        below = column[:, 1:]
        system = system[:, 1:, 1:] - below[:, :, None] * below[:, None]
        columns.append(column)
    return columns


def _cholesky_solve(columns: list[Tensor], right: Tensor) -> Tensor:
    """V^-1 d (B, c, N) for d (B, c, N) and the columns of `_cholesky`."""
    # L y = d, downwards
    partial = []
    for column in columns:
        value = right[:, :1] / column[:, :1]
        right = right[:, 1:] - column[:, 1:] * value
        partial.append(value)
    # L^T x = y, upwards
    solution = partial[-1] / columns[-1]
    for column, value in zip(columns[-2::-1], partial[-2::-1], strict=True):
        above = (column[:, 1:] * solution).sum(1, keepdim=True)
        solution = torch.cat([(value - above) / column[:, :1], solution], 1)
    return solution


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStatistics:
    """Moments of an image for the free R-step, averaged over its valid pixels, per camera (S)."""

    pixels: Tensor
    """(S,) number of valid pixels."""
    second: Tensor
    """(S, r+1, r+1) M = mean of a a^T with a = [A; 1]."""
    cross: Tensor
    """(S, c, r+1) T = mean of (Y - R X) a^T."""
    misfit: Tensor
    """(S, c) mean of (Y - R X)^2."""

    @classmethod
    def of(
        cls,
        msi: Tensor,
        coefficients: Tensor,
        mixing: Tensor,
        offset: Tensor,
        *,
        valid: Tensor | None = None,
    ) -> SceneStatistics:
        """The moments of images with given coefficients.

        Args:
            msi: Y (B, c, N).
            coefficients: A (B, r, N).
            mixing: B = R E (S, c, r).
            offset: b = R mean (S, c).
            valid: (B, N) weights of the pixels; ones by default.
        """
        # e = Y - B A - b,  a = [A; 1]
        residual = msi - mixing @ coefficients - offset[..., None]
        extended = torch.cat([coefficients, torch.ones_like(coefficients[:, :1])], dim=1)
        weight = torch.ones_like(msi[:, 0]) if valid is None else valid.to(msi.dtype)
        # M = sum w a a^T,  T = sum w e a^T
        weighted = extended * weight[:, None]
        pixels = weight.sum(-1)
        second = weighted @ extended.mT
        cross = residual @ weighted.mT
        misfit = (residual.square() * weight[:, None]).sum(-1)
        if len(mixing) == 1:
            totals = (pixels, second, cross, misfit)
            pixels, second, cross, misfit = (total.sum(0, keepdim=True) for total in totals)
        count = pixels.clamp_min(1.0)
        return cls(
            pixels=pixels,
            second=second / count[:, None, None],
            cross=cross / count[:, None, None],
            misfit=misfit / count[:, None],
        )

    def condition(self) -> Tensor:
        """(S,) condition number of M, 1e12 at most; huge where the scene does not determine R."""
        values = torch.linalg.eigvalsh(self.second.double())
        floor = (values[..., -1:] * 1e-12).clamp_min(1e-30)
        return values[..., -1] / values.clamp_min(floor)[..., 0]


def r_step_free(
    prior: Tensor, extended: Tensor, statistics: SceneStatistics, beta: Tensor
) -> Tensor:
    """The free-form R-step in the subspace: R (S, c, C).

        R = argmin |Y - R D a|^2 / N + beta |R - P|^2 = P + T (D^T D M + beta I)^-1 D^T

    Args:
        prior: P (S, c, C), at which the statistics' residual was taken.
        extended: D = [E, mean] (C, r+1).
        statistics: M and T of the image.
        beta: weight of the prior, a positive scalar.
    """
    # (D^T D M + beta I)^T Z^T = T^T,  R = P + Z D^T
    system = extended.mT @ extended @ statistics.second
    system = system + beta * torch.eye(system.shape[-1], dtype=system.dtype, device=system.device)
    return prior + torch.linalg.solve(system.mT, statistics.cross.mT).mT @ extended.mT


def participation(second: Tensor) -> Tensor:
    """(S,) participation ratio (tr M)^2 / |M|^2 of M (S, m, m): one for rank one, at most m."""
    trace = second.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace.square() / second.square().sum((-2, -1)).clamp_min(1e-12)
