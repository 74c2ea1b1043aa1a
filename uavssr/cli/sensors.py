"""The commands on cameras in general: the list of known ones, and which bands to buy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import app, phase, run_facts, say, start_writing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uavssr.analysis import BandRanking, RankedBands, SetErrors
    from uavssr.sensors import Band, WavelengthGrid

sensors = typer.Typer(name="sensors", invoke_without_command=True)
app.add_typer(sensors)

ASSUMED = {"known": "response known", "unknown": "response unknown"}
"""What is assumed of the bands' responses, and how tables call it."""


@sensors.callback()
def list_sensors(context: typer.Context, as_json: shared.AsJson = False) -> None:
    """List the known cameras and satellites with their bands; or rank bands to buy."""
    if context.invoked_subcommand is not None:
        return
    from uavssr.sensors import SATELLITES, SENSORS, load_satellite

    known = [*SENSORS.values(), *map(load_satellite, SATELLITES)]
    bands = {sensor.name: [_band(band) for band in sensor.bands] for sensor in known}
    console.show(bands, tables.sensor_table(known), as_json=as_json)


@sensors.command()
def rank(
    context: typer.Context,
    candidates: Annotated[
        str,
        typer.Option(
            help="Filters to choose from: a .csv with centre and fwhm in nm, or a sensor file."
        ),
    ],
    count: Annotated[int, typer.Option(help="Number of bands to choose.")] = 5,
    compare: Annotated[
        str | None,
        typer.Option(help="Cameras to compare with: p4m,rededge3; default: all built-in ones."),
    ] = None,
    wavelengths: Annotated[
        str | None,
        typer.Option(help="Wavelengths in nm whose error counts: 680-780; default: all."),
    ] = None,
    model: shared.ModelName = None,
    as_json: shared.AsJson = False,
) -> None:
    """Print which of many filters leave the least expected error of the cube.

    Bands are added one by one, then exchanged until no exchange helps: once for responses that are
    known, and once for those of a data sheet. The model's spectral prior says what to expect.
    """
    from uavssr.analysis import rank_bands
    from uavssr.model import DEFAULT_MODEL, load_model
    from uavssr.sensors import SENSORS, load_candidates, load_sensor, select_wavelengths

    start_writing()
    bands = load_candidates(candidates)
    names = list(SENSORS) if compare is None else [name.strip() for name in compare.split(",")]
    cameras = [load_sensor(name) for name in names]
    loaded = load_model(model or DEFAULT_MODEL)
    grid, at = loaded.grid, None
    if wavelengths is not None:
        grid, at = select_wavelengths(loaded.grid, wavelengths)
    with phase(context, "choosing bands"):
        ranking = rank_bands(loaded.network, bands, count=count, cameras=cameras, wavelengths=at)
    left_out = {"": ranking.left_out} | ranking.cameras_left_out
    for name, roles in left_out.items():
        if roles:
            of = f" of {name}" if name else ""
            say(context, f"uavssr: warning: beyond the model's wavelengths{of}: {', '.join(roles)}")
    answer = {
        "model": loaded.name,
        "wavelengths": [float(grid.centres[0]), float(grid.centres[-1])],
    }
    console.show(
        answer | _facts(ranking) | run_facts(context, {}),
        *_parts(ranking, grid, loaded.name),
        as_json=as_json,
    )


def _facts(ranking: BandRanking) -> dict[str, Any]:
    """The ranking as plain numbers."""
    return {
        "candidates": len(ranking.bands),
        "left_out": list(ranking.left_out),
        **{name: _choice(ranking, getattr(ranking, name)) for name in ASSUMED},
        "cameras": {name: _errors(errors) for name, errors in ranking.cameras.items()},
    }


def _choice(ranking: BandRanking, ranked: RankedBands) -> dict[str, Any]:
    bands, choice = ranking.bands, ranked.choice
    steps = zip(choice.greedy, ranked.steps, strict=True)
    return {
        "steps": [{"added": _band(bands[band]), **error._asdict()} for band, error in steps],
        "bands": [_band(band) for band in _chosen(ranking, ranked)],
        "errors": _errors(ranked.errors),
    }


def _chosen(ranking: BandRanking, ranked: RankedBands) -> list[Band]:
    """The bands after all exchanges, by wavelength."""
    chosen = (ranking.bands[band] for band in ranked.choice.chosen)
    return sorted(chosen, key=lambda band: band.centre)


def _errors(errors: SetErrors) -> dict[str, Any]:
    return {name: getattr(errors, name)._asdict() for name in ASSUMED}


def _band(band: Band) -> dict[str, Any]:
    return {"role": band.role, "centre": round(band.centre, 2), "fwhm": round(band.fwhm, 2)}


def _parts(ranking: BandRanking, grid: WavelengthGrid, model: str) -> list[RenderableType]:
    """A table of steps for each assumption, and a table of sets beside cameras."""
    parts: list[RenderableType] = []
    rows: list[tuple[str, str, SetErrors]] = []
    for name, title in ASSUMED.items():
        ranked: RankedBands = getattr(ranking, name)
        roles = [ranking.bands[band].role for band in ranked.choice.greedy]
        parts.append(tables.step_table(f"Chosen for: {title}", roles, ranked.steps))
        chosen = ", ".join(band.role for band in _chosen(ranking, ranked))
        rows.append((f"chosen, {title}", chosen, ranked.errors))
    rows += [(name, "", errors) for name, errors in ranking.cameras.items()]
    first, last = grid.centres[[0, -1]]
    title = f"After exchange, and cameras: error at {first:.0f}-{last:.0f} nm"
    note = f"Errors: RMSE of reflectance expected under the spectral prior of {model}."
    return [*parts, tables.set_table(title, rows), note]
