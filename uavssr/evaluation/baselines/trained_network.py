"""Folders of trained networks: config.json, model.safetensors, camera.yaml and a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from uavssr.errors import ModelRefused, UavssrError
from uavssr.evaluation.baselines.method import CurvePoint
from uavssr.evaluation.baselines.network_method import FittedNetwork, NetworkMethod
from uavssr.io.writers import write_sensor
from uavssr.model import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ResponseFamily,
    find_model,
    grid_fields,
    grid_of_fields,
    read_config,
    read_weights,
    write_weights,
)
from uavssr.sensors import Sensor, WavelengthGrid, load_sensor

CAMERA_FILE: Final = "camera.yaml"
"""The sensor file of the camera that a network is tied to."""
_KEYS: Final = frozenset({"format", "arch", "name", "grid", "sha256", "training"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNetwork:
    """A network of others, trained for one camera by `uavssr train --arch`."""

    name: str
    """Of the model."""
    method: NetworkMethod
    """Its kind, and what it must be told of a camera."""
    sensor: Sensor
    """The camera whose bands it takes, in this order."""
    grid: WavelengthGrid
    """Wavelengths of the cubes that it makes."""
    fitted: FittedNetwork
    """Predicts from a `CameraImage`."""
    training: dict[str, Any]
    """The training's settings, data and learning curve."""

    @property
    def family(self) -> ResponseFamily:
        """The data sheet of the camera (S = 1), for a `CameraImage`."""
        return ResponseFamily.of(self.sensor, self.grid)


def save_baseline(model: TrainedNetwork, folder: Path) -> str:
    """Write weights, config.json and camera.yaml; returns the SHA-256 of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sensor(model.sensor, folder / CAMERA_FILE, overwrite=True)
    facts = {
        "arch": model.method.name,
        "name": model.name,
        "grid": grid_fields(model.grid),
        "training": model.training,
    }
    return write_weights(model.fitted.network, folder, facts)


def load_baseline(name_or_path: str | Path) -> TrainedNetwork:
    """Load a network that `uavssr train --arch` trained.

    Raises:
        ModelRefused: something in the folder is not as it was saved; the message names it.

    Examples:
        >>> from uavssr.evaluation.baselines import CameraImage, load_baseline
        >>> model = load_baseline("runs/mst/custom")  # doctest: +SKIP
        >>> image = CameraImage(msi=reflectance, family=model.family)  # doctest: +SKIP
        >>> cube = model.fitted.predict(image).cube  # doctest: +SKIP
    """
    folder = find_model(name_or_path)
    config = read_config(folder / CONFIG_FILE, _KEYS)
    method = trained_methods().get(str(config["arch"]))
    try:
        if method is None:
            raise ValueError(f"key arch: this version has no network {config['arch']!r}")
        grid = grid_of_fields(config["grid"])
        sensor = load_sensor(folder / CAMERA_FILE)
        curve = tuple(CurvePoint(**point) for point in config["training"].get("curve", ()))
        network = method.build(ResponseFamily.of(sensor, grid), grid)
    except (UavssrError, KeyError, TypeError, ValueError, OverflowError) as err:
        raise ModelRefused(str(err), path=folder / CONFIG_FILE) from err
    digest = str(config["sha256"])
    network.load_state_dict(read_weights(folder / WEIGHTS_FILE, digest, network.state_dict()))
    given = method.knows == "true response"
    steps = curve[-1].step if curve else 0
    return TrainedNetwork(
        name=str(config["name"]),
        method=method,
        sensor=sensor,
        grid=grid,
        fitted=FittedNetwork(network.requires_grad_(False), steps=steps, curve=curve, given=given),
        training=config["training"],
    )


def trained_methods() -> dict[str, NetworkMethod]:
    """The networks among the compared methods, by name."""
    from uavssr.evaluation.baselines import BASELINES  # it imports this module

    return {name: m for name, m in BASELINES.items() if isinstance(m, NetworkMethod)}
