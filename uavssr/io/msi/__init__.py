"""Multispectral images in: stored numbers to reflectance, and the evidence for it.

Nothing here writes, or guesses where evidence is missing.
"""

from uavssr.io.msi.image import Image, ImageKeywords, as_image
from uavssr.io.msi.input_summary import InputSummary
from uavssr.io.msi.problems import ImageRefused
from uavssr.io.msi.request import Request
from uavssr.io.msi.role_evidence import judge
from uavssr.io.msi.source import MsiSource, inspect_msi, is_array, open_msi, open_request

__all__ = [
    "Image",
    "ImageKeywords",
    "ImageRefused",
    "InputSummary",
    "MsiSource",
    "Request",
    "as_image",
    "inspect_msi",
    "is_array",
    "judge",
    "open_msi",
    "open_request",
]
