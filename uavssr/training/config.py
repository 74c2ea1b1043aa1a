"""The settings of a training run: from a YAML file, from assignments and options, checked.

Must not open data or begin anything.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from uavssr.data import DataConfig
from uavssr.errors import ModelRefused, UsageError
from uavssr.model import PGUNetConfig

Precision = Literal["float32", "bf16"]
Keep = Literal["best", "last"]
Log = Literal["csv", "tensorboard"]

_TAKEN_NAMES: Final = ("", ".", "..", "patches", "tensorboard")

COMPONENTS: Final = 48
"""Gaussians of the spectral prior where none are asked for: those of the released models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How weights are found; the section `training`, written into config.json of the model."""

    steps: int = 3000
    """Optimiser steps in all."""
    batch: int = 12
    """Scenes per shard, each with a camera of its own unless the image is real."""
    shards: int = 1
    """Parts of a step whose gradients are averaged; processes started by torchrun share them."""
    size: int = 32
    """Side of a scene in pixels."""
    learning_rate: float = 2e-3
    """Peak rate of AdamW; linear warm-up, then cosine to a hundredth."""
    warmup: int = 100
    """Steps of warm-up."""
    average: float = 0.998
    """Decay of the moving average of the weights, which is what is saved."""
    seed: int = 0
    """Of everything random."""
    bags: int = 64
    """Bags of spectra per shard, each with a camera of its own, that teach the STF; 0 for none."""
    bag_pool: int = 6000
    """Scenes from which the bags are filled once, at the start."""
    prior_scenes: int = 400
    """Simulated scenes, or their worth in pixels, from which basis and mixture are fitted."""
    checkpoint: int = 200
    """Steps between checkpoints."""
    validate: int = 500
    """Steps between validations, which the last step always has; 0 for none at all."""
    keep: Keep = "best"
    """Which weights become the model: those of the best validation, or the last."""
    precision: Precision = "float32"
    """Of the proximal networks; the closed forms stay in float32."""

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "shards", "size", "warmup", "checkpoint")
        for key in (*counts, "prior_scenes", "bag_pool"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be positive, got {getattr(self, key)}")
        for key in ("seed", "validate", "bags"):
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must not be negative, got {getattr(self, key)}")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.average < 1:
            raise UsageError(f"average must be 0 or more and below 1, got {self.average}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that a run of `uavssr train` is told."""

    out: Path
    """Folder of the run and of the model."""
    pairs: Path | None = None
    """The manifest of the data."""
    spectra: Path | None = None
    """A spectral library, in place of a manifest that names it alone."""
    name: str = "custom"
    """Of the model."""
    init: str | None = None
    """A model to start from, adapted to the training spectra."""
    device: str = "auto"
    """auto, cpu or cuda[:i]."""
    workers: int = 0
    """Threads that draw the next steps' data while one is computed; they change no figure."""
    log: Log = "csv"
    """csv (always written) or tensorboard beside it."""
    network: Mapping[str, int | str] = field(default_factory=dict)
    """Sizes that differ from `PGUNetConfig`'s; the rank may be auto."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How weights are found."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is made of the manifest."""

    def __post_init__(self) -> None:
        if (self.pairs is None) == (self.spectra is None):
            raise UsageError(
                "data come from --pairs or from --spectra, and from one of them",
                remedy="a manifest may name libraries too, in rows of kind spectra",
            )
        if self.init is not None and self.network:
            raise UsageError(
                f"--init takes the network as it is, and network.{next(iter(self.network))} is set",
                remedy="leave out the sizes of the network, or --init",
            )
        if Path(self.name).name != self.name or self.name in _TAKEN_NAMES:
            raise UsageError(
                f"the model cannot be called {self.name!r}: it names a folder in --out"
            )
        if self.workers < 0:
            raise UsageError(f"workers must not be negative, got {self.workers}")

    def command(self) -> str:
        """The command line that makes the same run, every setting in it that is not the default."""
        words = ["uavssr", "train"]
        for key in ("pairs", "spectra", "out", "name", "init"):
            value = getattr(self, key)
            words += [] if value is None else [f"--{key}", str(value)]
        sections = (("training", TrainingConfig()), ("data", DataConfig()))
        changed = {f"network.{key}": value for key, value in self.network.items()}
        for name, defaults in sections:
            own, usual = asdict(getattr(self, name)), asdict(defaults)
            changed |= {f"{name}.{key}": own[key] for key in own if own[key] != usual[key]}
        for key, value in changed.items():
            words += ["--set", f"{key}={value}"]
        return shlex.join(words)


def network_sizes(given: Mapping[str, int | str], *, bands: int, rank: int) -> PGUNetConfig:
    """The sizes of a network for `bands`, with `rank` in place of what is given for it.

    Raises:
        UsageError: a size makes no sense.
    """
    try:
        sizes = {"components": COMPONENTS, **given, "bands": bands, "rank": rank}
        return PGUNetConfig(**sizes)  # type: ignore[arg-type]
    except ModelRefused as err:
        raise UsageError(f"network: {err.fact}") from err


def read_run(
    path: Path | None, assignments: Sequence[str], options: Mapping[str, object]
) -> RunConfig:
    """The settings of a run; what is named later wins: the file, options, assignments.

    Args:
        path: a YAML file; relative paths in it are relative to it.
        assignments: `key=value`, with the keys of sections as `training.steps`.
        options: those of the command line by key, None where not given.

    Raises:
        UsageError: an unknown key, with the nearest known one, or a value that makes no sense.
    """
    tree: dict[str, Any] = {} if path is None else _from_file(path)
    for key, value in options.items():
        if value is not None:
            _assign(tree, key, value)
    for text in assignments:
        key, sign, said = text.partition("=")
        if not sign:
            raise UsageError(f"--set must be KEY=VALUE, got {text!r}")
        _assign(tree, key.strip(), _yaml(said))
    found = _converted(RunConfig, tree)
    if "out" not in found:
        raise UsageError("no folder for the run", remedy="give one with -o/--out")
    for name, section in (("training", TrainingConfig), ("data", DataConfig)):
        found[name] = section(**found.get(name, {}))
    return RunConfig(**found)


def _from_file(path: Path) -> dict[str, Any]:
    """The content of a file, its keys and the types of its values checked."""
    try:
        content = _yaml(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise UsageError("is no mapping of keys to values")
        found = _converted(RunConfig, content)
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"cannot be read ({err})", path=path) from err
    except UsageError as err:
        raise UsageError(err.fact, path=path, remedy=err.remedy) from err
    for key in ("out", "pairs", "spectra"):
        if found.get(key) is not None:
            found[key] = path.parent / found[key]
    if found.get("init") is not None and (path.parent / found["init"]).is_dir():
        found["init"] = str(path.parent / found["init"])
    return found


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as err:
        raise UsageError(f"not YAML ({err})") from err


def _assign(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{key}: {section} is no section of settings")
    tree[last] = value


def _converted(cls: type, tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """The same tree with values of the types that the fields of a dataclass have."""
    hints = get_type_hints(cls)
    found = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise _unknown(name, [f"{prefix}{each}" for each in hints])
        if key == "network":
            found[key] = _network(_section(name, value))
        elif isinstance(hints[key], type) and is_dataclass(hints[key]):
            found[key] = _converted(hints[key], _section(name, value), f"{name}.")
        else:
            found[key] = _value(name, value, hints[key])
    return found


def _section(name: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is a section of settings, got {value!r}")
    return value


def _network(tree: Mapping[Any, Any]) -> dict[str, int | str]:
    hints = {key: hint for key, hint in get_type_hints(PGUNetConfig).items() if key != "bands"}
    found = {}
    for key, value in tree.items():
        name = f"network.{key}"
        if key not in hints:
            raise _unknown(name, [f"network.{each}" for each in hints])
        chosen = (key, value) == ("rank", "auto")
        found[key] = value if chosen else _value(name, value, hints[key])
    return found


def _unknown(name: str, known: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return UsageError(f"no setting is called {name!r}", remedy=remedy)


def _value(name: str, value: object, hint: Any) -> Any:
    """A value as the type of its field."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{name} must be one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    kinds = get_args(hint) or (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    refused = UsageError(f"{name} must be {_CALLED[kind]}, got {value!r}")
    if isinstance(value, bool) or not isinstance(value, _TAKEN[kind]):
        raise refused
    try:
        return kind(value)  # 1e-3 is a string to YAML
    except ValueError as err:
        raise refused from err


_TAKEN: Final[dict[type, tuple[type, ...]]] = {
    int: (int,),
    float: (int, float, str),
    str: (str, int, float),
    Path: (str, Path),
}
_CALLED: Final[dict[type, str]] = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    Path: "a path",
}
