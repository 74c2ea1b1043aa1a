"""Bounded reading: regular files only, at most so many bytes, parsed to at most so deep.

All that is opened passes through here, as a FIFO would block, and a few bytes of YAML, JSON or ZIP
can claim all memory. Each function raises an `OSError` where the system refuses or the file is not
a regular one, and a `ValueError` where its content is too long, too deep, or not of the kind.
`why_unread` makes the fact of both for a message.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import yaml

_SPECIAL_FILES: Final = {"d": "directory", "p": "FIFO", "s": "socket", "c": "device", "b": "device"}
"""Files that are not regular, by the letter that `ls -l` shows for them."""
MAX_YAML_BYTES: Final = 2**21
"""Largest file of settings or of a sensor; measured curves of 12 bands take some 200 kB."""
_MAX_DEPTH: Final = 32
"""Lists and mappings inside each other, in YAML and JSON."""
_MAX_NODES: Final = 500_000
"""Values of a YAML text, each alias counted as all that it stands for."""
_MAX_YAML_SCALAR: Final = 4096
"""Characters of one value; to parse a number of very many digits takes minutes."""
_MAX_CELLS: Final = 8_000_000
"""Cells of a table; each takes some 60 bytes."""
_MAX_ZIP_DIRECTORY: Final = 2**16
"""Bytes of the list of members of a ZIP file; those of an .npz file have about 60 each."""
_ZIP_END: Final = b"PK\5\6"
_ZIP64_LOCATOR: Final = b"PK\6\7"
_HEADERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Readers of the header of a .npy file, by its version."""
_ONE_HEADER: Final = threading.Lock()
"""numpy parses headers with `ast`, which in CPython 3.11 and 3.12 fails now and then in two threads
at a time (SystemError: AST constructor recursion depth mismatch, python/cpython issue 106905)."""


class IrregularFileError(OSError):
    """A directory, FIFO, socket or device in the place of a file."""


def is_folder(path: str | Path) -> bool:
    """Whether a path leads to a folder; not so one that is too long to be looked up."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises


def open_regular(path: str | Path, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading, without waiting for a writer.

    Args:
        path: the file.
        follow: whether it may be a link to a regular file.
    """
    _check_regular(Path(path).stat(follow_symlinks=follow))  # to open some devices does something
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_regular(os.fstat(file.fileno()))  # it may have been replaced
    except OSError:
        file.close()
        raise
    return file


def read_bytes(path: str | Path, most: int, *, follow: bool = True) -> bytes:
    """The content of a regular file of at most `most` bytes."""
    with open_regular(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        raw = b"" if size > most else file.read(most + 1)
    if (size := max(size, len(raw))) > most:
        raise ValueError(f"{size} bytes, more than the {most} allowed")
    return raw


def read_table(path: str | Path, most: int) -> Iterator[list[str]]:
    """The rows of a CSV file in UTF-8 of at most `most` bytes, blank ones included."""
    raw, cells = io.BytesIO(read_bytes(path, most)), 0
    try:
        for row in csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")):
            cells += len(row)
            if cells > _MAX_CELLS:
                raise ValueError(f"more than {_MAX_CELLS} cells")
            yield row
    except csv.Error as err:
        raise ValueError(str(err)) from err


def parse_json(raw: bytes | str) -> Any:
    """The value of a JSON text."""
    try:
        value = json.loads(raw)
    except RecursionError as err:
        raise ValueError("nested too deep") from err
    layer, depth = [value], 0
    while layer := [item for parent in layer for item in _items(parent)]:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    return value


def parse_xml(raw: bytes) -> ET.Element:
    """The root of an XML text in UTF-8 without a document type: its entities may be endless."""
    if "<!DOCTYPE" in raw.decode("utf-8-sig"):
        raise ValueError("has a document type, which is not read")
    try:
        return ET.fromstring(raw)  # noqa: S314 - without a document type no entities
    except ET.ParseError as err:
        raise ValueError(f"is no XML ({err})") from err


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, and numbers such as 1e-3, which it takes for text."""


_FLOAT: Final = r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+.0123456789"))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text of one document, None for an empty one."""
    try:
        _check_events(text)
        return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, RecursionError, OverflowError) as err:
        raise ValueError(" ".join(str(err).split())) from err


@contextmanager
def opened_arrays(file: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """An open .npz file whose arrays take at most `most` bytes in all; see `read_array`.

    Errors of a damaged file become a `ValueError`, those in the body too.
    """
    try:
        _check_zip_directory(file)
        with zipfile.ZipFile(file) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
            if claimed > most:
                raise ValueError(f"unpacks to {claimed} bytes, more than the {most} allowed")
            yield archive
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as err:  # zipfile, zlib and numpy raise many types for a damaged file
        raise ValueError(f"damaged ({type(err).__name__}: {err})") from err


def read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """An array whose header claims exactly the bytes that the archive holds; no Python objects."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"lacks {name}")
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in an unknown way")
    with _ONE_HEADER, archive.open(member) as file:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
        claimed, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0 or claimed != held:
        raise ValueError(f"{name} claims to be {dtype} {shape}, and holds {held} bytes")
    with _ONE_HEADER, archive.open(member) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def why_unread(err: OSError | ValueError, path: str | Path) -> str:
    """The fact in a message about a file that this module refused."""
    if isinstance(err, PermissionError):
        return "no permission to read it"
    if isinstance(err, FileNotFoundError):
        if Path(path).is_symlink():
            return f"is a link to {str(Path(path).readlink())!r}, which does not exist"
        return "no such file"
    if isinstance(err, IrregularFileError):
        return str(err.strerror)
    if isinstance(err, UnicodeDecodeError):
        return f"is not UTF-8 text ({err.reason} at byte {err.start})"
    return f"cannot be read: {err.strerror}" if isinstance(err, OSError) else str(err)


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _SPECIAL_FILES.get(stat.filemode(status.st_mode)[0], "link")
        raise IrregularFileError(errno.EINVAL, f"is a {kind}, not a file")


def _items(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


@dataclass(slots=True)
class _OpenCollection:
    """A list or mapping of a YAML text whose end has not been read."""

    anchor: str | None
    before: int
    """Values of the text before it."""
    is_mapping: bool
    items: int = 0
    """Keys and values, or elements, so far."""
    keys: set[str] = field(default_factory=set)

    def add(self, event: yaml.Event) -> None:
        """Count an item; of a key that comes twice, YAML would keep the last value."""
        is_key = self.is_mapping and self.items % 2 == 0
        self.items += 1
        if not is_key or not isinstance(event, yaml.ScalarEvent) or event.value == "<<":
            return
        if event.value in self.keys:
            line = f", again in line {mark.line + 1}" if (mark := event.start_mark) else ""
            raise ValueError(f"the key {event.value[:80]!r} is given twice{line}")
        self.keys.add(event.value)


def _check_events(text: str) -> None:
    """Refuse a YAML text before it is loaded: repeated keys; its depth, values and aliases."""
    sizes: dict[str | None, int] = {}
    parents: list[_OpenCollection] = []
    total = 0
    for event in yaml.parse(text, _Loader):
        if parents and isinstance(event, yaml.NodeEvent):
            parents[-1].add(event)
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, _MAX_NODES)  # inside its own anchor: endless
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if len(event.value) > _MAX_YAML_SCALAR:
                raise ValueError(f"a value of {len(event.value)} characters")
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            parents.append(_OpenCollection(event.anchor, total, is_mapping))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = parents.pop()
            sizes[ended.anchor] = total - ended.before
        if len(parents) > _MAX_DEPTH or total > _MAX_NODES:
            raise ValueError(
                f"more than {_MAX_NODES} values, or nested more than {_MAX_DEPTH} deep"
            )


def _check_zip_directory(file: BinaryIO) -> None:
    """Refuse a ZIP file with a long list of members, which would be read whole."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 2**16, 0))
    end = file.read()
    place = end.rfind(_ZIP_END)
    length = int.from_bytes(end[place + 12 : place + 16], "little")
    if place < 0 or end[max(place - 20, 0) : place].startswith(_ZIP64_LOCATOR):
        raise ValueError("is no ZIP file, or has too many members")
    if length > _MAX_ZIP_DIRECTORY:
        raise ValueError(f"lists members in {length} bytes, more than {_MAX_ZIP_DIRECTORY}")
