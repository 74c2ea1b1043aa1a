"""One run from its settings to a model folder: data, network, training, figures and card.

Must not parse settings, or know how a step is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr._version import __version__
from uavssr.data import TrainingData, load_data, read_manifest
from uavssr.errors import OutputError
from uavssr.evaluation import ValidationImage, validation_images
from uavssr.io.writers import Lock
from uavssr.model import (
    Model,
    PGUNetConfig,
    add_local_prior,
    choose_rank,
    load_model,
    projection_error,
    save_model,
)
from uavssr.reconstruction import resolve_device
from uavssr.sensors import HEADWALL_NANO, FloatArray
from uavssr.spectra import load_library
from uavssr.training.config import RunConfig
from uavssr.training.distributed import ProcessGroup, joined, own_device
from uavssr.training.loop import Progress, Trained, prior_spectra, train
from uavssr.training.model_card import model_card

Tell = Callable[[str, int, int], None]

WORRYING: Final = 0.02
"""A warning is given where the basis leaves more than this of the mean reflectance."""
MOST_LOCAL: Final = 8000
"""Training spectra to which a model to start from is adapted: more say nothing new."""
_REAL: Final = "Blind: the STF is estimated from each image."
_NEW: Final = (
    "Blind, on scenes simulated anew from the spectra that were trained on: they say nothing of "
    "spectra that the library lacks."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a run leaves."""

    folder: Path
    """The model."""
    warnings: tuple[str, ...]
    """What to be wary of."""


def run_training(
    run: RunConfig,
    *,
    told: Tell | None = None,
    progress: Progress | None = None,
) -> Finished:
    """Train a model as the settings say, and write its folder `out`/`name`.

    Started by torchrun, every process calls this; the first one writes.

    Args:
        run: the settings.
        told: told what is being read, how much of it, of how much.
        progress: called after every step.

    Raises:
        ManifestRefused: anything is wrong with the data; all of it is in the message.
        UavssrError: as `load_model` and `train` say.
    """
    device = resolve_device(own_device(run.device))
    with joined(device) as team:
        team.own(run.training.shards)
        init = None if run.init is None else load_model(run.init)
        with _held(run.out, team):
            data = _data(run, init, team, told)
            spectra = prior_spectra(data, run.training)
            init = None if init is None else _adapted(init, spectra)
            trained = train(
                data,
                run.out,
                network=_network(run, init, data, spectra),
                config=run.training,
                init=init,
                images=_images(run, data, team),
                device=str(device),
                workers=run.workers,
                log=run.log,
                team=team,
                progress=progress,
            )
            left = projection_error(trained.network.basis, spectra)
            if team.leads:
                _write(run, init, data, trained, left)
            team.wait()
    warnings = _warnings(data, trained, left)
    return Finished(folder=run.out / run.name, warnings=tuple(warnings))


@contextmanager
def _held(out: Path, team: ProcessGroup) -> Iterator[None]:
    """Make the folder of the run, and keep other runs out of it."""
    if not team.leads:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(
            f"cannot be the folder of the run ({err.strerror})", path=out, remedy="name another"
        ) from err
    lock = Lock.take(out / ".lock", output=out)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # it holds what was trained
            out.rmdir()


def _data(
    run: RunConfig, init: Model | None, team: ProcessGroup, told: Tell | None
) -> TrainingData:
    """The data, which the first process prepares for the others."""
    if not team.leads:
        team.wait()
    grid = None if init is None else init.grid
    if run.spectra is not None:
        data = TrainingData.of(load_library(run.spectra, grid or HEADWALL_NANO), path=run.spectra)
    else:
        data = load_data(
            run.out,
            read_manifest(run.pairs or Path()),
            run.data,
            size=run.training.size,
            seed=run.training.seed,
            grid=grid,
            progress=told if team.leads else None,
        )
    if team.leads:
        team.wait()
    return data


def _adapted(init: Model, spectra: FloatArray) -> Model:
    """The model to start from, its prior joined by Gaussians of what it will be trained on."""
    chosen = np.random.default_rng(0).permutation(len(spectra))[:MOST_LOCAL]
    local = torch.as_tensor(spectra[chosen], dtype=torch.float32)
    return replace(init, network=add_local_prior(init.network, local))


def _network(
    run: RunConfig, init: Model | None, data: TrainingData, spectra: FloatArray
) -> PGUNetConfig:
    if init is not None:
        return init.network.config
    rank = run.network.rank
    if rank is None:
        rank = PGUNetConfig().rank
    elif rank == "auto":
        rank = choose_rank(spectra)
    return run.network.sizes(bands=len(data.grid), rank=rank)


def _images(run: RunConfig, data: TrainingData, team: ProcessGroup) -> list[ValidationImage]:
    """What the first process validates on."""
    if not team.leads or run.training.validate == 0:
        return []
    return validation_images(data, seed=run.training.seed, size=run.training.size)


def _write(
    run: RunConfig,
    init: Model | None,
    data: TrainingData,
    trained: Trained,
    left: dict[str, float],
) -> None:
    """The weights, their settings and the card."""
    folder, network = run.out / run.name, trained.network
    real = any(f.validate.size for f in data.splits)
    facts: dict[str, Any] = {
        "uavssr_version": __version__,
        "torch_version": torch.__version__,
        "command": run.command(),
        "init": "" if init is None else f"{init.name} ({init.sha256})",
        "step": trained.step,
        "kept": "the last" if run.training.keep == "last" or not trained.validated else "the best",
        "settings": {**asdict(run.training), **asdict(run.data)},
        "data": data.facts,
        "residual": left,
        "figures": [asdict(each) for each in trained.validated],
        "figures_note": _REAL if real else _NEW,
    }
    digest = save_model(network, folder, name=run.name, training=facts)
    card = model_card(run.name, digest, network.config.to_dict(), facts)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _warnings(data: TrainingData, trained: Trained, left: dict[str, float]) -> list[str]:
    found = [text for row in data.facts["rows"] for text in row.get("warnings", ())]
    if data.splits and not any(f.validate.size for f in data.splits):
        found.append("no ground was set apart for validation: see data.share, and the scenes' size")
    if left["relative"] > WORRYING:
        found.append(
            f"the basis of rank {trained.network.config.rank} leaves {left['relative']:.1%} of the "
            "training spectra unexplained; train anew with --rank auto"
        )
    return found
