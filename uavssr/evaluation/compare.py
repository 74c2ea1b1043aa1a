"""Comparison of two cubes on disk, window by window, and of two STF files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.metrics import DATA_RANGE, MRAE_EPSILON, CubeScorer, Scores, stf_error
from uavssr.evaluation.ssim import SSIM_SIDE, SSIM_SIGMA
from uavssr.io.checks import PathLike
from uavssr.io.hsi import READ_TILE, CubeSource, open_cube_source
from uavssr.io.raster import check_aligned
from uavssr.io.stf import read_stf, scene_estimate
from uavssr.sensors import WavelengthGrid, subset
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    import xarray as xr

_SAME_NM: Final = 0.05
"""Largest distance in nm of two centres that count as the same."""

Report = dict[str, Any]
"""Plain values for JSON: numbers (infinite or NaN as the metrics say), texts, lists, mappings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Options of `evaluate`."""

    stf: PathLike | None = None
    """A `.stf.nc` file with the estimated STF of the scene."""
    true_stf: PathLike | None = None
    """A `.stf.nc` file with the true STF of the same bands."""
    epsilon: float = MRAE_EPSILON
    """Smallest denominator of MRAE, in reflectance."""
    data_range: float = DATA_RANGE
    """Range of reflectance to which PSNR and SSIM relate errors."""
    pred_scale: float | str | None = None
    """Reflectance per number in the estimated cube, where the file does not say."""
    ref_scale: float | str | None = None
    """Reflectance per number in the reference, where the file does not say."""
    tile: int = READ_TILE
    """Side in pixels of the windows in which the cubes are read, 16 or more."""

    def __post_init__(self) -> None:
        if (self.stf is None) != (self.true_stf is None):
            raise UsageError("--stf and --true-stf go together", remedy="give both or none")
        if self.tile < 16:
            raise UsageError(f"a tile must have 16 pixels or more, got {self.tile}")


class EvaluationKeywords(TypedDict, total=False):
    """The fields of `EvaluationOptions`, as keywords of `evaluate`."""

    stf: PathLike | None
    true_stf: PathLike | None
    epsilon: float
    data_range: float
    pred_scale: float | str | None
    ref_scale: float | str | None
    tile: int


def evaluate(
    pred: PathLike,
    ref: PathLike,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[EvaluationKeywords],
) -> Report:
    """Errors of a cube against a reference on the same grid, over the pixels valid in both.

    A pixel is valid if it is valid in every band. `metrics.Scores` defines the metrics.

    Args:
        pred: the estimated cube, GeoTIFF or ENVI.
        ref: the reference cube: same size, CRS, geotransform and wavelengths (within 0.05 nm);
            bands that either file lists as bad (`bbl`) are left out of both.
        progress: called after each window.
        keywords: fields of `EvaluationOptions`.

    Returns:
        `pred`, `ref`, `pixels` (of the scene), `valid_pixels`, `ssim_pixels`, `bands`, `settings`
        (epsilon, data range, SSIM's window, ERGAS's ratio), `warnings` of both cubes, `scene`
        (rmse, mrae, psnr, ssim, sam in degrees, ergas), `per_band` (a list of wavelength, rmse,
        mrae, psnr, ssim), and `stf` if two STF files are given, see `compare_stfs`.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: a file is refused, or the two do not match; the message says in what.
    """
    options = EvaluationOptions(**keywords)
    estimate, reference = (
        open_cube_source(path, scale=scale)
        for path, scale in ((pred, options.pred_scale), (ref, options.ref_scale))
    )
    check_aligned(estimate.place, reference.place)
    chosen = _common_bands(estimate, reference)
    grid = subset(reference.grid, chosen[1])
    whole = max(estimate.grid, reference.grid, key=len)
    stfs = {}
    if options.stf is not None and options.true_stf is not None:
        stfs["stf"] = compare_stfs(options.stf, options.true_stf, grid=whole)
    scorer = CubeScorer(len(grid), epsilon=options.epsilon, data_range=options.data_range)
    scores = _score((estimate, reference), chosen, scorer, options.tile, progress)
    return {
        "pred": str(estimate.path),
        "ref": str(reference.path),
        "pixels": reference.height * reference.width,
        "valid_pixels": scores.pixels,
        "ssim_pixels": scores.ssim_pixels,
        "bands": len(grid),
        "warnings": [*estimate.warnings, *reference.warnings],
        "settings": {
            "mrae_epsilon": options.epsilon,
            "data_range": options.data_range,
            "psnr": "mean of the bands' PSNR",
            "ssim_window": f"gaussian, sigma {SSIM_SIGMA:g}, {SSIM_SIDE} x {SSIM_SIDE}",
            "ergas_ratio": 1,
        },
        "scene": scores.scene,
        "per_band": scores.per_band(grid),
        **stfs,
    }


def _score(
    cubes: tuple[CubeSource, CubeSource],
    bands: tuple[Sequence[int], Sequence[int]],
    scorer: CubeScorer,
    tile: int,
    progress: Progress | None,
) -> Scores:
    estimate, reference = cubes
    height, width = reference.height, reference.width
    own, other = (
        slice(None) if len(chosen) == len(cube.grid) else list(chosen)
        for cube, chosen in zip(cubes, bands, strict=True)
    )
    for window in TileGrid(height=height, width=width, tile=tile, halo=scorer.halo):
        cube, cube_valid = estimate.read(window.read)
        truth, truth_valid = reference.read(window.read)
        scorer.add(
            cube[own], truth[other], cube_valid & truth_valid, core=window.core, read=window.read
        )
        if progress is not None:
            progress("comparing", window.core.height * window.core.width, height * width)
    scores = scorer.scores()
    if scores.pixels == 0:
        raise InputRefused(
            f"no pixel is valid both here and in {reference.path}",
            path=estimate.path,
            remedy="check nodata and the footprints of both",
        )
    return scores


def _common_bands(
    estimate: CubeSource, reference: CubeSource
) -> tuple[Sequence[int], Sequence[int]]:
    """Indices of the bands of both cubes: all but those that the other's list of bad bands lacks.

    Raises:
        InputRefused: the cubes differ in other wavelengths.
    """
    own, other = (cube.grid.centres for cube in (estimate, reference))
    chosen = [
        np.flatnonzero(np.abs(one[:, None] - two).min(1) <= _SAME_NM).tolist()
        for one, two in ((own, other), (other, own))
    ]
    lacking = [len(nm) - len(indices) for nm, indices in zip((own, other), chosen, strict=True)]
    if (
        len(chosen[0]) == len(chosen[1]) > 0
        and lacking[0] <= reference.bad_bands
        and lacking[1] <= estimate.bad_bands
    ):
        return chosen[0], chosen[1]
    bands = [f"{len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm" for nm in (own, other)]
    largest = ""
    if len(own) == len(other):
        gap = np.abs(own - other)
        largest = f", up to {gap.max():.3g} nm apart (band {int(gap.argmax()) + 1})"
    raise InputRefused(
        f"has {bands[0]}, and {reference.path} {bands[1]}{largest}",
        path=estimate.path,
        remedy="resample one to the wavelengths of the other first",
    )


def compare_stfs(stf: PathLike, true_stf: PathLike, *, grid: WavelengthGrid) -> Report:
    """Errors of one scene's STF against another, on the wavelengths of a cube.

    Centre, FWHM and gain are compared as the files hold them: nominal centre plus shift, nominal
    width times stretch, factor on the nominal response. Leaks and other filter shapes, which these
    three do not describe, show in `relative` only.

    Returns:
        `sensor`; `relative`, |R - R_true| / |R_true| by Frobenius norms over all bands; the mean
        absolute errors `centre_nm`, `fwhm_nm` and `gain_percent`; and `per_band`, a list of `band`,
        `relative` and the signed errors (estimate minus truth) of the same.

    Raises:
        InputRefused: a file is refused, or the two are not of the same bands.
    """
    datasets = [read_stf(path, sensor=None, grid=grid) for path in (stf, true_stf)]
    _check_same_camera(datasets, stf, true_stf)
    truth_data = datasets[1]
    roles = [str(role) for role in truth_data["band"].to_numpy().tolist()]
    estimate = scene_estimate(datasets[0].sel(band=roles))
    truth = scene_estimate(truth_data)
    errors = {
        "centre_nm": estimate.centre - truth.centre,
        "fwhm_nm": estimate.fwhm - truth.fwhm,
        "gain_percent": 100 * (estimate.gain / truth.gain - 1),
    }
    return {
        "sensor": str(truth_data.attrs.get("sensor", "")),
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


def _check_same_camera(datasets: Sequence[xr.Dataset], stf: PathLike, true_stf: PathLike) -> None:
    bands = [sorted(data["band"].to_numpy().tolist()) for data in datasets]
    names = [data.attrs.get("sensor", "") for data in datasets]
    if bands[0] == bands[1] and (names[0] == names[1] or "" in names):
        return
    cameras = [f"{name} ({', '.join(roles)})" for name, roles in zip(names, bands, strict=True)]
    raise InputRefused(
        f"is of {cameras[0]}, and {true_stf} of {cameras[1]}",
        path=stf,
        remedy="compare two files of the same camera",
    )
