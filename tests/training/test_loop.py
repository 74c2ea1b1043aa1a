"""The training loop: resumed equals uninterrupted, bad losses stop it, best weights are kept."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.grounds import write_field_cube, write_image
from tests.helpers.models import CONFIG, draw_batch, tiny_library, tiny_model, tiny_network
from uavssr.data.batches import Batch
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig
from uavssr.data.training_data import TrainingData, load_data
from uavssr.errors import IncompleteRun, InputRefused, OutputError, UsageError
from uavssr.evaluation.validation import ImageErrors, ValidationImage, validation_images
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import Stf
from uavssr.model.weights import load_model
from uavssr.spectra.library import SpectralLibrary
from uavssr.training import loop as training
from uavssr.training.config import TrainingConfig
from uavssr.training.loop import Execution, TrainingResult, initial_network, train
from uavssr.training.loss import image_loss
from uavssr.training.state import SMOOTHED_STEPS, TrainState

CONFIG_OF_RUN = TrainingConfig(
    steps=6,
    batch=2,
    size=8,
    warmup=2,
    prior_scenes=6,
    checkpoint=2,
    seed=3,
    bags=2,
    bag_pool=4,
)


class Stopped(Exception):
    """Simulates a kill."""


def stop_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def progress(now: int, figures: dict[str, float]) -> None:
        if now == step:
            raise Stopped

    return progress


@pytest.fixture(scope="module", autouse=True)
def quick_calibration() -> Iterator[None]:
    """The calibration after training would take most of the time; it is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CALIBRATION_BATCHES", 1)
        yield


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    return tiny_library()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """A pair, a cube and a library, with validation blocks."""
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif", side=96)
    write_field_cube(folder / "cube", side=96, shift=(0.06, 0.0))
    write_field_cube(folder / "other", side=96, east=600000.0)
    tiny_library().save(folder / "lib.npz")
    path = folder / "pairs.csv"
    path.write_text("msi,hsi,kind,sensor\nmsi.tif,cube,,p4m\n,other,,\n,lib.npz,spectra,\n")
    manifest = read_manifest(path)
    return load_data(folder / "run", manifest, DataConfig(guard=2), size=8, seed=3)


def run(
    data: SpectralLibrary | TrainingData,
    out: Path,
    config: TrainingConfig = CONFIG_OF_RUN,
    **options: object,
) -> TrainingResult:
    return train(data, out, start=CONFIG, config=config, **options)


@pytest.fixture(scope="module")
def finished(library: SpectralLibrary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("finished")
    run(library, out)
    return out


def checkpoint_of(out: Path) -> dict[str, object]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def weights_of(network: PGUNet) -> dict[str, Tensor]:
    """All weights but the factor that is fitted after training."""
    return {key: value for key, value in network.state_dict().items() if key != "sigma_scale"}


def without_scale(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key != "sigma_scale"}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


LOGS = ["log.csv", "validation.csv"]


def draw(library: SpectralLibrary, step: int) -> Batch:
    return draw_batch(library, seed=3, step=step, count=2, size=8)


def assert_equal(one: object, two: object, where: str = "") -> None:
    """Nested dictionaries, lists and tensors, bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        assert one.keys() == two.keys(), where
        for key, value in one.items():
            assert_equal(value, two[key], f"{where}/{key}")
    elif isinstance(one, list) and isinstance(two, list):
        assert len(one) == len(two), where
        for i, (first, second) in enumerate(zip(one, two, strict=True)):
            assert_equal(first, second, f"{where}/{i}")
    elif isinstance(one, Tensor) and isinstance(two, Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where


# --- resumed equals uninterrupted -----------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 3, 5], ids=["just saved", "between", "at the end"])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    step: int, library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        run(library, tmp_path, progress=stop_at(step))
    saved = checkpoint_of(tmp_path)
    assert saved["step"] == step // 2 * 2
    network = run(library, tmp_path).network
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))
    assert (tmp_path / "log.csv").read_bytes() == (finished / "log.csv").read_bytes()
    assert_equal(weights_of(network), without_scale(checkpoint_of(finished)["average"]))


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_again(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        run(library, tmp_path, progress=stop_at(1))
    assert not (tmp_path / "checkpoint.pt").exists()
    run(library, tmp_path)
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))


def test_a_finished_run_is_not_repeated(
    library: SpectralLibrary, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Batch:
        raise AssertionError("a step was made")

    monkeypatch.setattr(TrainingData, "draw", never)
    network = run(library, finished).network
    assert not network.training
    assert_equal(weights_of(network), without_scale(checkpoint_of(finished)["average"]))


def test_the_average_is_the_moving_average_of_the_weights(
    library: SpectralLibrary, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, step, seen = "stages.0.znet.head.weight", training._step, []

    def watched(state: TrainState, *rest: object) -> dict[str, float]:
        figures = step(state, *rest)
        seen.append(state.model.state_dict()[key].clone())
        return figures

    monkeypatch.setattr(training, "_step", watched)
    run(library, tmp_path)
    expected = torch.zeros_like(seen[0])  # heads start at zero
    for number, weights in enumerate(seen):
        decay = min(CONFIG_OF_RUN.average, (number + 1) / (number + 10))
        expected = decay * expected + (1 - decay) * weights
    saved = checkpoint_of(finished)
    torch.testing.assert_close(saved["average"][key], expected)
    assert torch.equal(saved["model"][key], seen[-1])
    for name in ("mean", "components", "residual", "covariance"):  # no weights, not averaged
        assert torch.equal(saved["model"][name], saved["average"][name])


def test_the_seed_makes_another_run(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    run(library, tmp_path, replace(CONFIG_OF_RUN, seed=4))
    one, two = (checkpoint_of(out)["model"] for out in (finished, tmp_path))
    assert not torch.equal(one["stages.0.znet.head.weight"], two["stages.0.znet.head.weight"])


def test_the_log_has_one_row_a_step(finished: Path) -> None:
    with (finished / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(step) for step in range(6)]
    assert [row["blind"] for row in rows] == ["1", "0"] * 3
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert all(bool(row["nll"]) == (row["blind"] == "1") for row in rows)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"steps": 8}, {"batch": 3}, {"seed": 1}, {"learning_rate": 1e-3}, {"average": 0.9}]
)
def test_a_checkpoint_of_other_settings_is_refused_by_their_name(
    change: dict[str, int | float], library: SpectralLibrary, finished: Path
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    with pytest.raises(UsageError, match=f"other settings: {next(iter(change))}; use another"):
        run(library, finished, replace(CONFIG_OF_RUN, **change))
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(
    library: SpectralLibrary, finished: Path
) -> None:
    with pytest.raises(UsageError, match="other settings: stages"):
        train(library, finished, start=replace(CONFIG, stages=3), config=CONFIG_OF_RUN)


@pytest.mark.parametrize("key", ["steps", "batch", "size", "checkpoint", "prior_scenes"])
def test_settings_that_make_no_sense_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match=f"training.{key} must be greater than 0, got 0"):
        TrainingConfig(**{key: 0})


# --- a loss that is not finite --------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_a_bad_loss_stops_the_run_and_keeps_the_last_checkpoint(
    value: float,
    library: SpectralLibrary,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    def spoilt(*parts: object) -> tuple[Tensor, dict[str, float]]:
        nonlocal calls
        loss, figures = image_loss(*parts)
        calls += 1
        return (loss * value if calls == 4 else loss), figures

    monkeypatch.setattr(training, "image_loss", spoilt)
    with pytest.raises(IncompleteRun, match=r"the loss became (nan|inf) at step 3") as caught:
        run(library, tmp_path)
    assert caught.value.exit_code == 6
    assert str(tmp_path) in str(caught.value)
    saved = checkpoint_of(tmp_path)
    assert saved["step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["model"].values())
    assert names_in(tmp_path) == ["checkpoint.pt", *LOGS]
    # and the run goes on from there as if nothing had happened
    monkeypatch.setattr(training, "image_loss", image_loss)
    run(library, tmp_path)
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))


def test_a_bad_gradient_of_a_good_loss_stops_the_run_too(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square root has no gradient at zero; one such step would make every weight NaN."""

    def spoilt(network: PGUNet, *rest: object) -> tuple[Tensor, dict[str, float]]:
        loss, figures = image_loss(network, *rest)
        return loss + (0 * next(network.parameters())).abs().sum().sqrt(), figures

    monkeypatch.setattr(training, "image_loss", spoilt)
    with pytest.raises(IncompleteRun, match="the loss became nan at step 0"):
        run(library, tmp_path, replace(CONFIG_OF_RUN, checkpoint=1))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_failed_checkpoint_leaves_the_one_before(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while the second checkpoint is written."""
    save, calls = torch.save, 0

    def full(content: object, file: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            file.write(b"PK\x03\x04")
            raise OSError(28, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        run(library, tmp_path)
    assert checkpoint_of(tmp_path)["step"] == 2
    assert names_in(tmp_path) == ["checkpoint.pt", *LOGS]


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
def test_a_damaged_checkpoint_is_refused_by_name(
    library: SpectralLibrary, finished: Path, tmp_path: Path, kept: int
) -> None:
    raw = (finished / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(raw[:kept])
    with pytest.raises(InputRefused, match="checkpoint is damaged"):
        run(library, tmp_path)


def test_a_checkpoint_of_other_spectra_is_refused(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    shutil.copy(finished / "checkpoint.pt", tmp_path)
    other = replace(library, spectra=library.spectra * np.float32(0.9))
    with pytest.raises(UsageError, match="other settings: data"):
        run(other, tmp_path)


def test_the_log_of_a_resumed_run_holds_each_step_once(
    library: SpectralLibrary, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        run(library, tmp_path, progress=stop_at(4))
    run(library, tmp_path)
    lines = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == list(range(CONFIG_OF_RUN.steps))


def test_training_on_one_batch_lowers_its_loss(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = draw(library, 0)
    monkeypatch.setattr(TrainingData, "draw", lambda *_, **__: batch)
    config = replace(CONFIG_OF_RUN, steps=60, checkpoint=60, learning_rate=1e-2)
    losses: list[float] = []
    run(library, tmp_path, config, progress=lambda _, figures: losses.append(figures["loss"]))
    assert len(losses) == 60
    blind, known = losses[::2], losses[1::2]
    for series in (blind, known):
        assert np.mean(series[-3:]) < 0.92 * series[0]


# --- explosion ------------------------------------------------------------------------------------


def state_of(recent: list[float]) -> TrainState:
    network = tiny_network()
    state = TrainState(
        model=network,
        average=network,
        optimiser=torch.optim.AdamW(network.parameters()),
        settings={},
    )
    for value in recent:
        state.has_exploded({"known_rmse": value})
    return state


@pytest.mark.parametrize(
    ("before", "after", "exploded"),
    [
        ([0.2] * SMOOTHED_STEPS, [1.2] * SMOOTHED_STEPS, True),
        ([0.2] * SMOOTHED_STEPS, [0.9] * SMOOTHED_STEPS, False),  # large, but below EXPLOSION_RMSE
        ([0.5] * SMOOTHED_STEPS, [1.5] * SMOOTHED_STEPS, False),  # large from the beginning
        ([0.2] * SMOOTHED_STEPS, [5.0], False),  # one odd batch
        ([9.0] * (SMOOTHED_STEPS - 1), [], False),  # too early to tell
    ],
)
def test_a_run_has_exploded_when_the_mean_of_its_errors_has(
    before: list[float], after: list[float], *, exploded: bool
) -> None:
    state = state_of(before)
    detected = [state.has_exploded({"blind_rmse": value}) for value in after]
    assert any(detected) == exploded


def test_an_exploding_run_stops_with_its_last_good_checkpoint(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 41: 6, last good checkpoint kept."""
    monkeypatch.setattr("uavssr.training.state.EXPLOSION_RMSE", 0.0)

    def spoilt(*parts: object) -> tuple[Tensor, dict[str, float]]:
        loss, figures = image_loss(*parts)
        nonlocal calls
        calls += 1
        return loss, {key: value * (50 if calls > 30 else 1) for key, value in figures.items()}

    calls = 0
    monkeypatch.setattr(training, "image_loss", spoilt)
    config = replace(CONFIG_OF_RUN, steps=60, checkpoint=10)
    with pytest.raises(IncompleteRun, match="the relative RMSE rose from") as caught:
        run(library, tmp_path, config)
    assert caught.value.exit_code == 6
    assert checkpoint_of(tmp_path)["step"] == 30
    assert "checkpoint.previous.pt" in names_in(tmp_path)


def test_a_network_that_breaks_down_is_a_bad_loss(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 41: an error of the network must not stop one process alone."""

    def broken(*_: object, **__: object) -> None:
        raise IncompleteRun("the network gave NaN or infinity for the STF")

    monkeypatch.setattr(PGUNet, "forward", broken)
    with pytest.raises(IncompleteRun, match="the loss became nan at step 0"):
        run(library, tmp_path)


# --- pairs, shards, precision ---------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 2])
def test_a_resumed_run_on_pairs_is_the_run_that_was_not_stopped(
    field: TrainingData, tmp_path: Path, shards: int
) -> None:
    """Row 40: the same loss curve, with real images, cubes and simulated scenes."""
    config = replace(CONFIG_OF_RUN, shards=shards, steps=8)
    with pytest.raises(Stopped):
        run(field, tmp_path / "stopped", config, progress=stop_at(5))
    run(field, tmp_path / "stopped", config)
    run(field, tmp_path / "whole", config, execution=Execution(workers=2))
    assert_equal(checkpoint_of(tmp_path / "stopped"), checkpoint_of(tmp_path / "whole"))
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("stopped", "whole")]
    assert logs[0] == logs[1]


def test_real_images_train_without_a_true_stf(field: TrainingData, tmp_path: Path) -> None:
    figures: dict[int, dict[str, float]] = {}
    run(
        field,
        tmp_path,
        replace(CONFIG_OF_RUN, steps=24, checkpoint=24),
        progress=figures.setdefault,
    )
    batches = [field.draw(seed=3, step=step, shard=0, count=2, size=8) for step in range(24)]
    real = [step for step, batch in enumerate(batches) if batch.theta is None]
    assert real
    for step, parts in figures.items():
        blind = step % 2 == 0
        assert ("blind_nll" in parts) == (blind and step not in real)
        assert np.isfinite(parts["loss"])


def test_shards_are_averaged(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shards of the same scenes make the step that one of them makes, not three times it."""
    batch = draw(library, 0)
    monkeypatch.setattr(TrainingData, "draw", lambda *_, **__: batch)
    config = replace(CONFIG_OF_RUN, steps=1, checkpoint=1, bags=0)
    moments = []
    for shards in (1, 3):
        run(library, tmp_path / str(shards), replace(config, shards=shards))
        state = checkpoint_of(tmp_path / str(shards))["optimiser"]["state"]
        moments.append(torch.cat([each["exp_avg"].flatten() for each in state.values()]))
    # Adam's first moment after one step is a tenth of the gradient
    assert (moments[0] - moments[1]).norm() < 1e-4 * moments[0].norm()
    assert moments[0].norm() > 0


def test_each_shard_gets_another_stf_of_the_same_scenes(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a given STF is drawn anew for every shard and every step."""
    batch, forward = draw(library, 1), PGUNet.forward
    given: list[Tensor] = []

    def watched(self: PGUNet, msi: Tensor, stf: Stf, **options: bool) -> object:
        given.extend([] if options["estimate_stf"] else [stf.theta])
        return forward(self, msi, stf, **options)

    monkeypatch.setattr(TrainingData, "draw", lambda *_, **__: batch)
    monkeypatch.setattr(PGUNet, "forward", watched)
    config = replace(CONFIG_OF_RUN, steps=4, checkpoint=4, shards=2, bags=0)
    run(library, tmp_path, config)
    assert len(given) == 4  # steps 1 and 3
    for first, second in combinations(given, 2):
        assert not torch.equal(first, second)


def test_workers_change_nothing(library: SpectralLibrary, finished: Path, tmp_path: Path) -> None:
    for workers in (1, 5):
        run(library, tmp_path / str(workers), execution=Execution(workers=workers))
        assert_equal(checkpoint_of(tmp_path / str(workers)), checkpoint_of(finished))


def test_an_error_of_a_worker_is_an_error_of_the_run(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = TrainingData.draw

    def damaged(data: TrainingData, *, step: int, **key: int) -> Batch:
        if step == 3:
            raise InputRefused("a damaged patch")
        return intact(data, step=step, **key)

    monkeypatch.setattr(TrainingData, "draw", damaged)
    with pytest.raises(InputRefused, match="a damaged patch"):
        run(library, tmp_path, execution=Execution(workers=2))
    assert checkpoint_of(tmp_path)["step"] == 2


def test_half_precision_trains_almost_the_same(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    run(library, tmp_path, replace(CONFIG_OF_RUN, precision="bf16"))

    def losses(out: Path) -> np.ndarray:
        with (out / "log.csv").open(newline="") as file:
            return np.array([float(row["loss"]) for row in csv.DictReader(file)])

    assert not np.array_equal(losses(tmp_path), losses(finished))
    np.testing.assert_allclose(losses(tmp_path), losses(finished), rtol=0.1)


# --- validation -----------------------------------------------------------------------------------


def errors_of(rmse: float) -> list[ImageErrors]:
    return [ImageErrors(image="a", rmse=rmse, sam=1.0, ridge_rmse=1.0, ridge_sam=1.0)]


@pytest.mark.parametrize(("keep", "step"), [("best", 4), ("last", 6)])
def test_the_best_weights_are_kept_or_the_last(
    keep: str,
    step: int,
    library: SpectralLibrary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = validation_images(TrainingData.of(library), seed=0, size=8)[:1]
    figures = {2: 0.9, 4: 0.7, 6: 0.8}
    averages: dict[int, dict[str, Tensor]] = {}

    def recorded(network: PGUNet, _: object, **__: object) -> list[ImageErrors]:
        made = 2 * (len(averages) + 1)
        averages[made] = {key: value.clone() for key, value in network.state_dict().items()}
        return errors_of(figures[made])

    monkeypatch.setattr(training, "validate", recorded)
    config = replace(CONFIG_OF_RUN, validate=2, keep=keep)
    result = run(library, tmp_path, config, images=images)
    assert result.step == step
    assert result.errors == tuple(errors_of(figures[step]))
    assert_equal(weights_of(result.network), without_scale(averages[step]))
    again = run(library, tmp_path, config, images=images)  # nothing left to do
    assert (again.step, again.errors) == (result.step, result.errors)
    assert_equal({**again.network.state_dict()}, {**result.network.state_dict()})


def test_validation_happens_every_so_often_and_at_the_end(
    field: TrainingData, tmp_path: Path
) -> None:
    images: list[ValidationImage] = validation_images(field, seed=0, size=8)
    found = run(field, tmp_path, replace(CONFIG_OF_RUN, validate=4), images=images)
    with (tmp_path / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "3", "5", "5"]
    assert {row["image"] for row in rows} == {each.image for each in found.errors}
    last = [row for row in rows if int(row["step"]) == found.step - 1]
    for row, each in zip(last, found.errors, strict=True):
        assert float(row["rmse"]) == pytest.approx(each.rmse, rel=1e-5)


def test_validation_moves_no_weights(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    images = validation_images(TrainingData.of(library), seed=0, size=8)
    run(library, tmp_path, replace(CONFIG_OF_RUN, validate=1), images=images)
    assert_equal(checkpoint_of(tmp_path)["model"], checkpoint_of(finished)["model"])


# --- the start ------------------------------------------------------------------------------------


def test_the_initial_network_is_the_wiener_estimate(library: SpectralLibrary) -> None:
    data = TrainingData.of(library)
    network = initial_network(data, CONFIG, CONFIG_OF_RUN)
    again = initial_network(data, CONFIG, CONFIG_OF_RUN)
    assert_equal({**network.state_dict()}, {**again.state_dict()})
    start = Stf.from_prior(draw(library, 2).family)
    image = draw(library, 2).msi
    with torch.no_grad():
        none, all_stages = (network(image, start, estimate_stf=False, stages=k) for k in (0, 2))
    difference = (none.coefficients - all_stages.coefficients).square().mean().sqrt()
    assert difference < 0.5 * none.coefficients.square().mean().sqrt()


def test_a_run_may_start_from_a_model(library: SpectralLibrary, tmp_path: Path) -> None:
    model = load_model(tiny_model(tmp_path / "model"))
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    config = replace(CONFIG_OF_RUN, steps=2, learning_rate=1e-9)
    found = train(library, tmp_path / "run", start=model, config=config).network
    assert found.config == model.network.config
    for key, value in weights_of(found).items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-6)
    assert_equal({**model.network.state_dict()}, before)  # it is not moved itself
    assert not next(model.network.parameters()).requires_grad
    for other in (CONFIG, load_model(tiny_model(tmp_path / "b", network=tiny_network(seed=1)))):
        with pytest.raises(UsageError, match="other settings: init"):
            train(library, tmp_path / "run", start=other, config=config)


def test_a_state_comes_back_from_its_content(library: SpectralLibrary) -> None:
    state = state_of([0.3] * 7)
    state.step = 5
    state.keep_if_better(errors_of(0.5), always=False)
    state.keep_if_better(errors_of(0.6), always=False)  # worse
    assert (state.best_step, state.best_errors[0].rmse) == (5, 0.5)
    other = state_of([])
    other.restore(state.content())
    assert_equal(other.content(), state.content())
    assert asdict(other.best_errors[0]) == asdict(state.best_errors[0])
