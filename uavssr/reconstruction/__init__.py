"""From an opened image to a cube and its STFs: plan, tiles, memory, output files.

Nothing here knows the network's inside or a file's layout.
"""

from uavssr.reconstruction.allocator import memory_kept
from uavssr.reconstruction.api import Plan, estimate_stf, plan_reconstruction, reconstruct
from uavssr.reconstruction.dry_run import RunEstimate
from uavssr.reconstruction.expand import expand
from uavssr.reconstruction.memory import parse_size
from uavssr.reconstruction.options import OutputOptions, Precision, ReconstructionOptions, StfScope
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.reconstruction.scene_stf import PLAUSIBLE, summarise
from uavssr.reconstruction.tile_engine import resolve_device, torch_threads
from uavssr.reconstruction.tile_input import Patch

__all__ = [
    "PLAUSIBLE",
    "CubeRender",
    "OutputOptions",
    "Patch",
    "Plan",
    "Precision",
    "ReconstructionOptions",
    "Render",
    "RunEstimate",
    "StfScope",
    "ThreadCounts",
    "estimate_stf",
    "expand",
    "memory_kept",
    "parse_size",
    "plan_reconstruction",
    "reconstruct",
    "resolve_device",
    "summarise",
    "torch_threads",
]
