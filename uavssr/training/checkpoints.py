"""What a training run leaves on disk while it runs: its checkpoints and its logs."""

from __future__ import annotations

import csv
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from uavssr.errors import InputRefused, OutputError, UsageError
from uavssr.io.writers import replacing

CHECKPOINT: Final = "checkpoint.pt"
PREVIOUS: Final = "checkpoint.previous.pt"
LOG: Final = "log.csv"
FIELDS: Final = ("loss", "rmse", "sam", "misfit", "nll", "stf", "bags_nll", "bags_gain")
VALIDATION: Final = "validation.csv"
VALIDATION_FIELDS: Final = ("step", "image", "rmse", "sam", "ridge_rmse", "ridge_sam")

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_log = logging.getLogger(__name__)


def read_checkpoint(out: Path, settings: Mapping[str, object]) -> dict[str, Any] | None:
    """The newest whole checkpoint in a folder, or None where there is none.

    Where the newest is damaged, the one before it is taken, and a warning says so.

    Args:
        out: folder of the run.
        settings: what the run is about to use; they must be those of the checkpoint.

    Raises:
        UsageError: they differ; the message names which.
        InputRefused: no checkpoint is whole.
    """
    paths = [path for path in (out / CHECKPOINT, out / PREVIOUS) if path.exists()]
    damage: list[InputRefused] = []
    for path in paths:
        try:
            saved = _load(path)
        except InputRefused as err:
            damage.append(err)
            continue
        for each in damage:
            _log.warning("%s; going on from %s of step %s", each.fact, path, saved["step"])
        _check_settings(out, saved["settings"], settings)
        return saved
    if damage:
        raise damage[0]
    return None


def _load(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself loads a flipped bit without a word
            wrong = archive.testzip()
        if wrong is not None:
            raise zipfile.BadZipFile(f"checksum of {wrong}")
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        dict(saved["settings"])
        int(saved["step"])
    except Exception as err:  # torch.load raises whatever the damage leads to
        raise InputRefused(
            f"the checkpoint is damaged ({type(err).__name__})",
            path=path,
            remedy="remove it to start anew, or use another --out",
        ) from err
    return saved


def _check_settings(out: Path, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    changed = [key for key, value in now.items() if before.get(key) != value]
    if changed:
        raise UsageError(
            f"the checkpoint was made with other settings: {', '.join(changed)}",
            path=out,
            remedy="use another --out, or the same settings",
        )


def write_checkpoint(out: Path, content: Mapping[str, object]) -> None:
    """Make this the folder's checkpoint, and what was it until now the previous one.

    Whenever the run is killed, one of the two is whole; on a failure to write the old ones stay.

    Raises:
        OutputError: it could not be written.
    """
    path = out / CHECKPOINT
    try:
        with replacing(path, overwrite=True) as part:
            with part.open("wb") as file:
                torch.save(dict(content), file)
            if path.exists():
                path.replace(out / PREVIOUS)
    except (OSError, RuntimeError) as err:
        raise OutputError(
            f"the checkpoint could not be written ({err})",
            path=path,
            remedy="free some space and run again: the previous checkpoint is kept",
        ) from err


class RunLog:
    """The figures of a run: log.csv, validation.csv, and TensorBoard's files where asked for.

    Each step stands there once, also after a kill: a run that goes on from an earlier checkpoint
    first takes off what it will do again.

    Args:
        out: folder of the run.
        start: the step at which the run begins or goes on.
        tensorboard: whether to write TensorBoard's files too.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """

    def __init__(self, out: Path, *, start: int, tensorboard: bool = False) -> None:
        self._board = _tensorboard(out / "tensorboard", start) if tensorboard else None
        self._steps, self._validation = out / LOG, out / VALIDATION
        _cut(self._steps, ("step", "blind", *FIELDS), start)
        _cut(self._validation, VALIDATION_FIELDS, start)

    def step(self, step: int, *, blind: bool, figures: Mapping[str, float]) -> None:
        """Add the figures of one step; those that the step does not have stay empty."""
        plain = {key.removeprefix("blind_").removeprefix("known_"): v for key, v in figures.items()}
        cells = (f"{plain[key]:.6g}" if key in plain else "" for key in FIELDS)
        _append(self._steps, [step, int(blind), *cells])
        if self._board is not None:
            for key, value in figures.items():
                self._board.add_scalar(f"train/{key}", value, step)

    def validation(self, step: int, image: str, figures: Mapping[str, float]) -> None:
        """Add the figures of one validation image after a step."""
        cells = (f"{figures[key]:.6g}" for key in VALIDATION_FIELDS[2:])
        _append(self._validation, [step, image, *cells])
        if self._board is not None:
            for key, value in figures.items():
                self._board.add_scalar(f"validation/{image}/{key}", value, step)

    def close(self) -> None:
        """Write what TensorBoard still holds back."""
        if self._board is not None:
            self._board.close()


def _cut(path: Path, columns: Sequence[str], start: int) -> None:
    """Begin a CSV file, or take off the lines from `start` on and those that a kill cut short."""
    rows: list[list[str]] = []
    if start > 0 and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            whole = [row for row in csv.reader(file) if len(row) == len(columns)]
        rows = [row for row in whole if row[0].isdecimal() and int(row[0]) < start]
    with (
        _told(path),
        replacing(path, overwrite=True) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([columns, *rows])


def _append(path: Path, cells: Sequence[object]) -> None:
    with _told(path), path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(cells)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise OutputError(
            f"the log could not be written ({err.strerror})",
            path=path,
            remedy="free some space and run again: the checkpoint is kept",
        ) from err


def _tensorboard(folder: Path, start: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as err:
        raise UsageError(
            "TensorBoard is not installed", remedy='pip install "uavssr[tensorboard]", or --log csv'
        ) from err
    return SummaryWriter(str(folder), purge_step=start or None)
