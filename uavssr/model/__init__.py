"""PGU-Net: basis, mixture prior, closed-form solvers, proximal networks, weights.

No files but model folders, and nothing about tiles.
"""

from uavssr.model.basis import SpectralBasis, choose_rank, residual_of
from uavssr.model.correction import DIRECTIONS, Correction
from uavssr.model.local_prior import MOST_COMPONENTS, SHARE, add_local_prior
from uavssr.model.materials import find_materials
from uavssr.model.mixture import fit_mixture
from uavssr.model.pgunet import MOST_GAUSSIANS, PGUNet, PGUNetConfig
from uavssr.model.response import GAIN, PARAMETERS, SHIFT, STRETCH, ResponseFamily
from uavssr.model.solvers import SceneStatistics
from uavssr.model.state import Reconstruction, Stf
from uavssr.model.uncertainty import MAPS, CubeUncertainty
from uavssr.model.weights import (
    CONFIG,
    DEFAULT_MODEL,
    WEIGHTS,
    Model,
    blank,
    load_model,
    model_folders,
    save_model,
)

__all__ = [
    "CONFIG",
    "DEFAULT_MODEL",
    "DIRECTIONS",
    "GAIN",
    "MAPS",
    "MOST_COMPONENTS",
    "MOST_GAUSSIANS",
    "PARAMETERS",
    "SHARE",
    "SHIFT",
    "STRETCH",
    "WEIGHTS",
    "Correction",
    "CubeUncertainty",
    "Model",
    "PGUNet",
    "PGUNetConfig",
    "Reconstruction",
    "ResponseFamily",
    "SceneStatistics",
    "SpectralBasis",
    "Stf",
    "add_local_prior",
    "blank",
    "choose_rank",
    "find_materials",
    "fit_mixture",
    "load_model",
    "model_folders",
    "residual_of",
    "save_model",
]
