"""The manifest of training data: a CSV file whose rows name images, cubes and spectral libraries.

Only its text is judged here, every row of it, so that all problems can be told at once. Must not
open what the rows name.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from uavssr.errors import InputRefused, UavssrError
from uavssr.io.checks import check_path_text
from uavssr.io.raster import parse_scale
from uavssr.sensors import Sensor, load_sensor

RowKind = Literal["pair", "cube", "spectra"]
Split = Literal["train", "val"]
Value = TypeVar("Value")

COLUMNS: Final = (
    *("msi", "hsi", "kind", "split", "group", "sensor", "bands", "weight"),
    *("msi_scale", "hsi_scale"),
)
"""What a manifest may have; only `hsi` must be there."""
MOST_BYTES: Final = 4 * 2**20
"""A manifest is read whole."""
_SPLITS: Final[dict[str, Split]] = {"train": "train", "val": "val", "validation": "val"}
_KINDS: Final[tuple[RowKind, ...]] = ("pair", "cube", "spectra")
_NEEDS_MSI: Final = ("bands", "msi_scale")
_NEEDS_PIXELS: Final = ("group", "sensor", "hsi_scale")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line of the manifest."""

    line: int
    """Counted from one, as editors do; the header is the first."""
    text: str
    """The fact and the remedy, one line."""


class ManifestRefused(InputRefused):
    """A manifest with everything that is wrong with it: the one error of several lines.

    Args:
        path: the manifest.
        problems: at least one.
    """

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count > 1 else ''}", path=path)

    def __str__(self) -> str:
        lines = (f"\n  line {each.line}: {each.text}" for each in self.problems)
        return super().__str__() + "".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the manifest, its cells understood."""

    line: int
    """Where it stands in the file."""
    kind: RowKind
    """A pair of image and cube, a cube alone, or a library of spectra."""
    msi: tuple[Path, ...]
    """The image: one file, or one per band; empty where there is none."""
    hsi: Path
    """The cube or the library."""
    split: Split | None
    """What it is for; None leaves it to `data.splits`."""
    group: str
    """Rows of one group, such as one flight, are never on both sides; empty where none is named."""
    sensor: Sensor | None
    """The camera; None where the image must tell, or any will do."""
    bands: tuple[str, ...] | None
    """Roles of the image's bands in file order, as for `--bands`."""
    weight: float
    """How often it is drawn, relative to the other rows."""
    msi_scale: str | None
    """Reflectance per number in the image."""
    hsi_scale: str | None
    """Reflectance per number in the cube."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the row names, and the header of an ENVI cube or image."""
        named = (*self.msi, self.hsi)
        headers = (h for path in named for h in (Path(f"{path}.hdr"), path.with_suffix(".hdr")))
        return (*named, *(dict.fromkeys(header for header in headers if header.is_file())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What could be understood of a manifest, and what could not."""

    path: Path
    """The file."""
    rows: tuple[Row, ...]
    """The rows without a problem, in order."""
    problems: tuple[Problem, ...]
    """Of the others."""


def read_manifest(path: Path) -> Manifest:
    """Read a manifest: UTF-8 with or without BOM, any line ends, commas, semicolons or tabs.

    Raises:
        InputRefused: not a file, not text, or too long.
        ManifestRefused: the header is wrong, or there are no rows: nothing can be said of them.
    """
    names, table = _table(path, _text(path).split("\n"))
    wrong = _header_problems(names)
    if not wrong and not table:
        wrong = [Problem(1, "no row follows the header")]
    if wrong:
        raise ManifestRefused(path, wrong)
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, cells in table:
        row, found = _row(path.parent, line, names, cells)
        problems += (Problem(line, each) for each in found)
        rows += [] if row is None else [row]
    return Manifest(path=path, rows=tuple(rows), problems=(*problems, *_duplicates(rows)))


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputRefused: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise InputRefused(f"cannot be read: {err.strerror}", path=path) from err


def _text(path: Path) -> str:
    check_path_text(str(path))
    if not path.is_file():
        raise InputRefused("is not a file" if path.exists() else "no such file", path=path)
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as err:
        raise InputRefused(f"cannot be read: {err.strerror}", path=path) from err
    if len(raw) > MOST_BYTES:
        raise InputRefused(f"is longer than the {MOST_BYTES} bytes of a manifest", path=path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw[: err.start].count(b"\n") + 1
        fact = "not UTF-8 text; save it as CSV with UTF-8 encoding"
        raise ManifestRefused(path, [Problem(line, fact)]) from err
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _table(path: Path, lines: list[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and each row's line and cells; blank lines are left out."""
    first = next((line for line in lines if line.strip()), "")
    mark = max(",;\t", key=first.count)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=mark, strict=True)
    rows = []
    start = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((start, [cell.strip() for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as err:
        raise ManifestRefused(path, [Problem(start, f"is no row of a table ({err})")]) from err
    names = [cell.lower() for cell in rows[0][1]] if rows else []
    return names, rows[1:]


def _header_problems(names: list[str]) -> list[Problem]:
    if not names:
        return [Problem(1, f"is empty; the header names columns of {', '.join(COLUMNS)}")]
    found = []
    for name in dict.fromkeys(names):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            known = f"did you mean {near[0]}?" if near else f"known are {', '.join(COLUMNS)}"
            found.append(f"no column is called {name!r}; {known}")
        elif names.count(name) > 1:
            found.append(f"the column {name} is there {names.count(name)} times")
    if "hsi" not in names:
        found.append("the column hsi is missing; it names the cube or the library of each row")
    return [Problem(1, text) for text in found]


def _row(
    folder: Path, line: int, names: list[str], cells: list[str]
) -> tuple[Row | None, list[str]]:
    """A row, or everything that is wrong with it."""
    if len(cells) != len(names):
        return None, [f"holds {len(cells)} cells, the header {len(names)}"]
    given = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    problems: list[str] = []

    def understood(name: str, how: Callable[[str], Value]) -> Value | None:
        try:
            return how(given[name]) if name in given else None
        except UavssrError as err:
            problems.append(f"{name}: {err}")
            return None

    kind = understood("kind", _kind) or ("pair" if "msi" in given else "cube")
    problems += _misfits(kind, given)
    hsi = understood("hsi", lambda cell: _paths(folder, cell, several=False))
    msi = understood("msi", lambda cell: _paths(folder, cell, several=True))
    row = Row(
        line=line,
        kind=kind,
        msi=msi or (),
        hsi=hsi[0] if hsi else folder,
        split=understood("split", _split),
        group=given.get("group", ""),
        sensor=understood("sensor", lambda cell: _sensor(folder, cell)),
        bands=understood("bands", lambda cell: tuple(re.split(r"[\s,|]+", cell))),
        weight=understood("weight", _weight) or 1.0,
        msi_scale=understood("msi_scale", _scale),
        hsi_scale=understood("hsi_scale", _scale),
    )
    return (None, problems) if problems else (row, [])


def _misfits(kind: RowKind, given: Mapping[str, str]) -> list[str]:
    """Cells that a row of this kind must have, or cannot have."""
    found = [] if "hsi" in given else ["hsi: is empty; it names the cube or the library"]
    if kind == "pair" and "msi" not in given:
        found.append("msi: is empty, and the kind is pair; a cube alone is of kind cube")
    if kind != "pair":
        found += [f"{name}: makes no sense for kind {kind}" for name in ("msi",) if name in given]
        found += [f"{name}: is about an image" for name in _NEEDS_MSI if name in given]
    if kind == "spectra":
        found += [f"{name}: is about pixels" for name in _NEEDS_PIXELS if name in given]
        if _SPLITS.get(given.get("split", "")) == "val":
            found.append("split: a library of spectra has no image to validate on")
    elif given.get("hsi", "").lower().endswith(".npz"):
        found.append("hsi: an .npz file is a library of spectra; say so: kind spectra")
    return found


def _kind(cell: str) -> RowKind:
    if cell.lower() not in _KINDS:
        raise InputRefused(f"{cell!r} is none of {', '.join(_KINDS)}")
    return cast("RowKind", cell.lower())


def _split(cell: str) -> Split:
    if cell.lower() not in _SPLITS:
        raise InputRefused(f"{cell!r} is neither train nor val")
    return _SPLITS[cell.lower()]


def _weight(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputRefused(f"{cell!r} is no positive number")
    return value


def _scale(cell: str) -> str:
    parse_scale(cell)
    return cell


def _sensor(folder: Path, cell: str) -> Sensor:
    named = Path(cell).suffix.lower() in (".yaml", ".yml", ".csv")
    return load_sensor(_path(folder, cell) if named else cell)


def _paths(folder: Path, cell: str, *, several: bool) -> tuple[Path, ...]:
    """The files that a cell names, which must lie in the manifest's folder.

    Raises:
        InputRefused: a URL, a driver prefix, a NUL, a way out of the folder, or no such file.
    """
    parts = [part.strip() for part in cell.split("|")] if several else [cell]
    return tuple(_path(folder, part) for part in parts)


def _path(folder: Path, text: str) -> Path:
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
        raise InputRefused(f"{text!r} is {'not a file' if path.exists() else 'not there'}")
    return path


def _duplicates(rows: Sequence[Row]) -> list[Problem]:
    first: dict[tuple[Path, ...], Row] = {}
    found = []
    for row in rows:
        named = tuple(path.resolve() for path in (*row.msi, row.hsi))
        before = first.setdefault(named, row)
        if before is not row:
            text = f"names the same files as line {before.line}; a weight makes a row count more"
            found.append(Problem(row.line, text))
    return found
