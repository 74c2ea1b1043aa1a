"""From an opened image to a cube and its STFs: plan, tiles, memory, output files.

Start at `api`. Nothing here knows the inside of the network or the layout of a file.
"""

from uavssr.reconstruction.api import (
    PlannedReconstruction,
    estimate_stf,
    plan_reconstruction,
    reconstruct,
)
from uavssr.reconstruction.devices import freed_memory_reused, resolve_device, torch_threads
from uavssr.reconstruction.dry_run import RunEstimate
from uavssr.reconstruction.expand import expand
from uavssr.reconstruction.memory_budget import parse_size
from uavssr.reconstruction.options import OutputOptions, Precision, ReconstructionOptions, StfScope
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.reconstruction.scene_sample import PLAUSIBLE
from uavssr.reconstruction.scene_stf import summarise_stf
from uavssr.reconstruction.tile_input import Patch

__all__ = [
    "PLAUSIBLE",
    "CubeRender",
    "OutputOptions",
    "Patch",
    "PlannedReconstruction",
    "Precision",
    "ReconstructionOptions",
    "Render",
    "RunEstimate",
    "StfScope",
    "ThreadCounts",
    "estimate_stf",
    "expand",
    "freed_memory_reused",
    "parse_size",
    "plan_reconstruction",
    "reconstruct",
    "resolve_device",
    "summarise_stf",
    "torch_threads",
]
