"""The journal of a run: finished tiles beside the unfinished output, so that a kill costs nothing.

Must not know the network, the output's format, or what the maps of a tile mean.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from uavssr.errors import OutputError
from uavssr.io.checks import PathLike
from uavssr.io.writers.atomic import UNFINISHED, remove, write_durably
from uavssr.io.writers.interrupts import interrupts_held
from uavssr.io.writers.lock import Lock

Array = npt.NDArray[Any]
RecordKind = Literal["tile", "stf"]
"""What a pass over the tiles gives: all that an output needs of them, or their STFs alone."""

_MAGIC: Final = b"uavssr tile 1\n"
_LARGEST_HEAD: Final = 2**20
_RUN, _LOCK, _PUBLISHING = "run.json", "lock", "publishing"
_TILE_FILE: Final = re.compile(r"(tile|stf)-([0-9]+)")
_FORMAT: Final = 1
_ANEW: Final = "pass --overwrite to start anew"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileRecord:
    """What is kept of one tile: all that its part of any output needs."""

    index: int
    """Of the tile."""
    valid: npt.NDArray[np.bool_]
    """(h, w) pixels of the core that are valid."""
    maps: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Stacks (k, h, w) by name, the coefficients first of all; none for an empty tile."""
    stf: Mapping[str, Array] = field(default_factory=dict)
    """The tile's STF as named numbers; none for an empty tile."""


def journal_path(out: PathLike) -> Path:
    """Where the journal of the output `out` lies: `.<name>.uavssr` beside it."""
    return Path(out).with_name(f".{Path(out).name}.uavssr")


def was_publishing(out: PathLike) -> bool:
    """Whether a run was stopped while it gave `out` and its companions their names.

    Then what stands there is that run's own, as it had not been there when the run began.
    """
    return (journal_path(out) / _PUBLISHING).exists()


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
    Every file is written under another name, synchronised and renamed, and holds its checksums. A
    file that is not whole, or of another run, counts as absent. Leaving the block unlocks the
    folder; it stays only where it holds a finished tile.

    Args:
        out: the output that the tiles are for.
        resume: go on with what is there.
        overwrite: without `resume`, throw away what is there.

    Raises:
        OutputError: there is a journal and neither was asked, or another run is using it.
    """

    def __init__(self, out: PathLike, *, resume: bool = False, overwrite: bool = False) -> None:
        self.out, self.folder = Path(out), journal_path(out)
        self._resume, self._overwrite = resume, overwrite
        self._lock: Lock | None = None
        self._run: dict[str, Any] | None = None
        self._key = ""

    def __enter__(self) -> Self:
        try:
            with interrupts_held():
                self._lock = Lock.take(self.folder / _LOCK, output=self.out)
            self._open()
            return self
        except BaseException:  # nobody calls __exit__ when this fails, or is interrupted
            self.__exit__(None, None, None)
            raise

    def _open(self) -> None:
        for path in self.folder.glob(f"*{UNFINISHED}"):
            path.unlink()
        if self._resume and (self.folder / _RUN).exists():
            self._run = self._load()
            self._key = _checksum(self._run)
            return
        if self._kept() and not (self._resume or self._overwrite):
            raise OutputError(
                f"an unfinished run of it is kept in {self.folder.name}",
                path=self.out,
                remedy=f"pass --resume to go on with it, or {_ANEW}",
            )
        self.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with interrupts_held():
                self._leave()
        finally:
            self._leave()  # where an interrupt came before it could be held

    def _leave(self) -> None:
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            if not self._kept():
                self.clear()
        finally:
            lock.release()
            with suppress(OSError):  # it holds tiles, or the next run's lock
                self.folder.rmdir()

    def clear(self) -> None:
        """Remove all but the lock: the outputs have their names, or nothing is worth keeping."""
        # The record first: without it the rest means nothing, should this be interrupted.
        (self.folder / _RUN).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                remove(path)

    # --- the record of the run -------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with."""
        return self._run is not None

    @property
    def identity(self) -> dict[str, str]:
        """What the run is, as it was given to `begin`."""
        return {} if self._run is None else dict(self._run["identity"])

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    @property
    def scene(self) -> dict[str, Array]:
        """The scene's STF as it was given to `begin`, in float64."""
        scene = {} if self._run is None else self._run["scene"]
        return {name: np.array(values, np.float64) for name, values in scene.items()}

    def begin(self, identity: Mapping[str, str], scene: Mapping[str, Array]) -> None:
        """Note what this run is, before its first tile.

        Args:
            identity: all that the pixels depend on, by the name that a refusal gives it.
            scene: the scene's STF, so that a resumed run has the very same.
        """
        lists = {name: np.asarray(values, np.float64).tolist() for name, values in scene.items()}
        self._run = {"format": _FORMAT, "identity": dict(identity), "scene": lists}
        self._key = _checksum(self._run)
        text = json.dumps({"checksum": self._key} | self._run, indent=1)
        write_durably(self.folder / _RUN, [text.encode()])

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse to go on with a run of another identity.

        Raises:
            OutputError: the field that differs, as it was and as it is now.
        """
        before = self.identity
        for name in dict.fromkeys([*identity, *before]):
            was, now = before.get(name, "unknown"), identity.get(name, "unknown")
            if was != now:
                raise OutputError(
                    f"the run to resume had {name} {_shown(was)}, and this one has {_shown(now)}",
                    path=self.out,
                    remedy=f"give the same again, or {_ANEW}",
                )

    def _load(self) -> dict[str, Any]:
        path = self.folder / _RUN
        try:
            run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            sound = run.pop("checksum") == _checksum(run) and run["format"] == _FORMAT
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise OutputError(
                "the record of the run to resume is damaged, or of another version",
                path=path,
                remedy=_ANEW,
            )
        return run

    def publish(self) -> None:
        """Note that the outputs get their names from here on; see `was_publishing`."""
        write_durably(self.folder / _PUBLISHING, [])

    # --- tiles -----------------------------------------------------------------------------------

    def finished(self, kind: RecordKind) -> set[int]:
        """The tiles of which there is a file, whole or not."""
        return {index for found, index in self._kept() if found == kind}

    def _kept(self) -> list[tuple[str, int]]:
        names = (_TILE_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return [(name[1], int(name[2])) for name in names if name]

    def store(self, kind: RecordKind, record: TileRecord) -> None:
        """Keep a tile.

        Raises:
            OutputError: the system refused, a full disk most often.
        """
        valid = {"valid": np.packbits(record.valid)}
        groups: tuple[Mapping[str, Array], ...] = (record.stf, valid, record.maps)
        flat = [[(n, np.asarray(a, order="C")) for n, a in group.items()] for group in groups]
        head = {
            "key": self._key,
            "index": record.index,
            "shape": record.valid.shape,
            "groups": [[(n, a.dtype.str, a.shape, _crc(a)) for n, a in group] for group in flat],
        }
        text = json.dumps(head).encode()
        lead = _MAGIC + b"".join(n.to_bytes(4, "little") for n in (len(text), zlib.crc32(text)))
        data = [_raw(a) for group in flat for _, a in group]
        write_durably(self._path(kind, record.index), [lead, text, *data])

    def load(self, kind: RecordKind, index: int, *, maps: bool = True) -> TileRecord | None:
        """A kept tile; None where there is none, or none that is whole and of this run.

        Args:
            kind: as it was stored.
            index: of the tile.
            maps: whether the maps are read too; without them a few kilobytes are.
        """
        path = self._path(kind, index)
        try:
            with path.open("rb") as file:
                return self._parse(file, path.stat().st_size, index, maps=maps)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as err:
            _log.warning("%s: damaged (%s), so the tile is computed again", path, err)
            return None

    def _parse(self, file: BufferedReader, size: int, index: int, *, maps: bool) -> TileRecord:
        lead = file.read(len(_MAGIC) + 8)
        length, crc = (int.from_bytes(lead[at:][:4], "little") for at in (-8, -4))
        if lead[:-8] != _MAGIC or length > _LARGEST_HEAD:
            raise ValueError("not a tile")
        text = file.read(length)
        if zlib.crc32(text) != crc:
            raise ValueError("head not as written")
        head = json.loads(text)
        if (head["key"], head["index"]) != (self._key, index):
            raise ValueError("of another run or tile")
        groups = head["groups"]
        expected = len(lead) + length + sum(_size(*array) for group in groups for array in group)
        if size != expected:
            raise ValueError(f"{size} bytes of {expected}")
        stf, packed, *stacks = (
            {array[0]: _read(file, *array) for array in group}
            for group in (groups if maps else groups[:2])
        )
        height, width = head["shape"]
        valid = np.unpackbits(packed["valid"], count=height * width).astype(bool)
        return TileRecord(
            index=index,
            valid=valid.reshape(height, width),
            maps=stacks[0] if stacks else {},
            stf=stf,
        )

    def _path(self, kind: RecordKind, index: int) -> Path:
        return self.folder / f"{kind}-{index:07d}"


def _raw(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _crc(array: Array) -> int:
    return zlib.crc32(_raw(array))


def _size(_: str, dtype: str, shape: Sequence[int], __: int) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)


def _read(file: BufferedReader, name: str, dtype: str, shape: Sequence[int], crc: int) -> Array:
    array = np.empty(shape, np.dtype(dtype))
    if file.readinto(_raw(array)) != array.nbytes or _crc(array) != crc:
        raise ValueError(f"{name} not as written")
    return array


def _checksum(run: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
