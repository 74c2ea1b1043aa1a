"""A camera's STF from ground whose spectra are known: references, registration, the fit.

Blind estimation is in `reconstruction`.
"""

from uavssr.calibration.band_comparison import RATIO_LIMITS, BandComparison, Oddity, PairCheck
from uavssr.calibration.band_coverage import on_grid
from uavssr.calibration.camera_fit import CameraFit, Flight, fit_camera
from uavssr.calibration.class_calibration import MIN_CLASS_REFERENCES, calibrate_classes
from uavssr.calibration.class_fit import KnownGround, known_ground_test
from uavssr.calibration.fitting import Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.lucas_kanade import ImagePair, estimate_shift, shift_image
from uavssr.calibration.pair_registration import PairRegistration, register_pair
from uavssr.calibration.paired import calibrate, calibrate_scene, calibrate_stf
from uavssr.calibration.profile import flight_of, profile_stf
from uavssr.calibration.references import Reference, open_reference, reference_of_plots
from uavssr.calibration.satellite import (
    ERROR_LIMITS,
    REFERENCE_ERROR,
    bands_without_neighbour,
    calibrate_with_satellite,
)
from uavssr.calibration.satellite_cells import SatelliteCells, read_satellite_cells
from uavssr.calibration.satellite_dates import MAX_DAYS, flight_date
from uavssr.calibration.satellite_fit import SatelliteFit, fit_satellite
from uavssr.calibration.satellite_likelihood import CellValues

__all__ = [
    "ERROR_LIMITS",
    "MAX_DAYS",
    "MIN_CLASS_REFERENCES",
    "RATIO_LIMITS",
    "REFERENCE_ERROR",
    "BandComparison",
    "CameraFit",
    "CellValues",
    "Fitting",
    "Flight",
    "ImagePair",
    "Instrument",
    "KnownGround",
    "Oddity",
    "PairCheck",
    "PairRegistration",
    "Reference",
    "SatelliteCells",
    "SatelliteFit",
    "bands_without_neighbour",
    "calibrate",
    "calibrate_classes",
    "calibrate_scene",
    "calibrate_stf",
    "calibrate_with_satellite",
    "estimate_shift",
    "fit_camera",
    "fit_satellite",
    "flight_date",
    "flight_of",
    "known_ground_test",
    "on_grid",
    "open_reference",
    "profile_stf",
    "read_satellite_cells",
    "reference_of_plots",
    "register_pair",
    "shift_image",
]
