"""The table of the errors of predictions, as a file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from uavssr.io.checks import PathLike
from uavssr.io.writers import replacing

_COLUMNS: Final = (
    *("prediction", "wavelength", "rmse", "rmse_se", "mrae", "mrae_se"),
    *("psnr", "ssim", "sam", "sam_se", "ergas"),
)


def write_error_table(
    reports: Sequence[Mapping[str, Any]],
    path: PathLike,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write the errors of predictions as .csv: a row for the scene, then a row per band.

    The row of the scene has no wavelength; standard errors, SAM and ERGAS are the scene's alone.

    Args:
        reports: of `evaluate`, one for each prediction.
        path: the table.
        overwrite: whether it may be replaced.
        inputs: files that it may not replace.

    Raises:
        OutputError: something stands in the way of the file.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, restval="")
    writer.writeheader()
    for report in reports:
        writer.writerows(_rows(report))
    needed = len(text.getvalue().encode())
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
    return Path(path)


def _rows(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    errors = {f"{name}_se": se for name, se in report["standard_errors"].items()}
    for row in (report["scene"] | errors, *report["per_band"]):
        numbers = {name: _text(number) for name, number in row.items()}
        yield {"prediction": str(report["pred"])} | numbers


def _text(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"
