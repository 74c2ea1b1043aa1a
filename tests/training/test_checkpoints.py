"""Files of a run: a complete checkpoint after any failure, one line per step in the logs."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from uavssr.errors import InputRefused, OutputError, UsageError
from uavssr.training import checkpoints
from uavssr.training.checkpoints import (
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    RunLog,
    read_checkpoint,
    write_checkpoint,
)

SETTINGS = {"rank": 6, "steps": 100}


def content(step: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(step)
    weights = {f"layer.{i}": torch.randn(8, 8, generator=generator) for i in range(6)}
    return {"step": step, "model": weights, "settings": dict(SETTINGS), "best": None}


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    return first.keys() == second.keys() and all(
        all(torch.equal(t, second["model"][k]) for k, t in value.items())
        if key == "model"
        else value == second[key]
        for key, value in first.items()
    )


def read(out: Path) -> dict[str, object]:
    saved = read_checkpoint(out, SETTINGS)
    assert saved is not None
    return saved


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, SETTINGS) is None
    write_checkpoint(tmp_path, content(10))
    assert same(read(tmp_path), content(10))


def test_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, content(step))
    assert same(read(tmp_path), content(30))
    assert same(torch.load(tmp_path / PREVIOUS_FILE, weights_only=True), content(20))
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS_FILE, CHECKPOINT_FILE]


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 40."""
    for step in (10, 20):
        write_checkpoint(tmp_path, content(step))
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-100])
    assert same(read(tmp_path), content(10))
    assert "the checkpoint is damaged (BadZipFile); resuming from" in caplog.text
    assert "of step 10" in caplog.text
    (tmp_path / PREVIOUS_FILE).write_bytes(b"")
    with pytest.raises(InputRefused, match="checkpoint is damaged") as caught:
        read_checkpoint(tmp_path, SETTINGS)
    assert CHECKPOINT_FILE in str(caught.value)


def test_a_kill_between_the_two_renames_leaves_the_previous_one(tmp_path: Path) -> None:
    """Row 40."""
    for step in (10, 20):
        write_checkpoint(tmp_path, content(step))
    (tmp_path / CHECKPOINT_FILE).unlink()
    assert same(read(tmp_path), content(10))


@pytest.mark.parametrize("call", ["save", "fsync", "rename"])
def test_a_failure_at_any_point_leaves_a_complete_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Row 40: the disk fills up, or the system refuses."""
    for step in (10, 20):
        write_checkpoint(tmp_path, content(step))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if call == "save":
            patched.setattr(torch, "save", full)
        elif call == "fsync":
            patched.setattr(os, "fsync", full)
        else:
            patched.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="No space left"):
            write_checkpoint(tmp_path, content(30))
    assert read(tmp_path)["step"] in (10, 20)
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]
    write_checkpoint(tmp_path, content(30))
    assert same(read(tmp_path), content(30))


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """torch does not check the checksums of the archive."""
    write_checkpoint(tmp_path, content(10))
    path = tmp_path / CHECKPOINT_FILE
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(raw), 60):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read(tmp_path)
        except InputRefused:
            refused += 1
        else:
            assert same(found, content(10))
    assert refused > 40


@pytest.mark.parametrize("size", [0, 1, 100, 3000])
def test_a_cut_checkpoint_is_refused(tmp_path: Path, size: int) -> None:
    write_checkpoint(tmp_path, content(10))
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputRefused, match="remove it to start again, or use another --out"):
        read_checkpoint(tmp_path, SETTINGS)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"step": 1, "settings": {}, "evil": Evil()}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(InputRefused, match="checkpoint is damaged"):
        read_checkpoint(tmp_path, {})
    assert not (tmp_path / "evil").exists()


def test_other_settings_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, content(10))
    with pytest.raises(UsageError, match="made with other settings: rank, new;"):
        read_checkpoint(tmp_path, {"rank": 7, "steps": 100, "new": 1})


# --- logs -----------------------------------------------------------------------------------------


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_log_has_a_row_a_step_and_empty_cells_where_a_figure_lacks(tmp_path: Path) -> None:
    log = RunLog(tmp_path, start=0)
    log.step(0, blind=True, figures={"loss": 1.25, "blind_rmse": 0.5, "blind_nll": -1.0})
    log.step(1, blind=False, figures={"loss": 2.0, "known_rmse": 0.25})
    first, second = rows(tmp_path / "log.csv")
    assert [first[key] for key in ("step", "blind", "loss", "rmse")] == ["0", "1", "1.25", "0.5"]
    assert (second["blind"], second["rmse"], second["nll"]) == ("0", "0.25", "")


def test_a_resumed_log_holds_each_step_once(tmp_path: Path) -> None:
    figures = {"rmse": 0.1, "sam": 1.0, "ridge_rmse": 0.2, "ridge_sam": 2.0}
    log = RunLog(tmp_path, start=0)
    for step in range(6):
        log.step(step, blind=True, figures={"loss": float(step)})
        if step % 2:
            log.validation(step, 'a "name", with marks', figures)
    log = RunLog(tmp_path, start=4)
    for step in range(4, 8):
        log.step(step, blind=True, figures={"loss": 10.0 + step})
    found = rows(tmp_path / "log.csv")
    assert [row["step"] for row in found] == [str(step) for step in range(8)]
    assert [row["loss"] for row in found[3:5]] == ["3", "14"]
    images = rows(tmp_path / "validation.csv")
    assert [row["step"] for row in images] == ["1", "3"]
    assert images[0]["image"] == 'a "name", with marks'
    RunLog(tmp_path, start=0)
    assert rows(tmp_path / "log.csv") == []


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    """A line of step 12 cut to 1 must not count as step 1."""
    log = RunLog(tmp_path, start=0)
    for step in range(13):
        log.step(step, blind=True, figures={"loss": 1.0})
    path = tmp_path / "log.csv"
    text = path.read_text()
    path.write_text(text[: text.rindex("12,")] + "1")
    RunLog(tmp_path, start=12)
    assert [row["step"] for row in rows(path)] == [str(step) for step in range(12)]


def test_tensorboard_holds_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, start=0, tensorboard=True)
    for step in range(3):
        log.step(step, blind=True, figures={"loss": float(step)})
    log.validation(2, "a", {"rmse": 0.1, "sam": 1.0, "ridge_rmse": 0.2, "ridge_sam": 2.0})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [each.value for each in events.Scalars("train/loss")] == [0, 1, 2]
    assert events.Scalars("validation/a/rmse")[0].value == pytest.approx(0.1)
    assert len(rows(tmp_path / "log.csv")) == 3  # CSV always


def test_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoints.torch.utils.__dict__, "tensorboard", None)
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"TensorBoard is not installed; pip install"):
        RunLog(tmp_path, start=0, tensorboard=True)
