"""Tables of the errors of cubes against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uavssr.cli.tables import add_row, new_table, number_table

if TYPE_CHECKING:
    from rich.console import RenderableType


def report_parts(report: Mapping[str, Any], *, per_band: bool) -> list[RenderableType]:
    """The comparison of two cubes: figures of the scene, of each band if wanted, and of the STF."""
    settings, scene, errors = report["settings"], report["scene"], report["standard_errors"]
    figures = new_table(
        "metric", "scene", "definition", title=f"{report['pred']} - {report['ref']}"
    )
    for name, digits, definition in (
        ("rmse", 5, "reflectance"),
        ("mrae", 5, f"epsilon {settings['mrae_epsilon']:g}"),
        ("psnr", 2, f"dB, data range {settings['data_range']:g}, {settings['psnr']}"),
        ("ssim", 5, f"{settings['ssim_window']}, {report['ssim_pixels']} windows"),
        ("sam", 4, "degrees"),
        ("ergas", 4, f"ratio {settings['ergas_ratio']}"),
    ):
        error = f" +- {errors[name]:.2g}" if name in errors else ""
        add_row(figures, name.upper(), f"{scene[name]:.{digits}f}{error}", definition)
    share = f"{report['valid_pixels']} of {report['pixels']} pixels valid in both"
    parts: list[RenderableType] = [figures, f"{share}, {report['bands']} bands", _blocks(report)]
    parts += _alignment(report)
    if per_band:
        rows = [(f"{row['wavelength']:.1f}", row) for row in report["per_band"]]
        parts.append(number_table("nm", rows, ("rmse", "mrae", "psnr", "ssim")))
    if "stf" in report:
        stf = report["stf"]
        rows = [(row["band"], row) for row in stf["per_band"]] + [("mean, absolute", stf)]
        names = ("relative", "centre_nm", "fwhm_nm", "gain_percent")
        parts.append(number_table("STF error", rows, names))
    return parts


def comparison_parts(report: Mapping[str, Any]) -> list[RenderableType]:
    """Several predictions in one table, each with its difference from the first."""
    predictions: Sequence[Mapping[str, Any]] = report["predictions"]
    first = predictions[0]
    head = ("prediction", "RMSE", "- first", "MRAE", "- first", "SAM", "- first", "PSNR", "SSIM")
    table = new_table(*head, title=f"against {report['ref']}")
    for prediction in predictions:
        row = next((d for d in report["differences"] if d["pred"] == prediction["pred"]), None)
        add_row(table, Path(prediction["pred"]).name, *_cells(prediction, row))
    share = f"{first['valid_pixels']} of {first['pixels']} pixels valid in all"
    note = "- first: less the error of the first prediction, with the paired standard error"
    counts = f"{share}, {first['bands']} bands"
    return [table, counts, f"{_blocks(first)}; {note}", *_alignments(predictions)]


def _cells(prediction: Mapping[str, Any], difference: Mapping[str, Any] | None) -> Iterator[str]:
    scene, errors = prediction["scene"], prediction["standard_errors"]
    for name, digits in (("rmse", 5), ("mrae", 5), ("sam", 4)):
        yield f"{scene[name]:.{digits}f} +- {errors[name]:.2g}"
        value, se = (0.0, 0.0) if difference is None else difference[name]
        yield "" if difference is None else f"{value:+.{digits}f} +- {se:.2g}"
    yield f"{scene['psnr']:.2f}"
    yield f"{scene['ssim']:.5f}"


def _blocks(report: Mapping[str, Any]) -> str:
    number, side = report["blocks"]["number"], report["blocks"]["side"]
    return f"standard errors from {number} blocks of {side} x {side} pixels"


def _alignment(report: Mapping[str, Any]) -> Iterator[str]:
    """What was done to the grid and the wavelengths of a prediction and its reference."""
    for key in ("pred", "ref"):
        for what, text in report["aligned"][key].items():
            if text != "as stored":
                yield f"{report[key]}: {what} {text}"


def _alignments(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same of several predictions, each line once."""
    return list(dict.fromkeys(line for report in predictions for line in _alignment(report)))
