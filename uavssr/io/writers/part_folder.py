"""Part folders: an output is built in a hidden folder that its run has made for it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from uavssr.io.checks import PathLike
from uavssr.io.writers.flock import lock_file
from uavssr.io.writers.ownership import read_regular

_MARK: Final = "uavssr-part"
"""Name of the file that marks a part folder, locked as long as the folder is in use."""
_MARK_TEXT: Final = b"part folder of uavssr 1\n"
_SUFFIX: Final = ".part"
ADDED_BYTES: Final = len(".") + len(".12345678") + len(_SUFFIX)
"""Bytes by which the name of a part folder is longer than the output's."""
OLD_SUFFIX: Final = ".old"
"""Suffix, in a part folder, of the folder that an output replaces, until it has its name."""


@contextmanager
def part_folder(path: PathLike) -> Iterator[Path]:
    """The absolute name under which the body builds `path`, in a new hidden folder beside it.

    The folder is removed at the end, with the sidecars that libraries put into it; those that
    ended runs left are removed first.

    Raises:
        OSError: the system refused.
    """
    out = Path(path).absolute()
    remove_stale_parts(out)
    folder, mark = _new_folder(out)
    try:
        yield folder / out.name
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            mark.close()


def try_folder(path: PathLike) -> None:
    """Make and remove an empty part folder of `path`; raises OSError where that is impossible."""
    out = Path(path).absolute()
    Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_SUFFIX, dir=out.parent)).rmdir()


def _new_folder(out: Path) -> tuple[Path, FileIO]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_SUFFIX, dir=out.parent))
        with suppress(FileNotFoundError):  # another run has just taken it for a stale one
            path = folder / _MARK
            try:
                mark = FileIO(path, "xb")
                mark.write(_MARK_TEXT)
            except OSError:  # a full disk
                shutil.rmtree(folder, ignore_errors=True)
                raise
            with suppress(OSError):  # a file system without locks: it will never count as stale
                lock_file(mark, wait=True)
            if os.path.samestat(os.fstat(mark.fileno()), path.stat()):
                return folder, mark
            mark.close()


def part_folders(path: PathLike) -> list[Path]:
    """The folders beside `path` with the name of a part folder of it, whoever made them."""
    out = Path(path).absolute()
    pattern = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
    try:
        paths = [path for path in out.parent.iterdir() if pattern.fullmatch(path.name)]
    except OSError:  # the folder has gone
        return []
    return [path for path in paths if path.is_dir() and not path.is_symlink()]


def remove_stale_parts(path: PathLike) -> list[Path]:
    """Remove the part folders of `path` that ended runs left; returns them.

    A folder that is not provably one of ours, or that is in use, is left as it is.
    """
    out = Path(path).absolute()
    return [folder for folder in part_folders(out) if _removed(folder, out)]


def restore_replaced(path: PathLike) -> None:
    """Give a folder its name back if a run was killed before the new one got that name."""
    out = Path(path).absolute()
    if not os.path.lexists(out):
        for folder in part_folders(out):
            if (folder / f"{out.name}{OLD_SUFFIX}").is_dir():
                _removed(folder, out)


def _removed(folder: Path, out: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()  # empty: a run was stopped before the mark
        return True
    text = read_regular(folder / _MARK)
    if text != _MARK_TEXT and (text is None or list(folder.iterdir()) != [folder / _MARK]):
        return False
    try:
        with FileIO(folder / _MARK, "r+", opener=_open_unfollowed) as mark:
            lock_file(mark, wait=False)
            old = folder / f"{out.name}{OLD_SUFFIX}"
            if old.is_dir() and not os.path.lexists(out):
                old.rename(out)
            shutil.rmtree(folder)
    except OSError:  # in use, or it may not be removed
        return False
    return True


def _open_unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
