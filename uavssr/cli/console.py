"""What the command line shows: tables, cards and progress, drawn with rich. Computes nothing."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console, RenderableType
    from rich.table import Table

    from uavssr.io.msi import InputSummary
    from uavssr.sensors import Sensor

STF_NUMBERS = (
    "centre",
    "centre_se",
    "fwhm",
    "fwhm_se",
    "gain",
    "gain_se",
    "span_share",
    "residual",
)


def show(*parts: RenderableType) -> None:
    """Draw parts on stdout, uncut where stdout is no terminal."""
    console = _console()
    for part in parts:
        console.print(part)


def sensor_table(sensors: Iterable[Sensor]) -> Table:
    """The cameras with their bands."""
    table = _table("sensor", "camera", "bands: role centre/FWHM in nm")
    for sensor in sensors:
        listed = ", ".join(f"{b.role} {b.centre:g}/{b.fwhm:g}" for b in sensor.bands)
        table.add_row(sensor.name, sensor.title, listed)
    return table


def scene_rows(found: xr.Dataset) -> list[dict[str, Any]]:
    """The scene's STF as plain numbers, a mapping per band."""
    rows = []
    for i, band in enumerate(found["band"].values.tolist()):
        row: dict[str, Any] = {"band": str(band)}
        row |= {name: round(float(found[f"scene_{name}"][i]), 6) for name in STF_NUMBERS}
        row["prior_driven"] = bool(found["scene_prior_driven"][i])
        rows.append(row)
    return rows


def stf_table(rows: list[dict[str, Any]], *, sensor: str) -> Table:
    """The scene's STF with standard errors."""
    title = f"STF of the scene, {sensor}, +- standard error"
    table = _table("band", "centre nm", "FWHM nm", "gain", "residual", "", title=title)
    for row in rows:
        cells = [
            f"{row[key]:.{digits}f} +- {row[f'{key}_se']:.{digits}f}"
            for key, digits in (("centre", 2), ("fwhm", 2), ("gain", 3))
        ]
        note = "prior-driven" if row["prior_driven"] else ""
        table.add_row(row["band"], *cells, f"{row['residual']:.4f}", note)
    return table


def summary_parts(summary: InputSummary) -> list[RenderableType]:
    """The input summary: facts, the table of bands, and what to be wary of."""
    from rich.text import Text

    gsd = f"{summary.gsd[0]:.4g} x {summary.gsd[1]:.4g} {summary.gsd_unit}"
    facts = {
        "file": ", ".join(str(path) for path in summary.paths),
        "size": f"{summary.width} x {summary.height} pixels of {gsd}, {summary.crs}",
        "sensor": f"{summary.sensor} ({summary.sensor_evidence})",
        "scale": summary.scale_evidence,
        "valid": f"{summary.valid_fraction:.1%} of pixels ({summary.mask_evidence})",
    }
    table = _table("band", "nm", "FWHM", "file", "no.", "type", "scale", "evidence")
    for band in summary.bands:
        table.add_row(
            band.role,
            f"{band.wavelength:g}",
            f"{band.fwhm:g}",
            band.file.name,
            str(band.index),
            band.dtype,
            f"{band.scale:.6g}",
            band.evidence,
        )
    return [
        *fact_lines(facts),
        table,
        *(Text(f"! {text}") for text in (*summary.left_out, *summary.warnings)),
    ]


def fact_lines(facts: Mapping[str, str]) -> list[RenderableType]:
    """A line per fact, its name in bold."""
    from rich.text import Text

    return [Text.assemble((f"{key:9}", "bold"), value) for key, value in facts.items()]


def report_parts(report: Mapping[str, Any], *, per_band: bool) -> list[RenderableType]:
    """A comparison of cubes: the scene's figures with their settings, the bands', the STF's."""
    settings, scene = report["settings"], report["scene"]
    figures = _table("metric", "scene", "definition", title=f"{report['pred']} - {report['ref']}")
    for name, digits, definition in (
        ("rmse", 5, "reflectance"),
        ("mrae", 5, f"epsilon {settings['mrae_epsilon']:g}"),
        ("psnr", 2, f"dB, data range {settings['data_range']:g}, {settings['psnr']}"),
        ("ssim", 5, f"{settings['ssim_window']}, {report['ssim_pixels']} windows"),
        ("sam", 4, "degrees"),
        ("ergas", 4, f"ratio {settings['ergas_ratio']}"),
    ):
        figures.add_row(name.upper(), f"{scene[name]:.{digits}f}", definition)
    share = f"{report['valid_pixels']} of {report['pixels']} pixels valid in both"
    parts: list[RenderableType] = [figures, f"{share}, {report['bands']} bands"]
    if per_band:
        rows = [(f"{row['wavelength']:.1f}", row) for row in report["per_band"]]
        parts.append(_numbers("nm", rows, ("rmse", "mrae", "psnr", "ssim")))
    if "stf" in report:
        stf = report["stf"]
        rows = [(row["band"], row) for row in stf["per_band"]] + [("mean, absolute", stf)]
        names = ("relative", "centre_nm", "fwhm_nm", "gain_percent")
        parts.append(_numbers("STF error", rows, names))
    return parts


def _numbers(head: str, rows: list[tuple[str, dict[str, Any]]], names: tuple[str, ...]) -> Table:
    table = _table(head, *names)
    for label, row in rows:
        table.add_row(label, *(f"{row[name]:.5g}" for name in names))
    return table


def plain(value: Any) -> Any:
    """The same for JSON, where a number that JSON lacks becomes its name: inf, nan."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress(
    *, quiet: bool, unit: Literal["pixels", "steps"] = "pixels"
) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress bar on stderr with speed and time left; None if quiet.

    It appears with the first thing done, so that a refusal before that is one line. The callback
    takes what is done, how much was just done, and how much there is in all; a part of the first
    after a comma may change from call to call.
    """
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=_console(stderr=True))
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def update(what: str, done: int, total: int) -> None:
        kind = what.partition(",")[0]
        with lock:  # tiles are done on many threads
            if not tasks:
                bar.start()
            if kind not in tasks:
                tasks[kind] = bar.add_task(what, total=total, rate="")
        task = tasks[kind]
        bar.update(task, advance=done, description=what)
        speed = bar.tasks[task].speed or 0.0
        pixels = unit == "pixels" and total > 10_000
        bar.update(task, rate=f"{speed / 1000:.0f} kpx/s" if pixels else f"{speed:.1f}/s")

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    wide = not (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=200 if wide else None)


def _table(*columns: str, title: str | None = None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table
