"""Training data: simulated scenes and cameras, pairs of images and cubes, patches, splits, flights.

Losses, networks and their training are in `training` and `model`.
"""

from uavssr.data.airborne import (
    DISTRUSTED_NM,
    load_airborne_cube,
    quac,
    read_airborne_cube,
    read_scaled_cube,
    without_oxygen,
)
from uavssr.data.batches import (
    BAG_SCENE_SIDE,
    Batch,
    SpectraBagBatch,
    SpectraBags,
    observe_batch,
)
from uavssr.data.flight_pairs import PlotPairs, RasterPairs
from uavssr.data.flights import fit_camera_profile
from uavssr.data.image_patches import ImagePatches, PhotographedScene
from uavssr.data.manifest import file_sha256, read_manifest
from uavssr.data.manifest_row import ManifestRow
from uavssr.data.pair_flights import (
    PairFlights,
    PairImage,
    comparison_grid,
    flight_pairs,
    read_pair_flights,
)
from uavssr.data.pair_report import PairReport, check_pairs
from uavssr.data.pair_sources import MAX_GAP_NM, DataConfig
from uavssr.data.patch_sampler import CameraSource, PatchSampler, ScenePatches
from uavssr.data.random_cameras import (
    MAX_BAND_SHIFT,
    SNR_RANGE_DB,
    RandomCameras,
    draw_cameras,
    invented_sensor,
    observe,
)
from uavssr.data.scenes import simulate_batch, simulate_scene
from uavssr.data.simulate import simulate
from uavssr.data.training_data import SceneSplit, TrainingData, load_data
from uavssr.data.training_patches import TrainingPatches

__all__ = [
    "BAG_SCENE_SIDE",
    "DISTRUSTED_NM",
    "MAX_BAND_SHIFT",
    "MAX_GAP_NM",
    "SNR_RANGE_DB",
    "Batch",
    "CameraSource",
    "DataConfig",
    "ImagePatches",
    "ManifestRow",
    "PairFlights",
    "PairImage",
    "PairReport",
    "PatchSampler",
    "PhotographedScene",
    "PlotPairs",
    "RandomCameras",
    "RasterPairs",
    "ScenePatches",
    "SceneSplit",
    "SpectraBagBatch",
    "SpectraBags",
    "TrainingData",
    "TrainingPatches",
    "check_pairs",
    "comparison_grid",
    "draw_cameras",
    "file_sha256",
    "fit_camera_profile",
    "flight_pairs",
    "invented_sensor",
    "load_airborne_cube",
    "load_data",
    "observe",
    "observe_batch",
    "quac",
    "read_airborne_cube",
    "read_manifest",
    "read_pair_flights",
    "read_scaled_cube",
    "simulate",
    "simulate_batch",
    "simulate_scene",
    "without_oxygen",
]
