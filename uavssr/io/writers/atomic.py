"""Atomic outputs: the name is checked first, the file built beside it and renamed when complete."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from uavssr.errors import OutputError, OutputExists
from uavssr.io.bounded import parse_json, read_bytes
from uavssr.io.checks import PathLike, envi_headers, name_problem, size_text
from uavssr.io.writers.ownership import Replaceable, may_replace
from uavssr.io.writers.part_folder import (
    ADDED_BYTES,
    OLD_SUFFIX,
    part_folder,
    part_folders,
    restore_replaced,
    try_folder,
)
from uavssr.io.writers.raw_bytes import Packed

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a full quota, and a file that has reached its limit."""
_CLOSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Error numbers of a folder that may not be written to any more."""
_OTHER_NAME: Final = "choose another name with -o/--out"
UNFINISHED: Final = ".unfinished"
"""Suffix of a small file while it is written."""
STORE_PARTS: Final = frozenset(
    {".zattrs", ".zgroup", ".zmetadata", "fwhm", "reflectance", "spatial_ref", "wavelength", *"xy"}
)
"""Names at the top of a Zarr store that we write."""
STORE_MARK: Final = "uavssr_product"
"""Attribute that marks a Zarr store as ours."""
_MAX_ATTRIBUTES_BYTES: Final = 2**22
_BELOW_BYTES: Final = 64
"""Bytes for the names of files inside a Zarr store or a journal."""
_PROBE_BYTES: Final = 2**20
"""Bytes that must still fit behind a part file; else lack of space made a write fail."""


def check_output(
    path: PathLike,
    *,
    overwrite: Replaceable = False,
    inputs: Sequence[PathLike] = (),
    needed_bytes: int = 0,
) -> None:
    """Refuse an output that cannot be written or would destroy something, before any work.

    Args:
        path: the final name.
        overwrite: whether an existing file may be replaced; never an input, folder or device.
        inputs: files that must survive, as must the headers of ENVI files; hard and symbolic links
            to them are recognised.
        needed_bytes: the most that the file can take while the old one still stands.

    Raises:
        OutputError: the output exists, is an input or a folder, or cannot be written.
    """
    out = Path(path)
    if problem := name_problem(out):
        raise OutputError(problem, path=out, remedy=_OTHER_NAME)
    check_names([out])
    restore_replaced(out)
    _check_existing(out, overwrite=overwrite, inputs=inputs)
    _check_folder(out)
    check_free_space(out, needed_bytes)


def check_free_space(path: PathLike, needed_bytes: int) -> None:
    """Refuse an output for which there is not enough free space: `OutputError`."""
    if needed_bytes > shutil.disk_usage(Path(path).parent).free:
        raise _no_space(Path(path), "", needed_bytes)


def _no_space(out: Path, said: str, needed_bytes: int) -> OutputError:
    free = size_text(shutil.disk_usage(out.parent).free)
    return OutputError(
        f"{said}needs up to {size_text(needed_bytes)}, and {free} are free in {out.parent}",
        path=out,
        remedy="free some space or write to another disk",
    )


def _check_existing(out: Path, *, overwrite: Replaceable, inputs: Sequence[PathLike]) -> None:
    try:
        mode = out.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as err:
        raise OutputError(f"cannot be used as an output ({err.strerror})", path=out) from err
    if out.is_dir() and (stat.S_ISLNK(mode) or not is_own_store(out)):
        if out.suffix.lower() == ".zarr":
            raise OutputError(
                "is no store of uavssr, or holds more than that",
                path=out,
                remedy="remove it yourself, or choose another name",
            )
        raise OutputError("is a folder", path=out, remedy="name a file inside it")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        raise OutputError("is neither a file nor a link to one", path=out, remedy="name a file")
    for source in map(Path, inputs):
        if out.exists() and source.exists() and out.samefile(source):
            raise OutputError(f"is the input {source}", path=out, remedy=_OTHER_NAME)
        headers = [] if source.suffix.lower() in (".tif", ".tiff") else envi_headers(source)[:1]
        if out.exists() and any(out.samefile(header) for header in headers):
            raise OutputError(f"is the header of the input {source}", path=out, remedy=_OTHER_NAME)
    if not may_replace(overwrite, out):
        raise OutputExists("exists", path=out, remedy="pass --overwrite or choose another name")


def is_own_store(folder: Path) -> bool:
    """Whether a folder is a Zarr store that we wrote, and to which nobody has added anything."""
    if folder.suffix.lower() != ".zarr" or {path.name for path in folder.iterdir()} - STORE_PARTS:
        return False
    try:
        return STORE_MARK in parse_json(read_bytes(folder / ".zattrs", _MAX_ATTRIBUTES_BYTES))
    except (OSError, ValueError, TypeError):
        return False


def check_names(paths: Iterable[PathLike]) -> None:
    """Refuse outputs whose names leave no room for those of their temporary files.

    Raises:
        OutputError: the longest name, and the bytes by which it must be shorter.
    """
    excesses = ((_excess_bytes(path.absolute()), path) for path in map(Path, paths))
    excess, longest = max(excesses, default=(0, Path()))
    if excess > 0:
        raise OutputError(
            f"the name is {excess} bytes too long for its temporary files",
            path=longest,
            remedy=f"shorten the name of the output by {excess} bytes",
        )


def _excess_bytes(out: Path) -> int:
    """Bytes by which the name or the path of an output is too long; negative if it is not."""
    name, path = len(os.fsencode(out.name)), len(os.fsencode(out))
    try:
        most = os.pathconf(out.parent, "PC_NAME_MAX"), os.pathconf(out.parent, "PC_PATH_MAX")
    except (OSError, ValueError):  # no such folder, or a NUL in it, which is reported later
        return 0
    return max(name + ADDED_BYTES - most[0], path + ADDED_BYTES + name + _BELOW_BYTES - most[1])


def _check_folder(out: Path) -> None:
    """Make a folder for a moment: root may write where the permissions say otherwise."""
    if not out.parent.is_dir():
        raise OutputError(f"there is no folder {out.parent}", path=out, remedy="create it first")
    try:
        try_folder(out)
    except OSError as err:
        raise OutputError(
            f"cannot write in {out.parent} ({err.strerror})",
            path=out,
            remedy="choose another name or a folder you may write to",
        ) from err


def publish(part: Path, path: PathLike, *, overwrite: Replaceable) -> Path:
    """Make a complete part file or folder durable and give it its final name in one step.

    Raises:
        OutputError: an output of that name has appeared meanwhile, or the system refused.
    """
    out = Path(path)
    try:
        if part.is_dir():
            os.sync()  # one by one, thousands of small files would take minutes
        else:
            sync(part)
        if not isinstance(overwrite, bool):
            overwrite.record(part, out)
        replaces = overwrite is True or os.path.lexists(out)
        _check_existing(out, overwrite=overwrite, inputs=())
        if part.is_dir():
            publish_folder(part, out)
        elif replaces or not _linked(part, out):
            part.replace(out)
        sync(out.parent)
    except OSError as err:
        raise _gone(out) or OutputError(f"cannot be completed ({err.strerror})", path=out) from err
    return out


def _linked(part: Path, out: Path) -> bool:
    """Give a file a free name; False on a file system without hard links.

    A link never replaces a file, not even one that has appeared since the last look.
    """
    try:
        out.hardlink_to(part)
    except FileExistsError:
        _check_existing(out, overwrite=False, inputs=())
    except OSError:
        return False
    return True


def publish_folder(part: Path, out: Path) -> None:
    """Rename a folder in its part folder; `restore_replaced` mends a kill between the steps."""
    old = part.with_name(f"{out.name}{OLD_SUFFIX}")
    try:
        if out.exists():
            out.replace(old)
        part.replace(out)
    finally:
        if old.exists() and not os.path.lexists(out):
            old.replace(out)


def write_durably(path: Path, *pieces: Packed) -> None:
    """Put a small file of our own in place, whole or not at all.

    Raises:
        OutputError: the system refused, a full disk most often.
    """
    temporary = path.with_name(f"{path.name}{UNFINISHED}")
    try:
        with temporary.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError as err:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        needed_bytes = sum(map(len, pieces))
        raise write_failed(path, err.strerror, needed_bytes=needed_bytes) from err


def sync(path: Path) -> None:
    """Wait until what was written to a file, or renamed in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(
    path: PathLike,
    *,
    overwrite: Replaceable,
    inputs: Sequence[PathLike] = (),
    needed_bytes: int = 0,
) -> Iterator[Path]:
    """Build a file in the body under the yielded name; it is published if the body succeeds.

    On any error the part is removed, and whatever stood at `path` still does.
    """
    check_output(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed_bytes)
    with part_folder(path) as part:
        yield part
        publish(part, path, overwrite=overwrite)


def write_failed(path: PathLike, reason: object, *, needed_bytes: int) -> OutputError:
    """The error for a write that failed, with the bytes needed and free if space ran out.

    Libraries drop the system's own reason, so a probe is written beside the part file.
    """
    out = Path(path)
    if gone := _gone(out):
        return gone
    full = _lack_of_space(out, str(reason), needed_bytes)
    if full is None:
        closed = any(os.strerror(code) in str(reason) for code in _CLOSED)
        remedy = "run again, and should it happen again, write to another disk"
        return OutputError(
            f"writing failed ({reason})",
            path=out,
            remedy=f"make {out.parent} writable again" if closed else remedy,
        )
    said = str(reason) if full in str(reason) else f"{reason}; {full}"
    return _no_space(out, f"writing failed ({said}): ", needed_bytes)


def _gone(out: Path) -> OutputError | None:
    """The error for an output whose folder was moved or removed during the run."""
    folder = out.parent
    if folder.is_dir():
        return None
    while not folder.parent.is_dir():
        folder = folder.parent
    remedy = "move it back, or name its new place in -o/--out"
    return OutputError(f"the folder {folder} was moved or removed", path=out, remedy=remedy)


def _lack_of_space(out: Path, reason: str, needed_bytes: int) -> str | None:
    """The reason why space ran out for `out`; None where there is enough."""
    for code in _NO_SPACE:
        if os.strerror(code) in reason:
            return os.strerror(code)
    try:
        parts = [path.lstat() for part in part_folders(out) for path in part.rglob("*")]
        stored = sum(part.st_blocks * 512 for part in parts)
        if shutil.disk_usage(out.parent).free < needed_bytes - stored:
            return "little space is left"
    except OSError:  # the folder has gone just now
        return None
    return _refused_for_space(out.parent, max((part.st_size for part in parts), default=0))


def _refused_for_space(folder: Path, offset: int) -> str | None:
    """Why the system lets no file here grow beyond `offset` bytes, or None; leaves nothing."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            end = offset + _PROBE_BYTES
            while offset < end:  # at a limit, the first write is short and the next one fails
                offset += os.pwrite(file.fileno(), bytes(end - offset), offset)
            os.fsync(file.fileno())
    except OSError as err:
        return os.strerror(err.errno) if err.errno in _NO_SPACE else None
    return None
