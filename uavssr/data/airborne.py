"""Airborne cubes (.npz) as reflectance: radiance is corrected, missing bands are filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.bounded import (
    open_regular,
    opened_arrays,
    parse_json,
    read_array,
    read_bytes,
    why_unread,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, WavelengthGrid
from uavssr.spectra import SubspaceCompletion, resample

OXYGEN_NM: Final = (752.0, 775.0)
"""The O2-A line in nm; atmospheric corrections fail there, so its bands are interpolated over."""
DARK_REFLECTANCE: Final = 0.02
"""Assumed reflectance of a scene's darkest pixels (water, deep shadow)."""
_MEAN_ENDMEMBER: Final = np.array(
    [
        *[(380, 0.095), (450, 0.125), (500, 0.145), (550, 0.165), (600, 0.185), (650, 0.198)],
        *[(700, 0.208), (800, 0.222), (900, 0.233), (1050, 0.245)],
    ]
)
"""Mean reflectance (nm, 0..1) of soils, rocks, roofs and pavements, without vegetation."""
DISTRUSTED_NM: Final[Mapping[str, tuple[tuple[float, float], ...]]] = {
    "samson": ((0.0, 405.0), (855.0, 2000.0)),
    "abu_beach_4_pavia": ((0.0, 460.0), (815.0, 2000.0)),
    "pavia_u_reg": ((0.0, 445.0), (850.0, 2000.0)),
    "neon_harv": ((890.0, 2000.0),),
    "hydice_urban_crop": ((0.0, 470.0), (890.0, 2000.0)),
}
"""Ranges in nm of public scenes, by name, that hold little but noise."""
_MAX_BRIGHT: Final = 0.6
"""Largest 99th percentile of reflectance at 780-900 nm that a corrected scene may have."""
_MAX_CUBE_BYTES: Final = 2**32
"""Largest cube once unpacked."""
_MAX_META_BYTES: Final = 2**20
_CLUSTERS: Final = 16
_ROUNDS: Final = 15
_END_NM: Final = 12.0
"""Distance in nm that measured spectra are extrapolated past their ends; beyond it, completed."""


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
    # reflectance = gain (radiance - dark) + 0.02, and `mean` at the mean of the bright pixels
    gain = (mean - DARK_REFLECTANCE) / np.maximum(bright, 1e-6 * bright.max())
    reflectance = lifted * gain + DARK_REFLECTANCE
    infrared = reflectance[:, (axis > 780) & (axis < 900)].mean(1)
    reflectance *= min(1.0, _MAX_BRIGHT / float(np.percentile(infrared, 99)))
    return np.asarray(reflectance.reshape(values.shape), np.float32)


def _without_vegetation(lifted: FloatArray, nm: FloatArray) -> BoolArray:
    """Mask (n,) of haze-free radiance (n, band) that is bright, unsaturated and has no red edge."""
    # Planck's law at the sun's 5778 K, up to a factor: radiance over it is roughly reflectance
    sun = nm**-5.0 / np.expm1(14388e3 / (5778 * nm))
    crude = lifted / (sun / sun.max())
    red = crude[:, (nm > 640) & (nm < 690)].mean(1)
    infrared = crude[:, (nm > 775) & (nm < 805)].mean(1)
    level = (red + infrared) / 2
    high = np.percentile(level, 99)
    bright = (level > 0.2 * high) & (level < 1.5 * high)
    order = np.argsort(np.where(bright, infrared / np.maximum(red, 1e-9), np.inf))
    chosen = bright & (infrared < 1.4 * red)
    chosen[order[:50]] = True
    return np.asarray(chosen)


def _mean_of_shapes(pixels: FloatArray) -> FloatArray:
    """Mean (band,) of the means of k-means clusters of the pixels' shapes, so that none dominates.

    A shape is a spectrum of unit length; the nearest centre is that of the largest dot product.
    """
    shapes = pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-12)
    centres = shapes[np.linspace(0, len(shapes) - 1, _CLUSTERS).astype(int)]
    for _ in range(_ROUNDS):
        label = (shapes @ centres.T).argmax(1)
        filled = [shapes[label == k].mean(0) for k in range(_CLUSTERS) if (label == k).any()]
        centres = np.stack(filled + [centres[0]] * (_CLUSTERS - len(filled)))
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    label = (shapes @ centres.T).argmax(1)
    sizes = np.bincount(label, minlength=_CLUSTERS)
    large = np.flatnonzero(sizes >= max(3, 0.002 * len(pixels)))
    large = large if large.size else np.array([sizes.argmax()])
    return np.asarray(np.mean([pixels[label == k].mean(0) for k in large], axis=0))


def without_oxygen(cube: npt.ArrayLike, nm: npt.ArrayLike) -> Float32Array:
    """A cube or spectra (..., band) with the bands in the O2-A line interpolated over."""
    values, axis = np.array(cube, np.float32), np.asarray(nm, float)
    inner = np.flatnonzero((axis > OXYGEN_NM[0]) & (axis < OXYGEN_NM[1]))
    if inner.size and inner[0] > 0 and inner[-1] < axis.size - 1:
        left, right = inner[0] - 1, inner[-1] + 1
        share = ((axis[inner] - axis[left]) / (axis[right] - axis[left])).astype(np.float32)
        values[..., inner] = values[..., [left]] * (1 - share) + values[..., [right]] * share
    return values


def read_airborne_cube(path: str | Path) -> tuple[Float32Array, FloatArray]:
    """A .npz cube (y, x, band) as reflectance, and its wavelengths (band,) in nm.

    `meta.json` beside it says whether it holds radiance, which `quac` then corrects. A cube
    normalised to a maximum of 1 is taken to have its largest value at a reflectance of 0.7.

    Raises:
        InputRefused: no such cube, or `meta.json` does not describe it.
    """
    path = Path(path)
    kind = _kind(path)
    cube, nm = read_scaled_cube(path)
    if not kind.startswith("reflectance"):
        cube = quac(cube, nm)
    elif "normalised" in kind:
        cube = cube * np.float32(0.7 / cube.max())
    return without_oxygen(cube, nm), nm


def read_scaled_cube(path: Path) -> tuple[Float32Array, FloatArray]:
    """The numbers (y, x, band) of a .npz cube times its scale, and its wavelengths (band,) in nm.

    Raises:
        InputRefused: no such cube.
    """
    try:
        with open_regular(path) as file, opened_arrays(file, _MAX_CUBE_BYTES) as archive:
            names = ("cube", "wavelength_nm", "scale")
            cube, nm, scale = (read_array(archive, name) for name in names)
        if cube.ndim != 3 or nm.shape != cube.shape[2:] or scale.size != 1:
            raise ValueError(f"cube {cube.shape}, wavelength_nm {nm.shape}, scale {scale.shape}")
        if any(array.dtype.kind not in "fiu" for array in (cube, nm, scale)):
            raise ValueError("its arrays are no numbers")
    except (OSError, ValueError) as err:
        raise InputRefused(
            f"no cube (y, x, band) with wavelength_nm and scale ({why_unread(err, path)})",
            path=path,
            remedy="write it with numpy.savez",
        ) from err
    return cube * np.float32(scale), nm.astype(float)


def _kind(path: Path) -> str:
    """What `meta.json` says of a cube: reflectance or radiance."""
    beside = path.with_name("meta.json")
    try:
        return str(parse_json(read_bytes(beside, _MAX_META_BYTES))[path.stem]["kind"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        why = f"no {err}" if isinstance(err, KeyError | TypeError) else why_unread(err, beside)
        raise InputRefused(
            f"does not say whether {path.stem} holds reflectance or radiance ({why})",
            path=beside,
            remedy=f'write {{"{path.stem}": {{"kind": "reflectance"}}}} into it',
        ) from err


def load_airborne_cube(
    path: str | Path,
    grid: WavelengthGrid,
    *,
    completion: SubspaceCompletion | None = None,
    distrusted: Sequence[tuple[float, float]] = (),
) -> Float32Array:
    """Reflectance (C, y, x) of a .npz cube on the grid, clipped to 0..1.3.

    Args:
        path: the cube, with its `meta.json` in the same folder.
        grid: its C bands; up to 12 nm past an end are extrapolated, see `uavssr.spectra.resample`.
        completion: fills what is missing beyond that; without it such a cube is refused.
        distrusted: ranges in nm that the completion replaces too.

    Raises:
        InputRefused: no such cube, or it does not reach over the grid.
    """
    cube, nm = read_airborne_cube(path)
    known = (grid.centres > nm[0] - _END_NM) & (grid.centres < nm[-1] + _END_NM)
    if not known.all() and completion is None:
        raise InputRefused(
            f"holds {nm[0]:g}-{nm[-1]:g} nm of {grid.centres[0]:g}-{grid.centres[-1]:g} nm",
            path=path,
            remedy="pass a SubspaceCompletion fitted on full spectra",
        )
    covered = WavelengthGrid("covered", grid.centres[known], grid.fwhm[known])
    spectra = np.zeros((*cube.shape[:2], len(grid)), np.float32)
    spectra[..., known] = resample(cube, nm, covered)
    for low, high in distrusted:
        known &= ~((grid.centres > low) & (grid.centres < high))
    if completion is not None and not known.all():
        flat = completion.fill(spectra.reshape(-1, len(grid)), known)
        spectra = flat.reshape(spectra.shape)
    return np.ascontiguousarray(np.clip(spectra, 0, 1.3).transpose(2, 0, 1))
