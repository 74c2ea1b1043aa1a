"""Multispectral images in: stored numbers to reflectance, and the evidence for it.

Nothing here writes, or guesses where evidence is missing.
"""

from uavssr.io.msi.input_summary import InputSummary
from uavssr.io.msi.source import MsiSource, open_msi

__all__ = ["InputSummary", "MsiSource", "open_msi"]
