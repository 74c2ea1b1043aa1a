"""Errors of a cube against a reference, gathered window by window. Arrays and numpy only.

Definitions are those of `Scores`. Nothing is clamped, rounded or normalised, and no pixel is
cropped but those that have no reference. The traps of published code are avoided so: the epsilon
of MRAE and the data range of PSNR and SSIM are stated beside the numbers; PSNR is taken per band
and then averaged, which is not the PSNR of one error over the whole cube; the ratio of ERGAS is 1,
as both cubes have the same pixels. Cubes are compared as they are stored: rounding is an error,
too, and of a file in steps of 1/255 the angles are other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Window

Cube = Float32Array | FloatArray

MRAE_EPSILON: Final = 1e-3
"""Least denominator of MRAE, a reflectance of 0.1 %."""
DATA_RANGE: Final = 1.0
"""Range of reflectance that PSNR and SSIM relate errors to."""
SSIM_RADIUS: Final = 5
"""Pixels on each side of the centre of SSIM's window of 11 x 11."""
SSIM_SIGMA: Final = 1.5
"""Standard deviation of SSIM's Gaussian window in pixels."""
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Errors of an estimated cube p against a reference r, over the pixels valid in both.

    A figure that no pixel determines is NaN; a perfect one has a PSNR of infinity.
    """

    pixels: int
    """Pixels valid in every band of both cubes."""
    ssim_pixels: int
    """Those whose window of 11 x 11 pixels lies in the scene and is valid throughout."""
    rmse: FloatArray
    """(C,) sqrt(mean (p - r)^2), in reflectance."""
    mrae: FloatArray
    """(C,) mean |p - r| / max(|r|, epsilon) (Arad et al., NTIRE 2022 spectral recovery, where
    nothing guards the denominator; above epsilon both are the same)."""
    psnr: FloatArray
    """(C,) 20 log10(data range / RMSE), in dB."""
    ssim: FloatArray
    """(C,) mean structural similarity (Wang et al. 2004): Gaussian window, sigma 1.5, 11 x 11,
    K1 = 0.01, K2 = 0.03, population moments; scikit-image's with gaussian_weights=True and
    use_sample_covariance=False."""
    sam: float
    """Mean spectral angle in degrees (Kruse et al. 1993), pixels of zero norm left out."""
    ergas: float
    """100 sqrt(mean over bands of (RMSE / mean r)^2) (Wald 2000), the ratio of pixel sizes 1."""

    @property
    def scene(self) -> dict[str, float]:
        """One number per metric: MRAE, PSNR and SSIM as the means of the bands'.

        RMSE is over all bands and pixels; SAM and ERGAS are of whole spectra anyway.
        """
        return {
            "rmse": float(np.sqrt(np.mean(self.rmse**2))),
            "mrae": float(self.mrae.mean()),
            "psnr": float(self.psnr.mean()),
            "ssim": float(self.ssim.mean()),
            "sam": self.sam,
            "ergas": self.ergas,
        }


class CubeScorer:
    """Gathers what `Scores` are made of, in float64; memory does not grow with the scene.

    Args:
        bands: C.
        epsilon: least denominator of MRAE.
        data_range: of PSNR and SSIM.

    Raises:
        UsageError: a setting that is not positive and finite.
    """

    halo = SSIM_RADIUS
    """Pixels around a window's core that `add` needs to see, where the scene has them."""

    def __init__(
        self, bands: int, *, epsilon: float = MRAE_EPSILON, data_range: float = DATA_RANGE
    ) -> None:
        for name, value in (("epsilon of MRAE", epsilon), ("data range", data_range)):
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"the {name} must be positive and finite, got {value}")
        self.epsilon, self.data_range = epsilon, data_range
        self._squared, self._relative, self._reference, self._ssim = np.zeros((4, bands))
        self._angle, self._angles, self._pixels, self._centres = 0.0, 0, 0, 0

    def add(
        self, estimate: Cube, reference: Cube, valid: BoolArray, *, core: Window, read: Window
    ) -> None:
        """Count the pixels of `core`, given those of `read`, the core and up to `halo` around it.

        Args:
            estimate: (C, h, w) of `read`; anything where invalid.
            reference: the same of the reference.
            valid: (h, w), True where both hold data.
            core: what is counted; every pixel of the scene belongs to one core.
            read: what is given: a core must not be cut off from its surroundings.
        """
        rows, cols = core.within(read)
        inside = valid[rows, cols]
        if inside.any():
            pairs = estimate[:, rows, cols][:, inside], reference[:, rows, cols][:, inside]
            self._add_pixels(*pairs)
        self._add_structure(estimate, reference, valid)

    def _add_pixels(self, estimate: Cube, reference: Cube) -> None:
        """Spectra (C, n), all valid."""
        norms = _norms(estimate), _norms(reference)
        kept = (norms[0] > 0) & (norms[1] > 0)
        apart, together = np.zeros((2, int(kept.sum())))
        for k, (p, r) in enumerate(zip(estimate, reference, strict=True)):
            found, true = p.astype(float), r.astype(float)
            error = np.abs(found - true)
            self._squared[k] += np.square(error).sum()
            self._relative[k] += (error / np.maximum(np.abs(true), self.epsilon)).sum()
            self._reference[k] += true.sum()
            one, other = found[kept] / norms[0][kept], true[kept] / norms[1][kept]
            apart += np.square(one - other)
            together += np.square(one + other)
        # Kahan's angle of unit vectors: the arc cosine is blind below 1e-6 degrees.
        self._angle += float(2 * np.arctan2(np.sqrt(apart), np.sqrt(together)).sum())
        self._angles += int(kept.sum())
        self._pixels += estimate.shape[1]

    def _add_structure(self, estimate: Cube, reference: Cube, valid: BoolArray) -> None:
        """SSIM at the centres whose window lies inside; those are in this core or the scene's rim.

        `read` is the core grown by the radius within the scene, so each centre is met once.
        """
        if min(valid.shape) < 2 * SSIM_RADIUS + 1:
            return
        centres = ~_any_in_window(~valid)
        if not centres.any():
            return
        for k, (p, r) in enumerate(zip(estimate, reference, strict=True)):
            found, true = (np.where(valid, plane, 0).astype(float) for plane in (p, r))
            self._ssim[k] += _similarity(found, true, self.data_range)[centres].sum()
        self._centres += int(centres.sum())

    def scores(self) -> Scores:
        """The errors of all that was added."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rmse = np.sqrt(self._squared / self._pixels)
            relative = np.where(rmse == 0, 0.0, rmse / (self._reference / self._pixels))
            return Scores(
                pixels=self._pixels,
                ssim_pixels=self._centres,
                rmse=rmse,
                mrae=self._relative / self._pixels,
                psnr=20 * np.log10(self.data_range / rmse),
                ssim=self._ssim / self._centres if self._centres else np.full(rmse.shape, np.nan),
                sam=float(np.degrees(self._angle / self._angles)) if self._angles else np.nan,
                ergas=float(100 * np.sqrt(np.mean(np.square(relative)))),
            )


def _norms(spectra: Cube) -> FloatArray:
    """(n,) Euclidean norms of spectra (C, n)."""
    total = np.zeros(spectra.shape[1])
    for band in spectra:
        total += np.square(band.astype(float))
    return np.sqrt(total)


def _similarity(one: FloatArray, two: FloatArray, data_range: float) -> FloatArray:
    """SSIM of two planes (h, w) at the centres (h - 10, w - 10) whose window lies inside."""
    first, second = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_1, mean_2 = _blur(one), _blur(two)
    product, squares = mean_1 * mean_2, np.square(mean_1) + np.square(mean_2)
    covariance = _blur(one * two) - product
    variances = _blur(np.square(one) + np.square(two)) - squares
    structure = (2 * covariance + second) / (variances + second)
    return np.asarray((2 * product + first) / (squares + first) * structure)


def _taps() -> FloatArray:
    distance = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * np.square(distance / SSIM_SIGMA))
    return np.asarray(weights / weights.sum())


def _blur(plane: FloatArray) -> FloatArray:
    """The Gaussian mean over each window that lies inside the plane."""
    taps, size = _taps(), 2 * SSIM_RADIUS
    rows = sum(tap * plane[i : plane.shape[0] - size + i] for i, tap in enumerate(taps))
    return np.asarray(
        sum(tap * rows[:, i : rows.shape[1] - size + i] for i, tap in enumerate(taps))
    )


def _any_in_window(marked: BoolArray) -> BoolArray:
    """Whether a marked pixel lies in each window that lies inside the plane."""
    side = 2 * SSIM_RADIUS + 1
    total = np.zeros((marked.shape[0] + 1, marked.shape[1] + 1), int)
    total[1:, 1:] = marked.cumsum(0).cumsum(1)
    found = (
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )
    return np.asarray(found > 0)
