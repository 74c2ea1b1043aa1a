"""Estimate of a batch beforehand: sizes from the headers, time from a trial on one field."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from uavssr.batch.field import Field
from uavssr.errors import UavssrError
from uavssr.io.msi import open_request
from uavssr.reconstruction import (
    CPU_COUNT,
    OutputOptions,
    PlannedReconstruction,
    RunEstimate,
    plan_reconstruction,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldEstimate:
    """What a field needs."""

    image: str
    """First file of the image."""
    cube: str
    """The cube to write."""
    height: int = 0
    """Rows."""
    width: int = 0
    """Columns."""
    tiles: int = 0
    """Tiles."""
    output_bytes: int = 0
    """Bytes of cube, standard errors and flags without compression."""
    finished: bool = False
    """Whether an earlier run of the very same options has written it."""
    error: str | None = None
    """Why it cannot be opened or planned; None if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEstimate:
    """What a batch needs."""

    fields: tuple[FieldEstimate, ...]
    """The fields in their order."""
    output_bytes: int
    """Bytes of all outputs that are not finished, without compression."""
    free_bytes: int
    """Free bytes on the disk of the outputs."""
    seconds: float
    """Seconds of the whole batch."""

    def to_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        return asdict(self)


def estimate_batch(
    fields: Sequence[Field], folder: Path, *, as_error: Callable[[Exception], UavssrError]
) -> BatchEstimate:
    """Open and plan each field, and reconstruct a tile of the first that is not finished.

    Args:
        fields: the fields.
        folder: any folder on the disk of the outputs.
        as_error: the error to report for any exception.
    """
    estimates: list[FieldEstimate] = []
    trial: RunEstimate | None = None
    start = time.perf_counter()
    for field in fields:
        estimate = FieldEstimate(image=str(field.request.paths[0]), cube=str(field.cube))
        try:
            output = _output_in(folder, field)
            estimate, planned = _planned(field, output, estimate)
            if trial is None and not estimate.finished:
                trial = planned.estimate_run(output)
        except Exception as err:  # noqa: BLE001 - listed with its field
            estimate = replace(estimate, error=str(as_error(err)))
        estimates.append(estimate)
    opened = time.perf_counter() - start - (_trial_seconds(trial) if trial else 0)
    todo = [estimate for estimate in estimates if not (estimate.finished or estimate.error)]
    cpu_seconds = 0.0
    if trial is not None:
        tile_seconds = trial.compute_seconds + trial.write_seconds
        tiles = sum(estimate.tiles for estimate in todo)
        cpu_seconds = len(todo) * trial.sample_seconds + tiles * tile_seconds
    return BatchEstimate(
        fields=tuple(estimates),
        output_bytes=sum(estimate.output_bytes for estimate in todo),
        free_bytes=shutil.disk_usage(folder).free,
        seconds=(opened + cpu_seconds) / min(CPU_COUNT, max(1, len(todo))),
    )


def _trial_seconds(trial: RunEstimate) -> float:
    return trial.sample_seconds + trial.compute_seconds + trial.write_seconds


def _output_in(folder: Path, field: Field) -> OutputOptions:
    """The output, never written, in a folder that exists."""
    output = field.output
    files = (output.uncertainty, output.quality)
    errors, flags = (None if path is None else folder / Path(path).name for path in files)
    cube = folder / field.cube.name
    return replace(output, cube=cube, uncertainty=errors, quality=flags, overwrite=True)


def _planned(
    field: Field, output: OutputOptions, estimate: FieldEstimate
) -> tuple[FieldEstimate, PlannedReconstruction]:
    """The estimate of a field with its sizes, and the plan."""
    planned = plan_reconstruction(open_request(field.request), field.options)
    tiles = planned.plan.tiles
    sized = replace(
        estimate,
        height=tiles.height,
        width=tiles.width,
        tiles=len(tiles),
        output_bytes=planned.output_bytes(output),
        finished=planned.finished(field.output) is not None,
    )
    return sized, planned
