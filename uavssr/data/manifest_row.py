"""One row of a manifest of training data: its cells parsed and checked, no file opened."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, TypeVar, cast, get_args

from uavssr.calibration import PairCheck
from uavssr.errors import InputRefused, UavssrError
from uavssr.io.checks import check_path_text, envi_headers, is_file
from uavssr.io.raster import parse_scale
from uavssr.sensors import Sensor, load_sensor

RowKind = Literal["pair", "plots", "cube", "spectra"]
"""An image and its cube, a table of plots, a cube alone, or a spectral library."""
SplitName = Literal["train", "val"]
"""What a row is reserved for."""
Value = TypeVar("Value")

_SPLITS: Final[dict[str, SplitName]] = {"train": "train", "val": "val", "validation": "val"}
_LACKS: Final[dict[RowKind, tuple[str, ...]]] = {
    "pair": (),
    "plots": ("image file",),
    "cube": ("image file", "image"),
    "spectra": ("image file", "image", "pixels"),
}
_NEEDED_FOR: Final = {
    "image file": ("msi", "bands"),
    "image": ("msi_scale", "accept"),
    "pixels": ("group", "sensor", "hsi_scale"),
}
"""Columns that need a file with an image, an image's reflectance, or pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One row of the manifest."""

    line: int
    """Line of the file, counted from 1."""
    msi: tuple[Path, ...] = ()
    """The image: one file, or one per band; empty where there is none."""
    hsi: Path
    """The cube, the table of plots or the library."""
    kind: RowKind
    """A pair of image and cube, a table of plots, a cube alone, or a spectral library."""
    split: SplitName | None = None
    """What the row is reserved for; None: the row is split automatically."""
    group: str = ""
    """Rows of one group, such as one flight, are never on both sides; empty: no group."""
    sensor: Sensor | None = None
    """The camera; None: the image says which, or any will do."""
    bands: tuple[str, ...] | None = None
    """Roles of the image's bands in file order, as for `--bands`."""
    weight: float = 1.0
    """How often the row is drawn, relative to the others."""
    msi_scale: str | None = None
    """Reflectance per number in the image."""
    hsi_scale: str | None = None
    """Reflectance per number in the cube."""
    accept: tuple[PairCheck, ...] = ()
    """Checks of the pair whose odd result is accepted."""

    @property
    def has_image(self) -> bool:
        """Whether the row tells what a camera saw."""
        return self.kind in ("pair", "plots")

    @property
    def group_name(self) -> str:
        """The group; a row without one is a group of its own."""
        return self.group or f"line {self.line}"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the row, including the headers of ENVI files."""
        named = (*self.msi, self.hsi)
        headers = (header for path in named for header in envi_headers(path))
        return (*named, *dict.fromkeys(headers))


COLUMNS: Final = tuple(field.name for field in fields(ManifestRow) if field.name != "line")
"""Columns that a manifest may have; `hsi` is required."""


def parse_row(folder: Path, line: int, cells: Mapping[str, str]) -> tuple[ManifestRow, list[str]]:
    """Parse the cells of a row that are not empty; returns the row and its problems."""
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
        msi=msi or (),
        hsi=hsi or folder,
        kind=kind,
        split=parsed("split", _split),
        group=cells.get("group", ""),
        sensor=parsed("sensor", lambda cell: _sensor(folder, cell)),
        bands=parsed("bands", lambda cell: tuple(re.split(r"[\s,|]+", cell))),
        weight=parsed("weight", _weight) or 1.0,
        msi_scale=parsed("msi_scale", _scale),
        hsi_scale=parsed("hsi_scale", _scale),
        accept=parsed("accept", parse_checks) or (),
    )
    return row, problems


def _misplaced_cells(kind: RowKind, cells: Mapping[str, str]) -> list[str]:
    """List cells that a row of this kind must have, or must not have."""
    wrong = [] if "hsi" in cells else ["hsi: is empty; name the cube, table or library"]
    if kind == "pair" and "msi" not in cells:
        wrong.append("msi: is empty; name the image, or choose kind cube")
    wrong += [
        f"{column}: not allowed for kind {kind}, which has no {part}"
        for part in _LACKS[kind]
        for column in _NEEDED_FOR[part]
        if column in cells
    ]
    if kind == "spectra":
        if _SPLITS.get(cells.get("split", "")) == "val":
            wrong.append("split: a spectral library cannot be used for validation")
    elif kind == "plots":
        wrong += [] if "sensor" in cells else ["sensor: is empty; name the camera of the plots"]
    elif cells.get("hsi", "").lower().endswith(".npz"):
        text = "is a library or a table of plots; choose kind spectra or plots"
        wrong.append(f"hsi: an .npz file {text}")
    elif cells.get("hsi", "").lower().endswith(".csv"):
        wrong.append("hsi: a .csv file is a table of plots; choose kind plots")
    return wrong


def _kind(cell: str) -> RowKind:
    if cell.lower() not in _LACKS:
        raise InputRefused(f"unknown kind {cell!r}; choose {', '.join(_LACKS)}")
    return cast("RowKind", cell.lower())


def _split(cell: str) -> SplitName:
    if cell.lower() not in _SPLITS:
        raise InputRefused(f"unknown split {cell!r}; choose train or val")
    return _SPLITS[cell.lower()]


def parse_checks(cell: str) -> tuple[PairCheck, ...]:
    """Parse the names of checks, between commas, blanks or bars.

    Raises:
        InputRefused: there is no such check.
    """
    words = re.split(r"[\s,|]+", cell.lower())
    for word in words:
        if word not in get_args(PairCheck):
            raise InputRefused(f"unknown check {word!r}; choose {', '.join(get_args(PairCheck))}")
    return tuple(cast("PairCheck", word) for word in words)


def _weight(cell: str) -> float:
    with suppress(ValueError):
        if 0 < float(cell) < math.inf:
            return float(cell)
    raise InputRefused(f"{cell!r} is not a positive number")


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
    if not is_file(path):
        raise InputRefused(
            f"{text!r} {'is not a file' if os.path.lexists(path) else 'does not exist'}"
        )
    return path
