"""Indices that a camera's cube does not carry, and their refusal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uavssr.analysis.index_maps import IndexRequest
from uavssr.analysis.spectral_source import SpectralSource
from uavssr.errors import UsageError
from uavssr.indices import Knowledge, Trust, TrustTable, load_indices, load_trust
from uavssr.model import DEFAULT_MODEL, find_model, model_digest
from uavssr.sensors import Sensor, load_sensor


def uncarried(
    requests: Sequence[IndexRequest], source: SpectralSource, table: TrustTable, sensor: Sensor
) -> Trust | None:
    """The judgement of the first index that is not carried, or None; formulas are not judged.

    Args:
        requests: the indices.
        source: the spectra, whose tags say whether their STF was given.
        table: of the model.
        sensor: the camera.
    """
    knowledge: Knowledge = "calibrated" if "uavssr_stf_held" in source.tags else "blind"
    known = (load_indices().get(request.name) for request in requests)
    rows = (table.of(sensor, index, knowledge=knowledge) for index in known if index is not None)
    return next((row for row in rows if row is not None and row.level == "not carried"), None)


def refuse_uncarried(
    requests: Sequence[IndexRequest],
    source: SpectralSource,
    sensor: str | Path | Sensor | None,
    model: str | Path | None,
) -> None:
    """Refuse indices that a camera's cube does not carry; formulas and other cubes are not judged.

    Raises:
        UsageError: a cube of this camera does not carry an index.
    """
    name = sensor or source.tags.get("uavssr_sensor")
    if name is None:
        return
    camera = name if isinstance(name, Sensor) else load_sensor(name)
    table = trust_of_camera(camera, model or source.tags.get("uavssr_model"))
    row = None if table is None else uncarried(requests, source, table, camera)
    if row is not None:
        raise UsageError(
            f"a cube of {camera.name} does not carry {row.index}: its rank correlation with "
            f"the truth is {row.rank:.2f} ({row.knowledge}, simulated flights)",
            remedy="choose another of uavssr index --list, or add --even-so",
        )


def trust_of_camera(camera: Sensor, model: str | Path | None) -> TrustTable | None:
    """The trust table of a model, where it judges this camera."""
    folder = find_model(model or DEFAULT_MODEL)
    table = load_trust(folder, sha256=model_digest(folder))
    return table if table is not None and table.judges(camera) else None
