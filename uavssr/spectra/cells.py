"""Cells of a table (CSV): its header, wavelengths and numbers, each fault in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.bounded import read_table, why_unread
from uavssr.io.checks import check_path_text
from uavssr.sensors import FloatArray

MAX_TABLE_BYTES: Final = 64 * 2**20
"""Largest table that is read, in bytes, as it is read whole."""
_WAVELENGTH_WORDS: Final = r"wave ?_?lengths?\b|wvls?\b|wl\b|lambda\b|nm\b|nanomet"
"""Beginning of the heading of a column of wavelengths."""
_RANGE_NM: Final = (250.0, 3000.0)
"""Least and largest wavelength that a column may have, nm."""
TABLE_REMEDY: Final = "see the sections on references, plots and local spectra in docs/formats.md"


def read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header in lower case, and the rows that are not blank."""
    check_path_text(str(path))
    try:
        table = read_table(path, MAX_TABLE_BYTES)
        rows = [row for row in table if any(cell.strip() for cell in row)]
    except OSError as err:
        remedy = "give the path of a local file"
        raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
    except ValueError as err:
        raise InputRefused(f"not a readable table ({err})", path=path, remedy=TABLE_REMEDY) from err
    if len(rows) < 2:
        raise InputRefused("a header and a row below it are needed", path=path, remedy=TABLE_REMEDY)
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(rows[0]):
            raise InputRefused(
                f"row {number} has {len(row)} cells, the header {len(rows[0])}",
                path=path,
                remedy="separate cells by commas, and write decimals with a point",
            )
    return [cell.strip().lower() for cell in rows[0]], rows[1:]


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def wavelengths_of(names: list[str], path: Path) -> FloatArray:
    """The wavelengths (W,) in nm that head columns."""
    nm = np.array([float(name) for name in names])
    check_wavelengths(nm, path)
    return nm


def check_wavelengths(nm: FloatArray, path: Path) -> None:
    """Refuse wavelengths (W,) that do not increase, or are not in nm."""
    if len(nm) < 2 or not np.all(np.diff(nm) > 0):
        raise InputRefused(
            f"{len(nm)} wavelengths from {nm[0]:g} to {nm[-1]:g} nm do not increase from column to "
            "column",
            path=path,
            remedy="give two or more columns by increasing wavelength",
        )
    if not (nm[0] >= _RANGE_NM[0] and nm[-1] <= _RANGE_NM[1]):
        fact = f"wavelengths from {nm[0]:g} to {nm[-1]:g}"
        raise InputRefused(fact, path=path, remedy="give nanometres")


def check_not_turned(header: list[str], rows: list[list[str]], path: Path) -> None:
    """Refuse a table with a column of wavelengths: the numbers in its header are no wavelengths."""
    low, high = _RANGE_NM
    for k, name in enumerate(header):
        if name and not re.match(_WAVELENGTH_WORDS, name):
            continue
        cells = [row[k] for row in rows]
        nm = np.array([float(cell) if is_number(cell) else np.nan for cell in cells])
        steps = np.diff(nm)
        monotone = len(nm) > 1 and ((steps > 0).all() or (steps < 0).all())
        if monotone and low <= nm.min() and nm.max() <= high:
            raise InputRefused(
                f"its column {name!r} holds wavelengths, so its other columns are spectra, "
                "whatever numbers head them",
                path=path,
                remedy="turn it, so that each row is a spectrum, as in Python: import pandas; "
                f"pandas.read_csv({str(path)!r}, index_col={k})"
                f".T.to_csv({f'{path.stem}_rows.csv'!r}, index_label='name')",
            )


def numbers_of(
    header: list[str], rows: list[list[str]], names: Sequence[str], path: Path
) -> FloatArray:
    """The columns of these names (n, len(names)); NaN where a cell is empty."""
    indices = [header.index(name) for name in names]

    def number(row: int, cell: str) -> float:
        try:
            return float(cell.strip() or "nan")
        except ValueError as err:
            fact = f"row {row} holds {cell!r} where a number is needed"
            raise InputRefused(fact, path=path, remedy=TABLE_REMEDY) from err

    return np.array([[number(row, cells[i]) for i in indices] for row, cells in enumerate(rows, 1)])
