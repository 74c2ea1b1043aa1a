"""Training data: simulated scenes and cameras, pairs of images and cubes, patches, splits.

Nothing here knows losses or networks.
"""

from uavssr.data.batches import MARGIN, Batch, seen_by_cameras
from uavssr.data.manifest import digest, read_manifest
from uavssr.data.pair_sources import GAP_NM, DataConfig
from uavssr.data.random_cameras import Cameras, draw_cameras, observe
from uavssr.data.scenes import simulate_batch, simulate_scene
from uavssr.data.simulate import simulate
from uavssr.data.spectra_bags import SIDE, BagBatch, Bags
from uavssr.data.training_data import Field, TrainingData, load_data

__all__ = [
    "GAP_NM",
    "MARGIN",
    "SIDE",
    "BagBatch",
    "Bags",
    "Batch",
    "Cameras",
    "DataConfig",
    "Field",
    "TrainingData",
    "digest",
    "draw_cameras",
    "load_data",
    "observe",
    "read_manifest",
    "seen_by_cameras",
    "simulate",
    "simulate_batch",
    "simulate_scene",
]
