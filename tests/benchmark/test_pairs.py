"""The protocol `pairs`: flights are split, and known plots are not judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.models import GRID, P4M, tiny_model, tiny_network
from tests.helpers.plots import FLIGHTS, seen_plots, write_npz
from uavssr.benchmark import FACTS_FILE, Case, pairs_cases, read_results, results_markdown
from uavssr.benchmark.pair_tables import flight_errors
from uavssr.benchmark.pairs import NOTHING_KNOWN
from uavssr.benchmark.released import ReleasedMethod
from uavssr.benchmark.run import RunPlace, run_method
from uavssr.data import PlotPairs, comparison_grid
from uavssr.errors import UsageError
from uavssr.evaluation import INTERVAL_90, blind_plot_stf, plot_errors
from uavssr.evaluation.baselines import BASELINES, CameraImage, FitSettings, FittedMethod, Method
from uavssr.evaluation.baselines.martinez import FineTuning, TransferMethod
from uavssr.evaluation.baselines.network_method import FittedNetwork
from uavssr.sensors import HEADWALL_NANO
from uavssr.spectra import read_plot_table

KNOWN = "3 known plots"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("pairs") / "plots.npz", seen_plots(count=8))


@pytest.fixture(scope="module")
def case(table: Path) -> Case:
    return pairs_cases(table, sensor="p4m", test=("june",), known=(3, 7), draws=4)[0]


def test_test_flights_are_not_learned_from(case: Case, table: Path) -> None:
    june = read_plot_table(table, P4M).of("june")
    assert isinstance(case.training, PlotPairs)
    assert [flight.name for flight in case.training.flights] == ["august", "july"]
    values, spectra = case.training.pixels(0, 1000)
    assert values.shape == (16, 5)
    assert spectra.shape == (16, len(case.training.grid))
    drawn = case.training.draw([0], 40)
    learned = {tuple(row) for row in (*values.tolist(), *drawn.msi[:, :, 0, 0].tolist())}
    assert len(learned) == 16
    assert not learned & {tuple(row) for row in june.msi.astype(np.float32).tolist()}


def test_patches_are_uniform_plots_apart_from_those_of_validation(case: Case) -> None:
    batch, checks = case.training.draw([1, 2], 30, size=6), case.training.validation()
    assert batch.msi.shape == (30, 5, 6, 6)
    for cube in (batch.msi, batch.hsi):
        assert (cube == cube[:, :, :1, :1]).all()
    assert torch.equal(batch.msi, case.training.draw([1, 2], 30, size=6).msi)
    drawn, held_out = (
        {tuple(row) for row in part.msi[:, :, 0, 0].tolist()} for part in (batch, checks)
    )
    assert not drawn & held_out


def test_known_plots_are_left_out_of_what_is_judged(case: Case) -> None:
    assert list(case.tests) == [NOTHING_KNOWN, KNOWN]  # 7 known of 8 leave too few
    whole = case.tests[NOTHING_KNOWN][0]
    assert whole.image.apart
    assert len(case.tests[KNOWN]) == 4
    for drawn in case.tests[KNOWN]:
        known = drawn.image.known
        assert known is not None
        parts = np.concatenate([drawn.image.msi[:, 0].T, known.msi])
        assert drawn.cube.shape[2] == 5
        assert np.array_equal(np.sort(parts, 0), np.sort(whole.image.msi[:, 0].T, 0))
    assert len({drawn.camera for drawn in case.tests[KNOWN]}) == 4


def test_without_test_flights_each_is_predicted_from_the_others(table: Path) -> None:
    cases = pairs_cases(table, sensor="p4m", known=())
    assert [case.name for case in cases] == [f"plots-{name}" for name in sorted(FLIGHTS)]
    assert {case.table for case in cases} == {"plots"}
    for case in cases:
        assert isinstance(case.training, PlotPairs)
        scenes = {image.scene for image in case.tests[NOTHING_KNOWN]}
        known = {flight.name for flight in case.training.flights}
        assert known | scenes == set(FLIGHTS)
        assert not known & scenes


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"test": ("may",)}, "no flight 'may' in plots"),
        ({"test": FLIGHTS}, "no flight beside"),
        ({"bands": ("swir",)}, "p4m has no band swir"),
        ({"sensor": None}, "a table of plots without a camera"),
    ],
)
def test_what_does_not_exist_is_refused(
    table: Path, options: dict[str, tuple[str, ...]], fact: str
) -> None:
    with pytest.raises(UsageError, match=fact):
        pairs_cases(table, **({"sensor": "p4m"} | options))  # type: ignore[arg-type]


def test_chosen_bands_keep_the_order_of_the_camera(table: Path) -> None:
    case = pairs_cases(table, sensor="p4m", bands=("nir", "green"), known=())[0]
    plots = read_plot_table(table, P4M).of(case.tests[NOTHING_KNOWN][0].scene)
    image = case.tests[NOTHING_KNOWN][0].image.msi
    assert np.allclose(image[:, 0].T, plots.msi[:, [1, 4]])


def test_fine_spectra_are_compared_on_the_bands_of_the_headwall() -> None:
    coarse = np.arange(400.0, 930.0, 6.7)
    assert np.array_equal(comparison_grid(coarse, "x").centres, coarse)
    fine = comparison_grid(np.arange(350.0, 2500.0), "x")
    assert np.array_equal(fine.centres, HEADWALL_NANO.centres)


def test_released_model_predicts_plots_as_evaluate_does(
    case: Case, table: Path, tmp_path: Path
) -> None:
    network = tiny_network(asleep=True)
    method = ReleasedMethod(name="tiny", model=str(tiny_model(tmp_path / "tiny", network=network)))
    image = case.tests[NOTHING_KNOWN][0]
    prediction = method.fit(case.training, FitSettings()).predict(image.image)
    june = read_plot_table(table, P4M).of("june")
    errors = plot_errors(network, blind_plot_stf(network, P4M, june.msi), june)
    error = prediction.cube - image.cube
    assert prediction.sigma is not None
    assert np.sqrt(np.square(error).mean()) == pytest.approx(errors.rmse, rel=1e-3)
    covered = np.abs(error) < INTERVAL_90 * prediction.sigma
    assert covered.mean() == pytest.approx(errors.coverage, abs=0.01)


@pytest.mark.parametrize("adapt", [False, True])
def test_known_flights_and_plots_reduce_the_error_of_level(
    case: Case, tmp_path: Path, *, adapt: bool
) -> None:
    """All images are darker than their ground by about 0.74."""
    model = str(tiny_model(tmp_path / "tiny", network=tiny_network(asleep=True)))
    blind, given = (
        ReleasedMethod(name="tiny", model=model, profile=p, adapt=a).fit(
            case.training, FitSettings()
        )
        for p, a in ((False, False), (True, adapt))
    )

    def error(fitted: FittedMethod, name: str) -> float:
        values = [
            np.square(fitted.predict(image.image).cube - image.cube).mean()
            for image in case.tests[name]
        ]
        return float(np.sqrt(np.mean(values)))

    assert error(given, NOTHING_KNOWN) < 0.9 * error(blind, NOTHING_KNOWN)
    assert error(blind, KNOWN) < 0.9 * error(blind, NOTHING_KNOWN)


def test_spatial_network_sees_each_plot_as_uniform_ground(case: Case) -> None:
    torch.manual_seed(0)
    fitted = FittedNetwork(nn.Conv2d(5, len(GRID), 3, padding=1), steps=0, curve=(), given=False)
    image = case.tests[NOTHING_KNOWN][0].image
    cube = fitted.predict(image).cube
    for plot in range(3):
        alone = CameraImage(msi=image.msi[:, :, [plot]], family=image.family, apart=True)
        assert np.allclose(fitted.predict(alone).cube[:, 0, 0], cube[:, 0, plot], atol=1e-5)


def test_few_pairs_help_more_after_training_on_other_flights(case: Case) -> None:
    trained = BASELINES["martinez"]
    scratch = TransferMethod(name="scratch", pairs="needed")  # the same steps
    fits = {
        method: method.fit(case.training, FitSettings(steps=200)) for method in (trained, scratch)
    }

    def error(method: Method, name: str) -> float:
        errors = [
            fits[method].predict(image.image).cube - image.cube for image in case.tests[name][:2]
        ]
        return float(np.mean([np.square(error).mean() for error in errors]))

    assert not scratch.applies_to(case.tests[NOTHING_KNOWN][0].image)
    assert error(trained, KNOWN) < error(trained, NOTHING_KNOWN)
    assert error(trained, KNOWN) < error(scratch, KNOWN)


def test_fine_tuning_starts_anew_for_each_image(case: Case) -> None:
    fitted = BASELINES["martinez"].fit(case.training, FitSettings(steps=12))
    first, second = (image.image for image in case.tests[KNOWN][:2])
    before = fitted.predict(first).cube
    fitted.predict(second)
    assert np.array_equal(fitted.predict(first).cube, before)


def test_flights_held_out_in_turn_are_one_table(table: Path, tmp_path: Path) -> None:
    """Errors by flight are means over draws; deviations are those of numpy."""
    tuning = FineTuning(steps=3, rate=1e-3)
    short = TransferMethod(name="short", pairs="needed", tuning=tuning)
    cases = pairs_cases(table, sensor="p4m", known=(3,), draws=2)
    for case in cases:
        for method in (BASELINES["ridge"], short):
            place = RunPlace(folder=tmp_path, case=case.name, method=method.name, seed=0)
            run_method(case, method, place, FitSettings())
    facts = {"protocol": "pairs", "cases": {cases[0].table: cases[0].title}}
    (tmp_path / FACTS_FILE).write_text(json.dumps(facts))
    results = read_results(tmp_path)
    assert list(results.cases) == ["plots"]
    ridge, scratch = flight_errors(results, "plots")
    assert (ridge.set, ridge.method, ridge.draw_deviation) == (NOTHING_KNOWN, "ridge", None)
    assert ridge.flights == tuple(sorted(FLIGHTS))
    (run,) = results.of("plots", "short")
    errors = np.array([image.rmse for image in run.images]).reshape(3, 2)
    assert scratch.rmse_by_flight == pytest.approx(errors.mean(1))
    assert scratch.flight_deviation == pytest.approx(errors.mean(1).std(ddof=1))
    assert scratch.draw_deviation == pytest.approx(np.sqrt(errors.var(1, ddof=1).mean()))
    text = results_markdown(results)
    assert f"{scratch.means['rmse']:.4f}" in text
    assert "each flight from the 2 others" in text
