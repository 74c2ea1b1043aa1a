"""A training run of a network that PGU-Net is compared with: data, training, model folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from uavssr._version import __version__
from uavssr.data import TrainingData, TrainingPatches
from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.baselines import (
    FitSettings,
    NetworkMethod,
    TrainedNetwork,
    save_baseline,
    trained_methods,
)
from uavssr.io.bounded import parse_json, read_bytes, why_unread
from uavssr.io.writers import replacing
from uavssr.sensors import Sensor, load_sensor, sensor_text
from uavssr.tiling import Progress
from uavssr.training.config import RunConfig
from uavssr.training.distributed import ProcessGroup
from uavssr.training.model_card import CARD_FILE, baseline_card
from uavssr.training.run import load_run_data, locked_folder

SETTINGS_FILE: Final = "settings.json"
_MAX_SETTINGS_BYTES: Final = 2**20


def train_baseline(
    run: RunConfig,
    *,
    data_progress: Progress | None = None,
    step_progress: Progress | None = None,
) -> list[str]:
    """Train a network of `run.arch` for the camera `run.sensor`, and write its folder `out`/`name`.

    The checkpoint, written every twelfth of the training, is resumed from. It runs on the CPU.

    Args:
        run: settings of the run.
        data_progress: called while the data are prepared.
        step_progress: called after each step.

    Returns:
        Warnings on the data.

    Raises:
        ManifestRefused: the data have problems; the message lists all of them.
        UsageError: the checkpoint is of other settings, or another device is asked for.
        UavssrError: a file cannot be read or written.
    """
    if run.device not in ("auto", "cpu"):
        raise UsageError(f"{run.arch} is trained on the CPU alone", remedy="leave out --device")
    method, sensor = trained_methods()[run.arch], load_sensor(str(run.sensor))
    with locked_folder(run.out, run.name):
        data = load_run_data(run, None, ProcessGroup(), data_progress)
        _check_settings(run, sensor, data)
        patches = TrainingPatches(
            data=data,
            sensor=sensor,
            size=data.side_up_to(run.training.size),
            known_response=method.knows == "true response",
        )

        def stepped(_: int, total: int) -> None:
            if step_progress is not None:
                step_progress(f"training {run.arch}", 1, total)

        settings = FitSettings(
            seed=run.training.seed,
            steps=run.training.steps,
            checkpoint=run.out / f"{run.arch}.checkpoint.pt",
            batch=run.training.batch,
            progress=stepped,
        )
        _write_folder(run, method, patches, settings)
    return [warning for row in data.facts["rows"] for warning in row.get("warnings", ())]


def _write_folder(
    run: RunConfig, method: NetworkMethod, patches: TrainingPatches, settings: FitSettings
) -> None:
    fitted = method.fit(patches, settings)
    facts: dict[str, Any] = {
        "uavssr_version": __version__,
        "torch_version": torch.__version__,
        "command": run.command(),
        "reference": method.reference,
        "knows": method.knows,
        "sensor": patches.sensor.name,
        "real_pairs": len(patches.real_pairs),
        "steps": fitted.steps,
        "parameters": sum(weights.numel() for weights in fitted.network.parameters()),
        "curve": [asdict(point) for point in fitted.curve],
        "settings": {key: asdict(run.training)[key] for key in ("steps", "batch", "size", "seed")},
        "data": patches.data.facts,
    }
    model = TrainedNetwork(
        name=run.name,
        method=method,
        sensor=patches.sensor,
        grid=patches.grid,
        fitted=fitted,
        training=facts,
    )
    folder = run.out / run.name
    digest = save_baseline(model, folder)
    with replacing(folder / CARD_FILE, overwrite=True) as part:
        part.write_text(baseline_card(run.name, run.arch, digest, facts), encoding="utf-8")


def _check_settings(run: RunConfig, sensor: Sensor, data: TrainingData) -> None:
    """Write the settings that a checkpoint depends on, or refuse other ones than were written."""
    path = run.out / SETTINGS_FILE
    settings = {
        "arch": run.arch,
        "sensor": sensor_text(sensor),
        "data": data.digest,
        **{f"training.{key}": getattr(run.training, key) for key in ("steps", "batch", "size")},
        "training.seed": run.training.seed,
    }
    if path.exists():
        before = _read_settings(path)
        changed = [key for key, value in settings.items() if before.get(key) != value]
        if changed:
            raise UsageError(
                f"the checkpoint was made with other settings: {', '.join(changed)}",
                path=run.out,
                remedy="use another --out, or the same settings",
            )
        return
    with replacing(path, overwrite=True) as part:
        part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(parse_json(read_bytes(path, _MAX_SETTINGS_BYTES)))
    except (OSError, ValueError, TypeError) as err:
        fact = str(err) if isinstance(err, TypeError) else why_unread(err, path)
        raise InputRefused(fact, path=path, remedy="use another --out") from err
