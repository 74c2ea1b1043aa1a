"""Blind spectral super-resolution of drone imagery: multispectral in, hyperspectral and STF out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from uavssr.adaptation import adapt_model
    from uavssr.calibration import calibrate_stf
    from uavssr.data.simulate import simulate
    from uavssr.evaluation.compare import evaluate
    from uavssr.inference import estimate_stf, plan_reconstruction, reconstruct
    from uavssr.model.pgunet import PGUNet
    from uavssr.model.weights import load_model
    from uavssr.raster.source import open_msi
    from uavssr.training import train

__all__ = [
    "PGUNet",
    "__version__",
    "adapt_model",
    "calibrate_stf",
    "estimate_stf",
    "evaluate",
    "load_model",
    "open_msi",
    "plan_reconstruction",
    "reconstruct",
    "simulate",
    "train",
]

_HOMES = {
    "PGUNet": "uavssr.model.pgunet",
    "adapt_model": "uavssr.adaptation",
    "calibrate_stf": "uavssr.calibration",
    "estimate_stf": "uavssr.inference",
    "evaluate": "uavssr.evaluation.compare",
    "load_model": "uavssr.model.weights",
    "open_msi": "uavssr.raster.source",
    "plan_reconstruction": "uavssr.inference",
    "reconstruct": "uavssr.inference",
    "simulate": "uavssr.data.simulate",
    "train": "uavssr.training",
}


def __getattr__(name: str) -> object:
    """Import public names when they are first used: `uavssr --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uavssr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
