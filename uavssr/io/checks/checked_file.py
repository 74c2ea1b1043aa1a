"""Checked raster files: local, regular, TIFF or ENVI, complete, and of a sane size.

GDAL opens virtual files, URLs and archives under any name, and hangs on a FIFO, so every path
passes through `check_raster` before GDAL sees it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import rasterio
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks.envi_header import envi_header, read_envi_layout
from uavssr.io.checks.gdal_errors import GDAL_ERRORS
from uavssr.io.checks.layout import Layout, check_layout
from uavssr.io.checks.tiff_layout import read_tiff_layout

Driver = Literal["GTiff", "ENVI"]
PathLike = str | os.PathLike[str]
"""The type of a path that callers give."""

_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KNOWN_MAGIC: Final = {
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
    b"\xff\xd8\xff": "a JPEG image",
    b"<VRT": "a GDAL virtual file (VRT)",
    b"<?xm": "an XML file",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"CDF\x01": "a netCDF file",
}
_FILE_TYPES: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_WORLD_FILES: Final = (".tfw", ".tifw", ".tiffw", ".wld", ".TFW")
_SIDECAR_SUFFIXES: Final = (".aux.xml", ".ovr", ".msk")
_REMEDY: Final = "give the path of a local GeoTIFF or ENVI file"

_ENV: Final = {
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{noext}",
    "GDAL_HTTP_MAX_RETRY": "0",
}
_READDIR: Final[dict[Driver, str]] = {
    # EMPTY_DIR hides every sidecar; ENVI would not find its own header then [measured, 3.10].
    "GTiff": "EMPTY_DIR",
    "ENVI": "TRUE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A file that passed all checks, and its state at that time."""

    path: Path
    """As the user gave it, for messages."""
    absolute: str
    """The path for GDAL; an absolute one cannot be taken for a driver prefix."""
    driver: Driver
    """The only GDAL driver that may open it."""
    layout: Layout
    """Size and storage, from its header."""
    identity: tuple[int, int, int, int]
    """Device, inode, size in bytes and modification time in ns."""

    def open(self) -> DatasetReader:
        """A new dataset handle, for one thread.

        Raises:
            InputRefused: GDAL cannot open it, or the file changed since it was checked.
        """
        self.check_unchanged()
        try:
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=_READDIR[self.driver], **_ENV):
                return rasterio.open(self.absolute, driver=self.driver)
        except GDAL_ERRORS as err:
            raise InputRefused(f"GDAL cannot open it: {err}", path=self.path) from err

    def here(self) -> CheckedFile:
        """The same file with the device and inode that it has on this machine.

        Raises:
            OSError: this machine does not see the file.
        """
        return replace(self, identity=_identity(Path(self.absolute).stat()))

    def check_unchanged(self) -> None:
        """Refuse a file that was replaced or written to since it was checked."""
        try:
            now = _identity(Path(self.absolute).stat())
        except OSError as err:
            raise InputRefused(f"gone since it was opened: {err.strerror}", path=self.path) from err
        if now != self.identity:
            raise InputRefused(
                "changed since it was opened",
                path=self.path,
                remedy="start again when nothing writes to it",
            )


def check_raster(path: PathLike, *, max_pixels: int | None = None) -> CheckedFile:
    """Check one input: the text of its path, the type of file, its first bytes and its header.

    Args:
        path: as the user gave it.
        max_pixels: the user's limit for rows x columns; by default `MAX_PIXELS` of `layout`.

    Raises:
        InputRefused: not a local regular file, not TIFF or ENVI, truncated, or of an absurd size.
    """
    text = os.fspath(path)
    check_path_text(text)
    shown, absolute = Path(text), Path(text).absolute()
    start, status = _first_bytes(shown, absolute)
    try:
        driver, layout = _driver_and_layout(shown, start, max_pixels)
    except OSError as err:
        raise InputRefused(f"its header cannot be read: {err.strerror}", path=shown) from err
    return CheckedFile(
        path=shown,
        absolute=str(absolute),
        driver=driver,
        layout=layout,
        identity=_identity(status),
    )


def check_path_text(text: str) -> None:
    """Refuse a path that GDAL would not take for the name of a file.

    Raises:
        InputRefused: a URL, a virtual file system, inline XML, a driver prefix, a NUL, or nothing.
    """
    if not text.strip():
        raise InputRefused("the path of the input is empty", remedy=_REMEDY)
    shown = text[:80].replace("\0", "\\0")
    if "\0" in text:
        raise InputRefused("the path holds a NUL character", path=shown, remedy=_REMEDY)
    if "://" in text or re.match(r"[A-Za-z0-9+.-]+:/", text):  # Path makes one slash of two
        raise InputRefused("URLs are not opened", path=shown, remedy="download the file first")
    names = (text, str(Path(text).absolute()))
    if any(re.match(r"[/\\]+vsi", name, re.IGNORECASE) for name in names):
        raise InputRefused("GDAL's virtual file systems are not opened", path=shown, remedy=_REMEDY)
    if "<" in text:
        raise InputRefused("XML in place of a path is not opened", path=shown, remedy=_REMEDY)
    prefix = re.match(r"[A-Za-z0-9_]+:", text)
    if prefix and not os.path.lexists(text):
        raise InputRefused(
            f"{prefix[0]!r} looks like a GDAL driver prefix, and no such file exists",
            path=shown,
            remedy=_REMEDY,
        )


def sidecars(path: Path) -> tuple[list[Path], list[Path]]:
    """Files beside `path` that GDAL would read by default: (world files, all others)."""
    world_files = [path.with_suffix(suffix) for suffix in _WORLD_FILES]
    others = [Path(f"{path}{suffix}") for suffix in _SIDECAR_SUFFIXES]
    return [p for p in world_files if p.is_file()], [p for p in others if p.is_file()]


def _first_bytes(shown: Path, absolute: Path) -> tuple[bytes, os.stat_result]:
    try:
        _check_file_type(absolute.stat(), shown)
        # O_NONBLOCK: if a FIFO has replaced the file since, opening it does not wait for a writer.
        descriptor = os.open(absolute, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as err:
        raise InputRefused(_why_not_opened(err, absolute), path=shown) from err
    try:
        status = os.fstat(descriptor)
        _check_file_type(status, shown)
        return os.read(descriptor, 16), status
    except OSError as err:
        raise InputRefused(f"cannot be read: {err.strerror}", path=shown) from err
    finally:
        os.close(descriptor)


def _check_file_type(status: os.stat_result, shown: Path) -> None:
    for is_type, name in _FILE_TYPES:
        if is_type(status.st_mode):
            raise InputRefused(f"is {name}, not a file", path=shown, remedy=_REMEDY)


def _why_not_opened(err: OSError, absolute: Path) -> str:
    if err.errno == errno.ENOENT:
        if absolute.is_symlink():
            return f"is a link to {str(absolute.readlink())!r}, which does not exist"
        return "no such file"
    if err.errno in (errno.EACCES, errno.EPERM):
        return "no permission to read it"
    return f"cannot be opened: {err.strerror}"


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _driver_and_layout(shown: Path, start: bytes, max_pixels: int | None) -> tuple[Driver, Layout]:
    if len(start) < 8:
        raise InputRefused(f"no raster: the file has {len(start)} bytes", path=shown)
    if start.startswith(_TIFF_MAGIC):
        return "GTiff", read_tiff_layout(shown, max_pixels=max_pixels)
    if start.startswith(b"ENVI") and shown.suffix.lower() == ".hdr":
        raise InputRefused("is an ENVI header", path=shown, remedy="give the data file beside it")
    header = envi_header(shown)
    if header is not None:
        layout = read_envi_layout(shown, header)
        check_layout(layout, path=shown, file_bytes=shown.stat().st_size, max_pixels=max_pixels)
        return "ENVI", layout
    raise InputRefused(f"{_known_format(start)}, not a TIFF", path=shown, remedy=_REMEDY)


def _known_format(start: bytes) -> str:
    for magic, name in _KNOWN_MAGIC.items():
        if start.startswith(magic):
            return f"is {name}"
    return f"begins with {start[:4]!r}"
