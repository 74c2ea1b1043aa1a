"""Training data: simulated scenes and cameras, pairs of images and cubes, patches, splits, flights.

Losses, networks and their training are in `training` and `model`.
"""

from uavssr.data.batches import (
    BAG_SCENE_SIDE,
    Batch,
    SpectraBagBatch,
    SpectraBags,
    observe_batch,
)
from uavssr.data.flights import fit_camera_profile
from uavssr.data.manifest import file_sha256, read_manifest
from uavssr.data.pair_report import PairReport, check_pairs
from uavssr.data.pair_sources import MAX_GAP_NM, DataConfig
from uavssr.data.patch_sampler import CameraSource, PatchSampler, ScenePatches
from uavssr.data.random_cameras import MAX_BAND_SHIFT, RandomCameras, draw_cameras, observe
from uavssr.data.scenes import simulate_batch, simulate_scene
from uavssr.data.simulate import simulate
from uavssr.data.training_data import SceneSplit, TrainingData, load_data

__all__ = [
    "BAG_SCENE_SIDE",
    "MAX_BAND_SHIFT",
    "MAX_GAP_NM",
    "Batch",
    "CameraSource",
    "DataConfig",
    "PairReport",
    "PatchSampler",
    "RandomCameras",
    "ScenePatches",
    "SceneSplit",
    "SpectraBagBatch",
    "SpectraBags",
    "TrainingData",
    "check_pairs",
    "draw_cameras",
    "file_sha256",
    "fit_camera_profile",
    "load_data",
    "observe",
    "observe_batch",
    "read_manifest",
    "simulate",
    "simulate_batch",
    "simulate_scene",
]
