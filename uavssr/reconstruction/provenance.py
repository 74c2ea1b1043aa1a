"""What made an output: as tags for those who read it, and as an identity for those who resume it.

Must not know how tiles are computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from uavssr._version import __version__
from uavssr.io.checks import envi_header, fingerprint
from uavssr.reconstruction.options import Precision, StfScope

if TYPE_CHECKING:
    from uavssr.io.msi import InputSummary, MsiSource
    from uavssr.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the pixels depend on besides the image and the weights."""

    stages: int
    """Unrolled stages that run."""
    stf_scope: StfScope
    """Whether the cube is made with the scene's STF or with each tile's own."""
    held: Path | None
    """The file whose STF is held fixed; None where it is estimated."""
    taught: int
    """Reference spectra of that file from which the cube learns."""
    tile: int
    """Side of a tile in pixels."""
    halo: int
    """Context read around it."""
    overlap: int
    """Pixels over which tiles' STFs are blended."""
    batch: int
    """Most tiles in one forward pass."""
    precision: Precision
    """Of the proximal networks; the solvers are always float32."""
    device: str
    """Where the network runs."""


def provenance(msi: MsiSource, model: Model, settings: Settings) -> dict[str, str]:
    """Version, weights, settings and input, as tags; empty ones are left out."""
    summary = msi.summary
    facts = {
        "version": __version__,
        "model": model.name,
        "model_sha256": model.sha256,
        "sensor": msi.sensor.name,
        "input": _sizes(summary.paths),
        "bands": ", ".join(f"{b.role}: {b.file.name} no. {b.index}" for b in summary.bands),
        "scale": summary.scale_evidence,
        "crs": summary.crs,
        "stages": str(settings.stages),
        "stf_scope": settings.stf_scope,
        "stf_held": _held(settings.held),
        "references": str(settings.taught or ""),
        "tile": str(settings.tile),
        "overlap": str(settings.overlap),
        "precision": settings.precision,
        "device": settings.device,
    }
    return {f"uavssr_{key}": value for key, value in facts.items() if value}


def identity(msi: MsiSource, model: Model, settings: Settings, *, doubted: bool) -> dict[str, str]:
    """All that a run's tiles depend on, under the names that a refusal to resume gives them.

    Args:
        msi: the input.
        model: the model.
        settings: of the run.
        doubted: whether tiles keep what standard errors and flags are made of.
    """
    summary, curves = msi.summary, msi.sensor.srf(model.grid)
    bands = (
        f"{b.role}: {b.file.name} no. {b.index} x {b.scale!r} + {b.offset!r}, nodata {b.nodata}"
        for b in summary.bands
    )
    return {
        "version": __version__,
        "weights": f"{model.name} ({model.sha256[:12]})",
        **input_identity(summary),
        "sensor": f"{msi.sensor.name} ({hashlib.sha256(curves.tobytes()).hexdigest()[:12]})",
        "scale": summary.scale_evidence,
        "mask": summary.mask_evidence,
        "bands": ", ".join(bands),
        "CRS": msi.crs_wkt,
        "transform": ", ".join(map(repr, msi.transform)),
        "--tile": str(settings.tile),
        "--stages": str(settings.stages),
        "halo": str(settings.halo),
        "--overlap": str(settings.overlap),
        "--stf-scope": settings.stf_scope,
        "--stf": _held(settings.held) or "none",
        "--stf-only": "no" if settings.taught else "yes",
        "--precision": settings.precision,
        "--batch": str(settings.batch),
        "--device": settings.device,
        "--uncertainty or --quality": "yes" if doubted else "no",
    }


def input_identity(summary: InputSummary) -> dict[str, str]:
    """The input files as they are now.

    Raises:
        InputRefused: one of them cannot be read any more.
    """
    headers = [envi_header(path) for path in summary.paths] if summary.driver == "ENVI" else []
    files = fingerprint([*summary.paths, *(path for path in headers if path is not None)])
    times = (datetime.fromtimestamp(file.mtime_ns / 1e9, UTC).isoformat() for file in files)
    return {
        "input": ", ".join(f"{file.name} ({file.size} bytes)" for file in files),
        "input modified": ", ".join(times),
        "input content": ", ".join(file.sha256[:12] for file in files),
    }


def _sizes(paths: Sequence[Path]) -> str:
    return ", ".join(f"{path.name} ({path.stat().st_size} bytes)" for path in map(Path, paths))


def _held(held: Path | None) -> str:
    if held is None:
        return ""
    return f"{held.name} (SHA-256 {hashlib.sha256(held.read_bytes()).hexdigest()})"
