"""How far a camera's cube carries indices; refusal of those that it does not carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from uavssr.analysis.index_maps import IndexRequest
from uavssr.analysis.spectral_source import SpectralSource
from uavssr.errors import InputRefused, UsageError
from uavssr.indices import Knowledge, Trust, TrustTable, load_indices, load_trust, term_weights
from uavssr.model import DEFAULT_MODEL, find_model, model_digest
from uavssr.sensors import Sensor, load_sensor

USUAL_INDICES: Final = ("NDVI", "NDRE", "CIre", "OSAVI", "CIgreen", "VARI", "GLI")
"""Indices that most fields are judged by, in the order of preference; the last two for RGB."""


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
    knowledge = _knowledge(source)
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


def trust_of_index(
    name: str,
    source: SpectralSource,
    sensor: str | Path | Sensor | None,
    model: str | Path | None,
) -> Trust | None:
    """The judgement of an index of the table; None for a formula, or where nothing judges it."""
    index, camera = load_indices().get(name), sensor or source.tags.get("uavssr_sensor")
    if index is None or camera is None:
        return None
    camera = camera if isinstance(camera, Sensor) else load_sensor(camera)
    table = trust_of_camera(camera, model or source.tags.get("uavssr_model"))
    return None if table is None else table.of(camera, index, knowledge=_knowledge(source))


def carried_indices(
    source: SpectralSource, sensor: str | Path | Sensor | None, model: str | Path | None
) -> list[str]:
    """Up to three indices of `USUAL_INDICES` in the spectra that the camera's cube carries.

    Where no trust table judges the camera, all count as carried.
    """
    names = []
    for name in USUAL_INDICES:
        trust = trust_of_index(name, source, sensor, model)
        if (trust is None or trust.level == "carried") and _inside(name, source):
            names.append(name)
    return names[:3]


def _inside(name: str, source: SpectralSource) -> bool:
    """Whether the bands of an index lie in the spectra."""
    try:
        term_weights(load_indices()[name].formula, source.grid)
    except InputRefused:
        return False
    return True


def _knowledge(source: SpectralSource) -> Knowledge:
    """What the spectra come from: a given STF, or the image alone."""
    return "calibrated" if "uavssr_stf_held" in source.tags else "blind"
