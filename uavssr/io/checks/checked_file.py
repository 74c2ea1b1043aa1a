"""Checked raster files: local, regular, TIFF or ENVI, complete, and of a sane size.

GDAL opens virtual files, URLs and archives under any name, and hangs on a FIFO, so every path
passes through `check_raster` before GDAL sees it.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import rasterio
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, why_unread
from uavssr.io.checks.envi_header import envi_header, read_envi_layout
from uavssr.io.checks.gdal import GDAL_ERRORS
from uavssr.io.checks.jp2 import JP2_MAGIC, read_jp2_layout
from uavssr.io.checks.layout import Layout
from uavssr.io.checks.names import name_problem
from uavssr.io.checks.tiff import read_tiff_layout

Driver = Literal["GTiff", "ENVI", "JP2OpenJPEG"]
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
_RASTERS: Final = ("a PNG image", "a JPEG image", "a GDAL virtual file (VRT)")
"""Known files that GDAL can convert to one GeoTIFF."""
_PINNED: Final = {
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{noext}",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,TABFILE,WORLDFILE",
    "CONVERT_YCBCR_TO_RGB": "YES",
    "OSR_DEFAULT_AXIS_MAPPING_STRATEGY": "TRADITIONAL_GIS_ORDER",
}
"""Options by which the environment would change pixels or place; GDAL looks at them at opening."""
_OPENING: Final = threading.Lock()
"""Held while a file is opened: the options of `rasterio.Env` are those of all threads."""
os.register_at_fork(
    before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release
)
_REMEDY: Final = "give the path of a local GeoTIFF or ENVI file"


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
    header: Path | None
    """The header of an ENVI file; None for others."""
    identity: tuple[int, int, int, int]
    """Device, inode, size in bytes and modification time in ns."""
    header_identity: tuple[int, int, int, int] | None
    """The same of the header."""

    def open(self) -> DatasetReader:
        """A new dataset handle, for one thread.

        Raises:
            InputRefused: GDAL cannot open it, or the file changed since it was checked.
        """
        self.check_unchanged()
        # EMPTY_DIR hides every sidecar; ENVI would not find its own header then [measured, 3.10].
        readdir = "TRUE" if self.driver == "ENVI" else "EMPTY_DIR"
        try:
            with _OPENING, rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=readdir, **_PINNED):
                return rasterio.open(self.absolute, driver=self.driver)
        except GDAL_ERRORS as err:
            raise InputRefused(f"GDAL cannot open it: {err}", path=self.path) from err

    def here(self) -> CheckedFile:
        """The same file with the device and inode that it has on this machine.

        Raises:
            OSError: this machine does not see the file.
        """
        identity, header = self._identities()
        return replace(self, identity=identity, header_identity=header)

    def _identities(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int] | None]:
        """Of the file and its header as they are now."""
        header = None if self.header is None else _identity(self.header.absolute().stat())
        return _identity(Path(self.absolute).stat()), header

    def check_unchanged(self) -> None:
        """Refuse a file that, or whose header, was replaced or written to since it was checked."""
        try:
            now = self._identities()
        except OSError as err:
            fact = f"gone since it was opened: {err.strerror}"
            raise InputRefused(fact, path=self.path, remedy="move it back") from err
        if now != (self.identity, self.header_identity):
            changed = "changed" if now[0] != self.identity else "its ENVI header changed"
            raise InputRefused(
                f"{changed} since it was opened",
                path=self.path,
                remedy="start again when nothing writes to it",
            )


def check_raster(
    path: PathLike, *, header: Path | None = None, max_pixels: int | None = None
) -> CheckedFile:
    """Check one input: the text of its path, the type of file, its first bytes and its header.

    Args:
        path: as the user gave it.
        header: the header of an ENVI file, if the user named it.
        max_pixels: the user's limit for rows x columns; by default `MAX_PIXELS` of `layout`.

    Raises:
        InputRefused: not a local regular file, not TIFF or ENVI, truncated, or of an absurd size.
    """
    text = os.fspath(path)
    check_path_text(text)
    shown, absolute = Path(text), Path(text).absolute()
    try:
        with open_regular(absolute) as file:
            status = os.fstat(file.fileno())
            driver, layout, header = _driver_and_layout(file, shown, header, max_pixels)
        header_identity = None if header is None else _identity(header.stat())
    except OSError as err:
        raise InputRefused(why_unread(err, absolute), path=shown, remedy=_REMEDY) from err
    return CheckedFile(
        path=shown,
        absolute=str(absolute),
        driver=driver,
        layout=layout,
        header=header,
        identity=_identity(status),
        header_identity=header_identity,
    )


def check_jp2(path: PathLike) -> CheckedFile:
    """Check a JP2 file of a satellite product as `check_raster` does; nothing else is let in.

    Raises:
        InputRefused: not a local regular JP2 file, truncated, or of an absurd size.
    """
    text = os.fspath(path)
    check_path_text(text)
    shown, absolute = Path(text), Path(text).absolute()
    try:
        with open_regular(absolute) as file:
            status, start = os.fstat(file.fileno()), file.read(len(JP2_MAGIC))
            if start != JP2_MAGIC:
                remedy = "download or extract the file again"
                raise InputRefused("is no JPEG 2000 file", path=shown, remedy=remedy)
            layout = read_jp2_layout(file.fileno(), shown, None)
    except OSError as err:
        remedy = "download or extract the product again"
        raise InputRefused(why_unread(err, absolute), path=shown, remedy=remedy) from err
    return CheckedFile(
        path=shown,
        absolute=str(absolute),
        driver="JP2OpenJPEG",
        layout=layout,
        header=None,
        identity=_identity(status),
        header_identity=None,
    )


def check_path_text(text: str) -> None:
    """Refuse a path that GDAL would not take for the name of a file.

    Raises:
        InputRefused: a URL, a virtual file system, inline XML, a driver prefix, a control
            character, bytes that are not UTF-8, or nothing.
    """
    if not text.strip():
        raise InputRefused("the path of the input is empty", remedy=_REMEDY)
    prefix, remedy = re.match(r"[A-Za-z0-9_]+:", text), _REMEDY
    names = (text, str(Path(text).absolute()))
    if "\0" in text:
        fact = "the path holds a NUL character"
    elif "://" in text or re.match(r"[A-Za-z0-9+.-]+:/", text):  # Path makes one slash of two
        fact, remedy = "URLs are not opened", "download the file first"
        text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/+", r"\1://", text)
    elif any(re.match(r"[/\\]+vsi", name, re.IGNORECASE) for name in names):
        fact = "GDAL's virtual file systems are not opened"
    elif "<" in text:
        fact = "XML in place of a path is not opened"
    elif prefix and not os.path.lexists(text):
        fact = f"{prefix[0]!r} looks like a GDAL driver prefix, and no such file exists"
    elif problem := name_problem(Path(text)):
        fact, remedy = problem, "rename it"
    else:
        return
    raise InputRefused(fact, path=text[:80].replace("\0", "\\0"), remedy=remedy)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _driver_and_layout(
    file: BinaryIO, shown: Path, header: Path | None, max_pixels: int | None
) -> tuple[Driver, Layout, Path | None]:
    start = file.read(16)
    if len(start) < 8:
        raise InputRefused(f"no raster: the file has {len(start)} bytes", path=shown)
    if start.startswith(_TIFF_MAGIC):
        return "GTiff", read_tiff_layout(file.fileno(), shown, max_pixels), None
    if start.startswith(b"ENVI") and shown.suffix.lower() == ".hdr":
        raise InputRefused("is an ENVI header", path=shown, remedy="give the data file beside it")
    header = header or envi_header(shown)
    if header is not None:
        return "ENVI", read_envi_layout(shown, header, max_pixels), header
    known = next((name for magic, name in _KNOWN_MAGIC.items() if start.startswith(magic)), "")
    remedy = _REMEDY
    if known in _RASTERS:
        command = ["gdal_translate", str(shown), f"{shown.with_suffix('')}_geo.tif"]
        remedy = f"export it as GeoTIFF: {shlex.join(command)}"
    fact = f"is {known}" if known else f"begins with {start[:4]!r}"
    raise InputRefused(f"{fact}, not a TIFF", path=shown, remedy=remedy)
