"""One row of a manifest of training data: its cells parsed and checked.

Files that the cells name must exist in the manifest's folder; they are not opened here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from uavssr.errors import InputRefused, UavssrError
from uavssr.io.checks import check_path_text
from uavssr.io.raster import parse_scale
from uavssr.sensors import Sensor, load_sensor

RowKind = Literal["pair", "cube", "spectra"]
"""An image and its cube, a cube alone, or a spectral library."""
SplitName = Literal["train", "val"]
"""What a row is reserved for."""
Value = TypeVar("Value")

COLUMNS: Final = (
    *("msi", "hsi", "kind", "split", "group", "sensor", "bands", "weight"),
    *("msi_scale", "hsi_scale"),
)
"""Columns that a manifest may have; `hsi` is required."""

_SPLITS: Final[dict[str, SplitName]] = {"train": "train", "val": "val", "validation": "val"}
_KINDS: Final[tuple[RowKind, ...]] = ("pair", "cube", "spectra")
_IMAGE_COLUMNS: Final = ("bands", "msi_scale")
"""Columns that need an image."""
_PIXEL_COLUMNS: Final = ("group", "sensor", "hsi_scale")
"""Columns that need pixels, from an image or a cube."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row of the manifest."""

    line: int
    """Line of the file, counted from 1."""
    kind: RowKind
    """A pair of image and cube, a cube alone, or a spectral library."""
    msi: tuple[Path, ...]
    """The image: one file, or one per band; empty where there is none."""
    hsi: Path
    """The cube or the library."""
    split: SplitName | None
    """What the row is reserved for; None: the row is split automatically."""
    group: str
    """Rows of one group, such as one flight, are never on both sides; empty: no group."""
    sensor: Sensor | None
    """The camera; None: the image says which, or any will do."""
    bands: tuple[str, ...] | None
    """Roles of the image's bands in file order, as for `--bands`."""
    weight: float
    """How often the row is drawn, relative to the others."""
    msi_scale: str | None
    """Reflectance per number in the image."""
    hsi_scale: str | None
    """Reflectance per number in the cube."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the row, including the headers of ENVI files."""
        named = (*self.msi, self.hsi)
        headers = (h for path in named for h in (Path(f"{path}.hdr"), path.with_suffix(".hdr")))
        return (*named, *(dict.fromkeys(header for header in headers if header.is_file())))


def parse_row(folder: Path, line: int, cells: Mapping[str, str]) -> tuple[ManifestRow, list[str]]:
    """Parse the cells of a row; returns the row and its problems.

    Args:
        folder: the manifest's, against which paths are resolved.
        line: of the row, counted from 1.
        cells: text of the cells that are not empty, by column.
    """
    problems: list[str] = []

    def parsed(column: str, parse: Callable[[str], Value]) -> Value | None:
        try:
            return parse(cells[column]) if column in cells else None
        except UavssrError as err:
            problems.append(f"{column}: {err}")
            return None

    kind = parsed("kind", _kind) or ("pair" if "msi" in cells else "cube")
    problems += _misplaced_cells(kind, cells)
    hsi = parsed("hsi", lambda cell: _path(folder, cell))
    msi = parsed("msi", lambda cell: tuple(_path(folder, p.strip()) for p in cell.split("|")))
    row = ManifestRow(
        line=line,
        kind=kind,
        msi=msi or (),
        hsi=hsi or folder,
        split=parsed("split", _split),
        group=cells.get("group", ""),
        sensor=parsed("sensor", lambda cell: _sensor(folder, cell)),
        bands=parsed("bands", lambda cell: tuple(re.split(r"[\s,|]+", cell))),
        weight=parsed("weight", _weight) or 1.0,
        msi_scale=parsed("msi_scale", _scale),
        hsi_scale=parsed("hsi_scale", _scale),
    )
    return row, problems


def _misplaced_cells(kind: RowKind, cells: Mapping[str, str]) -> list[str]:
    """List cells that a row of this kind must have, or must not have."""
    wrong = [] if "hsi" in cells else ["hsi: is empty; name the cube or the library"]
    if kind == "pair" and "msi" not in cells:
        wrong.append("msi: is empty; name the image, or choose kind cube")
    if kind != "pair":
        wrong += [
            f"{column}: not allowed for kind {kind}, which has no image"
            for column in ("msi", *_IMAGE_COLUMNS)
            if column in cells
        ]
    if kind == "spectra":
        wrong += [
            f"{column}: not allowed for kind spectra, which has no pixels"
            for column in _PIXEL_COLUMNS
            if column in cells
        ]
        if _SPLITS.get(cells.get("split", "")) == "val":
            wrong.append("split: a spectral library cannot be used for validation")
    elif cells.get("hsi", "").lower().endswith(".npz"):
        wrong.append("hsi: an .npz file is a spectral library; choose kind spectra")
    return wrong


def _kind(cell: str) -> RowKind:
    if cell.lower() not in _KINDS:
        raise InputRefused(f"unknown kind {cell!r}; choose {', '.join(_KINDS)}")
    return cast("RowKind", cell.lower())


def _split(cell: str) -> SplitName:
    if cell.lower() not in _SPLITS:
        raise InputRefused(f"unknown split {cell!r}; choose train or val")
    return _SPLITS[cell.lower()]


def _weight(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputRefused(f"{cell!r} is not a positive number")
    return value


def _scale(cell: str) -> str:
    parse_scale(cell)
    return cell


def _sensor(folder: Path, cell: str) -> Sensor:
    is_file = Path(cell).suffix.lower() in (".yaml", ".yml", ".csv")
    return load_sensor(_path(folder, cell) if is_file else cell)


def _path(folder: Path, text: str) -> Path:
    """Return the path of a file in the manifest's folder.

    Raises:
        InputRefused: a URL, a driver prefix, a NUL, a path out of the folder, or no such file.
    """
    check_path_text(text)
    if ".." in re.split(r"[/\\]", text):
        raise InputRefused(f"{text!r} leaves the manifest's folder", remedy="name a path inside it")
    path = folder / text
    if not path.absolute().is_relative_to(folder.absolute()):
        raise InputRefused(
            f"{text!r} is an absolute path outside the manifest's folder",
            remedy="give paths relative to the manifest",
        )
    if not path.is_file():
        raise InputRefused(f"{text!r} {'is not a file' if path.exists() else 'does not exist'}")
    return path
