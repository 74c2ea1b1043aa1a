"""A camera's STF from ground whose spectra are known: references, registration, the fit.

Blind estimation is in `reconstruction`.
"""

from uavssr.calibration.alignment import moved
from uavssr.calibration.fitting import Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.paired import calibrate, calibrate_scene, calibrate_stf
from uavssr.calibration.references import open_reference
from uavssr.calibration.registration import Registration, check_installed, register

__all__ = [
    "Fitting",
    "Instrument",
    "Registration",
    "calibrate",
    "calibrate_scene",
    "calibrate_stf",
    "check_installed",
    "moved",
    "open_reference",
    "register",
]
