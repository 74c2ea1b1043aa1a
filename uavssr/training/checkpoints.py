"""Checkpoints and logs of a training run."""

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
from uavssr.io.bounded import open_regular, read_table
from uavssr.io.writers import replacing

CHECKPOINT_FILE: Final = "checkpoint.pt"
PREVIOUS_FILE: Final = "checkpoint.previous.pt"
LOG_FILE: Final = "log.csv"
LOG_COLUMNS: Final = ("loss", "rmse", "sam", "misfit", "nll", "stf", "bags_nll", "bags_gain")
_MAX_LOG_BYTES: Final = 2**28
VALIDATION_FILE: Final = "validation.csv"
VALIDATION_COLUMNS: Final = ("step", "image", "rmse", "sam", "ridge_rmse", "ridge_sam")

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_log = logging.getLogger(__name__)


def read_checkpoint(out: Path, settings: Mapping[str, object]) -> dict[str, Any] | None:
    """The newest undamaged checkpoint in the folder of a run; None if there is none.

    If the newest is damaged, the previous one is read, and a warning is logged.

    Raises:
        UsageError: the settings are not those of the checkpoint; the message names which.
        InputRefused: all checkpoints are damaged.
    """
    damage: InputRefused | None = None
    for path in (out / CHECKPOINT_FILE, out / PREVIOUS_FILE):
        if not path.exists():
            continue
        try:
            content = _load(path)
        except InputRefused as err:
            damage = damage or err
            continue
        if damage is not None:
            _log.warning("%s; resuming from %s of step %s", damage.fact, path, content["step"])
        before = content["settings"]
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise UsageError(
                f"the checkpoint was made with other settings: {', '.join(changed)}",
                path=out,
                remedy="use another --out, or the same settings",
            )
        return content
    if damage is not None:
        raise damage
    return None


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:
                if any(member.compress_type for member in archive.infolist()):
                    raise zipfile.BadZipFile("compressed members")  # a few bytes may be gigabytes
                damaged = archive.testzip()  # torch does not check the checksums
            if damaged is not None:
                raise zipfile.BadZipFile(f"checksum of {damaged}")
            file.seek(0)
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        dict(content["settings"])
        int(content["step"])
    except Exception as err:  # torch.load raises many types of errors for a damaged file
        raise InputRefused(
            f"the checkpoint is damaged ({type(err).__name__})",
            path=path,
            remedy="remove it to start again, or use another --out",
        ) from err
    return content


def write_checkpoint(out: Path, content: Mapping[str, object]) -> None:
    """Write the checkpoint of a run; the present one becomes the previous one.

    If the run is killed at any time, one of the two is complete. If writing fails, the old ones
    stay.

    Raises:
        OutputError: the checkpoint could not be written.
    """
    path = out / CHECKPOINT_FILE
    try:
        with replacing(path, overwrite=True) as part:
            with part.open("wb") as file:
                torch.save(dict(content), file)
            if path.exists():
                path.replace(out / PREVIOUS_FILE)
    except (OSError, RuntimeError) as err:
        raise OutputError(
            f"the checkpoint could not be written ({err})",
            path=path,
            remedy="free some space and run again: the previous checkpoint is kept",
        ) from err


class RunLog:
    """The log of a run: log.csv, validation.csv, and TensorBoard's files on request.

    Every step has one line, also after a kill: the lines from step `start` on are removed first.

    Raises:
        UsageError: TensorBoard is requested and not installed.
        OutputError: a log cannot be written.
    """

    def __init__(self, out: Path, *, start: int, tensorboard: bool = False) -> None:
        self._board = _tensorboard(out / "tensorboard", start) if tensorboard else None
        self._steps, self._validation = out / LOG_FILE, out / VALIDATION_FILE
        _truncate(self._steps, ("step", "blind", *LOG_COLUMNS), start)
        _truncate(self._validation, VALIDATION_COLUMNS, start)

    def step(self, step: int, *, blind: bool, figures: Mapping[str, float]) -> None:
        """Add a line with the figures of one step; missing figures stay empty."""
        plain = {key.removeprefix("blind_").removeprefix("known_"): v for key, v in figures.items()}
        cells = (f"{plain[key]:.6g}" if key in plain else "" for key in LOG_COLUMNS)
        _append(self._steps, [step, int(blind), *cells])
        self._plot("train", step, figures)

    def validation(self, step: int, image: str, figures: Mapping[str, float]) -> None:
        """Add a line with the errors of one validation image after a step."""
        cells = (f"{figures[key]:.6g}" for key in VALIDATION_COLUMNS[2:])
        _append(self._validation, [step, image, *cells])
        self._plot(f"validation/{image}", step, figures)

    def _plot(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        if self._board is not None:
            for key, value in figures.items():
                self._board.add_scalar(f"{group}/{key}", value, step)

    def close(self) -> None:
        """Write the figures that TensorBoard has not written yet."""
        if self._board is not None:
            self._board.close()


def _truncate(path: Path, columns: Sequence[str], start: int) -> None:
    """Start a CSV file, or remove the lines from step `start` on and incomplete lines."""
    rows: list[list[str]] = []
    if start > 0 and path.exists():
        with _log_errors(path):
            table = read_table(path, _MAX_LOG_BYTES)
            complete = [row for row in table if len(row) == len(columns)]
        rows = [row for row in complete if row[0].isdecimal() and int(row[0]) < start]
    with (
        _log_errors(path),
        replacing(path, overwrite=True) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([columns, *rows])


def _append(path: Path, cells: Sequence[object]) -> None:
    with _log_errors(path), path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(cells)


@contextmanager
def _log_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise OutputError(
            f"the log could not be written ({err.strerror})",
            path=path,
            remedy="free some space and run again: the checkpoint is kept",
        ) from err
    except ValueError as err:
        raise OutputError(
            f"the log is damaged ({err})",
            path=path,
            remedy="remove it and run again: the checkpoint is kept",
        ) from err


def _tensorboard(folder: Path, start: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as err:
        raise UsageError(
            "TensorBoard is not installed", remedy='pip install "uavssr[tensorboard]", or --log csv'
        ) from err
    return SummaryWriter(str(folder), purge_step=start or None)
