"""What a training run leaves on disk while it runs: its checkpoint and its log."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import torch

from uavssr.errors import InputRefused, OutputError, UsageError
from uavssr.raster.output import replacing

CHECKPOINT: Final = "checkpoint.pt"
LOG: Final = "log.csv"
FIELDS: Final = ("loss", "rmse", "sam", "misfit", "nll", "stf")


def read_checkpoint(out: Path, settings: dict[str, object]) -> dict[str, Any] | None:
    """The checkpoint in a folder, or None where there is none.

    Args:
        out: folder of the run.
        settings: what the run is about to use; they must be those of the checkpoint.

    Raises:
        UsageError: they differ; the message names which.
        InputRefused: the checkpoint is damaged.
    """
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        before = dict(saved["settings"])
    except Exception as err:  # torch.load raises whatever the damage leads to
        raise InputRefused(
            f"the checkpoint is damaged ({type(err).__name__})",
            path=path,
            remedy="remove it to start anew, or use another --out",
        ) from err
    changed = [key for key, value in settings.items() if before.get(key) != value]
    if changed:
        raise UsageError(
            f"the checkpoint was made with other settings: {', '.join(changed)}",
            path=out,
            remedy="use another --out, or the same settings",
        )
    return saved


def write_checkpoint(out: Path, content: dict[str, object]) -> None:
    """Replace the folder's checkpoint as one step; on any failure the old one stays.

    Raises:
        OutputError: it could not be written.
    """
    path = out / CHECKPOINT
    try:
        with replacing(path, overwrite=True) as part, part.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as err:
        raise OutputError(
            f"the checkpoint could not be written ({err})",
            path=path,
            remedy="free some space and run again: the previous checkpoint is kept",
        ) from err


def start_log(out: Path, step: int) -> None:
    """Begin the log of a run, or cut it back to the steps before `step` where one resumes."""
    path = out / LOG
    rows: list[list[str]] = []
    if path.exists() and step > 0:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) < step]
    with replacing(path, overwrite=True) as part, part.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([["step", "blind", *FIELDS], *rows])


def append_log(out: Path, step: int, *, blind: bool, figures: dict[str, float]) -> None:
    """Add the figures of one step; those that the step does not have stay empty."""
    plain = {key.removeprefix("blind_").removeprefix("known_"): v for key, v in figures.items()}
    with (out / LOG).open("a", newline="", encoding="utf-8") as file:
        cells = (f"{plain[key]:.6g}" if key in plain else "" for key in FIELDS)
        csv.writer(file).writerow([step, int(blind), *cells])
