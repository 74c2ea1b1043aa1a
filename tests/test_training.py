"""Training: resumed equals uninterrupted, bad losses stop it, and what it writes can be loaded."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models import CONFIG, GRID, tiny_library, tiny_network
from uavssr import __version__, training
from uavssr.data.library import SpectralLibrary
from uavssr.errors import IncompleteRun, InputRefused, OutputError, UsageError
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Stf
from uavssr.model.weights import load_model
from uavssr.training import (
    Batch,
    TrainingConfig,
    draw_batch,
    initial_network,
    loss_of,
    train,
    train_model,
)

CONFIG_OF_RUN = TrainingConfig(
    steps=6, batch=2, size=8, warmup=2, prior_scenes=6, checkpoint=2, seed=3
)


class Stopped(Exception):
    """Stands for a kill."""


def stop_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def progress(now: int, figures: dict[str, float]) -> None:
        if now == step:
            raise Stopped

    return progress


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    return tiny_library()


def run(library: SpectralLibrary, out: Path, config: TrainingConfig = CONFIG_OF_RUN) -> PGUNet:
    return train(library, out, network=CONFIG, config=config)


@pytest.fixture(scope="module")
def finished(library: SpectralLibrary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("finished")
    run(library, out)
    return out


def checkpoint_of(out: Path) -> dict[str, object]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


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
        train(library, tmp_path, network=CONFIG, config=CONFIG_OF_RUN, progress=stop_at(step))
    saved = checkpoint_of(tmp_path)
    assert saved["step"] == step // 2 * 2
    network = run(library, tmp_path)
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))
    average = checkpoint_of(finished)["average"]
    assert_equal({**network.state_dict()}, average)


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_again(
    library: SpectralLibrary, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(library, tmp_path, network=CONFIG, config=CONFIG_OF_RUN, progress=stop_at(1))
    assert not (tmp_path / "checkpoint.pt").exists()
    run(library, tmp_path)
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))


def test_a_finished_run_is_not_repeated(
    library: SpectralLibrary, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Batch:
        raise AssertionError("a step was made")

    monkeypatch.setattr(training, "draw_batch", never)
    network = run(library, finished)
    assert not network.training
    assert_equal({**network.state_dict()}, checkpoint_of(finished)["average"])


def test_the_average_is_the_moving_average_of_the_weights(
    library: SpectralLibrary, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, step, seen = "stages.0.znet.head.weight", training._step, []

    def watched(model: PGUNet, *rest: object) -> dict[str, float]:
        figures = step(model, *rest)
        seen.append(model.state_dict()[key].clone())
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
        train(library, finished, network=replace(CONFIG, stages=3), config=CONFIG_OF_RUN)


@pytest.mark.parametrize("key", ["steps", "batch", "size", "checkpoint", "prior_scenes"])
def test_settings_that_make_no_sense_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match=f"{key} must be positive, got 0"):
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
        loss, figures = loss_of(*parts)
        calls += 1
        return (loss * value if calls == 4 else loss), figures

    monkeypatch.setattr(training, "loss_of", spoilt)
    with pytest.raises(IncompleteRun, match=r"the loss became (nan|inf) at step 3") as caught:
        run(library, tmp_path)
    assert caught.value.exit_code == 6
    assert str(tmp_path) in str(caught.value)
    saved = checkpoint_of(tmp_path)
    assert saved["step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["model"].values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv"]
    # and the run goes on from there as if nothing had happened
    monkeypatch.setattr(training, "loss_of", loss_of)
    run(library, tmp_path)
    assert_equal(checkpoint_of(tmp_path), checkpoint_of(finished))


def test_a_bad_gradient_of_a_good_loss_stops_the_run_too(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square root has no gradient at zero; one such step would make every weight NaN."""

    def spoilt(network: PGUNet, *rest: object) -> tuple[Tensor, dict[str, float]]:
        loss, figures = loss_of(network, *rest)
        return loss + (0 * network.log_noise).abs().sum().sqrt(), figures

    monkeypatch.setattr(training, "loss_of", spoilt)
    with pytest.raises(IncompleteRun, match="the loss became nan at step 0"):
        train(library, tmp_path, network=CONFIG, config=replace(CONFIG_OF_RUN, checkpoint=1))
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv"]


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
    with pytest.raises(UsageError, match="other settings: library"):
        run(other, tmp_path)


def test_the_log_of_a_resumed_run_holds_each_step_once(
    library: SpectralLibrary, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(library, tmp_path, network=CONFIG, config=CONFIG_OF_RUN, progress=stop_at(4))
    run(library, tmp_path)
    lines = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == list(range(CONFIG_OF_RUN.steps))


# --- data -----------------------------------------------------------------------------------------


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    family = {f"family.{f.name}": getattr(batch.family, f.name) for f in fields(ResponseFamily)}
    return {"msi": batch.msi, "hsi": batch.hsi, "theta": batch.theta, "rows": batch.rows, **family}


def test_a_batch_is_a_function_of_the_seed_and_the_step(library: SpectralLibrary) -> None:
    drawn = {
        (seed, step): tensors_of(draw_batch(library, replace(CONFIG_OF_RUN, seed=seed), step))
        for seed, step in ((0, 5), (0, 6), (1, 5))
    }
    np.random.default_rng().random(10)
    torch.manual_seed(99)
    again = tensors_of(draw_batch(library, replace(CONFIG_OF_RUN, seed=0, steps=99), 5))
    assert_equal(again, drawn[0, 5])
    for other in ((0, 6), (1, 5)):
        assert not torch.equal(drawn[other]["hsi"], drawn[0, 5]["hsi"])


def test_a_batch_has_the_shapes_it_says(library: SpectralLibrary) -> None:
    counts = set()
    for step in range(20):
        batch = draw_batch(library, CONFIG_OF_RUN, step)
        count = batch.msi.shape[1]
        counts.add(count)
        assert batch.msi.shape == (2, count, 8, 8)
        assert batch.hsi.shape == (2, len(GRID), 8, 8)
        assert batch.theta.shape == (2, count, 3)
        assert batch.rows.shape == (2, count, len(GRID))
        assert batch.family.curves.shape[:2] == (2, count)
        assert all(each.dtype == torch.float32 for each in tensors_of(batch).values())
        assert all(torch.isfinite(each).all() for each in tensors_of(batch).values())
    assert len(counts) > 2


def test_the_image_of_a_batch_is_its_cube_seen_by_its_rows(library: SpectralLibrary) -> None:
    """Up to noise, at 25 dB or better, and up to shifts of the bands against each other."""
    for step in range(6):
        batch = draw_batch(library, replace(CONFIG_OF_RUN, size=16, batch=4), step)
        clean = torch.einsum("sbc,scyx->sbyx", batch.rows, batch.hsi)
        error = (batch.msi - clean).square().mean((2, 3)).sqrt()
        level = clean.square().mean((2, 3)).sqrt()
        assert (error[:, 0] / level[:, 0]).max() < 0.07  # the first band is never shifted
        assert (error / level).max() < 0.3


# --- the loss -------------------------------------------------------------------------------------


def case_of(library: SpectralLibrary) -> tuple[PGUNet, Batch, Stf]:
    batch = draw_batch(library, CONFIG_OF_RUN, 1)
    return tiny_network(), batch, Stf.expected(batch.family)


@pytest.mark.parametrize("blind", [True, False], ids=["blind", "fixed"])
def test_the_loss_is_zero_at_the_truth_and_grows_away_from_it(
    *, blind: bool, library: SpectralLibrary
) -> None:
    network, batch, start = case_of(library)
    truth = network.basis.project(batch.hsi.flatten(2)).unflatten(-1, (8, 8))
    inside = network.basis.expand(truth)
    rows = start.rows if not blind else batch.rows
    batch = replace(
        batch,
        hsi=inside,
        rows=rows,
        msi=torch.einsum("sbc,scyx->sbyx", rows, inside),
    )
    with torch.no_grad():
        result = network(batch.msi, start, blind=blind)
    exact = replace(start, theta=batch.theta, rows=rows)

    def loss(coefficients: Tensor, stf: Stf) -> tuple[float, dict[str, float]]:
        changed = replace(
            result,
            coefficients=coefficients,
            stf=stf,
            stage_coefficients=(truth, *(coefficients for _ in network.stages)),
            stage_stf=(start, *(stf for _ in network.stages)),
        )
        total, parts = loss_of(network, batch, changed)
        return total.item(), parts

    best, parts = loss(truth, exact)
    prefix = "blind_" if blind else "known_"
    assert parts[prefix + "rmse"] < 1e-6
    assert parts[prefix + "misfit"] < 1e-5
    assert ("blind_nll" in parts) == blind
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    ladder = [best, *(loss(truth + step * noise, exact)[0] for step in (0.03, 0.1, 0.3))]
    assert ladder == sorted(ladder)
    assert ladder[-1] > best + 0.05
    if blind:
        assert parts["blind_stf"] == 0
        other = replace(exact, theta=batch.theta + batch.family.spread)
        assert loss(truth, other)[0] > best + 0.05
        total, parts = loss(truth, replace(exact, rows=1.1 * rows))
        assert parts["blind_stf"] == pytest.approx(0.1, rel=1e-4)
        assert parts["blind_misfit"] == pytest.approx(0.1, rel=1e-4)
        # the cube is the truth still: a tenth of the misfit and a fifth of the rows' error
        assert total - best == pytest.approx(0.1 * 0.1 + 0.2 * 0.1, rel=1e-3)


def test_every_stage_is_supervised_and_the_later_ones_more(library: SpectralLibrary) -> None:
    network, batch, start = case_of(library)
    with torch.no_grad():
        result = network(batch.msi, start, blind=False)
    truth = network.basis.project(batch.hsi.flatten(2)).unflatten(-1, (8, 8))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

    def loss(*scales: float) -> float:
        maps = [truth + scale * noise for scale in scales]
        changed = replace(
            result, coefficients=maps[-1], stage_coefficients=(result.coefficients, *maps[:-1])
        )
        return loss_of(network, batch, changed)[0].item()

    best = loss(0, 0, 0)
    costs = [loss(*scales) - best for scales in ((0.2, 0, 0), (0, 0.2, 0), (0, 0, 0.2))]
    assert 0.01 < costs[0] < costs[1] < costs[2]


def test_the_likelihood_rewards_honest_standard_errors(library: SpectralLibrary) -> None:
    """With errors of one prior deviation the best standard error is one prior deviation."""
    network, batch, start = case_of(library)
    with torch.no_grad():
        result = network(batch.msi, start, blind=True)
    batch = replace(batch, theta=batch.family.spread)

    def likelihood(factor: float) -> float:
        stf = replace(start, deviation=factor * batch.family.spread)
        changed = replace(result, stage_stf=(start, stf, stf))
        return loss_of(network, batch, changed)[1]["blind_nll"]

    assert likelihood(1.0) < min(likelihood(0.6), likelihood(1.6))


def test_training_on_one_batch_lowers_its_loss(
    library: SpectralLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = draw_batch(library, CONFIG_OF_RUN, 0)
    monkeypatch.setattr(training, "draw_batch", lambda *_: batch)
    config = replace(CONFIG_OF_RUN, steps=60, checkpoint=60, learning_rate=1e-2)
    losses: list[float] = []
    train(
        library,
        tmp_path,
        network=CONFIG,
        config=config,
        progress=lambda _, figures: losses.append(figures["loss"]),
    )
    assert len(losses) == 60
    blind, known = losses[::2], losses[1::2]
    for series in (blind, known):
        assert np.mean(series[-3:]) < 0.92 * series[0]


# --- the start and the end ------------------------------------------------------------------------


def test_the_initial_network_is_the_wiener_estimate(library: SpectralLibrary) -> None:
    network = initial_network(library, CONFIG, CONFIG_OF_RUN)
    again = initial_network(library, CONFIG, CONFIG_OF_RUN)
    assert_equal({**network.state_dict()}, {**again.state_dict()})
    start = Stf.expected(draw_batch(library, CONFIG_OF_RUN, 2).family)
    image = draw_batch(library, CONFIG_OF_RUN, 2).msi
    with torch.no_grad():
        none, all_stages = (network(image, start, blind=False, stages=k) for k in (0, 2))
    difference = (none.coefficients - all_stages.coefficients).square().mean().sqrt()
    assert difference < 0.5 * none.coefficients.square().mean().sqrt()


def test_a_trained_model_loads_and_its_card_names_the_digest(
    library: SpectralLibrary, tmp_path: Path
) -> None:
    folder = train_model(library, tmp_path, name="mini", network=CONFIG, config=CONFIG_OF_RUN)
    assert folder == tmp_path / "mini"
    model = load_model(folder)
    assert model.name == "mini"
    assert model.grid.matches(GRID, tolerance=1e-3)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert model.sha256 == digest
    card = (folder / "README.md").read_text()
    assert card.startswith("# mini\n")
    assert f"`{digest}`" in card
    assert "rank 6" in card
    facts = json.loads((folder / "config.json").read_text())["training"]
    assert facts == model.training
    assert facts["seed"] == 3
    assert facts["steps"] == 6
    assert facts["uavssr_version"] == __version__
    assert facts["kinds"] == library.counts()
    assert facts["spectra"] == len(library)
    average = checkpoint_of(tmp_path)["average"]
    assert_equal({**model.network.state_dict()}, average)
