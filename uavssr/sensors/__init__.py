"""Cameras and wavelength grids: bands, widths and response curves.

No rasters and no torch. The tables are data: cameras.yaml, and a table of curves per satellite.
"""

from uavssr.sensors.arrays import BoolArray, Float32Array, FloatArray, IndexArray, NumberArray
from uavssr.sensors.band import LEAK_SPREAD, SHAPE_SPREAD, Band, BandPrior, response_moments
from uavssr.sensors.selection import select_wavelengths, subset
from uavssr.sensors.sensor import (
    COMMON_SPREAD,
    COVERED_SHARE,
    FLIGHT_SPREAD,
    MAX_SENSOR_BANDS,
    Sensor,
    nominal_spread,
)
from uavssr.sensors.sensor_file import (
    MAX_CANDIDATES,
    SATELLITES,
    SENSOR_TAG,
    SENSORS,
    UNTABULATED,
    load_candidates,
    load_satellite,
    load_sensor,
    parse_sensor_json,
    sensor_json,
    sensor_text,
)
from uavssr.sensors.wavelength_grid import FINE_NM, HEADWALL_NANO, WavelengthGrid

__all__ = [
    "COMMON_SPREAD",
    "COVERED_SHARE",
    "FINE_NM",
    "FLIGHT_SPREAD",
    "HEADWALL_NANO",
    "LEAK_SPREAD",
    "MAX_CANDIDATES",
    "MAX_SENSOR_BANDS",
    "SATELLITES",
    "SENSORS",
    "SENSOR_TAG",
    "SHAPE_SPREAD",
    "UNTABULATED",
    "Band",
    "BandPrior",
    "BoolArray",
    "Float32Array",
    "FloatArray",
    "IndexArray",
    "NumberArray",
    "Sensor",
    "WavelengthGrid",
    "load_candidates",
    "load_satellite",
    "load_sensor",
    "nominal_spread",
    "parse_sensor_json",
    "response_moments",
    "select_wavelengths",
    "sensor_json",
    "sensor_text",
    "subset",
]
