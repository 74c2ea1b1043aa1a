"""Satellite pixels and what an image shows of the same ground: the cells of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

from uavssr.sensors import FloatArray, Sensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SatelliteCells:
    """k cells of a satellite image that an image of c bands covers wholly; b satellite bands.

    The random errors hold what differs from cell to cell: variance inside, the rest of the
    registration, noise. An error that all cells of a band share, as of atmospheric correction,
    is not in them.
    """

    sensor: Sensor
    """The satellite, with the b bands whose responses lie within the model's wavelengths."""
    reflectance: FloatArray
    """(k, b) surface reflectance that the satellite gives, in its sensor's band order."""
    reflectance_se: FloatArray
    """(k, b) standard deviation of its random error, reflectance."""
    msi: FloatArray
    """(k, c) reflectance in the image, weighted with the satellite's point spread function."""
    msi_se: FloatArray
    """(k, c) standard deviation of its random error, reflectance."""
    places: FloatArray
    """(k, 2) x and y of the cells' middles, in the CRS of the image."""
    skipped: dict[str, int]
    """Number of cells left out, by reason."""
    facts: dict[str, str]
    """Date, product, processing baseline, cell and shift, for messages and the STF file."""
    warnings: tuple[str, ...]
    """Sentences for the user."""
