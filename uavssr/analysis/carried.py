"""Which of the indices asked for a camera's cube does not carry."""

from __future__ import annotations

from collections.abc import Sequence

from uavssr.analysis.index_maps import IndexRequest
from uavssr.analysis.spectral_source import SpectralSource
from uavssr.indices import Knowledge, Trust, TrustTable, load_indices
from uavssr.sensors import Sensor


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
