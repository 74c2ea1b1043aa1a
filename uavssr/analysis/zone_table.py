"""The tables of zones as files: written, and that of indices read back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from uavssr.analysis.zone_spectra import SpectrumOfZone
from uavssr.analysis.zone_statistics import IndexOfZone, ZoneRow
from uavssr.errors import InputRefused
from uavssr.io.bounded import read_table, why_unread
from uavssr.io.checks import PathLike
from uavssr.io.writers import replacing
from uavssr.sensors import FloatArray

_FACTS: Final = ("pixels", "valid", "outlier")
"""Columns between the zone's name and its indices."""
_MAX_BYTES: Final = 2**26


def write_zone_table(
    rows: Sequence[ZoneRow], path: PathLike, *, overwrite: bool = False, inputs: Sequence[Path] = ()
) -> Path:
    """Write a row per zone as .csv: zone, pixels, valid, outlier, and five columns per index.

    The columns of an index are `NDVI_mean`, `_median`, `_deviation`, `_value_se` and
    `_compare_se`; an unknown number is empty.

    Raises:
        OutputError: something stands in the way of the file.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(zone_columns(rows))
    writer.writerows([zone, *map(number_text, numbers)] for zone, *numbers in zone_records(rows))
    return write_text(text.getvalue(), path, overwrite=overwrite, inputs=inputs)


def write_zone_spectra(
    rows: Sequence[ZoneRow],
    wavelengths: FloatArray,
    path: PathLike,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a row per zone and wavelength as .csv; an unknown number is empty.

    The columns are zone, wavelength (nm), and the fields of `SpectrumOfZone`, reflectance.

    Raises:
        OutputError: something stands in the way of the file.
    """
    columns = [column.name for column in fields(SpectrumOfZone)]
    lines = [",".join(["zone", "wavelength", *columns])]
    for row in rows:
        numbers = (getattr(row.spectrum, column).tolist() for column in columns)
        zone = _quoted(row.zone)
        for nm, *of_band in zip(wavelengths.tolist(), *numbers, strict=True):
            lines.append(f"{zone},{nm:g}," + ",".join(map(number_text, of_band)))
    return write_text("\r\n".join([*lines, ""]), path, overwrite=overwrite, inputs=inputs)


def _quoted(name: str) -> str:
    """A name as a cell of a table."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue()


def write_text(text: str, path: PathLike, *, overwrite: bool, inputs: Sequence[Path]) -> Path:
    """Write a table that is ready as text; raises OutputError."""
    needed = len(text.encode())
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        part.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def zone_columns(rows: Sequence[ZoneRow]) -> list[str]:
    """The names of the columns of the table."""
    return _columns_of(rows[0].indices)


def _columns_of(names: Iterable[str]) -> list[str]:
    per_index = (f"{name}_{column}" for name in names for column in IndexOfZone._fields)
    return ["zone", *_FACTS, *per_index]


def zone_records(rows: Sequence[ZoneRow]) -> list[tuple[str, *tuple[float, ...]]]:
    """The values of the table: a zone's name, then numbers, NaN where unknown."""
    return [
        (
            row.zone,
            *(getattr(row, fact) for fact in _FACTS),
            *(number for index in row.indices.values() for number in index),
        )
        for row in rows
    ]


def number_text(number: float) -> str:
    """A number as a cell of a table, empty if it is not finite."""
    return f"{number:.6g}" if math.isfinite(number) else ""


def read_zone_table(path: Path) -> list[ZoneRow]:
    """The rows of a table that `uavssr plots` wrote.

    Raises:
        InputRefused: not such a table.
    """
    remedy = "give the .csv that uavssr plots wrote, or the polygons with --zones"
    try:
        lines = [line for line in read_table(path, _MAX_BYTES) if line]
        if not lines:
            raise ValueError("it is empty")
        names = _index_names(lines[0])
        return [_row(line, names) for line in lines[1:]]
    except (OSError, ValueError) as err:
        reason = why_unread(err, path) if isinstance(err, OSError) else f"no table of plots ({err})"
        raise InputRefused(reason, path=path, remedy=remedy) from err


def _index_names(header: Sequence[str]) -> list[str]:
    """The indices of a header; ValueError where it is another."""
    columns = header[1 + len(_FACTS) :: len(IndexOfZone._fields)]
    names = [text.removesuffix(f"_{IndexOfZone._fields[0]}") for text in columns]
    if list(header) != _columns_of(names) or not names:
        raise ValueError("its columns are others")
    return names


def _row(line: Sequence[str], names: Sequence[str]) -> ZoneRow:
    count, numbers = len(IndexOfZone._fields), [_number(text) for text in line[1:]]
    if len(numbers) != len(_FACTS) + count * len(names):
        raise ValueError(f"a row has {len(line)} cells")
    pixels, valid, outlier, *others = numbers
    pieces = (others[start : start + count] for start in range(0, len(others), count))
    indices = {name: IndexOfZone(*piece) for name, piece in zip(names, pieces, strict=True)}
    return ZoneRow(zone=line[0], pixels=pixels, valid=valid, outlier=outlier, indices=indices)


def _number(text: str) -> float:
    return float(text) if text else math.nan
