"""Tiles on their way: read, computed and written at the same time, each kept once it is finished.

Knows neither the network nor any format: what computes and what writes is handed in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Protocol

from uavssr.errors import IncompleteRun, UavssrError
from uavssr.io.writers import Journal, RecordKind, TileRecord
from uavssr.reconstruction.tile_input import TileInput
from uavssr.reconstruction.tile_record import PendingRecord

MOST_FAILURES: Final = 16
"""Tiles that may fail before a run gives up: then it is not the tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWork:
    """A group of tiles on its way; empty once the run is to stop."""

    kept: list[TileRecord] = field(default_factory=list)
    """What the journal had."""
    inputs: list[TileInput] = field(default_factory=list)
    """What has been read."""
    unfinished: dict[int, PendingRecord] = field(default_factory=dict)
    """What has been through the network, by tile."""


class TileComputer(Protocol):
    """What makes records; `engine.TileEngine` is one, and one that asks a cluster could be."""

    def groups(self) -> Iterable[Sequence[int]]:
        """All tiles, those that are computed together in one sequence."""

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """What a group of tiles needs of the image."""

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        """What makes their records, in the same order; the better part of the work is done."""


class RecordStore(Protocol):
    """What keeps records; `raster.journal.Journal` is one, on disk."""

    def finished(self, kind: RecordKind) -> set[int]:
        """The tiles that are kept."""

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Keep a tile."""

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:
        """A tile that is kept; None where it is not, or not whole."""


class MemoryStore:
    """Keeps records in memory, for what is not worth a file."""

    def __init__(self) -> None:
        self._records: dict[tuple[RecordKind, int], TileRecord] = {}

    def finished(self, kind: RecordKind) -> set[int]:
        """The tiles that are kept."""
        return {index for found, index in self._records if found == kind}

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Keep a tile."""
        self._records[kind, record.index] = record

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:  # noqa: ARG002
        """A tile that is kept."""
        return self._records.get((kind, index))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCounts:
    """How many threads do what. Memory follows from these numbers and from the tile's size."""

    workers: int
    """Groups of tiles in the network at a time."""
    readers: int = 1
    """Groups being read."""
    writers: int = 2
    """Groups being finished and written."""

    @property
    def in_flight(self) -> int:
        """Groups between the reading and the end of the writing, those that wait included."""
        return self.readers + 2 * self.workers + self.writers


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePass:
    """One pass over the tiles of a scene, which may be stopped at any time and gone on with."""

    computer: TileComputer
    """Makes the records."""
    keeper: RecordStore
    """Keeps them."""
    kind: RecordKind
    """What they are kept as."""
    deliver: Callable[[TileRecord], None]
    """Called with every record, kept before or new, from several threads and in any order."""
    crew: ThreadCounts
    """Threads."""
    _failed: dict[int, Exception] = field(default_factory=dict, init=False, repr=False)
    _fatal: list[BaseException] = field(default_factory=list, init=False, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def run(self) -> None:
        """Bring all tiles to their end, those that are kept already first.

        A tile that fails is left out, and named once the others are done. An input that cannot be
        read or an output that cannot be written stops the run; so does an interrupt, once the
        tiles that are in the network are finished and kept.

        Raises:
            IncompleteRun: tiles failed; `__cause__` is what the first of them died of.
            UavssrError: what stopped the run.
        """
        # In a thread of its own, so that an interrupt never strikes while others are started. An
        # event is waited for, as Python 3.11 takes a thread whose join is interrupted for ended;
        # and in short spells, as a signal that comes just before a wait begins does not end it.
        ended = threading.Event()
        feeder = threading.Thread(target=self._feed, args=[ended], name="feed")
        try:
            feeder.start()
            while not ended.wait(0.2):
                continue
        except BaseException:
            self._stop.set()
            if feeder.ident is not None:
                ended.wait()
            raise
        self._tell()

    def _feed(self, ended: threading.Event) -> None:
        """Hand out groups, no more at a time than the crew allows, until all are back."""
        slots = threading.Semaphore(self.crew.in_flight)
        try:
            kept = self.keeper.finished(self.kind)
            with (
                ThreadPoolExecutor(self.crew.readers, "read") as reading,
                ThreadPoolExecutor(self.crew.workers, "compute") as computing,
                ThreadPoolExecutor(self.crew.writers, "write") as writing,
            ):
                for group in self._in_order(kept):
                    slots.acquire()
                    if self._stop.is_set():
                        break
                    read = reading.submit(self._read, group, kept)
                    computed = computing.submit(self._compute, read)
                    writing.submit(self._write, computed).add_done_callback(
                        lambda _: slots.release()
                    )
        except Exception as err:  # noqa: BLE001 - raised by `run`, which waits for this thread
            self._end(err)
        finally:
            ended.set()

    def _in_order(self, kept: set[int]) -> Iterator[Sequence[int]]:
        groups = self.computer.groups
        done = (group for group in groups() if kept.issuperset(group))
        return chain(done, (group for group in groups() if not kept.issuperset(group)))

    def _read(self, group: Sequence[int], kept: set[int]) -> GroupWork:
        if self._stop.is_set():
            return GroupWork()
        if kept.issuperset(group):
            records = [self.keeper.load(self.kind, index) for index in group]
            whole = [record for record in records if record is not None]
            if len(whole) == len(group):
                return GroupWork(kept=whole)
        try:
            return GroupWork(inputs=self.computer.read(group))
        except Exception as err:  # noqa: BLE001 - kept for the end, whatever it is
            self._note(group, err)
            return GroupWork()

    def _compute(self, read: Future[GroupWork]) -> GroupWork:
        work = read.result()
        if self._stop.is_set():
            return GroupWork()
        return GroupWork(kept=work.kept, unfinished=self._begin(work.inputs))

    def _begin(self, inputs: list[TileInput]) -> dict[int, PendingRecord]:
        """A group, or those of its tiles that do not fail by themselves."""
        indices = [each.tile.index for each in inputs]
        try:
            return dict(zip(indices, self.computer.begin(inputs), strict=True)) if inputs else {}
        except Exception as err:  # noqa: BLE001 - kept for the end, whatever it is
            if len(inputs) == 1 or _stops_everything(err):
                self._note(indices, err)
                return {}
        return {index: rest for each in inputs for index, rest in self._begin([each]).items()}

    def _write(self, computed: Future[GroupWork]) -> None:
        try:
            work = computed.result()
            new = list(self._finished(work.unfinished))
            for record in new:
                self.keeper.store(self.kind, record)
            for record in (*work.kept, *new):
                if self._stop.is_set():
                    return
                self.deliver(record)
        except BaseException as err:  # noqa: BLE001 - kept for the end, whatever it is
            self._end(err)

    def _finished(self, unfinished: dict[int, PendingRecord]) -> Iterator[TileRecord]:
        """The records; what a tile leaves of the network is let go of as soon as it has one."""
        for index in list(unfinished):
            try:
                yield unfinished.pop(index)()
            except Exception as err:  # noqa: BLE001 - kept for the end, whatever it is
                self._note([index], err)

    def _note(self, group: Sequence[int], err: Exception) -> None:
        if _stops_everything(err):
            self._end(err)
            return
        self._failed.update(dict.fromkeys(group, err))
        if len(self._failed) >= MOST_FAILURES:
            self._stop.set()

    def _end(self, err: BaseException) -> None:
        self._fatal.append(err)
        self._stop.set()

    def _tell(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._fatal:
            raise self._fatal[0]
        if not self._failed:
            return
        index, first = next(iter(sorted(self._failed.items())))
        fact = first.fact if isinstance(first, IncompleteRun) else f"tile {index} failed: {first!r}"
        others = sorted(self._failed)[1:]
        if others:
            fact += f", and so did tiles {', '.join(map(str, others))}"
        remedy = getattr(first, "remedy", None) or "a bug: report it with -vv"
        raise IncompleteRun(fact, remedy=remedy) from first


def _stops_everything(err: Exception) -> bool:
    """Whether another tile would fare no better: all we refuse, but for a tile's own failure."""
    return isinstance(err, UavssrError) and not isinstance(err, IncompleteRun)


@contextmanager
def noting_kept_tiles(journal: Journal, total: int) -> Iterator[None]:
    """Add to whatever ends the body how many of `total` tiles the journal keeps.

    An interrupt carries it as a note, an error of ours in its remedy. Nothing is added where no
    tile is kept.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if count := len(journal.finished("tile")):
            stop.add_note(f"{count} of {total} tiles are kept")
        raise
    except UavssrError as err:
        count = len(journal.finished("tile"))
        kept = f"{count} of {total} tiles are kept, go on with --resume" if count else None
        remedy = "; ".join(part for part in (err.remedy, kept) if part)
        told = type(err)(err.fact, path=err.path or journal.out, remedy=remedy or None)
        raise told from (err.__cause__ or err)
