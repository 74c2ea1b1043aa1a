"""Statistics, tables and pictures of a benchmark's results."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmarks import LEVELS, results_of, run_record, write_results
from uavssr.benchmark import (
    BenchmarkResults,
    RunRecord,
    pack_results,
    read_results,
    results_markdown,
    write_benchmark_report,
    write_pictures,
    write_tables,
)
from uavssr.benchmark.summary import (
    MetricVerdict,
    cost_of,
    costs,
    flat_from,
    improvement,
    sign_flip_p,
    summarise,
    verdicts,
)
from uavssr.evaluation.baselines import CurvePoint


def curve(*rmse: float) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(step=100 * k, seconds=k, rmse=e) for k, e in enumerate(rmse))


def test_means_and_deviations_are_over_seeds() -> None:
    row = next(r for r in summarise(results_of(3), "rgb", "unseen") if r.method == "mst++")
    means = [
        np.mean([image.sam for image in run_record("mst++", seed).images if image.set == "unseen"])
        for seed in range(3)
    ]
    assert row.errors["sam"].mean == pytest.approx(np.mean(means))
    assert row.errors["sam"].deviation == pytest.approx(np.std(means, ddof=1))
    assert "stf_shape" not in row.errors


def test_one_seed_has_no_deviation() -> None:
    row = summarise(results_of(1), "rgb", "seen")[0]
    assert row.errors["rmse"].deviation is None


@pytest.mark.parametrize(
    ("rmse", "fell"),
    [((5, 4, 3, 2, 2), 0.0), ((5, 4, 3, 2, 1.9), 0.05), ((9, 4, 2), 1 - 2 / 3)],
)
def test_improvement_of_the_last_quarter(rmse: tuple[float, ...], fell: float) -> None:
    """With a point at three quarters of the steps, and between two points."""
    assert improvement(curve(*rmse), 0.25) == pytest.approx(fell)


def test_rate_that_falls_to_nothing_does_not_make_a_curve_flat() -> None:
    """A training that was cut short: flat in its last quarter, not in its last half."""
    run = replace(run_record("mst++", 0), curve=curve(9, 5, 4, 3.6, 3.58))
    cost = cost_of([run])
    assert cost.late_improvement < 0.02
    assert not cost.converged
    assert cost_of([replace(run, curve=curve(9, 5, 3.62, 3.6, 3.58))]).converged


def test_curve_is_flat_from_where_less_than_two_percent_is_gained() -> None:
    assert flat_from(curve(5, 3, 1.01, 1.005, 1)).step == 200


def test_sign_flips_agree_with_all_of_them() -> None:
    """Against all 2^10 signs."""
    d = np.random.default_rng(3).normal(0.4, 1, 10)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)
    exact = np.mean(np.abs(d @ signs) >= abs(d.sum()) - 1e-12)
    assert sign_flip_p(d) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p(np.abs(d)) < 0.01
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0


def test_comparison_is_of_the_same_images() -> None:
    """A method without the images of a scene is compared on the others."""
    results = results_of(2)
    runs = tuple(
        replace(run, images=tuple(i for i in run.images if i.scene != "B" or run.method != "ridge"))
        for run in results.runs
    )
    rows = summarise(replace(results, runs=runs), "rgb", "seen")
    paired = next(row for row in rows if row.method == "ridge").against_ours["rmse"]
    assert (paired.images, paired.scenes, paired.better_scenes) == (4, 2, 2)
    assert paired.difference > 0


def found(results: BenchmarkResults, *, given: bool = False) -> MetricVerdict:
    rows = summarise(results, "rgb", "seen")
    return next(
        v for v in verdicts(rows, results.ours) if v.metric == "rmse" and v.given_response is given
    )


def test_verdict_is_against_converged_baselines_of_the_same_knowledge() -> None:
    """awan is closer and unconverged, dian better and given R; the oracle is no baseline."""
    verdict = found(results_of(3))
    assert (verdict.ahead, verdict.closest) == (True, "mst++")
    given = found(results_of(3), given=True)
    assert (given.ahead, given.closest) == (False, "dian")
    assert found(results_of(3, unconverged="")).closest == "awan"


def scaled(run: RunRecord, factor: float) -> RunRecord:
    images = (replace(image, rmse=image.rmse * factor) for image in run.images)
    return replace(run, images=tuple(images))


def test_lead_within_the_deviation_is_none() -> None:
    results = results_of(3)
    runs = [scaled(r, 1 + 0.3 * (r.seed - 1)) if r.method == "mst++" else r for r in results.runs]
    verdict = found(replace(results, runs=tuple(runs)))
    assert 0 < verdict.lead < verdict.deviation
    assert verdict.ahead is False


@pytest.mark.parametrize("results", [results_of(1), results_of(2, unconverged="pgunet")])
def test_no_verdict_without_seeds_or_convergence(results: BenchmarkResults) -> None:
    assert found(results).ahead is None
    assert "* No verdict" in results_markdown(results)


def test_tables_mark_what_is_not_converged() -> None:
    text = results_markdown(results_of(2))
    marked = [line for line in text.splitlines() if line.startswith("| awan")]
    assert marked
    assert all(line.startswith("| awan † |") for line in marked)
    assert "unconverged, nothing claimed: awan" in text
    assert [row.method for row in costs(results_of(2), "rgb") if not row.converged] == ["awan"]


def test_report_is_written_and_written_again(tmp_path: Path) -> None:
    results = results_of(2)
    runs = tuple(run for run in results.runs if run.method in ("mst++", "pgunet"))
    write_results(replace(results, runs=runs), tmp_path)
    first = {path.name: path.read_bytes() for path in write_benchmark_report(tmp_path)}
    again = {path.name: path.read_bytes() for path in write_benchmark_report(tmp_path)}
    assert first == again
    pictures = {name for name in first if name.endswith(".png")}
    kinds = ("error_maps", "spectra", "stf")
    assert pictures == {"learning_curves.png"} | {f"{kind}_rgb_unseen.png" for kind in kinds}
    text = first["results.md"].decode()
    assert all(f"]({name})" in text for name in pictures)
    assert "`pgunet` takes 0.18 of the multiply-adds of mst++" in text


def test_files_hold_the_same_numbers(tmp_path: Path) -> None:
    write_tables(results_of(2), tmp_path)
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(LEVELS)
    tables = json.loads((tmp_path / "results.json").read_text())["cases"]["rgb"]
    for row in rows:
        same = next(r for r in tables["sets"][row["set"]] if r["method"] == row["method"])
        assert float(row["rmse"]) == same["errors"]["rmse"]["mean"]
        assert row["stf_shape"] or not row["method"].startswith("pgunet")


def test_packed_results_give_the_same_tables(tmp_path: Path) -> None:
    results = results_of(3)
    pack_results(results, tmp_path / "cave.json")
    assert results_markdown(read_results(tmp_path / "cave.json")) == results_markdown(results)


def test_untrained_methods_have_no_deviation_over_seeds() -> None:
    """Where nothing of ours is trained, the first variant of it is compared."""
    results = results_of(1)
    runs = [replace(run, steps=0, curve=()) for run in results.runs if run.method != "pgunet"]
    runs = [
        replace(r, method=r.method.replace("oracle", "released"), knows="nothing") for r in runs
    ]
    untrained = replace(results, runs=tuple(runs))
    assert untrained.ours == "pgunet-released"
    verdict = found(untrained)
    assert (verdict.ahead, verdict.deviation) == (True, 0)
    assert "`pgunet-released` ahead in RMSE" in results_markdown(untrained)


def test_plots_in_a_row_have_spectra_and_no_map(tmp_path: Path) -> None:
    run = run_record("pgunet", 0)
    write_results(BenchmarkResults(facts={"protocol": "pairs"}, runs=(run,)), tmp_path)
    path = tmp_path / "runs" / "rgb" / "pgunet" / "0.npz"
    with np.load(path) as file:
        arrays = {k: v[:, :12, :1] if "cube" in k else v for k, v in file.items()}
    np.savez(path, **{k: v for k, v in arrays.items() if not k.endswith("rows_estimate")})
    names = [picture.name for picture in write_pictures(read_results(tmp_path), tmp_path)]
    assert names == ["learning_curves.png", "spectra_rgb_unseen.png"]


def test_set_of_several_cases_has_a_table_over_them() -> None:
    results = results_of(1)
    runs = tuple(
        scaled(replace(run, case=f"stage-{k}"), k) for run in results.runs for k in (1, 2, 3)
    )
    text = results_markdown(replace(results, runs=runs))
    at = text.index("## All cases: seen, RMSE")
    row = next(line for line in text[at:].splitlines() if line.startswith("| ridge"))
    cells = [cell.strip() for cell in row.strip("|").split("|")[1:]]
    mean = np.mean([image.rmse for image in results.of("rgb", "ridge")[0].images][::2])
    assert [float(cell) for cell in cells[:3]] == pytest.approx(mean * np.arange(1, 4), abs=1e-4)
    assert cells[3] == f"{2 * mean:.4f} ± {mean:.4f}"
