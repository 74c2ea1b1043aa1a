"""The tables of zones as files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from uavssr.analysis.zone_spectra import SpectrumOfZone
from uavssr.analysis.zone_statistics import IndexOfZone, ZoneRow
from uavssr.io.checks import PathLike
from uavssr.io.writers import replacing
from uavssr.sensors import FloatArray

_FACTS: Final = ("pixels", "valid", "outlier")


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
    writer.writerows([zone, *map(_text, numbers)] for zone, *numbers in zone_records(rows))
    return _write(text.getvalue(), path, overwrite=overwrite, inputs=inputs)


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
            lines.append(f"{zone},{nm:g}," + ",".join(map(_text, of_band)))
    return _write("\r\n".join([*lines, ""]), path, overwrite=overwrite, inputs=inputs)


def _quoted(name: str) -> str:
    """A name as a cell of a table."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue()


def _write(text: str, path: PathLike, *, overwrite: bool, inputs: Sequence[Path]) -> Path:
    needed = len(text.encode())
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        part.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def zone_columns(rows: Sequence[ZoneRow]) -> list[str]:
    """The names of the columns of the table."""
    per_index = (f"{name}_{column}" for name in rows[0].indices for column in IndexOfZone._fields)
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


def _text(number: float) -> str:
    return f"{number:.6g}" if math.isfinite(number) else ""
