"""What an output records of how it was made, so that it can be made again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from uavssr import __version__

if TYPE_CHECKING:
    from uavssr.engine import TileEngine
    from uavssr.model.weights import Model
    from uavssr.raster.source import MsiSource


def provenance(
    msi: MsiSource, model: Model, engine: TileEngine, *, stf_scope: str, held: Path | None
) -> dict[str, str]:
    """Version, weights, settings and input, as tags; empty ones are left out.

    Args:
        msi: the input.
        model: the model.
        engine: tiles, stages, device.
        stf_scope: `scene` or `tile`.
        held: the file whose STF is held fixed, if any.
    """
    card, stages = msi.card, engine.stages
    sizes = (f"{path.name} ({path.stat().st_size} bytes)" for path in map(Path, card.paths))
    facts = {
        "version": __version__,
        "model": model.name,
        "model_sha256": model.sha256,
        "sensor": msi.sensor.name,
        "input": ", ".join(sizes),
        "bands": ", ".join(f"{b.role}: {b.file.name} no. {b.index}" for b in card.bands),
        "scale": card.scale_evidence,
        "crs": card.crs,
        "stages": str(len(engine.network.stages) if stages is None else stages),
        "stf_scope": stf_scope,
        "stf_held": "" if held is None else _digest(held),
        "tile": str(engine.tiles.tile),
        "overlap": str(engine.overlap),
        "device": str(engine.device),
    }
    return {f"uavssr_{key}": value for key, value in facts.items() if value}


def _digest(path: Path) -> str:
    return f"{path.name} (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
