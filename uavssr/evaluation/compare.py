"""`evaluate`: two cubes on disk compared window by window, and two STF files. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.cube_metrics import (
    DATA_RANGE,
    MRAE_EPSILON,
    SSIM_RADIUS,
    SSIM_SIGMA,
    CubeScorer,
    Scores,
)
from uavssr.evaluation.metrics import stf_error
from uavssr.io.hsi import TILE, CubeSource, open_cube
from uavssr.io.raster import check_aligned
from uavssr.io.stf import StfEstimate, read_stf, scene_estimate
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import TileGrid

if TYPE_CHECKING:
    import xarray as xr

AnyPath = str | PathLike[str]
Report = dict[str, Any]
"""Plain values: numbers (infinite or NaN where the definitions say so), texts, lists, mappings."""


def evaluate(
    pred: AnyPath,
    ref: AnyPath,
    *,
    stf: AnyPath | None = None,
    true_stf: AnyPath | None = None,
    epsilon: float = MRAE_EPSILON,
    data_range: float = DATA_RANGE,
    pred_scale: float | str | None = None,
    ref_scale: float | str | None = None,
    tile: int = TILE,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Errors of a cube against a reference on the same grid, over the pixels valid in both.

    A pixel is valid where it is so in every band. `cube_metrics.Scores` defines the metrics.

    Args:
        pred: the estimated cube, GeoTIFF or ENVI.
        ref: the reference cube: same size, CRS, geotransform and wavelengths (within 0.05 nm).
        stf: a `.stf.nc` file with the estimated STF of the scene.
        true_stf: one with the true STF, of the same bands.
        epsilon: least denominator of MRAE, in reflectance.
        data_range: range of reflectance that PSNR and SSIM relate errors to.
        pred_scale: reflectance = number in `pred` x this, where the file does not tell.
        ref_scale: the same of `ref`.
        tile: side of the windows in which the cubes are read, 16 or more.
        progress: told what was done, how many pixels, and of how many.

    Returns:
        `pred`, `ref`, `pixels` (of the scene), `valid_pixels`, `ssim_pixels`, `bands`, `settings`
        (epsilon, data range, SSIM's window, ERGAS's ratio), `scene` (rmse, mrae, psnr, ssim, sam in
        degrees, ergas), `per_band` (a list of wavelength, rmse, mrae, psnr, ssim), and `stf` where
        two STF files were given, see `compare_stfs`.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: a file is refused, or the two do not fit; the message says in what.
    """
    if (stf is None) != (true_stf is None):
        raise UsageError("--stf and --true-stf go together", remedy="give both or none")
    if tile < 16:
        raise UsageError(f"a tile must have 16 pixels or more, got {tile}")
    found, true = open_cube(pred, scale=pred_scale), open_cube(ref, scale=ref_scale)
    check_aligned(found.place, true.place)
    _check_wavelengths(found, true)
    stfs = {}
    if stf is not None and true_stf is not None:
        stfs = {"stf": compare_stfs(stf, true_stf, grid=true.grid)}
    scorer = CubeScorer(len(true.grid), epsilon=epsilon, data_range=data_range)
    scores = _stream(found, true, scorer, tile, progress)
    return {
        "pred": str(found.path),
        "ref": str(true.path),
        "pixels": true.height * true.width,
        "valid_pixels": scores.pixels,
        "ssim_pixels": scores.ssim_pixels,
        "bands": len(true.grid),
        "settings": _settings(scorer),
        "scene": scores.scene,
        "per_band": _per_band(scores, true.grid),
        **stfs,
    }


def _settings(scorer: CubeScorer) -> Report:
    side = 2 * SSIM_RADIUS + 1
    return {
        "mrae_epsilon": scorer.epsilon,
        "data_range": scorer.data_range,
        "psnr": "mean of the bands' PSNR",
        "ssim_window": f"gaussian, sigma {SSIM_SIGMA:g}, {side} x {side}",
        "ergas_ratio": 1,
    }


def _per_band(scores: Scores, grid: WavelengthGrid) -> list[Report]:
    columns = {
        "wavelength": grid.centres,
        "rmse": scores.rmse,
        "mrae": scores.mrae,
        "psnr": scores.psnr,
        "ssim": scores.ssim,
    }
    return [{name: float(column[k]) for name, column in columns.items()} for k in range(len(grid))]


def _stream(
    found: CubeSource,
    true: CubeSource,
    scorer: CubeScorer,
    tile: int,
    progress: Callable[[str, int, int], None] | None,
) -> Scores:
    total = true.height * true.width
    for each in TileGrid(height=true.height, width=true.width, tile=tile, halo=scorer.halo):
        (estimate, one), (reference, two) = found.read(each.read), true.read(each.read)
        scorer.add(estimate, reference, one & two, core=each.core, read=each.read)
        if progress is not None:
            progress("comparing", each.core.height * each.core.width, total)
    scores = scorer.scores()
    if scores.pixels == 0:
        raise InputRefused(
            f"no pixel is valid both here and in {true.path}",
            path=found.path,
            remedy="check nodata and the footprints of both",
        )
    return scores


def _check_wavelengths(found: CubeSource, true: CubeSource) -> None:
    if found.grid.matches(true.grid):
        return
    said = [
        f"{len(c.grid)} bands from {c.grid.centres[0]:g} to {c.grid.centres[-1]:g} nm"
        for c in (found, true)
    ]
    differ = ""
    if len(found.grid) == len(true.grid):
        gap = np.abs(found.grid.centres - true.grid.centres)
        differ = f", up to {gap.max():.3g} nm apart (band {int(gap.argmax()) + 1})"
    raise InputRefused(
        f"has {said[0]}, and {true.path} {said[1]}{differ}",
        path=found.path,
        remedy="resample one to the wavelengths of the other first",
    )


def compare_stfs(stf: AnyPath, true_stf: AnyPath, *, grid: WavelengthGrid) -> Report:
    """Errors of one scene's STF against another, on the wavelengths of a cube.

    Centre, FWHM and gain are compared as the files hold them: nominal centre plus shift, nominal
    width times stretch, factor on the nominal response. Leaks and another shape of the filter,
    which these do not describe, show in `relative` only.

    Returns:
        `sensor`; `relative`, |R - R_true| / |R_true| by Frobenius norms over all bands; the mean
        absolute errors `centre_nm`, `fwhm_nm` and `gain_percent`; and `per_band`, a list of `band`,
        `relative` and the signed errors (estimate minus truth) of the same.

    Raises:
        InputRefused: a file is refused, or the two are not of the same bands.
    """
    found, true = (read_stf(path, sensor=None, grid=grid) for path in (stf, true_stf))
    _check_same_camera(found, true, stf, true_stf)
    roles = [str(role) for role in true["band"].to_numpy().tolist()]
    estimate, truth = scene_estimate(found.sel(band=roles)), scene_estimate(true)
    errors = _stf_errors(estimate, truth)
    return {
        "sensor": str(true.attrs.get("sensor", "")),
        "relative": stf_error(estimate.stf, truth.stf),
        **{name: float(np.abs(values).mean()) for name, values in errors.items()},
        "per_band": [
            {
                "band": role,
                "relative": stf_error(estimate.stf[i], truth.stf[i]),
                **{name: float(values[i]) for name, values in errors.items()},
            }
            for i, role in enumerate(roles)
        ],
    }


def _stf_errors(estimate: StfEstimate, truth: StfEstimate) -> dict[str, np.ndarray]:
    return {
        "centre_nm": estimate.centre - truth.centre,
        "fwhm_nm": estimate.fwhm - truth.fwhm,
        "gain_percent": 100 * (estimate.gain / truth.gain - 1),
    }


def _check_same_camera(
    found: xr.Dataset, true: xr.Dataset, stf: AnyPath, true_stf: AnyPath
) -> None:
    bands = [sorted(map(str, ds["band"].to_numpy().tolist())) for ds in (found, true)]
    names = [str(ds.attrs.get("sensor", "")) for ds in (found, true)]
    if bands[0] == bands[1] and (names[0] == names[1] or "" in names):
        return
    said = [f"{name} ({', '.join(roles)})" for name, roles in zip(names, bands, strict=True)]
    raise InputRefused(
        f"is of {said[0]}, and {true_stf} of {said[1]}",
        path=stf,
        remedy="compare two files of the same camera",
    )
