"""Statistics of runs: means and deviations over seeds, comparisons with ours, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.benchmark.records import METRICS, OURS, BenchmarkResults, RunRecord, ScoredImage
from uavssr.evaluation.baselines import CameraKnowledge, CurvePoint
from uavssr.sensors import FloatArray

FLAT_SHARE: Final = 0.02
"""Share of its RMSE by which a flat learning curve improves at most over its last quarter."""
FLAT_HALF_SHARE: Final = 0.05
"""The same over its last half: the rate falls to nothing, which flattens any last quarter."""
JUDGED: Final = ("rmse", "sam")
"""Metrics of the verdict."""
_SIGN_DRAWS: Final = 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedStatistics:
    """A number over the seeds."""

    mean: float
    deviation: float | None
    """Standard deviation over seeds; None for one seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> SeedStatistics:
        """Of one value per seed."""
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(mean=float(np.mean(values)), deviation=spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """A method against ours on the same images, errors averaged over seeds."""

    difference: float
    """Mean error of the method - mean error of ours."""
    p: float
    """Of a sign-flip test of the images' differences, two-sided; `sign_flip_p`."""
    images: int
    """Images that both predicted."""
    better_images: int
    """Images on which ours has the smaller error."""
    scenes: int
    better_scenes: int
    """Scenes on whose images ours has the smaller mean error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSummary:
    """A method's row in the table of a case and a set."""

    method: str
    knows: CameraKnowledge
    seeds: int
    is_trained: bool
    """Whether it is trained step by step, so that it depends on the seed."""
    converged: bool
    """Whether its learning curve is flat; closed forms always are."""
    errors: Mapping[str, SeedStatistics]
    """By metric, means over images; without the metrics that do not apply."""
    against_ours: Mapping[str, PairedComparison]
    """By metric of the verdict; empty for ours."""

    @property
    def is_own(self) -> bool:
        """Whether it is ours or a variant of it."""
        return self.method.startswith(OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCost:
    """What a method costs in a case: means over seeds, the largest peak."""

    method: str
    seeds: int
    parameters: int | None
    gmac: float | None
    steps: int
    batch: int
    fit_seconds: float
    predict_seconds_per_mpx: float
    peak_mb: float | None
    late_improvement: float | None
    """`improvement` over the last quarter of the steps; None for a closed form."""
    half_improvement: float | None
    """The same over the last half."""

    @property
    def converged(self) -> bool:
        """Whether the learning curve is flat."""
        if self.late_improvement is None or self.half_improvement is None:
            return True
        return self.late_improvement < FLAT_SHARE and self.half_improvement < FLAT_HALF_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """Whether ours leads every converged baseline in a metric by more than the seeds' deviation."""

    metric: str
    given_response: bool
    """Whether the baselines are those that are given the true response, or the others."""
    ahead: bool | None
    """None where nothing can be said: one seed of ours, ours unconverged, or no such baseline."""
    closest: str = ""
    """The baseline that decides."""
    lead: float = math.nan
    """Mean error of that baseline - mean error of ours."""
    deviation: float = math.nan
    """Standard deviation over seeds of this difference; one training's is taken to be ours."""


def improvement(curve: Sequence[CurvePoint], share: float) -> float:
    """Share by which the validation RMSE falls over the last `share` of the steps."""
    steps, rmse = ([getattr(point, name) for point in curve] for name in ("step", "rmse"))
    return 1 - rmse[-1] / float(np.interp((1 - share) * steps[-1], steps, rmse))


def flat_from(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The first point from which on the RMSE falls by less than `FLAT_SHARE`."""
    return next(point for point in curve if curve[-1].rmse > (1 - FLAT_SHARE) * point.rmse)


def sign_flip_p(differences: FloatArray) -> float:
    """Two-sided p of a mean difference of zero, where each difference (n,) may have either sign.

    p = (1 + number of draws with |mean of +-d| >= |mean of d|) / (1 + number of draws), of 9999
    draws with a fixed seed (Fisher's randomisation test of pairs).
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_SIGN_DRAWS, len(differences)))
    means = np.abs(signs @ differences)
    reached = np.abs(differences.sum()) * (1 - 1e-12)
    return float((1 + (means >= reached).sum()) / (1 + _SIGN_DRAWS))


def sets_of(results: BenchmarkResults, case: str) -> tuple[str, ...]:
    """Names of the sets of images of a case, in the order of its records."""
    return tuple(dict.fromkeys(image.set for run in results.of(case) for image in run.images))


def cost_of(runs: Sequence[RunRecord]) -> MethodCost:
    """The cost of a method from its runs of a case."""
    first, peaks = runs[0], [run.peak_mb for run in runs if run.peak_mb is not None]
    late, half = (
        [improvement(run.curve, share) for run in runs if run.curve] for share in (0.25, 0.5)
    )
    return MethodCost(
        method=first.method,
        seeds=len(runs),
        parameters=first.parameters,
        gmac=first.gmac,
        steps=round(np.mean([run.steps for run in runs])),
        batch=first.batch,
        fit_seconds=float(np.mean([run.fit_seconds for run in runs])),
        predict_seconds_per_mpx=float(np.mean([run.predict_seconds_per_mpx for run in runs])),
        peak_mb=max(peaks, default=None),
        late_improvement=float(np.mean(late)) if late else None,
        half_improvement=float(np.mean(half)) if half else None,
    )


def costs(results: BenchmarkResults, case: str) -> list[MethodCost]:
    """The costs of all methods of a case."""
    by_method = (results.of(case, method) for method in results.methods)
    return [cost_of(runs) for runs in by_method if runs]


def summarise(results: BenchmarkResults, case: str, group: str) -> list[MethodSummary]:
    """The rows of a case and a set of images, in the order of the methods."""
    ours, rows = _by_image(results.of(case, results.ours), group), []
    for method in results.methods:
        runs = results.of(case, method)
        if not any(image.set == group for run in runs for image in run.images):
            continue
        own = method == results.ours or not ours
        rows.append(
            MethodSummary(
                method=method,
                knows=runs[0].knows,
                seeds=len(runs),
                is_trained=runs[0].steps > 0,
                converged=cost_of(runs).converged,
                errors=_errors(runs, group),
                against_ours={} if own else _compare(_by_image(runs, group), ours),
            )
        )
    return rows


def verdicts(rows: Sequence[MethodSummary], ours: str) -> list[MetricVerdict]:
    """The verdicts on a set: by metric, without and with the baselines that are given R."""
    own = next((row for row in rows if row.method == ours), None)
    baselines = [row for row in rows if not row.is_own and row.converged]
    found = []
    for given in (False, True):
        others = [row for row in baselines if (row.knows == "true response") is given]
        found += [_verdict(metric, own, others, given=given) for metric in JUDGED]
    return found


def _verdict(
    metric: str, ours: MethodSummary | None, others: Sequence[MethodSummary], *, given: bool
) -> MetricVerdict:
    own = None if ours is None else _deviation(ours, metric)
    if ours is None or own is None or not others or not ours.converged:
        return MetricVerdict(metric=metric, given_response=given, ahead=None)
    candidates = []
    for row in others:
        spread = _deviation(row, metric)
        deviation = math.hypot(own, own if spread is None else spread)
        difference = row.errors[metric].mean - ours.errors[metric].mean
        candidates.append((difference, deviation, row.method))
    lead, deviation, closest = min(candidates, key=lambda found: found[0] - found[1])
    return MetricVerdict(
        metric=metric,
        given_response=given,
        ahead=lead > deviation,
        closest=closest,
        lead=lead,
        deviation=deviation,
    )


def _deviation(row: MethodSummary, metric: str) -> float | None:
    """Deviation over seeds: 0 of a method without training, None of one training."""
    spread = row.errors[metric].deviation
    return spread if spread is not None or row.is_trained else 0.0


def _errors(runs: Iterable[RunRecord], group: str) -> dict[str, SeedStatistics]:
    """Statistics over seeds of the means over images, by metric."""
    tables = [[image for image in run.images if image.set == group] for run in runs]
    found = {}
    for metric in METRICS:
        values = [[getattr(image, metric) for image in images] for images in tables]
        if all(value is not None for row in values for value in row):
            found[metric] = SeedStatistics.of([float(np.mean(row)) for row in values])
    return found


_ImageErrors = dict[tuple[str, str], FloatArray]


def _by_image(runs: Iterable[RunRecord], group: str) -> _ImageErrors:
    """The judged errors of each image (scene, camera), averaged over seeds."""
    images: dict[tuple[str, str], list[ScoredImage]] = {}
    for run in runs:
        for image in run.images:
            if image.set == group:
                images.setdefault((image.scene, image.camera), []).append(image)
    return {
        key: np.mean([[getattr(image, name) for name in JUDGED] for image in same], axis=0)
        for key, same in images.items()
    }


def _compare(theirs: _ImageErrors, ours: _ImageErrors) -> dict[str, PairedComparison]:
    shared = sorted(theirs.keys() & ours.keys())
    if not shared:
        return {}
    differences = np.array([theirs[key] - ours[key] for key in shared])
    scenes = {scene: [k for k, key in enumerate(shared) if key[0] == scene] for scene, _ in shared}
    found = {}
    for metric, column in zip(JUDGED, differences.T, strict=True):
        by_scene = [column[rows].mean() for rows in scenes.values()]
        found[metric] = PairedComparison(
            difference=float(column.mean()),
            p=sign_flip_p(column),
            images=len(shared),
            better_images=int((column > 0).sum()),
            scenes=len(scenes),
            better_scenes=int(np.sum(np.array(by_scene) > 0)),
        )
    return found
