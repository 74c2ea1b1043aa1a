"""Airborne cubes as reflectance: an in-scene correction of radiance, and the gaps in bands filled.

Must not read georeferenced rasters; it reads the .npz cubes that a `meta.json` describes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.sensors import BoolArray, Float32Array, FloatArray, WavelengthGrid
from uavssr.spectra.library import resample

OXYGEN_NM: Final = (752.0, 775.0)
"""The O2-A line: bands in it are interpolated over, as every atmospheric correction fails there."""
DARK_REFLECTANCE: Final = 0.02
"""What the darkest pixels of a scene (water, deep shadow) are taken to reflect."""
_MEAN_ENDMEMBER: Final = np.array(
    [
        *[(380, 0.095), (450, 0.125), (500, 0.145), (550, 0.165), (600, 0.185), (650, 0.198)],
        *[(700, 0.208), (800, 0.222), (900, 0.233), (1050, 0.245)],
    ]
)
"""Mean reflectance (nm, 0..1) of soils, rocks, roofs and pavements, without vegetation."""
_MAX_BRIGHT: Final = 0.6
_CLUSTERS: Final = 16
_ROUNDS: Final = 15


def quac(
    cube: npt.ArrayLike, nm: npt.ArrayLike, *, reference: npt.ArrayLike | None = None
) -> Float32Array:
    """Reflectance of a radiance cube (y, x, band) from nothing but the scene itself, approximately.

    The quick atmospheric correction of Bernstein et al. 2012 (doi:10.1117/1.OE.51.11.111719): the
    mean of a scene's diverse materials without vegetation is about the same everywhere, so the
    gain of a band is that mean, known beforehand, over its radiance. Here two points make the line
    of each band: the scene's 0.5 % darkest radiance, taken to reflect 0.02, and the mean of the
    centres of 16 clusters of spectral shapes of pixels that are bright and not green.
    A scene whose 99th percentile at 780-900 nm then exceeds 0.6 is scaled down to it.

    Tried on six reflectance cubes under a made-up atmosphere: three of farmland and buildings came
    back 13-24 % off in level and 5-9 % in shape; one of water, trees and soil 20 % and 49 %; two of
    woodland were wrong by a factor of 2 to 3.5.

    Args:
        cube: (y, x, band) radiance or digital numbers.
        nm: (band,) wavelengths in nm.
        reference: (band,) the mean reflectance assumed, by default that of soils and pavements.
    """
    values, axis = np.asarray(cube, np.float64), np.asarray(nm, float)
    if values.ndim != 3 or values.shape[2] != axis.size or values.shape[0] * values.shape[1] < 100:
        raise InputRefused(f"cube of shape {values.shape} for {axis.size} bands and 100+ pixels")
    mean = np.interp(axis, *_MEAN_ENDMEMBER.T) if reference is None else np.asarray(reference)
    pixels = values.reshape(-1, axis.size)
    dark = np.percentile(pixels, 0.5, axis=0)
    lifted = pixels - dark
    bright = _mean_of_shapes(lifted[_without_vegetation(lifted, axis)])
    gain = (mean - DARK_REFLECTANCE) / np.maximum(bright, 1e-6 * bright.max())
    reflectance = lifted * gain + DARK_REFLECTANCE
    infrared = reflectance[:, (axis > 780) & (axis < 900)].mean(1)
    reflectance *= min(1.0, _MAX_BRIGHT / float(np.percentile(infrared, 99)))
    return np.asarray(reflectance.reshape(values.shape), np.float32)


def _without_vegetation(lifted: FloatArray, nm: FloatArray) -> BoolArray:
    """Pixels of haze-free radiance (N, F) that are bright, not saturated and show no red edge."""
    sun = nm**-5.0 / np.expm1(14388e3 / (5778 * nm))
    crude = lifted / (sun / sun.max())
    red = crude[:, (nm > 640) & (nm < 690)].mean(1)
    infrared = crude[:, (nm > 775) & (nm < 805)].mean(1)
    level = (red + infrared) / 2
    high = np.percentile(level, 99)
    bright = (level > 0.2 * high) & (level < 1.5 * high)
    order = np.argsort(np.where(bright, infrared / np.maximum(red, 1e-9), np.inf))
    kept = bright & (infrared < 1.4 * red)
    kept[order[:50]] = True
    return np.asarray(kept)


def _mean_of_shapes(pixels: FloatArray) -> FloatArray:
    """Mean (F,) of the means of k-means clusters of the pixels' shapes; none dominates."""
    shapes = pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-12)
    centres = shapes[np.linspace(0, len(shapes) - 1, _CLUSTERS).astype(int)]
    for _ in range(_ROUNDS):
        label = (shapes @ centres.T).argmax(1)
        filled = [shapes[label == k].mean(0) for k in range(_CLUSTERS) if (label == k).any()]
        centres = np.stack(filled + [centres[0]] * (_CLUSTERS - len(filled)))
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    label = (shapes @ centres.T).argmax(1)
    sizes = np.bincount(label, minlength=_CLUSTERS)
    kept = np.flatnonzero(sizes >= max(3, 0.002 * len(pixels)))
    kept = kept if kept.size else np.array([sizes.argmax()])
    return np.asarray(np.mean([pixels[label == k].mean(0) for k in kept], axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubspaceCompletion:
    """Fills bands that a sensor lacks, or measured badly, from what full spectra look like.

    A Gaussian prior x ~ N(mean, E E^T) in a subspace, and bands k observed with variance s^2: the
    rest is mean + E (E_k^T E_k + s^2 I)^-1 E_k^T (y - mean)_k, moved at the seams to join what was
    observed. It is a regression learned from the library, not a measurement.
    """

    mean: FloatArray
    """(C,) mean reflectance."""
    factors: FloatArray
    """(C, r) principal axes times their standard deviations."""
    noise: float = 0.01
    """Standard deviation of an observed band, reflectance."""
    reach: float = 6.0
    """Bands over which the misfit at a seam dies away."""

    @classmethod
    def fit(cls, spectra: npt.ArrayLike, *, rank: int = 14) -> SubspaceCompletion:
        """Learn the prior from full spectra (n, C)."""
        values = np.asarray(spectra, np.float64)
        mean = values.mean(0)
        power, axes = np.linalg.eigh(np.cov(values - mean, rowvar=False))
        deviation = np.sqrt(np.clip(power[-rank:], 0, None))
        return cls(mean=mean, factors=axes[:, -rank:] * deviation)

    def fill(self, spectra: npt.ArrayLike, known: BoolArray) -> Float32Array:
        """Spectra (n, C) with the bands not `known` (C,) replaced; the known ones stay."""
        values = np.array(spectra, np.float64)
        if not known.any():
            raise InputRefused("no known band to complete a spectrum from")
        part = self.factors[known]
        gram = part.T @ part + self.noise**2 * np.eye(part.shape[1])
        scores = np.linalg.solve(gram, part.T @ (values[:, known] - self.mean[known]).T)
        predicted = self.mean + (self.factors @ scores).T
        misfit = np.where(known, values - predicted, 0.0)
        values[:, ~known] = (predicted + misfit @ self._seam(known))[:, ~known]
        return values.astype(np.float32)

    def _seam(self, known: BoolArray) -> FloatArray:
        """Weights (C, C) that carry the misfit of the nearest known bands into a gap, decaying."""
        distance = np.abs(np.subtract.outer(np.arange(known.size), np.flatnonzero(known)))
        weights = np.zeros((known.size, known.size))
        nearest = distance.argmin(1)
        decay = np.exp(-distance.min(1) / self.reach)
        weights[np.flatnonzero(known)[nearest], np.arange(known.size)] = decay
        return weights


def without_oxygen(cube: npt.ArrayLike, nm: npt.ArrayLike) -> Float32Array:
    """A cube or spectra (..., band) with the bands in the O2-A line interpolated over."""
    values, axis = np.array(cube, np.float32), np.asarray(nm, float)
    bad = (axis > OXYGEN_NM[0]) & (axis < OXYGEN_NM[1])
    inner = np.flatnonzero(bad)
    if inner.size and inner[0] > 0 and inner[-1] < axis.size - 1:
        left, right = inner[0] - 1, inner[-1] + 1
        share = ((axis[inner] - axis[left]) / (axis[right] - axis[left])).astype(np.float32)
        values[..., inner] = values[..., [left]] * (1 - share) + values[..., [right]] * share
    return values


def read_cube(path: str | Path) -> tuple[Float32Array, FloatArray]:
    """A .npz cube (y, x, band) as reflectance, and its wavelengths (band,) in nm.

    `meta.json` beside it says whether it holds radiance, which then goes through `quac`. A cube
    normalised to a maximum of 1 is taken to have its largest value at a reflectance of 0.7.
    """
    path = Path(path)
    try:
        kind = str(json.loads(path.with_name("meta.json").read_text("utf-8"))[path.stem]["kind"])
        with np.load(path, allow_pickle=False) as file:
            cube, nm = file["cube"] * np.float32(file["scale"]), file["wavelength_nm"].astype(float)
    except (OSError, ValueError, KeyError, EOFError) as err:
        raise InputRefused(
            f"no cube with its meta.json ({type(err).__name__}: {err})", path=path
        ) from err
    if not kind.startswith("reflectance"):
        cube = quac(cube, nm)
    elif "normalised" in kind:
        cube = cube * np.float32(0.7 / cube.max())
    return without_oxygen(cube, nm), nm


def load_cube(
    path: str | Path, grid: WavelengthGrid, *, completion: SubspaceCompletion | None = None
) -> Float32Array:
    """Reflectance (C, y, x) of a .npz cube on the grid, clipped to 0..1.3.

    Args:
        path: the cube, with its `meta.json` in the same folder.
        grid: bands to put it on; at an end 12 nm or less are carried on, see `library.resample`.
        completion: fills what is missing beyond that; without it such a cube is refused.
    """
    cube, nm = read_cube(path)
    known = (grid.centres > nm[0] - 12) & (grid.centres < nm[-1] + 12)
    if known.all():
        spectra = resample(cube, nm, grid)
    elif completion is None:
        raise InputRefused(
            f"holds {nm[0]:g}-{nm[-1]:g} nm of {grid.centres[0]:g}-{grid.centres[-1]:g} nm",
            path=path,
            remedy="pass a SubspaceCompletion fitted on full spectra",
        )
    else:
        covered = WavelengthGrid("covered", grid.centres[known], grid.fwhm[known])
        spectra = np.zeros((*cube.shape[:2], len(grid)), np.float32)
        spectra[..., known] = resample(cube, nm, covered)
        flat = completion.fill(spectra.reshape(-1, len(grid)), known)
        spectra = flat.reshape(spectra.shape)
    return np.ascontiguousarray(np.clip(spectra, 0, 1.3).transpose(2, 0, 1))
