"""The table of zones as a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from uavssr.analysis.zone_statistics import IndexOfZone, ZoneRow
from uavssr.io.checks import PathLike
from uavssr.io.writers import replacing


def write_zone_table(
    rows: Sequence[ZoneRow], path: PathLike, *, overwrite: bool = False, inputs: Sequence[Path] = ()
) -> Path:
    """Write a row per zone as .csv: zone, pixels, valid, outlier, and five columns per index.

    The columns of an index are `NDVI_mean`, `_median`, `_deviation`, `_value_se` and
    `_compare_se`; an unknown number is empty.

    Raises:
        OutputError: something stands in the way of the file.
    """
    facts, fields = ("pixels", "valid", "outlier"), IndexOfZone._fields
    names = list(rows[0].indices)
    header = ["zone", *facts, *(f"{name}_{column}" for name in names for column in fields)]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    for row in rows:
        numbers = [getattr(row, fact) for fact in facts]
        numbers += [number for name in names for number in row.indices[name]]
        writer.writerow([row.zone, *map(_text, numbers)])
    needed = len(text.getvalue().encode())
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
    return Path(path)


def _text(number: float) -> str:
    return f"{number:.6g}" if math.isfinite(number) else ""
