"""A case of a protocol: what methods are fitted to, and the images that they are judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uavssr.data import PatchSampler
from uavssr.evaluation.baselines import CameraImage
from uavssr.sensors import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutImage:
    """An image with its true cube."""

    scene: str
    camera: str
    image: CameraImage
    """The image; its true response is passed on only to methods that are given it."""
    cube: Float32Array
    """(C, y, x) reflectance."""
    crop: int = 0
    """Pixels at each border that do not count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One kind of camera and ground: fitted once per method and seed, judged on several sets."""

    name: str
    """Short name, part of file names."""
    title: str
    """What it asks, in words."""
    training: PatchSampler
    tests: Mapping[str, Sequence[HeldOutImage]]
    """Images by the name of their set, e.g. seen and unseen cameras."""
    table: str = ""
    """Name of the table that it shares with other cases, such as other flights held out."""
