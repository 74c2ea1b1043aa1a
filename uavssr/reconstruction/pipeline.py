"""A pass over the tiles of a scene: reading, computing and writing run at the same time."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from uavssr.errors import BadVerdict, IncompleteRun, OutputExists, UavssrError
from uavssr.io.writers import Journal, RecordKind, TileRecord
from uavssr.reconstruction.fitted_stf import PendingRecord, stf_record
from uavssr.reconstruction.pixels import TileInput

_Read = tuple[list[TileRecord], list[TileInput]]
"""A group after the first step: records that were stored, or tiles to compute."""
_Tile = TileRecord | tuple[int, PendingRecord]
"""A tile after the second step: the record that was stored, or its index and the pending one."""

MAX_FAILURES: Final = 16
"""Failed tiles after which a pass stops: the tiles are not the reason then."""
_POLL: Final = 0.2
"""Seconds between two looks for an interrupt."""


class TileComputer(Protocol):
    """Interface of what computes records: `tile_engine.TileEngine`, or a cluster."""

    def groups(self) -> Iterable[Sequence[int]]:
        """All tiles, in groups that are computed together."""

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """The pixels that the tiles of a group need."""

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        """Run the network on tiles; the pending records, in the same order, do the rest."""


class RecordStore(Protocol):
    """Interface of what stores records: the journal on disk, or `MemoryStore`."""

    def finished(self, kind: RecordKind) -> set[int]:
        """The tiles that are stored."""

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Store a tile."""

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:
        """A stored tile; None if it is missing or damaged."""


class MemoryStore:
    """Records in memory, for results that are not worth a file."""

    def __init__(self) -> None:
        self._records: dict[tuple[RecordKind, int], TileRecord] = {}

    def finished(self, kind: RecordKind) -> set[int]:
        """The tiles that are stored."""
        return {index for stored_kind, index in self._records if stored_kind == kind}

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Store a tile."""
        self._records[kind, record.index] = record

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:  # noqa: ARG002
        """A stored tile; None if it is missing."""
        return self._records.get((kind, index))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCounts:
    """Threads of each step. The memory of a pass follows from them and the size of a tile."""

    workers: int
    """Groups in the network at a time."""
    readers: int = 1
    """Groups being read at a time."""
    writers: int = 2
    """Tiles being finished and written at a time."""
    batch: int = 1
    """Most tiles of a group."""

    @property
    def in_flight(self) -> int:
        """Most groups between the start of reading and the end of writing, with those that wait."""
        return self.readers + 2 * self.workers + math.ceil(self.writers / self.batch)


def run_in_thread(body: Callable[[], None], stop: threading.Event) -> None:
    """Run `body` in a thread of its own, as an interrupt reaches the main thread alone.

    An interrupt sets `stop` and is raised when the body has ended. Errors are the body's concern.
    """
    # Not join(): if it is interrupted, Python 3.11 believes that the thread has ended. And short
    # waits: a signal just before a wait begins would not end it.
    ended = threading.Event()

    def run_body() -> None:
        try:
            body()
        finally:
            ended.set()

    runner = threading.Thread(target=run_body, name=body.__qualname__)
    try:
        runner.start()
        while not ended.wait(_POLL):
            continue
    except BaseException:
        stop.set()
        if runner.ident is not None:  # it was started
            ended.wait()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePass:
    """A pass over all tiles, whose records are stored at once so that it can be continued."""

    computer: TileComputer
    """Computes the records."""
    store: RecordStore
    """Stores the records."""
    kind: RecordKind
    """Kind under which the records are stored: whole tiles, or their STFs alone."""
    deliver: Callable[[TileRecord], None]
    """Called once with every record, stored before or new, from several threads in any order."""
    threads: ThreadCounts
    """Threads of each step."""
    _failures: dict[int, Exception] = field(default_factory=dict, init=False, repr=False)
    _fatal: list[BaseException] = field(default_factory=list, init=False, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def run(self) -> None:
        """Deliver all tiles, those that are stored already first.

        A tile that fails is left out, and named once the others are done. An unreadable input or a
        failing output stops the pass; so does an interrupt, once the tiles in the network are
        finished and stored.

        Raises:
            IncompleteRun: tiles failed; `__cause__` is the error of the first.
            UavssrError: the error that stopped the pass.
        """
        run_in_thread(self._run_steps, self._stop)
        self._raise_failures()

    def _run_steps(self) -> None:
        """Send every group through the three steps, at most `in_flight` at a time."""
        slots = threading.Semaphore(self.threads.in_flight)
        try:
            stored = self.store.finished(self.kind)
            with (  # the pools end from the last to the first
                ThreadPoolExecutor(self.threads.writers, "write") as writing,
                ThreadPoolExecutor(self.threads.workers, "compute") as computing,
                ThreadPoolExecutor(self.threads.readers, "read") as reading,
            ):
                for group in self._stored_first(stored):
                    slots.acquire()
                    if self._stop.is_set():
                        break
                    read = reading.submit(self._read, group, stored)
                    computing.submit(self._compute, read, writing, slots)
                    del read  # which holds the pixels
        except Exception as err:  # noqa: BLE001 - raised by `run`, which waits for this thread
            self._abort(err)

    def _stored_first(self, stored: set[int]) -> Iterator[Sequence[int]]:
        """All groups: those with every tile in the store, then the others."""
        for wanted in (True, False):
            groups = self.computer.groups()
            yield from (group for group in groups if stored.issuperset(group) == wanted)

    def _read(self, group: Sequence[int], stored: set[int]) -> _Read:
        """First step; a group with a missing or damaged record is computed as a whole."""
        if self._stop.is_set():
            return [], []
        if stored.issuperset(group):
            records = [self.store.load(self.kind, index) for index in group]
            intact = [record for record in records if record is not None]
            if len(intact) == len(group):
                return intact, []
        try:
            return [], self.computer.read(group)
        except Exception as err:  # noqa: BLE001 - raised at the end of the pass
            self._fail(group, err)
            return [], []

    def _compute(
        self, read: Future[_Read], writing: ThreadPoolExecutor, slots: threading.Semaphore
    ) -> None:
        """Second step; the tiles go to the writers one by one, and the last frees the slot."""
        tiles, ended = list[_Tile](), itertools.count(1)
        try:
            stored, inputs = read.result()
            tiles += stored
            if not self._stop.is_set():
                tiles += self._begin(inputs).items()
        except BaseException as err:  # noqa: BLE001 - raised at the end of the pass
            self._abort(err)
        count = len(tiles)
        if not count:
            slots.release()
        while tiles:
            written = writing.submit(self._write, tiles.pop(0))
            written.add_done_callback(lambda _: slots.release() if next(ended) == count else None)

    def _begin(self, inputs: list[TileInput]) -> dict[int, PendingRecord]:
        """The network on a group; if that fails, on its tiles one by one."""
        indices = [tile_input.tile.index for tile_input in inputs]
        try:
            return dict(zip(indices, self.computer.begin(inputs), strict=True)) if inputs else {}
        except Exception as err:  # noqa: BLE001 - raised at the end of the pass
            if len(inputs) == 1 or _concerns_all_tiles(err):
                self._fail(indices, err)
                return {}
        pending: dict[int, PendingRecord] = {}
        for tile_input in inputs:
            pending |= self._begin([tile_input])
        return pending

    def _write(self, tile: _Tile) -> None:
        """Third step: finish a record and store it, unless it is stored; deliver it."""
        try:
            record = tile if isinstance(tile, TileRecord) else self._finish(*tile)
            if record is not None and not self._stop.is_set():
                self.deliver(record)
        except BaseException as err:  # noqa: BLE001 - raised at the end of the pass
            self._abort(err)

    def _finish(self, index: int, pending: PendingRecord) -> TileRecord | None:
        """The record of a tile, stored; None if it failed."""
        try:
            record = pending()
        except Exception as err:  # noqa: BLE001 - raised at the end of the pass
            self._fail([index], err)
            return None
        record = record if self.kind == "tile" else stf_record(index, record.stf)
        self.store.store(self.kind, record)
        return record

    def _fail(self, group: Sequence[int], err: Exception) -> None:
        """Note the failure of tiles, or stop the pass if the others would fail too."""
        if _concerns_all_tiles(err):
            self._abort(err)
            return
        self._failures.update(dict.fromkeys(group, err))
        if len(self._failures) >= MAX_FAILURES:
            self._stop.set()

    def _abort(self, err: BaseException) -> None:
        self._fatal.append(err)
        self._stop.set()

    def _raise_failures(self) -> None:
        if self._fatal:
            raise self._fatal[0]
        if not self._failures:
            return
        first, *others = sorted(self._failures)
        err = self._failures[first]
        fact = err.fact if isinstance(err, IncompleteRun) else f"tile {first} failed: {err!r}"
        if others:
            fact += f", and so did tiles {', '.join(map(str, others))}"
        remedy = getattr(err, "remedy", None) or "a bug: report it with -vv"
        raise IncompleteRun(fact, remedy=remedy) from err


def _concerns_all_tiles(err: Exception) -> bool:
    """Whether all other tiles would fail too: any error of ours but a tile's own IncompleteRun."""
    return isinstance(err, UavssrError) and not isinstance(err, IncompleteRun)


@contextmanager
def stored_tiles_reported(journal: Journal, total: int) -> Iterator[None]:
    """Add the number of stored tiles, if any, to an error or interrupt that ends the body."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if stored := journal.report(total):
            stop.add_note(stored)
        raise
    except BadVerdict:  # its remedy is another
        raise
    except UavssrError as err:
        remedy, stored = err.remedy, journal.report(total)
        if stored and isinstance(err, OutputExists):
            remedy = "move it away and pass --resume, or pass --resume --overwrite to replace it"
        elif stored:
            stored += ", go on with --resume"
        remedy = "; ".join(part for part in (remedy, stored) if part)
        longer = type(err)(err.fact, path=err.path or journal.out, remedy=remedy or None)
        raise longer from (err.__cause__ or err)
