"""A pass delivers every tile once, whatever fails, and stops at an interrupt."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from uavssr.errors import IncompleteRun, InputRefused, OutputError, UavssrError
from uavssr.io.writers import Journal, TileRecord
from uavssr.reconstruction.fitted_stf import PendingRecord
from uavssr.reconstruction.pipeline import (
    MAX_FAILURES,
    MemoryStore,
    ThreadCounts,
    TilePass,
    stored_tiles_reported,
)
from uavssr.reconstruction.pixels import TileInput
from uavssr.tiling import TileGrid

GRID = TileGrid(height=40, width=50, tile=10)
COUNT = len(GRID)
THREADS = ThreadCounts(workers=3, readers=2, writers=2)
SOON = 20
"""Seconds after which a test gives up waiting."""


def nothing(_: object) -> None:
    pass


def made(index: int) -> TileRecord:
    maps = {"coefficients": np.full((1, 2, 2), index, np.float32)}
    return TileRecord(index=index, valid=np.ones((2, 2), bool), maps=maps)


@dataclass
class Fake:
    """A computer whose records hold the tile's number, with a hook before each step."""

    batch: int = 1
    before_read: Callable[[Sequence[int]], None] = nothing
    before_compute: Callable[[Sequence[int]], None] = nothing
    before_finish: Callable[[Sequence[int]], None] = nothing
    computed: list[int] = field(default_factory=list)

    def groups(self) -> list[range]:
        return [range(i, min(i + self.batch, COUNT)) for i in range(0, COUNT, self.batch)]

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        self.before_read(indices)
        return [TileInput(tile=GRID[index], patches={}) for index in indices]

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        indices = [each.tile.index for each in inputs]
        self.before_compute(indices)
        self.computed += indices
        return [partial(self.finish, index) for index in indices]

    def finish(self, index: int) -> TileRecord:
        self.before_finish([index])
        return made(index)


def run(
    fake: Fake,
    *,
    store: MemoryStore | Journal | None = None,
    deliver: Callable = nothing,
    threads: ThreadCounts = THREADS,
) -> list[int]:
    """The tiles that were delivered, each after a look at what it holds."""
    delivered: list[int] = []

    def checked(record: TileRecord) -> None:
        deliver(record)
        assert record.maps["coefficients"][0, 0, 0] == record.index
        delivered.append(record.index)

    TilePass(
        computer=fake, store=store or MemoryStore(), kind="tile", deliver=checked, threads=threads
    ).run()
    return delivered


def failing_on(*indices: int, error: Exception | None = None) -> Callable[[Sequence[int]], None]:
    def fail(group: Sequence[int]) -> None:
        if set(indices) & set(group):
            raise error or RuntimeError("a bug")

    return fail


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_every_tile_is_computed_stored_and_delivered_once(batch: int) -> None:
    fake, store = Fake(batch=batch), MemoryStore()
    assert sorted(run(fake, store=store)) == list(range(COUNT))
    assert sorted(fake.computed) == list(range(COUNT))
    assert store.finished("tile") == set(range(COUNT))


def test_reading_computing_and_writing_go_on_at_once() -> None:
    """One tile is finished or written while another is in the network and a third is read."""
    together = threading.Barrier(3, timeout=SOON)

    def meet(wanted: int) -> Callable:
        def wait(what: Sequence[int] | TileRecord) -> None:
            index = what.index if isinstance(what, TileRecord) else what[0]
            if index == wanted:
                together.wait()

        return wait

    run(Fake(before_compute=meet(1), before_read=meet(2)), deliver=meet(0))
    run(Fake(before_compute=meet(1), before_read=meet(2), before_finish=meet(0)))


def test_tiles_of_one_group_are_written_at_once() -> None:
    """A batch of a GPU keeps all writers busy."""
    together = threading.Barrier(4, timeout=SOON)
    threads = ThreadCounts(workers=1, writers=4, batch=8)
    run(Fake(batch=8), deliver=lambda record: record.index < 4 and together.wait(), threads=threads)


def test_no_more_groups_are_in_progress_than_threads_allow() -> None:
    """Promise P6: in each step, and in all from the reading to the end of the writing."""
    lock, now, most = threading.Lock(), dict.fromkeys("rcwa", 0), dict.fromkeys("rcwa", 0)

    def enter(step: str) -> None:
        with lock:
            now[step] += 1
            most[step] = max(most[step], now[step])

    def leave(step: str) -> None:
        with lock:
            now[step] -= 1

    class Watched(Fake):
        def read(self, indices: Sequence[int]) -> list[TileInput]:
            enter("a")
            enter("r")
            found = super().read(indices)
            leave("r")
            return found

        def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
            enter("c")
            found = super().begin(inputs)
            leave("c")
            return found

    def deliver(_: TileRecord) -> None:
        enter("w")
        threading.Event().wait(0.01)
        leave("w")
        leave("a")

    run(Watched(), deliver=deliver)
    assert most["r"] <= THREADS.readers
    assert most["c"] <= THREADS.workers
    assert most["w"] == THREADS.writers
    assert THREADS.writers < most["a"] <= THREADS.in_flight


def test_stored_tiles_come_first_and_are_not_computed_again() -> None:
    """Row 21: a group of which one is missing is computed whole, as it was the first time."""
    store, fake = MemoryStore(), Fake(batch=4)
    for index in (*range(8, 12), 13, 16, 17, 18, 19):
        store.store("tile", made(index))
    delivered = run(fake, store=store, threads=ThreadCounts(workers=1, readers=1, writers=1))
    assert set(delivered[:8]) == {8, 9, 10, 11, 16, 17, 18, 19}
    assert sorted(delivered) == list(range(COUNT))
    assert sorted(fake.computed) == [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15]


def test_stored_tile_that_is_damaged_is_computed_again(tmp_path: Path) -> None:
    """Row 22."""
    with Journal(tmp_path / "c.tif") as journal:
        journal.begin({}, {})
        run(Fake(), store=journal)
        path = journal.folder / "tile-0000005.npz"
        path.write_bytes(path.read_bytes()[:-1])
        fake = Fake()
        assert sorted(run(fake, store=journal)) == list(range(COUNT))
        assert fake.computed == [5]
        assert journal.load("tile", 5) is not None
        journal.clear()


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("step", ["before_read", "before_compute", "before_finish"])
def test_tile_that_fails_is_named_and_the_others_are_stored(step: str, batch: int) -> None:
    """Row 31: of a group, too, unless it cannot be read."""
    store, delivered = MemoryStore(), []
    lost = [4, 5, 6, 7] if (step, batch) == ("before_read", 4) else [6]
    fact = rf"tile {lost[0]} failed: RuntimeError\('a bug'\)"
    with pytest.raises(IncompleteRun, match=fact) as caught:
        run(
            Fake(batch=batch, **{step: failing_on(6)}),
            store=store,
            deliver=lambda record: delivered.append(record.index),
        )
    assert set(delivered) == store.finished("tile") == set(range(COUNT)).difference(lost)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.exit_code == 6


def test_incomplete_run_of_a_tile_keeps_its_message() -> None:
    """Row 32."""
    error = IncompleteRun("NaN in tile 2 (row 0, column 20)", remedy="look there")
    fake = Fake(before_compute=failing_on(2, 9, 11, error=error))
    fact = r"^NaN in tile 2 \(row 0, column 20\), and so did tiles 9, 11; look there$"
    with pytest.raises(IncompleteRun, match=fact):
        run(fake)
    assert len(fake.computed) == COUNT - 3


def test_many_failures_stop_the_run() -> None:
    """Otherwise a bug would cost a night of computing."""
    many = TileGrid(height=10, width=4000, tile=10)

    class Wide(Fake):
        def groups(self) -> list[range]:
            return [range(index, index + 1) for index in range(len(many))]

        def read(self, indices: Sequence[int]) -> list[TileInput]:
            reads.append(indices[0])
            raise ZeroDivisionError

    reads: list[int] = []
    with pytest.raises(IncompleteRun, match="tile 0 failed: ZeroDivisionError"):
        run(Wide())
    assert MAX_FAILURES <= len(reads) <= MAX_FAILURES + THREADS.in_flight


@pytest.mark.parametrize("step", ["before_read", "before_compute", "before_finish"])
@pytest.mark.parametrize("error", [InputRefused("cut"), OutputError("no memory")])
def test_error_that_concerns_all_tiles_stops_at_once(step: str, error: UavssrError) -> None:
    """Row 20: the error is the one that was raised."""
    fake = Fake(**{step: failing_on(0, error=error)})
    with pytest.raises(type(error)) as caught:
        run(fake)
    assert caught.value is error
    assert len(fake.computed) <= THREADS.in_flight


def test_output_that_fails_stops_at_once_and_the_tile_is_stored() -> None:
    """Row 24: what is computed is stored before it is written."""
    store, fake = MemoryStore(), Fake()

    def full(record: TileRecord) -> None:
        assert record.index in store.finished("tile")
        raise OutputError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        run(fake, store=store, deliver=full)
    assert store.finished("tile") == set(fake.computed)
    assert 0 < len(fake.computed) <= THREADS.in_flight


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3, COUNT - 1])
def test_interrupt_stores_what_is_computed_and_leaves_no_thread(at: int) -> None:
    """Row 23: the last tiles, too, when all have been handed out."""
    store, fake = MemoryStore(), Fake()

    def interrupt(record: TileRecord) -> None:
        if record.index == at:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            threading.Event().wait(0.2)

    with pytest.raises(KeyboardInterrupt):
        run(fake, store=store, deliver=interrupt)
    for thread in threading.enumerate():
        assert thread.name.split("_")[0] not in {"read", "compute", "write"}
    assert store.finished("tile") == set(fake.computed)
    assert sorted(run(Fake(), store=store)) == list(range(COUNT))


def test_errors_and_interrupts_report_the_stored_tiles(tmp_path: Path) -> None:
    with Journal(tmp_path / "c.tif") as journal:
        journal.begin({}, {})
        with pytest.raises(KeyboardInterrupt) as nothing_yet:
            raise_within(journal, KeyboardInterrupt())
        assert not hasattr(nothing_yet.value, "__notes__")
        with pytest.raises(OutputError, match=r"^.*/c\.tif: disk full$"):
            raise_within(journal, OutputError("disk full"))
        journal.store("tile", made(0))
        with pytest.raises(KeyboardInterrupt) as interrupt:
            raise_within(journal, KeyboardInterrupt())
        assert interrupt.value.__notes__ == ["1 of 4 tiles are kept"]
        message = r"c\.tif: disk full; free some; 1 of 4 tiles are kept, go on with --resume$"
        with pytest.raises(OutputError, match=message) as caught:
            raise_within(journal, OutputError("disk full", remedy="free some"))
        assert isinstance(caught.value.__cause__, OutputError)
        journal.clear()


def raise_within(journal: Journal, error: BaseException) -> None:
    with stored_tiles_reported(journal, 4):
        raise error
