"""Provenance of an output as file tags, and the identity of a run that a resumed run must share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from uavssr._version import __version__
from uavssr.errors import printable
from uavssr.io.bounded import open_regular
from uavssr.io.checks import envi_header, fingerprint

if TYPE_CHECKING:
    from uavssr.io.msi import InputSummary, MsiSource
    from uavssr.model import Model
    from uavssr.reconstruction.plan import Plan


def provenance(plan: Plan) -> dict[str, str]:
    """Version, weights, settings and input as tags `uavssr_...`; empty ones are left out."""
    summary, references = plan.source.summary, plan.references
    tags = {
        **image_facts([plan.source], plan.model),
        "bands": ", ".join(f"{b.role}: {b.file.name} no. {b.index}" for b in summary.bands),
        "scale": summary.scale_evidence,
        "crs": summary.crs,
        **_settings(plan),
        "tf32": "off" if plan.device_kind == "cuda" else "",
        "stf_held": _stf_file(plan),
        "references": "" if references is None else str(len(references.msi)),
    }
    return {f"uavssr_{key}": printable(value) for key, value in tags.items() if value}


def image_facts(sources: Sequence[MsiSource], model: Model) -> dict[str, str]:
    """Version, model, camera and input files of a result from images of one camera."""
    paths = [Path(path) for source in sources for path in source.summary.paths]
    return {
        "version": __version__,
        "model": model.name,
        "model_sha256": model.sha256,
        "sensor": sources[0].sensor.name,
        "input": ", ".join(f"{path.name} ({path.stat().st_size} bytes)" for path in paths),
    }


def identity(plan: Plan, *, error_maps: bool) -> dict[str, str]:
    """Everything that a run's records depend on, under the names in a refusal to resume."""
    source, summary = plan.source, plan.source.summary
    curves = source.sensor.srf(plan.model.grid)
    bands = (
        f"{b.role}: {b.file.name} no. {b.index} x {b.scale!r} + {b.offset!r}, nodata {b.nodata}"
        for b in summary.bands
    )
    return {
        "version": __version__,
        "weights": f"{plan.model.name} ({plan.model.sha256[:12]})",
        **input_identity(summary),
        "sensor": f"{source.sensor.name} ({hashlib.sha256(curves.tobytes()).hexdigest()[:12]})",
        "scale": summary.scale_evidence,
        "mask": summary.mask_evidence,
        "bands": ", ".join(bands),
        "CRS": source.crs_wkt,
        "transform": ", ".join(map(repr, source.transform)),
        **{f"--{name.replace('_', '-')}": value for name, value in _settings(plan).items()},
        "halo": str(plan.tiles.halo),
        "--batch": str(plan.batch),
        "--stf": _stf_file(plan) or "none",
        "--stf-only": "yes" if plan.references is None else "no",
        "--uncertainty or --quality": "yes" if error_maps else "no",
    }


def _settings(plan: Plan) -> dict[str, str]:
    return {
        "tile": str(plan.tiles.tile),
        "stages": str(plan.stages),
        "overlap": str(plan.overlap),
        "stf_scope": plan.options.stf_scope,
        "tile_stf": plan.options.tile_stf,
        "precision": plan.precision,
        "device": plan.device_kind,
    }


def input_identity(summary: InputSummary) -> dict[str, str]:
    """The input files as they are now.

    Raises:
        InputRefused: one of them cannot be read any more.
    """
    headers = [envi_header(path) for path in summary.paths] if summary.driver == "ENVI" else []
    files = fingerprint([*summary.paths, *(path for path in headers if path is not None)])
    times = (_date(file.mtime_ns) for file in files)
    return {
        "input": ", ".join(f"{file.name} ({file.size} bytes)" for file in files),
        "input modified": ", ".join(times),
        "input content": ", ".join(file.sha256[:12] for file in files),
    }


def _date(mtime_ns: int) -> str:
    """A time of modification in ISO 8601; nanoseconds where it lies outside the years 1-9999."""
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{mtime_ns} ns"


def _stf_file(plan: Plan) -> str:
    """Name and checksum of the file whose STF is fixed; empty without one."""
    if plan.options.stf is None:
        return ""
    path = Path(plan.options.stf)
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    return f"{path.name} (SHA-256 {digest.hexdigest()})"
