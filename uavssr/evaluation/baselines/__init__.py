"""Methods that PGU-Net is compared with, written from their papers, one file each.

`BASELINES` holds them by name. To add one, write a file with a `Method` and name it there. Nothing
here is used by a reconstruction.
"""

from typing import Final

from uavssr.evaluation.baselines.a_plus import A_PLUS, sparse_codes
from uavssr.evaluation.baselines.awan import AWAN, Awan
from uavssr.evaluation.baselines.dian import DIAN, CrossFusionNetwork
from uavssr.evaluation.baselines.hscnn import HSCNN_PLUS, HscnnPlus
from uavssr.evaluation.baselines.hsrnet import HSRNET, Hsrnet
from uavssr.evaluation.baselines.martinez import MARTINEZ, MARTINEZ_SCRATCH, PixelNetwork
from uavssr.evaluation.baselines.method import (
    CameraImage,
    CameraKnowledge,
    CurvePoint,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
    UseOfPairs,
)
from uavssr.evaluation.baselines.mixture import MIXTURE, FittedMixture
from uavssr.evaluation.baselines.mst import MST_LARGE, MST_PLUS_PLUS, MstLarge, MstPlusPlus
from uavssr.evaluation.baselines.network_fit import BATCH, cube_errors, cube_loss, fit_network
from uavssr.evaluation.baselines.network_method import NetworkMethod
from uavssr.evaluation.baselines.plsr import PLSR, partial_least_squares
from uavssr.evaluation.baselines.ridge import RIDGE
from uavssr.evaluation.baselines.trained_network import (
    TrainedNetwork,
    load_baseline,
    save_baseline,
    trained_methods,
)
from uavssr.evaluation.baselines.wiener import WIENER, wiener_estimate
from uavssr.evaluation.baselines.xie import XIE, Moments, match_moments

BASELINES: Final[dict[str, Method]] = {
    method.name: method
    for method in (
        RIDGE,
        PLSR,
        WIENER,
        MIXTURE,
        A_PLUS,
        HSCNN_PLUS,
        AWAN,
        MST_LARGE,
        MST_PLUS_PLUS,
        HSRNET,
        DIAN,
        XIE,
        MARTINEZ,
        MARTINEZ_SCRATCH,
    )
}
"""The methods by name, in the order of tables."""

__all__ = [
    "BASELINES",
    "BATCH",
    "Awan",
    "CameraImage",
    "CameraKnowledge",
    "CrossFusionNetwork",
    "CurvePoint",
    "FitSettings",
    "FittedMethod",
    "FittedMixture",
    "HscnnPlus",
    "Hsrnet",
    "Method",
    "Moments",
    "MstLarge",
    "MstPlusPlus",
    "NetworkMethod",
    "PixelNetwork",
    "Prediction",
    "TrainedNetwork",
    "UseOfPairs",
    "cube_errors",
    "cube_loss",
    "fit_network",
    "load_baseline",
    "match_moments",
    "partial_least_squares",
    "save_baseline",
    "sparse_codes",
    "trained_methods",
    "wiener_estimate",
]
