"""Errors of cubes and STFs against references: of whole arrays, and of cubes window by window.

Nothing is clamped, rounded or normalised, and no pixel is left out but those without a reference.
The epsilon of MRAE and the data range of PSNR and SSIM stand beside the results. PSNR is taken per
band and then averaged, which is not the PSNR of one error over the whole cube. Cubes are compared
as they are stored, so rounding counts as an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.evaluation.ssim import SSIM_RADIUS, SSIM_SIDE, complete_windows, ssim_map
from uavssr.sensors import BoolArray, Float32Array, FloatArray, WavelengthGrid
from uavssr.tiling import Window

Values = Float32Array | FloatArray

MRAE_EPSILON: Final = 1e-3
"""Smallest denominator of MRAE: a reflectance of 0.1 %."""
DATA_RANGE: Final = 1.0
"""Range of reflectance to which PSNR and SSIM relate errors."""


def rmse(estimate: Values, reference: Values) -> float:
    """Root mean squared error in reflectance, sqrt(mean (p - r)^2), of arrays of one shape."""
    difference = np.asarray(estimate, float) - np.asarray(reference, float)
    return float(np.sqrt(np.mean(difference**2)))


def sam(estimate: Values, reference: Values) -> float:
    """Mean spectral angle in degrees of spectra (band, pixel), arccos(p . r / (|p| |r|)).

    Pixels of zero norm are left out. Kruse et al., "The spectral image processing system (SIPS)",
    Remote Sensing of Environment 44, 1993.
    """
    first, second = np.asarray(estimate, float), np.asarray(reference, float)
    norms = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    positive = norms > 0
    cosine = (first * second).sum(0)[positive] / norms[positive]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def stf_error(estimate: Values, reference: Values) -> float:
    """Relative error |R_est - R_ref| / |R_ref| (Frobenius norms) of STFs (c, C)."""
    difference = np.asarray(estimate, float) - np.asarray(reference, float)
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Errors of an estimated cube p against a reference r, over the pixels valid in both.

    NaN where no pixel determines a number; the PSNR of a perfect cube is infinite.
    """

    pixels: int
    """Pixels valid in every band of both cubes."""
    ssim_pixels: int
    """Pixels whose window of 11 x 11 pixels lies in the scene and is valid throughout."""
    rmse: FloatArray
    """(C,) sqrt(mean (p - r)^2), in reflectance."""
    mrae: FloatArray
    """(C,) mean |p - r| / max(|r|, epsilon) (Arad et al., NTIRE 2022 spectral recovery, where
    nothing guards the denominator; above epsilon both are the same)."""
    psnr: FloatArray
    """(C,) 20 log10(data range / RMSE), in dB."""
    ssim: FloatArray
    """(C,) mean of `ssim_map`; scikit-image's with gaussian_weights=True and
    use_sample_covariance=False."""
    sam: float
    """Mean spectral angle in degrees (Kruse et al. 1993), without pixels of zero norm."""
    ergas: float
    """100 sqrt(mean over bands of (RMSE / mean r)^2) (Wald 2000); the ratio of pixel sizes is 1."""

    @property
    def scene(self) -> dict[str, float]:
        """One number per metric: RMSE over all bands; the means over bands of MRAE, PSNR, SSIM."""
        return {
            "rmse": float(np.sqrt(np.mean(self.rmse**2))),
            "mrae": float(self.mrae.mean()),
            "psnr": float(self.psnr.mean()),
            "ssim": float(self.ssim.mean()),
            "sam": self.sam,
            "ergas": self.ergas,
        }

    def per_band(self, grid: WavelengthGrid) -> list[dict[str, float]]:
        """Wavelength in nm, RMSE, MRAE, PSNR and SSIM of each band."""
        columns = grid.centres, self.rmse, self.mrae, self.psnr, self.ssim
        names = ("wavelength", "rmse", "mrae", "psnr", "ssim")
        rows = np.column_stack(columns).tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]


class CubeScorer:
    """Sums of errors in float64, added window by window; memory does not grow with the scene.

    Args:
        bands: C.
        epsilon: smallest denominator of MRAE, in reflectance.
        data_range: range of reflectance for PSNR and SSIM.

    Raises:
        UsageError: a setting is not positive and finite.
    """

    halo = SSIM_RADIUS
    """Pixels around a window's core that `add` needs, where the scene has them."""

    def __init__(
        self, bands: int, *, epsilon: float = MRAE_EPSILON, data_range: float = DATA_RANGE
    ) -> None:
        for name, value in (("epsilon of MRAE", epsilon), ("data range", data_range)):
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"the {name} must be positive and finite, got {value}")
        self.epsilon, self.data_range = epsilon, data_range
        self._squared, self._relative, self._reference, self._ssim = np.zeros((4, bands))
        self._angle, self._angle_pixels, self._pixels, self._ssim_pixels = 0.0, 0, 0, 0

    def add(
        self,
        estimate: Values,
        reference: Values,
        valid: BoolArray,
        *,
        core: Window,
        read: Window,
    ) -> None:
        """Add the errors of the pixels of `core`.

        Args:
            estimate: (C, y, x) of the window `read`; any number where invalid.
            reference: (C, y, x) of the same window.
            valid: (y, x), True where both hold data.
            core: window whose pixels count; each pixel of the scene belongs to one core.
            read: the core and `halo` pixels around it, as far as the scene goes.
        """
        rows, cols = core.within(read)
        inside = valid[rows, cols]
        cores = (cube[:, rows, cols][:, inside] for cube in (estimate, reference))
        self._add_pixels(*cores)
        self._add_ssim(estimate, reference, valid)

    def _add_pixels(self, estimate: Values, reference: Values) -> None:
        """Add spectra (C, n), all valid."""
        norms = _norms(estimate), _norms(reference)
        positive = (norms[0] > 0) & (norms[1] > 0)
        difference, total = np.zeros((2, int(positive.sum())))
        for k, planes in enumerate(zip(estimate, reference, strict=True)):
            p, r = (plane.astype(float) for plane in planes)
            error = np.abs(p - r)
            self._squared[k] += np.square(error).sum()
            self._relative[k] += (error / np.maximum(np.abs(r), self.epsilon)).sum()
            self._reference[k] += r.sum()
            u, v = p[positive] / norms[0][positive], r[positive] / norms[1][positive]
            difference += np.square(u - v)
            total += np.square(u + v)
        # Angle of unit vectors 2 atan2(|u - v|, |u + v|) (Kahan): arccos loses angles < 1e-6 deg.
        self._angle += float(2 * np.arctan2(np.sqrt(difference), np.sqrt(total)).sum())
        self._angle_pixels += int(positive.sum())
        self._pixels += estimate.shape[1]

    def _add_ssim(
        self,
        estimate: Values,
        reference: Values,
        valid: BoolArray,
    ) -> None:
        """Add SSIM at the centres whose whole window was read.

        Such a centre lies in this core only, as `read` is the core grown by the window's radius.
        """
        if min(valid.shape) < SSIM_SIDE or not (centres := complete_windows(valid)).any():
            return
        for k, planes in enumerate(zip(estimate, reference, strict=True)):
            p, r = (np.where(valid, plane, 0).astype(float) for plane in planes)
            self._ssim[k] += ssim_map(p, r, self.data_range)[centres].sum()
        self._ssim_pixels += int(centres.sum())

    def scores(self) -> Scores:
        """The errors of everything that was added."""
        with np.errstate(divide="ignore", invalid="ignore"):
            band_rmse = np.sqrt(self._squared / self._pixels)
            relative = np.where(band_rmse == 0, 0.0, band_rmse / (self._reference / self._pixels))
            return Scores(
                pixels=self._pixels,
                ssim_pixels=self._ssim_pixels,
                rmse=band_rmse,
                mrae=self._relative / self._pixels,
                psnr=20 * np.log10(self.data_range / band_rmse),
                ssim=self._ssim / (self._ssim_pixels or np.nan),
                sam=float(np.degrees(self._angle / (self._angle_pixels or np.nan))),
                ergas=float(100 * np.sqrt(np.mean(np.square(relative)))),
            )


def _norms(spectra: Values) -> FloatArray:
    """(n,) Euclidean norms in float64 of spectra (C, n)."""
    return np.asarray(np.sqrt(sum(np.square(band.astype(float)) for band in spectra)))
