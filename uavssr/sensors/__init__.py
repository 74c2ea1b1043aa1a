"""Cameras and wavelength grids: bands, widths and response curves.

No rasters and no torch. The table of cameras is data, in cameras.yaml.
"""

from uavssr.sensors.arrays import BoolArray, Float32Array, FloatArray, IndexArray, NumberArray
from uavssr.sensors.band import Band, response_moments
from uavssr.sensors.selection import select_wavelengths, subset
from uavssr.sensors.sensor import Sensor, nominal_spread
from uavssr.sensors.sensor_file import SENSORS, load_sensor
from uavssr.sensors.wavelength_grid import FINE_NM, HEADWALL_NANO, WavelengthGrid

__all__ = [
    "FINE_NM",
    "HEADWALL_NANO",
    "SENSORS",
    "Band",
    "BoolArray",
    "Float32Array",
    "FloatArray",
    "IndexArray",
    "NumberArray",
    "Sensor",
    "WavelengthGrid",
    "load_sensor",
    "nominal_spread",
    "response_moments",
    "select_wavelengths",
    "subset",
]
