"""Tables of cameras, STFs, inputs and comparisons, drawn with rich."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uavssr.errors import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from uavssr.analysis import ExpectedError, SetErrors, ZoneChange, ZoneRow
    from uavssr.indices import TrustTable
    from uavssr.io.msi import InputSummary
    from uavssr.io.stf import StfArrays
    from uavssr.sensors import Sensor

_NUMBERS = ("centre", "centre_se", "fwhm", "fwhm_se", "gain", "gain_se", "span_share", "residual")


def sensor_table(sensors: Iterable[Sensor]) -> Table:
    """A table of cameras with their bands and the source of these."""
    table = new_table("sensor", "camera", "bands: role centre/FWHM in nm", "source")
    for sensor in sensors:
        listed = ", ".join(f"{b.role} {b.centre:.4g}/{b.fwhm:.4g}" for b in sensor.bands)
        add_row(table, sensor.name, sensor.title, listed, sensor.note)
    return table


def step_table(title: str, roles: Sequence[str], errors: Sequence[ExpectedError]) -> Table:
    """A table of bands in the order of their choice, and the error after each."""
    table = new_table("step", "added", "error", "at least", "at most", title=title)
    for number, (role, error) in enumerate(zip(roles, errors, strict=True), start=1):
        numbers = (f"{value:.4f}" for value in (error.rmse, error.at_least, error.at_most))
        add_row(table, str(number), role, *numbers)
    return table


def set_table(title: str, rows: Sequence[tuple[str, str, SetErrors]]) -> Table:
    """A table of sets of bands with their expected errors: name, bands, errors."""
    table = new_table("set", "response known", "response unknown", "bands", title=title)
    for name, bands, errors in rows:
        numbers = (f"{error.rmse:.4f}" for error in (errors.known, errors.unknown))
        add_row(table, name, *numbers, bands)
    return table


def zone_table(rows: Sequence[ZoneRow]) -> Table:
    """A table of plots: each index with the standard errors of its value and for comparisons."""
    names = list(rows[0].indices)
    titles = (f"{name} +- value, +- compare" for name in names)
    table = new_table("plot", "pixels", "valid", "outliers", *titles)
    for row in rows:
        cells = [
            f"{of.mean:.4g} +- {of.value_se:.2g}, {of.compare_se:.2g}"
            for of in row.indices.values()
        ]
        shares = (f"{share:.0%}" for share in (row.valid, row.outlier))
        add_row(table, row.zone, f"{row.pixels:.0f}", *shares, *cells)
    return table


def change_table(rows: Sequence[ZoneChange]) -> Table:
    """A table of the changes of plots, and which are discoveries."""
    table = new_table("plot", "A", "B", "change", "p", "q")
    for row in rows:
        change = f"{row.change:+.3g} +- {row.change_se:.2g}"
        numbers = (f"{number:.3g}" for number in (row.p, row.q))
        add_row(table, row.zone, f"{row.mean_a:.4g}", f"{row.mean_b:.4g}", change, *numbers)
    return table


def scene_rows(stf: StfArrays) -> list[dict[str, Any]]:
    """The scene's STF as plain numbers, a mapping per band."""
    scene = {name: stf.variables[f"scene_{name}"].values for name in (*_NUMBERS, "prior_driven")}
    rows = []
    for i, band in enumerate(stf.coordinates["band"].values.tolist()):
        row: dict[str, Any] = {"band": str(band)}
        row |= {name: round(float(scene[name][i]), 6) for name in _NUMBERS}
        row["prior_driven"] = bool(scene["prior_driven"][i])
        rows.append(row)
    return rows


def stf_table(rows: list[dict[str, Any]], *, sensor: str) -> Table:
    """A table of the scene's STF with standard errors."""
    title = f"STF of the scene, {sensor}, +- standard error"
    table = new_table("band", "centre nm", "FWHM nm", "gain", "residual", "", title=title)
    for row in rows:
        cells = [
            f"{row[key]:.{digits}f} +- {row[f'{key}_se']:.{digits}f}"
            for key, digits in (("centre", 2), ("fwhm", 2), ("gain", 3))
        ]
        note = "prior-driven" if row["prior_driven"] else ""
        add_row(table, row["band"], *cells, f"{row['residual']:.4f}", note)
    return table


def class_table(rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, str]) -> Table:
    """A table of classes of ground: each band's gain, and how it differs from the other classes."""
    title = "STF by class of ground, +- standard error; difference: class minus the others"
    table = new_table("class", "pixels", "band", "gain", "difference", "p", title=title)
    for row in rows:
        value, error = row["gain_difference"], row["gain_difference_se"]
        gain = f"{row['gain']:.3f} +- {row['gain_se']:.3f}"
        cells = ["not covered", ""]
        if value is not None:
            cells = [f"{value:+.1%} +- {error:.1%}", f"{row['p']:.3f}"]
        add_row(table, row["class"], str(row["pixels"]), row["band"], gain, *cells)
    for name, why in left_out.items():
        add_row(table, name, "", "", "left out", why, "")
    return table


def learned_table(rows: Iterable[tuple[str, float, float, float]]) -> Table:
    """A table of the shares (0..1) of the prior variance that a calibration removed, by band."""
    title = "Share of the prior variance that image and satellite remove"
    table = new_table("band", "centre", "FWHM", "gain", title=title)
    for band, *shares in rows:
        add_row(table, band, *(f"{share:.0%}" for share in shares))
    return table


def plot_table(rows: list[dict[str, Any]]) -> Table:
    """A table of the errors of reconstructed plots by flight."""
    table = new_table("flight", "plots", "RMSE", "SAM degrees", "in 90 % interval")
    for row in rows:
        figures = f"{row['rmse']:.4f}", f"{row['sam']:.2f}", f"{row['coverage']:.0%}"
        add_row(table, row["flight"], str(row["plots"]), *figures)
    return table


def index_parts(
    rows: list[dict[str, Any]], sensor: Sensor | None, trust: TrustTable | None
) -> list[RenderableType]:
    """The table of spectral indices, with the trust of a camera's cubes."""
    judged = ("own bands", "blind", "profile", "calibrated", "")
    table = new_table(
        "index", "title", "formula", *(("field", "source") if trust is None else judged)
    )
    for row in rows:
        cells = [row["name"], row["title"], row["formula"]]
        if trust is None:
            cells += [row["domain"], row["source"]]
        else:
            ranks = row["trust"]["rank"].values()
            cells += ["" if rank is None else f"{rank:.2f}" for rank in ranks]
            cells.append(row["trust"]["level"] or "")
        add_row(table, *cells)
    if sensor is None:
        return [table, "Add --sensor NAME for how far a camera's cube carries each."]
    if trust is None:
        return [
            table,
            f"No trust table for {sensor.name}: not known how far its cubes carry these.",
        ]
    scenes = ", ".join(trust.scenes)
    note = (
        f"Rank correlation with the truth, {sensor.name}, simulated flights over {scenes}: of the "
        "camera's own bands, and of the cube by what is known of the camera (calibrated: ten "
        "spectra); for vegetation and soil indices on vegetation and on soil. The last column "
        "judges the blind cube."
    )
    return [table, note]


def flight_table(flights: list[dict[str, Any]], sensor: Sensor) -> Table:
    """A table of the logarithms of the gains of flights with standard errors."""
    table = new_table("flight", *sensor.roles, title="Log of the gains, image over ground")
    for row in flights:
        gains = zip(row["log_gain"], row["se"], strict=True)
        add_row(table, row["flight"], *(f"{gain:+.3f} +- {se:.3f}" for gain, se in gains))
    return table


def profile_parts(rows: list[dict[str, Any]], profile: Sensor) -> list[RenderableType]:
    """The table of a profile, and the factor that all of its bands share."""
    title = f"{profile.name}: the next flight is expected to have, +- standard deviation"
    columns = ("data sheet nm", "centre nm", "FWHM nm", "log of the gain")
    table = new_table("band", *columns, title=title)
    for row in rows:
        sheet = "" if row["sheet_centre"] is None else f"{row['sheet_centre']:.1f}"
        sheet += "" if row["sheet_fwhm"] is None else f" / {row['sheet_fwhm']:.1f}"
        cells = [
            f"{row[key]:{form}} +- {row[f'{key}_sd']:{form.lstrip('+')}}"
            for key, form in (("centre", ".2f"), ("fwhm", ".2f"), ("log_gain", "+.3f"))
        ]
        add_row(table, row["band"], sheet, *cells)
    return [table, f"Further, {profile.common_gain_sd:.3f} in a factor of all bands."]


def summary_parts(summary: InputSummary) -> list[RenderableType]:
    """The input summary: facts, the table of bands, remarks, problems, and the command."""
    from rich.text import Text

    gsd = "" if summary.gsd is None else f" of {summary.gsd[0]:.4g} x {summary.gsd[1]:.4g}"
    valid = "" if summary.valid_fraction is None else f"{summary.valid_fraction:.1%} of pixels "
    facts = {
        "file": ", ".join(str(path) for path in summary.paths),
        "size": f"{summary.width} x {summary.height} pixels{gsd} {summary.gsd_unit}".rstrip(),
        "CRS": summary.crs or "unknown",
        "sensor": f"{summary.sensor} ({summary.sensor_evidence})" if summary.sensor else "unknown",
        "numbers": _meaning(summary),
        "valid": f"{valid}({summary.mask_evidence})",
    }
    remarks = [f"left out: {text}" for text in summary.left_out]
    remarks += [f"warning: {text}" for text in summary.warnings]
    remarks += [f"problem: {problem}" for problem in summary.problems]
    parts = [*fact_lines(facts), band_table(summary), *map(_text, remarks)]
    if summary.command:
        blanks = re.search(r" (NAME|NUMBER|ROLE\S*|EPSG:CODE) ", summary.command)
        heading = "reconstruct it with" + (", capitals replaced:" if blanks else ":")
        parts += [Text(heading, "bold"), _text(summary.command)]
    return parts


def _meaning(summary: InputSummary) -> str:
    """Type of the stored numbers, and what they mean as reflectance."""
    types = ", ".join(sorted({band.dtype for band in summary.bands}))
    if summary.scale is None:
        return f"{types}, scale unknown: the table shows them as they are stored"
    scale = "scale" if isinstance(summary.scale, tuple) else f"{summary.scale:.6g}"
    return f"{types}, reflectance = number x {scale} ({summary.scale_evidence})"


def band_table(summary: InputSummary) -> Table:
    """Bands with their evidence, and the range of reflectance or else of stored numbers."""
    several, scales_differ = len(summary.paths) > 1, isinstance(summary.scale, tuple)
    columns = ("band", "nm/FWHM", *(["scale"] if scales_differ else []), "min", "median", "max")
    table = new_table(*columns, "file, evidence" if several else "no., evidence")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for band in summary.bands:
        nominal = "" if band.wavelength is None else f"{band.wavelength:g}/{band.fwhm:g}"
        facts, levels = band.facts, [""] * 3
        notes = [band.file.name if several else str(band.index), band.evidence or "no evidence"]
        if several and band.evidence == f"file name {band.file.name!r}":
            del notes[1]
        if facts is not None:
            levels = [
                f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}"
                for x in (facts.minimum, facts.median, facts.maximum)
            ]
            notes += ["constant: one number in all pixels"] if facts.constant else []
            notes += [] if facts.same_as is None else [f"the same as row {facts.same_as + 1}"]
        scale = [f"{band.scale:.3g}"] if scales_differ else []
        add_row(table, band.role or "?", nominal, *scale, *levels, ", ".join(notes))
    return table


def fact_lines(facts: Mapping[str, str]) -> list[RenderableType]:
    """A line per fact, its name in bold."""
    from rich.text import Text

    return [Text.assemble((f"{key:9}", "bold"), printable(value)) for key, value in facts.items()]


def pair_parts(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """The pairs of a manifest with their verdicts, and below them what is odd."""
    head = ("line", "pair", "overlap", "gsd m", "shift px", "ratio", "correlation", "verdict")
    table, remarks = new_table(*head), list[str]()
    for row in rows:
        prints, registration = row.get("footprints"), row.get("registration")
        bands = row.get("bands") or (registration or {}).get("bands", {})
        shift = (
            ""
            if registration is None
            else f"{registration['shift_rows']:+.2f}, {registration['shift_columns']:+.2f}"
        )
        if registration and registration["spread"] is not None:
            shift += f" +- {registration['spread']:.2f}"
        name = " ".join(Path(file).name for file in row["files"])
        if "flight" in row:
            name += f" {row['flight']} ({row['plots']} plots)"
        add_row(
            table,
            str(row["line"]),
            name,
            "" if prints is None else f"{prints['overlap']:.0%}",
            "" if prints is None else f"{prints['image_gsd_m']:.3g}, {prints['cube_gsd_m']:.3g}",
            shift,
            _listed(bands, "ratio"),
            _listed(bands, "correlation"),
            "refused" if row["problems"] else "usable",
        )
        said = [f"problem: {text}" for text in row["problems"]]
        said += [f"warning: {text}" for text in row["warnings"]]
        place = f"line {row['line']} {row.get('flight', '')}".rstrip()
        remarks += [f"{place}: {text}" for text in said]
    checks = sorted({check for row in rows for check in row["accepts"]})
    if checks:
        remarks.append(f"if that is as it should be: --accept {','.join(checks)}")
    return [table, *map(_text, remarks)]


def _listed(bands: Mapping[str, Mapping[str, float]], name: str) -> str:
    return " ".join(f"{band[name]:.2f}" for band in bands.values())


def number_table(
    head: str, rows: list[tuple[str, dict[str, Any]]], names: tuple[str, ...]
) -> Table:
    """A table of numbers: labelled rows, and the names of their columns."""
    table = new_table(head, *names)
    for label, row in rows:
        add_row(table, label, *(f"{row[name]:.5g}" for name in names))
    return table


def json_ready(value: Any) -> Any:
    """A copy for JSON, in which infinite and missing numbers are the texts `inf` and `nan`."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_ready(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(text: str) -> Text:
    """Text as it is: no markup, and nothing that a terminal would obey."""
    from rich.text import Text

    return Text(printable(text))


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts as they are."""
    table.add_row(*map(_text, cells))


def new_table(*columns: str, title: str = "") -> Table:
    """An empty table."""
    from rich import box
    from rich.table import Table

    heading = _text(title) if title else None
    table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table
