"""The settings of a training run: defaults, ranges, and the command line that repeats a run."""

from __future__ import annotations

import shlex
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from uavssr.data import DataConfig
from uavssr.errors import ModelRefused, UsageError
from uavssr.evaluation.baselines import trained_methods
from uavssr.io.settings import (
    KNOWN_KEYS_ONLY,
    FilePath,
    FolderOrName,
    Number,
    Settings,
    WholeNumber,
    Word,
)
from uavssr.model import PGUNetConfig, choose_rank
from uavssr.sensors import FloatArray

LogFormat = Literal["csv", "tensorboard"]
Count = Annotated[WholeNumber, Field(gt=0)]
CountOrZero = Annotated[WholeNumber, Field(ge=0)]

_TAKEN_NAMES: Final = ("", ".", "..", "patches", "tensorboard")

DEFAULT_ARCH: Final = "pgunet"
"""The kind of network that is trained by default."""
_OF_ALL_NETWORKS: Final = ("steps", "batch", "size", "seed")
"""Settings of the training that all kinds of networks have."""
COMPONENTS: Final = 48
"""Gaussians of the spectral prior, where the settings give no number."""


@dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class NetworkSettings(Settings):
    """Sizes of the network, the section `network`; None: the size of `PGUNetConfig`.

    `PGUNetConfig` describes the sizes and checks their ranges.
    """

    section: ClassVar[str] = "network"

    rank: WholeNumber | Literal["auto"] | None = None
    """Spectral coefficients; auto: as many as the training spectra need."""
    components: WholeNumber | None = None
    """Gaussians of the spectral prior; None: `COMPONENTS`."""
    stages: WholeNumber | None = None
    """Unrolled stages of the cube."""
    response_stages: WholeNumber | None = None
    """Unrolled stages of the STF."""
    width: WholeNumber | None = None
    """Channels inside Z-Net."""
    stf_width: WholeNumber | None = None
    """Channels inside P-Net."""
    stf: Literal["parametric", "free"] | None = None
    """Form of the STF: its nominal curve shifted, stretched and scaled, or any curve."""
    prior_variance: Literal["unit", "pixel"] | None = None
    """Variance of coefficients that an X-step expects: one, or a multiple of each pixel's own."""

    def given(self) -> dict[str, int | str]:
        """The sizes that are set, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def sizes(self, spectra: FloatArray) -> PGUNetConfig:
        """The sizes of a network for training spectra (n, C).

        Raises:
            UsageError: a size is out of its range.
        """
        sizes: dict[str, Any] = {"components": COMPONENTS, **self.given()}
        if self.rank == "auto":
            sizes["rank"] = choose_rank(spectra)
        try:
            return PGUNetConfig(bands=spectra.shape[1], **sizes)
        except ModelRefused as err:
            raise UsageError(f"network: {err.fact}") from err


@dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class TrainingConfig(Settings):
    """The course of a training, the section `training`; config.json of the model holds it."""

    section: ClassVar[str] = "training"

    steps: Count = 3000
    """Optimiser steps in all."""
    batch: Count = 12
    """Scenes per shard; each simulated image has its own random camera."""
    shards: Count = 1
    """Parts of a step whose gradients are averaged; processes started by torchrun share them."""
    size: Count = 32
    """Side of a scene in pixels."""
    learning_rate: Annotated[Number, Field(gt=0)] = 2e-3
    """Peak rate of AdamW; linear warm-up, then cosine to a hundredth."""
    warmup: Count = 100
    """Steps of warm-up."""
    average: Annotated[Number, Field(ge=0, lt=1)] = 0.998
    """Decay per step of the moving average of the weights, which is what is saved."""
    seed: CountOrZero = 0
    """Random seed."""
    bags: CountOrZero = 64
    """Bags of spectra per shard that train the STF's stages, each with its own camera; 0: none."""
    bag_pool: Count = 6000
    """Scenes from which the bags are filled once, at the start."""
    prior_scenes: Count = 400
    """Simulated scenes, or as many pixels, to which basis and mixture are fitted."""
    checkpoint: Count = 200
    """Steps between checkpoints."""
    validate: CountOrZero = 500
    """Steps between validations, which the last step always has; 0: no validation."""
    keep: Literal["best", "last"] = "best"
    """Weights that become the model: those of the best validation, or the last."""
    precision: Literal["float32", "bf16"] = "float32"
    """Number format of the proximal networks; the closed forms stay in float32."""


@dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class RunConfig(Settings):
    """All settings of a run of `uavssr train`, as a settings file holds them."""

    out: FilePath
    """Folder of the run and of the model."""
    pairs: FilePath | None = None
    """The manifest of the training data (.csv)."""
    spectra: FilePath | None = None
    """A spectral library (.npz), instead of a manifest that names it alone."""
    name: Word = "custom"
    """Name of the model and of its folder in `out`."""
    arch: Word = DEFAULT_ARCH
    """Kind of network: pgunet, or a network that it is compared with, trained for one camera."""
    sensor: FolderOrName | None = None
    """The camera of such a network: a built-in name, or a sensor file."""
    init: FolderOrName | None = None
    """Model to start from, a released name or a folder; its prior gets the training spectra."""
    device: Word = "auto"
    """auto, cpu or cuda[:i]."""
    workers: CountOrZero = 0
    """Threads that draw the data of the next steps; the result does not depend on them."""
    log: LogFormat = "csv"
    """csv (always written) or tensorboard beside it."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Sizes of the network."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Course of the training."""
    data: DataConfig = field(default_factory=DataConfig)
    """Use of the manifest: patches, splits, registration."""

    def __post_init__(self) -> None:
        if (self.pairs is None) == (self.spectra is None):
            raise UsageError(
                "data come from --pairs or from --spectra, and from one of them",
                remedy="a manifest may name libraries too, in rows of kind spectra",
            )
        sizes = self.network.given()
        if self.init is not None and sizes:
            raise UsageError(
                f"--init takes the network as it is, and network.{next(iter(sizes))} is set",
                remedy="leave out the sizes of the network, or --init",
            )
        if Path(self.name).name != self.name or self.name in _TAKEN_NAMES:
            raise UsageError(
                f"the model cannot be called {self.name!r}: it names a folder in --out",
                remedy="choose another --name",
            )

        self._check_arch()

    def _check_arch(self) -> None:
        """Refuse an unknown kind of network, and settings that have no effect on it."""
        if self.arch == DEFAULT_ARCH:
            if self.sensor is not None:
                raise UsageError(
                    "--sensor has no effect: PGU-Net is trained with random cameras",
                    remedy="leave it out, or choose another --arch",
                )
            return
        if self.arch not in (known := trained_methods()):
            raise UsageError(
                f"no network {self.arch!r}", remedy=f"use one of {DEFAULT_ARCH}, {', '.join(known)}"
            )
        if self.sensor is None:
            raise UsageError(
                f"{self.arch} is tied to the bands of one camera", remedy="name it with --sensor"
            )
        defaults, training = asdict(TrainingConfig()), asdict(self.training)
        own = [f"training.{k}" for k, v in training.items() if v != defaults[k]]
        own = [key for key in own if key.partition(".")[2] not in _OF_ALL_NETWORKS]
        own += [f"network.{key}" for key in self.network.given()]
        own += ["init"] if self.init is not None else []
        own += ["log"] if self.log != "csv" else []
        if own:
            raise UsageError(
                f"{own[0]} has no effect on {self.arch}, which is as it was published",
                remedy="leave it out",
            )

    def command(self) -> str:
        """The command line that makes the same run, with every setting that is not the default."""
        words = ["uavssr", "train"]
        words += [] if self.arch == DEFAULT_ARCH else ["--arch", self.arch]
        for key in ("pairs", "spectra", "out", "name", "init", "sensor"):
            value = getattr(self, key)
            words += [] if value is None else [f"--{key}", str(value)]
        for section in (self.network, self.training, self.data):
            defaults = asdict(type(section)())
            for key, value in asdict(section).items():
                if value != defaults[key]:
                    text = f"[{', '.join(value)}]" if isinstance(value, tuple) else value
                    words += ["--set", f"{section.section}.{key}={text}"]
        return shlex.join(words)
