"""The interface of the methods that the benchmark compares: fit, then predict a cube and an STF.

A method is one file of this folder. It is fitted to the same patches, cameras and seeds as all
others (`data.PatchSampler`) and, where it is trained step by step, for the same processor time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from uavssr.calibration import Flight
from uavssr.data import PatchSampler
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array

CameraKnowledge = Literal["nothing", "data sheet", "true response"]
"""What a method is told of the camera that took an image."""
UseOfPairs = Literal["none", "possible", "needed"]
"""Whether a method uses ground of an image whose spectra are known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraImage:
    """An image to make a cube from, and what may be known of its camera."""

    msi: Float32Array
    """(c, y, x) reflectance."""
    family: ResponseFamily
    """The data sheet (S = 1) and the spread of cameras around it."""
    rows: Float32Array | None = None
    """(c, C) the true response, for methods whose knowledge is "true response"; None: unknown."""
    known: Flight | None = None
    """Ground of the same flight whose spectra are known, for methods that use it."""
    apart: bool = False
    """Whether each pixel is uniform ground of its own, such as a plot, without neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """A method's answer."""

    cube: Float32Array
    """(C, y, x) reflectance, not clamped."""
    rows: Float32Array | None = None
    """(c, C) the STF that the method estimates, or takes for granted; None without one."""
    sigma: Float32Array | None = None
    """(C, y, x) standard errors of the cube; None where the method has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How long and with which seed a method is fitted."""

    seed: int = 0
    seconds: float = 300.0
    """Processor time of a training, in seconds; the number of steps follows from it."""
    steps: int | None = None
    """The number of steps itself, which repeats an earlier training exactly."""
    checkpoint: Path | None = None
    """File that a training is resumed from, written every twelfth of it."""
    batch: int | None = None
    """Patches of a step; None: the method's own number."""
    progress: Callable[[int, int], None] | None = None
    """Called after each step with the steps done and those in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A point of a learning curve."""

    step: int
    seconds: float
    """Processor time until then, in seconds."""
    rmse: float
    """Of the validation patches, in reflectance."""


class FittedMethod(ABC):
    """A method after fitting."""

    network: nn.Module | None = None
    """Its network, of which parameters are counted; None where it has none."""
    steps: int = 0
    """Training steps; 0 for a closed form."""
    curve: tuple[CurvePoint, ...] = ()
    """The learning curve; empty for a closed form."""

    @property
    def variants(self) -> dict[str, FittedMethod]:
        """Other uses of the same fit, by what is added to the method's name."""
        return {}

    @abstractmethod
    def predict(self, image: CameraImage) -> Prediction:
        """The cube of an image, and the STF where the method estimates one."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A method to compare."""

    name: str
    """Its name on the command line and in tables."""
    knows: CameraKnowledge = "nothing"
    pairs: UseOfPairs = "none"
    reference: str = field(default="", repr=False)
    """The publication that it follows, and where it differs."""
    is_trained: ClassVar[bool] = False
    """Whether it is trained step by step, and so takes the budget of time."""

    def applies_to(self, image: CameraImage) -> bool:
        """Whether the method has a result of its own for what is known of an image."""
        if image.known is None:
            return self.pairs != "needed" and (
                self.knows != "true response" or image.rows is not None
            )
        return self.pairs != "none"

    @abstractmethod
    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedMethod:
        """Fit the method."""
