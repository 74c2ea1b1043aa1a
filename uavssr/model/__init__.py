"""PGU-Net: basis, mixture prior, closed-form solvers, proximal networks, weights.

No files but model folders, and nothing about tiles.
"""

from uavssr.model.band_errors import BandErrors, Direction
from uavssr.model.band_sets import BandSetErrors, ErrorBounds, GaussianErrors
from uavssr.model.basis import SpectralBasis, choose_rank, projection_error
from uavssr.model.class_contrasts import (
    FAMILY_WISE_ERROR,
    ClassEvidence,
    ContrastTest,
    DeviationPrior,
)
from uavssr.model.class_gains import class_gain_test
from uavssr.model.config import MAX_COMPONENTS, PGUNetConfig
from uavssr.model.correction import CORRECTION_DIRECTIONS, Correction
from uavssr.model.gain_drift import LEVEL_SPREAD, SceneColours, relative_prior_se
from uavssr.model.local_prior import LOCAL_PRIOR_WEIGHT, MAX_LOCAL_COMPONENTS, add_local_prior
from uavssr.model.materials import Materials, find_materials, pool_materials
from uavssr.model.mixture import SpectralMixture, fit_mixture
from uavssr.model.pgunet import PGUNet
from uavssr.model.posterior_errors import PixelPosterior, PosteriorErrors, SharedDraws
from uavssr.model.response import GAIN, PARAMETERS, SHIFT, STRETCH, ResponseFamily
from uavssr.model.solvers import SceneStatistics
from uavssr.model.state import ObservationModel, Reconstruction, Stf
from uavssr.model.stf_covariance import stf_covariance
from uavssr.model.uncertainty import (
    OUTLIER_QUANTILE,
    UNUSUAL_QUANTILE,
    VARIANCE_MAPS,
    CubeUncertainty,
    chi_square_quantile,
)
from uavssr.model.weights import (
    CONFIG_FILE,
    DEFAULT_MODEL,
    WEIGHTS_FILE,
    Model,
    empty_prior,
    find_model,
    grid_fields,
    grid_of_fields,
    load_model,
    model_digest,
    model_folders,
    read_config,
    read_weights,
    save_model,
    write_weights,
)

__all__ = [
    "CONFIG_FILE",
    "CORRECTION_DIRECTIONS",
    "DEFAULT_MODEL",
    "FAMILY_WISE_ERROR",
    "GAIN",
    "LEVEL_SPREAD",
    "LOCAL_PRIOR_WEIGHT",
    "MAX_COMPONENTS",
    "MAX_LOCAL_COMPONENTS",
    "OUTLIER_QUANTILE",
    "PARAMETERS",
    "SHIFT",
    "STRETCH",
    "UNUSUAL_QUANTILE",
    "VARIANCE_MAPS",
    "WEIGHTS_FILE",
    "BandErrors",
    "BandSetErrors",
    "ClassEvidence",
    "ContrastTest",
    "Correction",
    "CubeUncertainty",
    "DeviationPrior",
    "Direction",
    "ErrorBounds",
    "GaussianErrors",
    "Materials",
    "Model",
    "ObservationModel",
    "PGUNet",
    "PGUNetConfig",
    "PixelPosterior",
    "PosteriorErrors",
    "Reconstruction",
    "ResponseFamily",
    "SceneColours",
    "SceneStatistics",
    "SharedDraws",
    "SpectralBasis",
    "SpectralMixture",
    "Stf",
    "add_local_prior",
    "chi_square_quantile",
    "choose_rank",
    "class_gain_test",
    "empty_prior",
    "find_materials",
    "find_model",
    "fit_mixture",
    "grid_fields",
    "grid_of_fields",
    "load_model",
    "model_digest",
    "model_folders",
    "pool_materials",
    "projection_error",
    "read_config",
    "read_weights",
    "relative_prior_se",
    "save_model",
    "stf_covariance",
    "write_weights",
]
