"""Model folders: config.json, model.safetensors and a model card (README.md), never a pickle.

Digest, header, names, shapes and types are checked before a tensor is allocated.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from uavssr.errors import InputRefused, ModelRefused
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
_KEYS: Final = frozenset({"format", "name", "network", "grid", "sha256", "training"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model, ready to reconstruct."""

    name: str
    """Name of the model, as its config gives it."""
    sha256: str
    """Digest of the weights file."""
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
        if not any(mark in text for mark in (os.sep, "/", ".")):
            for folder in model_folders():
                if (folder / text / CONFIG_FILE).is_file():
                    return folder / text
        if path.is_dir():
            return path
    except OSError as err:  # a name that is too long, a folder that may not be entered
        raise ModelRefused(f"cannot be looked up ({err.strerror})", path=text) from err
    released = sorted({p.parent.name for f in model_folders() for p in f.glob(f"*/{CONFIG_FILE}")})
    fact = "no such model folder"
    if path.is_file():
        fact = "is a file, and models are folders with config.json and model.safetensors"
    raise ModelRefused(fact, path=text, remedy=f"released models: {', '.join(released) or 'none'}")


def load_model(name_or_path: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model by name or folder.

    Raises:
        ModelRefused: something in the folder is not as it was saved; the message names it.
    """
    folder = find_model(name_or_path)
    config = _read_config(folder / CONFIG_FILE)
    raw = _read_weights(folder / WEIGHTS_FILE, str(config["sha256"]))
    network_config = _network_config(config["network"], folder / CONFIG_FILE)
    grid = _grid(config["grid"], folder / CONFIG_FILE)
    if len(grid) != network_config.bands:
        raise ModelRefused(
            f"grid has {len(grid)} wavelengths, network.bands says {network_config.bands}",
            path=folder / CONFIG_FILE,
        )
    with torch.device("meta"):
        network = PGUNet(network_config, *empty_prior(network_config, grid))
    _check_header(raw, network, folder / WEIGHTS_FILE)
    try:
        tensors = load_tensors(raw)
    except SafetensorError as err:
        raise ModelRefused(f"not a safetensors file ({err})", path=folder / WEIGHTS_FILE) from err
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelRefused(f"tensor {key} holds NaN or infinity", path=folder / WEIGHTS_FILE)
    network.load_state_dict(tensors, assign=True)
    return Model(
        name=str(config["name"]),
        sha256=str(config["sha256"]),
        network=network.eval().requires_grad_(False),
        training=dict(config.get("training", {})),
    )


def save_model(network: PGUNet, folder: Path, *, name: str, training: dict[str, Any]) -> str:
    """Write config.json and model.safetensors, each to a temporary name first.

    Args:
        network: its weights and configuration.
        folder: made where it is missing.
        name: of the model.
        training: facts about the training, plain values; the caller writes them into the card.

    Returns:
        The SHA-256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    raw = save_tensors(state)
    digest = hashlib.sha256(raw).hexdigest()
    grid = network.grid
    config = {
        "format": FORMAT,
        "name": name,
        "network": network.config.to_dict(),
        "grid": {
            "name": grid.name,
            "centres_nm": [round(float(v), 4) for v in grid.centres],
            "fwhm_nm": [round(float(v), 4) for v in grid.fwhm],
        },
        "sha256": digest,
        "training": training,
    }
    _replace(folder / WEIGHTS_FILE, raw)
    _replace(folder / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode())
    return digest


def _replace(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, synchronise it, and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _models_within(folder: Path) -> str:
    """The remedy for a folder that is no model but may hold one, as that of a training."""
    models = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
    return f"name the model in it: {folder / models[0]}" if models else "name a model's folder"


def _read(path: Path, largest: int) -> bytes:
    try:
        if not path.is_file():
            raise ModelRefused(
                "missing or not a regular file", path=path, remedy=_models_within(path.parent)
            )
        size = path.stat().st_size
        if size > largest:
            raise ModelRefused(f"{size} bytes, more than the {largest} allowed", path=path)
        return path.read_bytes()
    except OSError as err:
        raise ModelRefused(f"cannot be read ({err.strerror})", path=path) from err


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(_read(path, MAX_CONFIG_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise ModelRefused(f"not valid JSON ({err})", path=path) from err
    if not isinstance(config, dict):
        raise ModelRefused("not a JSON object", path=path)
    missing = _KEYS - {"training"} - set(config)
    if missing or set(config) - _KEYS:
        keys = sorted(missing) or sorted(set(config) - _KEYS)
        raise ModelRefused(f"{'missing' if missing else 'unknown'} keys {keys}", path=path)
    if not isinstance(config.get("training", {}), dict):
        raise ModelRefused("key training is not an object", path=path)
    if config["format"] != FORMAT:
        raise ModelRefused(
            f"format is {config['format']!r}, this version reads {FORMAT}",
            path=path,
            remedy="install the version of uavssr that the model card names",
        )
    return config


def _read_weights(path: Path, expected: str) -> bytes:
    raw = _read(path, MAX_WEIGHTS_BYTES)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != expected:
        raise ModelRefused(
            f"SHA-256 is {digest[:12]}, config.json says {expected[:12]}: the file is damaged or "
            "not the one that was saved",
            path=path,
            remedy="get the model folder again",
        )
    return raw


def _network_config(fields: object, path: Path) -> PGUNetConfig:
    if not isinstance(fields, dict):
        raise ModelRefused("key network is not an object", path=path)
    try:
        return PGUNetConfig(**fields)
    except TypeError as err:
        raise ModelRefused(f"key network: {err}", path=path) from err
    except ModelRefused as err:
        raise ModelRefused(f"key network: {err.fact}", path=path) from err


def _grid(fields: object, path: Path) -> WavelengthGrid:
    try:
        if not isinstance(fields, dict):
            raise TypeError("not an object")
        centres, fwhm = (np.array(fields[key], dtype=float) for key in ("centres_nm", "fwhm_nm"))
        if not (np.isfinite(centres).all() and np.isfinite(fwhm).all()):
            raise ValueError("not finite")
        return WavelengthGrid(str(fields["name"]), centres, fwhm)
    except (KeyError, TypeError, ValueError, OverflowError, InputRefused) as err:
        raise ModelRefused(f"key grid: {err}", path=path) from err


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


def _check_header(raw: bytes, network: PGUNet, path: Path) -> None:
    """Names, shapes and types in the safetensors header against what the config calls for."""
    try:
        length = int.from_bytes(raw[:8], "little")
        if len(raw) < 8 or length > len(raw) - 8:
            raise ValueError("truncated")
        header = json.loads(raw[8 : 8 + length])
        header.pop("__metadata__", None)
        stored = {key: (each["dtype"], tuple(each["shape"])) for key, each in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ModelRefused(f"not a safetensors file ({err})", path=path) from err
    expected = {k: ("F32", tuple(v.shape)) for k, v in network.state_dict().items()}
    for key in sorted(expected.keys() | stored.keys()):
        if stored.get(key) != expected.get(key):
            raise ModelRefused(
                f"tensor {key}: config.json calls for {expected.get(key, 'none')}, "
                f"the file holds {stored.get(key, 'none')}",
                path=path,
            )
