"""From an opened image to a cube and its STFs: plan, tiles, memory, output files.

Start at `api`. Nothing here knows the inside of the network or the layout of a file.
"""

from uavssr.reconstruction.api import (
    PlannedReconstruction,
    estimate_stf,
    plan_reconstruction,
    reconstruct,
)
from uavssr.reconstruction.bounded_map import bounded_map
from uavssr.reconstruction.camera_stf import estimate_camera_stf
from uavssr.reconstruction.class_stfs import class_stfs, gain_test, with_own_gains
from uavssr.reconstruction.class_verdict import class_verdict
from uavssr.reconstruction.devices import (
    CPU_COUNT,
    freed_memory_reused,
    resolve_device,
    torch_threads,
)
from uavssr.reconstruction.dry_run import RunEstimate, duration_text
from uavssr.reconstruction.expand import expand
from uavssr.reconstruction.land_cover import (
    ClassSamples,
    LandCover,
    classes_at,
    found_land_cover,
    given_land_cover,
    grid_of,
    sample_classes,
    usable_classes,
)
from uavssr.reconstruction.memory_budget import PROGRAM_BYTES, memory_budget, parse_size
from uavssr.reconstruction.options import (
    BLOCK,
    OutputOptions,
    Precision,
    ReconstructionOptions,
    StfScope,
    TileStf,
)
from uavssr.reconstruction.output_files import Outputs
from uavssr.reconstruction.pipeline import run_in_thread
from uavssr.reconstruction.pixels import PLAUSIBLE
from uavssr.reconstruction.provenance import image_facts
from uavssr.reconstruction.stf_estimates import (
    continue_scene_stf,
    estimate_scene_stf,
    scene_materials,
    stf_from_estimate,
    summarise_stf,
)
from uavssr.reconstruction.styles import write_styles
from uavssr.reconstruction.tile_engine import COEFFICIENTS
from uavssr.reconstruction.verdict import PixelCounts, RunVerdict

__all__ = [
    "BLOCK",
    "COEFFICIENTS",
    "CPU_COUNT",
    "PLAUSIBLE",
    "PROGRAM_BYTES",
    "ClassSamples",
    "LandCover",
    "OutputOptions",
    "Outputs",
    "PixelCounts",
    "PlannedReconstruction",
    "Precision",
    "ReconstructionOptions",
    "RunEstimate",
    "RunVerdict",
    "StfScope",
    "TileStf",
    "bounded_map",
    "class_stfs",
    "class_verdict",
    "classes_at",
    "continue_scene_stf",
    "duration_text",
    "estimate_camera_stf",
    "estimate_scene_stf",
    "estimate_stf",
    "expand",
    "found_land_cover",
    "freed_memory_reused",
    "gain_test",
    "given_land_cover",
    "grid_of",
    "image_facts",
    "memory_budget",
    "parse_size",
    "plan_reconstruction",
    "reconstruct",
    "resolve_device",
    "run_in_thread",
    "sample_classes",
    "scene_materials",
    "stf_from_estimate",
    "summarise_stf",
    "torch_threads",
    "usable_classes",
    "with_own_gains",
    "write_styles",
]
