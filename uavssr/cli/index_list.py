"""The list of spectral indices, and how far a cube carries each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uavssr.cli import console, tables

if TYPE_CHECKING:
    from uavssr.indices import SpectralIndex, TrustTable
    from uavssr.sensors import Sensor


def print_indices(sensor: str | None, model: str | None, *, as_json: bool) -> None:
    """Print the table of indices, with the trust of a camera's cubes where one is named."""
    from uavssr.analysis import trust_of_camera
    from uavssr.indices import load_indices
    from uavssr.sensors import load_sensor

    camera = None if sensor is None else load_sensor(sensor)
    trust = None if camera is None else trust_of_camera(camera, model)
    rows: list[dict[str, Any]] = []
    for item in load_indices().values():
        row: dict[str, Any] = {
            "name": item.name,
            "title": item.title,
            "formula": item.formula.text,
            "domain": item.domain,
            "source": item.source,
        }
        if camera is not None:
            row["trust"] = None if trust is None else _numbers(trust, camera, item)
        rows.append(row)
    console.show(rows, *tables.index_parts(rows, camera, trust), as_json=as_json)


def _numbers(table: TrustTable, camera: Sensor, item: SpectralIndex) -> dict[str, Any]:
    """Level and rank correlations of an index by what is known of the camera."""
    blind = table.of(camera, item)
    ranks = {
        knowledge: None if row is None else row.rank
        for knowledge in ("bands", "blind", "profile", "calibrated")
        for row in [table.of(camera, item, knowledge=knowledge)]
    }
    return {"level": None if blind is None else blind.level, "rank": ranks}
