"""The journal of a run: finished tiles beside the unfinished output, from which a run resumes."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np

from uavssr.errors import OutputError
from uavssr.io.bounded import open_regular, parse_json
from uavssr.io.checks import PathLike
from uavssr.io.writers.atomic import UNFINISHED, write_durably
from uavssr.io.writers.lock import Lock
from uavssr.io.writers.ownership import move_away, read_regular
from uavssr.io.writers.tile_record import DAMAGE, TileRecord, pack_record, unpack_record
from uavssr.sensors import NumberArray

RecordKind = Literal["tile", "stf"]
"""Contents of a record: all that the outputs need of a tile, or its STF alone."""

_MARK, _RUN, _LOCK = "uavssr-journal", "run.json", "lock"
PUBLISHING: Final = "publishing"
"""Name of the record of files that got their names; see `PublishedFiles`."""
_MARK_TEXT: Final = b"journal of uavssr 1\n"
"""Content of the file that marks a folder as a journal."""
_TILE_FILE: Final = re.compile(r"(tile|stf)-([0-9]+)(\.npz)?")  # 0.1.0 wrote no suffix
_RECORD: Final = re.compile(rf"({_MARK}|{re.escape(_RUN)}|{PUBLISHING}|{_TILE_FILE.pattern})")
"""Names of the files that a journal holds beside its lock."""
_FORMAT, _FORMAT_OF_0_1_0 = 2, 1
_ANEW: Final = "pass --overwrite to start anew"

_log = logging.getLogger(__name__)


def journal_path(out: PathLike) -> Path:
    """Folder of the journal of the output `out`: `.<name>.uavssr` beside it."""
    return Path(out).with_name(f".{Path(out).name}.uavssr")


@contextmanager
def output_locked(out: PathLike) -> Iterator[None]:
    """Lock an output against all other runs; the lock lies in the folder of its journal.

    Raises:
        OutputError: another run writes it, or something else has the folder's name.
    """
    lock = _locked(out)
    try:
        yield
    finally:
        _unlock(lock)


def _locked(out: PathLike) -> Lock:
    folder = journal_path(out)
    # A second look: another run may have made the folder during the first.
    if _why_foreign(folder) and (fact := _why_foreign(folder)):
        raise OutputError(fact, path=folder, remedy=move_away(folder))
    return Lock.take(folder / _LOCK, output=Path(out))


def _unlock(lock: Lock) -> None:
    lock.release()
    with suppress(OSError):  # it holds tiles, or the next run's lock
        lock.path.parent.rmdir()


class Journal:
    """Finished tiles of one run, in a folder that only this process writes to.

    ```
    with Journal(out, resume=True) as journal:
        if journal.begun:
            journal.check(identity)
        else:
            journal.begin(identity, scene)
        ...
        journal.store("tile", record)
        ...
        journal.clear()
    ```
    Every file is written under another name, synchronised and renamed, and holds its checksum. A
    file that is damaged, or of another run, counts as absent. Leaving the block unlocks the
    folder, which stays only if it holds a finished tile.

    A folder is a journal if it has the mark, or a sound `run.json`. No other folder is touched, nor
    are files of other names in a journal.

    Args:
        out: the output that the tiles are for.
        resume: go on with the journal, if there is one.
        overwrite: without `resume`, remove a journal that is there.

    Raises:
        OutputError: there is a journal and neither was asked, it cannot be read, or is in use; or
            something else has its name.
    """

    def __init__(self, out: PathLike, *, resume: bool = False, overwrite: bool = False) -> None:
        self.out, self.folder = Path(out), journal_path(out)
        self._resume, self._overwrite = resume, overwrite
        self._lock: Lock | None = None
        self._run: dict[str, Any] = {}
        self._key = ""

    def __enter__(self) -> Self:
        self._lock = _locked(self.out)
        try:
            self._open()
            return self
        except BaseException:  # nobody calls __exit__ when this fails, or is interrupted
            self.__exit__()
            raise

    def _open(self) -> None:
        for path in self._records():
            if path.name.endswith(UNFINISHED):
                path.unlink()
        if self._resume and (self.folder / _RUN).exists():
            self._run = self._load()
            self._key = _checksum(self._run)
        elif self._kept() and not (self._resume or self._overwrite):
            self._load()  # one that cannot be resumed is refused with its own remedy
            raise OutputError(
                f"an unfinished run of it is kept in {self.folder.name}",
                path=self.out,
                remedy=f"pass --resume to go on with it, or {_ANEW}",
            )
        else:
            self.clear()
        if read_regular(self.folder / _MARK) != _MARK_TEXT:
            write_durably(self.folder / _MARK, _MARK_TEXT)

    def __exit__(self, *_: object) -> None:
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            with suppress(OSError):  # the folder was moved away, or made read-only
                if not self._kept():
                    self.clear()
                    (self.folder / _MARK).unlink(missing_ok=True)
        finally:
            _unlock(lock)

    def clear(self) -> None:
        """Remove the records, when the outputs have their names or there is no tile."""
        # The record first: without it the rest means nothing, should this be interrupted.
        (self.folder / _RUN).unlink(missing_ok=True)
        for path in self._records():
            path.unlink(missing_ok=True)

    def _records(self) -> list[Path]:
        """Our files but the mark and the lock, unfinished ones included."""
        return [
            path for path in self.folder.iterdir() if path.name != _MARK and _is_record(path.name)
        ]

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with."""
        return bool(self._run)

    @property
    def identity(self) -> dict[str, str]:
        """The run's identity as it was given to `begin`."""
        return dict(self._run.get("identity", {}))

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    @property
    def scene(self) -> dict[str, NumberArray]:
        """The scene's STF as it was given to `begin`, in float64."""
        scene = self._run.get("scene", {})
        return {name: np.array(values, np.float64) for name, values in scene.items()}

    def begin(self, identity: Mapping[str, str], scene: Mapping[str, NumberArray]) -> None:
        """Record the run's identity, before its first tile.

        Args:
            identity: all that the pixels depend on, by the names used in messages.
            scene: the scene's STF, so that a resumed run uses the same numbers.
        """
        lists = {name: np.asarray(values, np.float64).tolist() for name, values in scene.items()}
        self._run = {"format": _FORMAT, "identity": dict(identity), "scene": lists}
        self._key = _checksum(self._run)
        text = json.dumps({"checksum": self._key} | self._run, indent=1)
        write_durably(self.folder / _RUN, text.encode())

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse to go on with a run of another identity.

        Raises:
            OutputError: the field that differs, as it was and as it is now.
        """
        before = self.identity
        for name in dict.fromkeys([*identity, *before]):
            was, now = before.get(name, "unknown"), identity.get(name, "unknown")
            if was != now:
                had, has = (f"{text[:77]}..." if len(text) > 80 else text for text in (was, now))
                raise OutputError(
                    f"the run to resume had {name} {had}, and this one has {has}",
                    path=self.out,
                    remedy=f"give the same again, or {_ANEW}",
                )

    def _load(self) -> dict[str, Any]:
        run = _sound_run(self.folder)
        if run and run["format"] == _FORMAT_OF_0_1_0:
            raise OutputError(
                "the unfinished run was begun by 0.1.0, whose journal this version cannot read",
                path=self.out,
                remedy=f"{_ANEW}, or finish it with uavssr 0.1.0",
            )
        if not run or run["format"] != _FORMAT:
            raise OutputError(
                "the record of the run to resume is damaged, or of another version",
                path=self.folder / _RUN,
                remedy=_ANEW,
            )
        return run

    def finished(self, kind: RecordKind) -> set[int]:
        """Indices of the tiles that have a file, damaged ones included."""
        return {index for kind_, index in self._kept() if kind_ == kind}

    def _kept(self) -> list[tuple[str, int]]:
        names = (_TILE_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return [(name[1], int(name[2])) for name in names if name]

    def report(self, total: int) -> str:
        """The tiles that a resumed run need not compute, in words; empty without any."""
        try:
            count = len(self.finished("tile"))
        except OSError:
            return "the finished tiles are where its journal is"
        return f"{count} of {total} tiles are kept" if count else ""

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Keep a tile; raises `OutputError` if the system refuses, mostly for a full disk."""
        write_durably(self._path(kind, record.index), *pack_record(record, key=self._key))

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:
        """A tile that was stored; None where there is none, or it is damaged or of another run.

        Without `maps`, which are nearly all of the file, they are neither read nor checked.
        """
        path = self._path(kind, index)
        try:
            with open_regular(path, follow=False) as file:
                return unpack_record(file, key=self._key, index=index, maps=maps)
        except FileNotFoundError:
            return None
        except DAMAGE as err:
            _log.warning("%s: damaged (%s), so the tile is computed again", path, err)
            return None

    def _path(self, kind: RecordKind, index: int) -> Path:
        return self.folder / f"{kind}-{index:07d}.npz"


def _is_record(name: str) -> bool:
    return _RECORD.fullmatch(name.removesuffix(UNFINISHED)) is not None


def _why_foreign(folder: Path) -> str | None:
    """Why a path is not provably ours, or None for a journal, an empty folder, or nothing."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return "is not a folder, so it is no journal of uavssr"
        marked = read_regular(folder / _MARK) == _MARK_TEXT or _sound_run(folder) is not None
        names = {path.name for path in folder.iterdir()}
        if not marked and not _is_start(folder, names):
            return "is not a journal of uavssr"
        for name in sorted(names):
            ours = name == _LOCK or _is_record(name)
            if ours and not stat.S_ISREG((folder / name).lstat().st_mode):
                return f"is not a journal of uavssr: {name} in it is not a file"
    except FileNotFoundError:  # another run has just removed it
        return None
    except OSError as err:
        return f"cannot be read ({err.strerror})"
    return None


def _is_start(folder: Path, names: set[str]) -> bool:
    """Whether a folder holds no more than a run leaves that was stopped before the mark."""
    unfinished = f"{_MARK}{UNFINISHED}"
    if not names <= {_LOCK, unfinished}:
        return False
    text = read_regular(folder / unfinished) if unfinished in names else b""
    return text is not None and _MARK_TEXT.startswith(text)


def _sound_run(folder: Path) -> dict[str, Any] | None:
    """The record of a run, if it is whole."""
    try:
        run: dict[str, Any] = parse_json(read_regular(folder / _RUN) or b"")
        sound = run.pop("checksum") == _checksum(run) and "format" in run
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return run if sound else None


def _checksum(run: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
