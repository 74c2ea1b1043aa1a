"""A batch: its fields in threads, small ones at the same time and large ones one by one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from uavssr.batch.field import Field
from uavssr.batch.status import FieldStatus, State, count_states
from uavssr.errors import Interrupted, UavssrError
from uavssr.io.msi import MsiSource, open_request
from uavssr.reconstruction import (
    CPU_COUNT,
    ReconstructionOptions,
    freed_memory_reused,
    plan_reconstruction,
    resolve_device,
    run_in_thread,
)

LARGE_TILES: Final = 16
"""Tiles from which a field has all cores to itself: what only one core can do is little then."""
GPU_FIELDS: Final = 4
"""Fields at the same time on a GPU by default: each takes memory there."""


class _Turns:
    """Lets small fields run at the same time, and a large one alone."""

    def __init__(self) -> None:
        self._changed, self._running, self._alone = threading.Condition(), 0, False

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn; from its first wait on, a large field lets no other begin."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            if alone:
                self._alone = True
                self._changed.wait_for(lambda: not self._running)
            else:
                self._running += 1
        try:
            yield
        finally:
            with self._changed:
                if alone:
                    self._alone = False
                else:
                    self._running -= 1
                self._changed.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """Fields that are reconstructed by threads of this process, begun in their order."""

    fields: Sequence[Field]
    """The fields; those that share a model should hold the same loaded one."""
    jobs: int | None
    """Fields at the same time. None: as many as cores (4 on a GPU), large ones alone."""
    report: Callable[[FieldStatus], None]
    """Called when a field begins and when it ends, by one thread at a time."""
    as_error: Callable[[Exception], UavssrError]
    """The error to report for any exception."""
    _turns: _Turns = field(default_factory=_Turns, init=False, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _ended: dict[int, FieldStatus] = field(default_factory=dict, init=False, repr=False)
    _fatal: list[Exception] = field(default_factory=list, init=False, repr=False)

    def run(self) -> list[FieldStatus]:
        """Reconstruct all fields; the state in which each ended, in the order of `fields`.

        An interrupt lets every running field keep its finished tiles, and begins no other.

        Raises:
            UavssrError: `report` failed, most often because the disk is full.
        """
        try:
            with freed_memory_reused():
                run_in_thread(self._run_all, self._stop)
        except KeyboardInterrupt as stop:
            counts = count_states(self._ended.values())
            finished = counts["done"] + counts["skipped"]
            stop.add_note(f"{finished} of {len(self.fields)} fields are finished")
            raise
        if self._fatal:
            raise self._fatal[0]
        return [self._ended[number] for number in sorted(self._ended)]

    @property
    def threads(self) -> int:
        """Fields at the same time."""
        first = self.fields[0].options
        if self.jobs is not None:
            most = self.jobs
        elif first.cluster is not None:
            most = sum(worker.threads for worker in first.cluster.workers.values())
        else:
            most = GPU_FIELDS if resolve_device(first.device).type == "cuda" else CPU_COUNT
        return max(1, min(most, len(self.fields)))

    def _run_all(self) -> None:
        import xarray  # noqa: F401 - it cannot be imported by two threads at once

        with ThreadPoolExecutor(self.threads, "field") as pool:
            for number in range(len(self.fields)):
                pool.submit(self._run, number)

    def _run(self, number: int) -> None:
        """Reconstruct a field, unless the batch has been stopped."""
        if self._stop.is_set():
            return
        field, start = self.fields[number], time.perf_counter()
        status = FieldStatus(number=number + 1, image=str(field.request.paths[0]), state="running")
        try:
            self._report(status)
            status = self._reconstruct(field, status)
        except Exception as err:  # noqa: BLE001 - it costs no other field
            error = self.as_error(err)
            state: State = "stopped" if isinstance(err, Interrupted) else "failed"
            status = replace(status, state=state, error=error)
        try:
            self._report(replace(status, seconds=time.perf_counter() - start))
        except Exception as err:  # noqa: BLE001 - raised by `run`, which waits for this thread
            self._fatal.append(err)
            self._stop.set()

    def _report(self, status: FieldStatus) -> None:
        with self._lock:
            if status.state != "running":
                self._ended[status.number] = status
            self.report(status)

    def _reconstruct(self, field: Field, status: FieldStatus) -> FieldStatus:
        msi = open_request(field.request)
        alone = self.jobs is None and _tiles(msi, field) >= LARGE_TILES
        with self._turns.taken(alone=alone):
            self._raise_if_stopped("")
            with self._options(field, alone=alone) as options:
                planned = plan_reconstruction(msi, options)
                outputs, before = field.write(planned, self._raise_if_stopped)
        return replace(
            status,
            state="skipped" if before else "done",
            outputs=field.outputs,
            verdict=outputs.verdict,
            warnings=tuple(msi.summary.warnings),
        )

    def _raise_if_stopped(self, *_: object) -> None:
        """Called with every finished tile, which is in the field's journal by then."""
        if self._stop.is_set():
            raise Interrupted("stopped", remedy="run the same batch again")

    @contextmanager
    def _options(self, field: Field, *, alone: bool) -> Iterator[ReconstructionOptions]:
        """Options with this field's share of the cores, and its own jobs on a cluster."""
        options = field.options
        if options.cluster is not None:
            with options.cluster.own_jobs() as cluster:
                yield replace(options, cluster=cluster)
            return
        share = max(1, CPU_COUNT // self.threads)
        if alone or options.workers or resolve_device(options.device).type != "cpu":
            yield options
        else:
            yield replace(options, workers=share)


def _tiles(msi: MsiSource, field: Field) -> int:
    side = field.options.tile
    return math.ceil(msi.height / side) * math.ceil(msi.width / side)
