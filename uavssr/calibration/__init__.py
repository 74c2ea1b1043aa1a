"""A camera's STF from ground whose spectra are known: references, registration, the fit.

Blind estimation is in `reconstruction`.
"""

from uavssr.calibration.fitting import Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.lucas_kanade import shift_image
from uavssr.calibration.pair_registration import PairRegistration, register_pair
from uavssr.calibration.paired import calibrate, calibrate_scene, calibrate_stf
from uavssr.calibration.references import open_reference

__all__ = [
    "Fitting",
    "Instrument",
    "PairRegistration",
    "calibrate",
    "calibrate_scene",
    "calibrate_stf",
    "open_reference",
    "register_pair",
    "shift_image",
]
