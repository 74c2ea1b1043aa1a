"""Comparison of cubes with a reference, window by window, on one grid and the same wavelengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.alignment import AlignedCube, Alignment
from uavssr.evaluation.block_errors import BlockErrors
from uavssr.evaluation.error_samples import ErrorSamples
from uavssr.evaluation.metrics import DATA_RANGE, MRAE_EPSILON, CubeScorer
from uavssr.evaluation.ssim import SSIM_SIDE, SSIM_SIGMA
from uavssr.evaluation.stf_comparison import compare_stfs
from uavssr.io.checks import PathLike
from uavssr.io.hsi import READ_TILE, CubeSource, cube_of_array, open_cube_source
from uavssr.io.msi import is_array
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    import xarray as xr

Cube: TypeAlias = "PathLike | xr.Dataset | xr.DataArray"
"""A cube: its path, a dataset with `reflectance`, or that array (wavelength, y, x)."""
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
    pred: Cube | Sequence[Cube],
    ref: Cube,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[EvaluationKeywords],
) -> Report:
    """Errors of one or several cubes against a reference, over the pixels valid in all of them.

    A pixel is valid if it is valid in every band. `metrics.Scores` defines the metrics. Cubes of
    other grids or wavelengths are brought onto those of the coarsest cube; see `Alignment`.

    Args:
        pred: the estimated cube, or a list of them, which are compared on the same pixels.
        ref: the reference cube. Bands that a file lists as bad (`bbl`) are left out of all.
        progress: called after each window.
        keywords: fields of `EvaluationOptions`.

    Returns:
        `pred`, `ref`, `pixels` (of the common grid), `valid_pixels`, `ssim_pixels`, `bands`,
        `settings` (epsilon, data range, SSIM's window, ERGAS's ratio), `warnings` of both cubes,
        `aligned` (what was done to grid and wavelengths of `pred` and `ref`), `scene` (rmse, mrae,
        psnr, ssim, sam in degrees, ergas), `standard_errors` of rmse, mrae and sam from blocks of
        pixels, `blocks` (number and side in pixels), `per_band` (a list of wavelength, rmse, mrae,
        psnr, ssim), and `stf` if two STF files are given, see `compare_stfs`.

        Of a list: `ref`, `predictions` (a list of such reports) and `differences` (a list): `pred`,
        `against` (the first prediction), and rmse, mrae and sam of the former less those of the
        latter as [difference, paired standard error].

    Raises:
        UsageError: an option makes no sense.
        InputRefused: a file is refused, or the cubes share no ground, pixels or wavelengths.

    Examples:
        >>> import uavssr
        >>> report = uavssr.evaluate("hsi.tif", "hsi.tif")
        >>> report["scene"]["rmse"]
        0.0
        >>> report["aligned"]["pred"]["grid"]
        'as stored'
    """
    return compare_cubes(pred, ref, progress=progress, **keywords).report


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubeComparison:
    """The errors of predictions, and what a picture of them shows."""

    report: Report
    """What `evaluate` returns."""
    reports: tuple[Report, ...]
    """The report of each prediction."""
    samples: tuple[ErrorSamples, ...]
    """Of each prediction."""


def compare_cubes(
    pred: Cube | Sequence[Cube],
    ref: Cube,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[EvaluationKeywords],
) -> CubeComparison:
    """What `evaluate` returns, with samples for a picture; arguments and errors are the same."""
    options = EvaluationOptions(**keywords)
    several = isinstance(pred, Sequence) and not isinstance(pred, str)
    given: list[Cube] = list(pred) if several else [pred]  # type: ignore[arg-type, list-item]
    if not given:
        raise UsageError("no prediction is given", remedy="give one or more cubes")
    cubes = [_opened(cube, options.pred_scale) for cube in given]
    reference = _opened(ref, options.ref_scale)
    alignment = Alignment.of(cubes, reference)
    stfs = {}
    if options.stf is not None and options.true_stf is not None:
        whole = max((cube.grid for cube in (*cubes, reference)), key=len)
        stfs["stf"] = compare_stfs(options.stf, options.true_stf, grid=whole)
    sums = [_Sums.empty(alignment, options) for _ in cubes]
    _add_windows(alignment, sums, options.tile, progress)
    reports = tuple(
        _report(cube, alignment, part, options) | stfs
        for cube, part in zip(alignment.predictions, sums, strict=True)
    )
    return CubeComparison(
        report=_compared(reports, sums) if several else reports[0],
        reports=reports,
        samples=tuple(part.samples for part in sums),
    )


def _opened(cube: Cube, scale: float | str | None) -> CubeSource:
    if not is_array(cube):
        return open_cube_source(cube, scale=scale)
    if scale is not None:
        raise UsageError("a cube in memory takes no scale", remedy="multiply the array by it")
    return cube_of_array(cube)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sums:
    """What is summed up of one prediction."""

    scorer: CubeScorer
    blocks: BlockErrors
    samples: ErrorSamples

    @classmethod
    def empty(cls, alignment: Alignment, options: EvaluationOptions) -> _Sums:
        height, width = alignment.target.height, alignment.target.width
        epsilon, bands = options.epsilon, len(alignment.grid)
        return cls(
            scorer=CubeScorer(bands, epsilon=epsilon, data_range=options.data_range),
            blocks=BlockErrors.empty(height, width, epsilon=epsilon),
            samples=ErrorSamples.empty(height, width, alignment.grid),
        )


def _add_windows(
    alignment: Alignment, sums: Sequence[_Sums], tile: int, progress: Progress | None
) -> None:
    """Add all windows of the common grid.

    Raises:
        InputRefused: no pixel is valid in all cubes.
    """
    height, width = alignment.target.height, alignment.target.width
    for window in TileGrid(height=height, width=width, tile=tile, halo=CubeScorer.halo):
        truth, valid = alignment.reference.read(window.read)
        read = [cube.read(window.read) for cube in alignment.predictions]
        for _, cube_valid in read:
            valid = valid & cube_valid
        core = window.core.within(window.read)
        inside = valid[core]
        for (cube, _), part in zip(read, sums, strict=True):
            part.scorer.add(cube, truth, valid, core=window.core, read=window.read)
            own, other = (array[(slice(None), *core)] for array in (cube, truth))
            part.blocks.add(own, other, inside, window.core)
            part.samples.add(own, other, inside, window.core)
        if progress is not None:
            progress("comparing", window.core.height * window.core.width, height * width)
    if not sums[0].blocks.blocks:
        raise InputRefused(
            f"no pixel is valid both here and in {alignment.reference.cube.path}",
            path=alignment.predictions[0].cube.path,
            remedy="check nodata and the footprints of both",
        )


def _report(
    prediction: AlignedCube, alignment: Alignment, sums: _Sums, options: EvaluationOptions
) -> Report:
    scores, reference = sums.scorer.scores(), alignment.reference
    errors = sums.blocks.estimates()
    return {
        "pred": str(prediction.cube.path),
        "ref": str(reference.cube.path),
        "pixels": alignment.target.height * alignment.target.width,
        "valid_pixels": scores.pixels,
        "ssim_pixels": scores.ssim_pixels,
        "bands": len(alignment.grid),
        "warnings": [*prediction.cube.warnings, *reference.cube.warnings],
        "aligned": {"pred": prediction.facts, "ref": reference.facts},
        "settings": {
            "mrae_epsilon": options.epsilon,
            "data_range": options.data_range,
            "psnr": "mean of the bands' PSNR",
            "ssim_window": f"gaussian, sigma {SSIM_SIGMA:g}, {SSIM_SIDE} x {SSIM_SIDE}",
            "ergas_ratio": 1,
        },
        "scene": scores.scene,
        "standard_errors": {name: error.se for name, error in errors.items()},
        "blocks": {"number": sums.blocks.blocks, "side": sums.blocks.side},
        "per_band": scores.per_band(alignment.grid),
    }


def _compared(reports: Sequence[Report], sums: Sequence[_Sums]) -> Report:
    """The reports of several predictions, and their differences from the first."""
    first = sums[0].blocks
    return {
        "ref": reports[0]["ref"],
        "predictions": list(reports),
        "differences": [
            {
                "pred": report["pred"],
                "against": reports[0]["pred"],
                **{name: list(d) for name, d in part.blocks.differences(first).items()},
            }
            for report, part in zip(reports[1:], sums[1:], strict=True)
        ],
    }
