"""Model folders: config.json, model.safetensors and a model card (README.md), never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from uavssr.errors import InputRefused, ModelRefused
from uavssr.io.bounded import parse_json, read_bytes, why_unread
from uavssr.io.writers import replacing
from uavssr.model.basis import SpectralBasis
from uavssr.model.config import PGUNetConfig
from uavssr.model.mixture import SpectralMixture
from uavssr.model.pgunet import PGUNet
from uavssr.sensors import WavelengthGrid

FORMAT: Final = 2
"""Version of the folder's format."""
DEFAULT_MODEL: Final = "p4m-nano"
WEIGHTS_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
MAX_WEIGHTS_BYTES: Final = 512 * 2**20
MAX_CONFIG_BYTES: Final = 4 * 2**20
_MAX_NM: Final = 1e5
_KEYS: Final = frozenset({"format", "name", "network", "grid", "sha256", "training"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model, ready to reconstruct."""

    name: str
    """Name of the model, as its config gives it."""
    sha256: str
    """SHA-256 of the weights file."""
    network: PGUNet
    """The network in evaluation mode, on the CPU."""
    training: dict[str, Any]
    """The training's seed, data, settings and figures; empty where unknown."""

    @property
    def grid(self) -> WavelengthGrid:
        """Wavelengths of the cubes it makes."""
        return self.network.grid


def model_folders() -> list[Path]:
    """Folders of released models: inside the installed package, or in a clone of the project."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "models", package.parent / "models") if folder.is_dir()]


def find_model(name_or_path: str | Path = DEFAULT_MODEL) -> Path:
    """The folder of a released model by name, or a folder given as a path.

    Raises:
        ModelRefused: there is none; the message lists the released models.
    """
    text = str(name_or_path)
    if "\0" in text or "://" in text:
        raise ModelRefused("not a local model folder", path=repr(text))
    path = Path(text)
    try:
        for parent in model_folders() if not {"/", "."} & set(text) else ():
            if (parent / text / CONFIG_FILE).is_file():
                return parent / text
        if path.is_dir():
            return path
    except OSError as err:  # a name that is too long, a folder that may not be entered
        raise ModelRefused(f"cannot be looked up ({err.strerror})", path=text) from err
    released = sorted({p.parent.name for f in model_folders() for p in f.glob(f"*/{CONFIG_FILE}")})
    fact = "no such model folder"
    if path.is_file():
        fact = "is a file, and models are folders with config.json and model.safetensors"
    raise ModelRefused(fact, path=text, remedy=f"released models: {', '.join(released) or 'none'}")


def model_digest(folder: Path) -> str:
    """The SHA-256 that a model folder's config.json states of its weights.

    Raises:
        ModelRefused: the config is damaged.
    """
    return str(read_config(folder / CONFIG_FILE, _KEYS)["sha256"])


def load_model(name_or_path: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model by name or folder; sizes, digest, names, shapes and types are checked.

    Raises:
        ModelRefused: something in the folder is not as it was saved; the message names it.

    Examples:
        >>> import uavssr
        >>> model = uavssr.load_model("p4m-nano")
        >>> model.name, len(model.grid)
        ('p4m-nano', 270)
    """
    folder = find_model(name_or_path)
    config = read_config(folder / CONFIG_FILE, _KEYS)
    sizes, grid = _sizes_and_grid(config, folder / CONFIG_FILE)
    with torch.device("meta"):
        network = PGUNet(sizes, *empty_prior(sizes, grid))
    digest = str(config["sha256"])
    tensors = read_weights(folder / WEIGHTS_FILE, digest, network.state_dict())
    network.load_state_dict(tensors, assign=True)
    return Model(
        name=str(config["name"]),
        sha256=digest,
        network=network.eval().requires_grad_(False),
        training=config["training"],
    )


def save_model(network: PGUNet, folder: Path, *, name: str, training: dict[str, Any]) -> str:
    """Write config.json and model.safetensors, each whole or not at all.

    Args:
        network: its weights and configuration.
        folder: made where it is missing.
        name: of the model.
        training: facts about the training, plain values; the caller writes them into the card.

    Returns:
        The SHA-256 of the weights file.
    """
    facts = {
        "name": name,
        "network": network.config.to_dict(),
        "grid": grid_fields(network.grid),
        "training": training,
    }
    return write_weights(network, folder, facts)


def write_weights(network: nn.Module, folder: Path, facts: Mapping[str, Any]) -> str:
    """Write a network's weights, and config.json with these facts, format and digest.

    Returns:
        The SHA-256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    raw = save_tensors(state)
    digest = hashlib.sha256(raw).hexdigest()
    keys = [key for key in facts if key != "training"]
    config = {"format": FORMAT, **{key: facts[key] for key in keys}, "sha256": digest}
    text = json.dumps(config | {"training": facts["training"]}, indent=1) + "\n"
    for file, content in ((WEIGHTS_FILE, raw), (CONFIG_FILE, text.encode())):
        with replacing(folder / file, overwrite=True) as part:
            part.write_bytes(content)
    return digest


def grid_fields(grid: WavelengthGrid) -> dict[str, Any]:
    """The key `grid` of config.json: name, centres and widths in nm."""
    return {
        "name": grid.name,
        "centres_nm": [round(float(v), 4) for v in grid.centres],
        "fwhm_nm": [round(float(v), 4) for v in grid.fwhm],
    }


def grid_of_fields(fields: dict[str, Any]) -> WavelengthGrid:
    """The grid that `grid_fields` wrote.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, InputRefused: it is damaged.
    """
    centres, fwhm = (np.array(fields[name], float) for name in ("centres_nm", "fwhm_nm"))
    if not all(((nm > 0) & (nm < _MAX_NM)).all() for nm in (centres, fwhm)):
        raise ValueError(f"centres and widths must be from 0 to {_MAX_NM:g} nm")
    return WavelengthGrid(str(fields["name"]), centres, fwhm)


def _read(path: Path, largest: int) -> bytes:
    try:
        if not path.is_file():
            inner = sorted(path.parent.glob(f"*/{CONFIG_FILE}"))  # as in a training's folder
            remedy = (
                f"name the model in it: {inner[0].parent}" if inner else "name a model's folder"
            )
            raise ModelRefused("missing or not a regular file", path=path, remedy=remedy)
        return read_bytes(path, largest)
    except (OSError, ValueError) as err:
        raise ModelRefused(why_unread(err, path), path=path) from err


def read_config(path: Path, keys: Collection[str]) -> dict[str, Any]:
    """A config.json of these keys, `training` among them.

    Raises:
        ModelRefused: it is damaged, or of another kind or format.
    """
    try:
        config = parse_json(_read(path, MAX_CONFIG_BYTES))
    except ValueError as err:
        raise ModelRefused(f"not valid JSON ({err})", path=path) from err
    if not isinstance(config, dict):
        raise ModelRefused("not a JSON object", path=path)
    config.setdefault("training", {})
    if "arch" in config and "arch" not in keys:
        raise ModelRefused(
            f"is a network of the kind {config['arch']}, which gives neither an STF nor standard "
            "errors",
            path=path.parent,
            remedy="load it in Python with uavssr.evaluation.baselines.load_baseline, or choose "
            "another model",
        )
    for word, odd in (("missing", set(keys) - set(config)), ("unknown", set(config) - set(keys))):
        if odd:
            raise ModelRefused(f"{word} keys {sorted(odd)}", path=path)
    if not isinstance(config["training"], dict):
        raise ModelRefused("key training is not an object", path=path)
    if config["format"] != FORMAT:
        raise ModelRefused(
            f"format is {config['format']!r}, this version reads {FORMAT}",
            path=path,
            remedy="install the version of uavssr that the model card names",
        )
    return config


def _sizes_and_grid(config: dict[str, Any], path: Path) -> tuple[PGUNetConfig, WavelengthGrid]:
    key = "network"
    try:
        sizes = PGUNetConfig(**config[key])
        key = "grid"
        grid = grid_of_fields(config[key])
    except (ModelRefused, InputRefused, KeyError, TypeError, ValueError, OverflowError) as err:
        raise ModelRefused(f"key {key}: {err}", path=path) from err
    if len(grid) != sizes.bands:
        raise ModelRefused(
            f"grid has {len(grid)} wavelengths, network.bands says {sizes.bands}", path=path
        )
    return sizes, grid


def read_weights(path: Path, digest: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file with this digest, of the names, types and shapes of `expected`.

    Raises:
        ModelRefused: something is not as it was saved; the message names it.
    """
    raw = _read(path, MAX_WEIGHTS_BYTES)
    actual = hashlib.sha256(raw).hexdigest()
    if actual != digest:
        raise ModelRefused(
            f"SHA-256 is {actual[:12]}, config.json says {digest[:12]}: the file is damaged or "
            "not the one that was saved",
            path=path,
            remedy="get the model folder again",
        )
    try:
        tensors = load_tensors(raw)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as err:
        raise ModelRefused(f"not a safetensors file ({err})", path=path) from err
    for key in sorted(expected.keys() | tensors.keys()):
        wanted, stored = _form(expected.get(key)), _form(tensors.get(key))
        if stored != wanted:
            raise ModelRefused(
                f"tensor {key}: config.json calls for {wanted}, the file holds {stored}", path=path
            )
        if not torch.isfinite(tensors[key]).all():
            raise ModelRefused(f"tensor {key} holds NaN or infinity", path=path)
    return tensors


def _form(tensor: Tensor | None) -> str:
    """Type and shape as text: float32 (40, 6)."""
    return "none" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}".split(".")[-1]


def empty_prior(
    config: PGUNetConfig, grid: WavelengthGrid
) -> tuple[SpectralBasis, SpectralMixture]:
    """A basis and a mixture of the config's shapes, uninitialised, to load a state into."""
    bands, rank, components = config.bands, config.rank, config.components
    basis = SpectralBasis(
        grid=grid,
        mean=torch.empty(bands),
        components=torch.empty(bands, rank),
        residual=torch.empty(bands),
    )
    mixture = SpectralMixture(
        weight=torch.empty(components),
        mean=torch.empty(components, rank),
        covariance=torch.empty(components, rank, rank),
    )
    return basis, mixture
