"""The list of spectral indices, how far a cube carries each, and refusal of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uavssr.cli import console, tables
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.analysis import IndexRequest, SpectralSource
    from uavssr.indices import SpectralIndex, TrustTable
    from uavssr.sensors import Sensor


def print_indices(sensor: str | None, model: str | None, *, as_json: bool) -> None:
    """Print the table of indices, with the trust of a camera's cubes where one is named."""
    from uavssr.indices import load_indices
    from uavssr.sensors import load_sensor

    camera = None if sensor is None else load_sensor(sensor)
    trust = None if camera is None else _trust(camera, model)
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


def refuse_uncarried(
    requests: Sequence[IndexRequest], source: SpectralSource, sensor: str | None, model: str | None
) -> None:
    """Refuse indices that a camera's cube does not carry; formulas and other cubes are not judged.

    Raises:
        UsageError: a cube of this camera does not carry an index.
    """
    from uavssr.analysis import uncarried
    from uavssr.sensors import load_sensor

    name = sensor or source.tags.get("uavssr_sensor")
    if name is None:
        return
    camera = load_sensor(name)
    table = _trust(camera, model or source.tags.get("uavssr_model"))
    row = None if table is None else uncarried(requests, source, table, camera)
    if row is not None:
        raise UsageError(
            f"a cube of {camera.name} does not carry {row.index}: its rank correlation with "
            f"the truth is {row.rank:.2f} ({row.knowledge}, simulated flights)",
            remedy="choose another of uavssr index --list, or add --even-so",
        )


def _trust(camera: Sensor, model: str | None) -> TrustTable | None:
    """The trust table of a model, where it judges this camera."""
    from uavssr.indices import load_trust
    from uavssr.model import DEFAULT_MODEL, find_model, model_digest

    folder = find_model(model or DEFAULT_MODEL)
    table = load_trust(folder, sha256=model_digest(folder))
    return table if table is not None and table.judges(camera) else None


def _numbers(table: TrustTable, camera: Sensor, item: SpectralIndex) -> dict[str, Any]:
    """Level and rank correlations of an index by what is known of the camera."""
    blind = table.of(camera, item)
    ranks = {
        knowledge: None if row is None else row.rank
        for knowledge in ("bands", "blind", "profile", "calibrated")
        for row in [table.of(camera, item, knowledge=knowledge)]
    }
    return {"level": None if blind is None else blind.level, "rank": ranks}
