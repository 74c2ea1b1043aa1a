"""The commands on a camera's profile: fit it to flights with known spectra, and show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, print_outputs, say

if TYPE_CHECKING:
    from uavssr.sensors import Sensor

camera = typer.Typer(name="camera", help="Fit a camera's profile to earlier flights, or show it.")
app.add_typer(camera)


@camera.command()
def fit(
    context: typer.Context,
    pairs: Annotated[
        list[Path],
        typer.Argument(
            help="Tables of plots (.npz, .csv), or manifests (.csv) of images and cubes.",
            metavar="PAIRS...",
        ),
    ],
    sensor: Annotated[
        str, typer.Option(help="Camera: a name from `uavssr sensors`, or a .yaml or .csv file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The profile to write, a .yaml.")],
    reference_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in the tables' spectra, e.g. 1/100.")
    ] = None,
    model: shared.ModelName = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Fit a camera's profile to flights with known spectra; `--sensor` then takes it."""
    from uavssr.data import fit_camera_profile
    from uavssr.model import DEFAULT_MODEL
    from uavssr.sensors import load_sensor

    check_suffix(out, ".yaml", ".yml")
    check_outputs([out], pairs, overwrite=overwrite)
    data_sheet = load_sensor(sensor)
    fit = fit_camera_profile(
        pairs,
        sensor=data_sheet,
        out=out,
        reference_scale=reference_scale,
        model=model or DEFAULT_MODEL,
        overwrite=overwrite,
    )
    for warning in fit.warnings:
        say(context, f"uavssr: warning: {warning}")
    print_outputs(context, {"profile": out})
    gains = zip(fit.flights, fit.gain.tolist(), fit.gain_se.tolist(), strict=True)
    flights = [{"flight": name, "log_gain": gain, "se": se} for name, gain, se in gains]
    spread = {"common_sd": fit.common_sd, "own_sd": fit.own_sd}
    rows = profile_rows(fit.sensor, data_sheet)
    console.show(
        _facts(fit.sensor, rows) | spread | {"flights": flights, "warnings": fit.warnings},
        tables.flight_table(flights, fit.sensor),
        f"From flight to flight: {fit.common_sd:.3f} in a factor of all bands, "
        f"{fit.own_sd:.3f} in a band beside it.",
        *tables.profile_parts(rows, fit.sensor),
        as_json=as_json,
    )


@camera.command()
def show(
    context: typer.Context,
    profile: Annotated[
        str, typer.Argument(help="A profile from `camera fit`, or any sensor.", metavar="PROFILE")
    ],
    sensor: Annotated[
        str | None, typer.Option(help="Data sheet to compare with; default: that of the profile.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also draw the curves to this .png.")
    ] = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Print what a profile says of the next flight, and draw its curves."""
    from uavssr.sensors import SENSORS, load_sensor

    check_suffix(out, ".png")
    check_outputs([out], [Path(profile)], overwrite=overwrite)
    shown = load_sensor(profile)
    data_sheet = load_sensor(sensor) if sensor else SENSORS.get(shown.data_sheet, shown)
    if out is not None:
        from uavssr.calibration import profile_stf
        from uavssr.viz import draw_stf

        stf = profile_stf(shown, data_sheet).dataset()
        draw_stf(stf, out, label="next flight", overwrite=overwrite, inputs=[Path(profile)])
    print_outputs(context, {"figure": out})
    rows = profile_rows(shown, data_sheet)
    console.show(_facts(shown, rows), *tables.profile_parts(rows, shown), as_json=as_json)


def profile_rows(profile: Sensor, data_sheet: Sensor) -> list[dict[str, Any]]:
    """What a profile says of each band, with the data sheet's centre and width in nm."""
    nominal = {band.role: band for band in data_sheet.bands}
    mean, spread = profile.prior()
    rows = []
    for band, gain, deviations in zip(profile.bands, mean[:, 2], spread, strict=True):
        sheet = nominal.get(band.role)
        shift_sd, width_sd, gain_sd = deviations.tolist()
        rows.append(
            {
                "band": band.role,
                "sheet_centre": None if sheet is None else sheet.centre,
                "sheet_fwhm": None if sheet is None else sheet.fwhm,
                "centre": band.centre,
                "centre_sd": shift_sd,
                "fwhm": band.fwhm,
                "fwhm_sd": band.fwhm * width_sd,
                "log_gain": float(gain),
                "log_gain_sd": gain_sd,
            }
        )
    return rows


def _facts(profile: Sensor, rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {key: getattr(profile, key) for key in ("name", "title", "data_sheet")}
    return facts | {"common_log_gain_sd": profile.common_gain_sd, "bands": rows}
