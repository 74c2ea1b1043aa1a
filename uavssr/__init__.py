"""Blind spectral super-resolution of drone imagery: multispectral in, hyperspectral and STF out."""

from __future__ import annotations

from importlib import import_module

from uavssr._version import __version__

TYPE_CHECKING = False  # as in typing, whose import takes longer than all of this

if TYPE_CHECKING:
    from uavssr.api import CubeAccessor, convert, index, open_cube, plots
    from uavssr.calibration import calibrate_stf
    from uavssr.data import fit_camera_profile, simulate
    from uavssr.evaluation import evaluate
    from uavssr.io.msi import open_msi
    from uavssr.model import PGUNet, load_model
    from uavssr.reconstruction import (
        OutputOptions,
        ReconstructionOptions,
        estimate_camera_stf,
        estimate_stf,
        plan_reconstruction,
        reconstruct,
    )
    from uavssr.training import adapt_model, train

__all__ = [
    "CubeAccessor",
    "OutputOptions",
    "PGUNet",
    "ReconstructionOptions",
    "__version__",
    "adapt_model",
    "calibrate_stf",
    "convert",
    "estimate_camera_stf",
    "estimate_stf",
    "evaluate",
    "fit_camera_profile",
    "index",
    "load_model",
    "open_cube",
    "open_msi",
    "plan_reconstruction",
    "plots",
    "reconstruct",
    "simulate",
    "train",
]

_PACKAGES = {
    "CubeAccessor": "uavssr.api",
    "OutputOptions": "uavssr.reconstruction",
    "PGUNet": "uavssr.model",
    "ReconstructionOptions": "uavssr.reconstruction",
    "adapt_model": "uavssr.training",
    "calibrate_stf": "uavssr.calibration",
    "convert": "uavssr.api",
    "estimate_camera_stf": "uavssr.reconstruction",
    "estimate_stf": "uavssr.reconstruction",
    "evaluate": "uavssr.evaluation",
    "fit_camera_profile": "uavssr.data",
    "index": "uavssr.api",
    "load_model": "uavssr.model",
    "open_cube": "uavssr.api",
    "open_msi": "uavssr.io.msi",
    "plan_reconstruction": "uavssr.reconstruction",
    "plots": "uavssr.api",
    "reconstruct": "uavssr.reconstruction",
    "simulate": "uavssr.data",
    "train": "uavssr.training",
}

_GIVE_DATASETS = ("plan_reconstruction", "reconstruct")


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `uavssr --help` loads none of them."""
    if name not in _PACKAGES:
        raise AttributeError(f"module 'uavssr' has no attribute {name!r}")
    if name in _GIVE_DATASETS:
        import_module("uavssr.api")  # which registers the accessor `uavssr` of datasets
    return getattr(import_module(_PACKAGES[name]), name)
