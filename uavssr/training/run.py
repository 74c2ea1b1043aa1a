"""A training run from its settings to a model folder: data, network, training, card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr._version import __version__
from uavssr.data import TrainingData, load_data, read_manifest
from uavssr.errors import OutputError
from uavssr.evaluation import validation_images
from uavssr.io.writers import Lock, check_names
from uavssr.model import Model, add_local_prior, load_model, projection_error, save_model
from uavssr.reconstruction import resolve_device
from uavssr.sensors import HEADWALL_NANO, FloatArray
from uavssr.spectra import load_library
from uavssr.tiling import Progress
from uavssr.training.config import RunConfig
from uavssr.training.distributed import ProcessGroup, join_process_group, own_device
from uavssr.training.loop import Execution, StepCallback, TrainingResult, prior_spectra, train
from uavssr.training.model_card import CARD_FILE, model_card

MAX_BASIS_ERROR: Final = 0.02
"""RMS error of the training spectra in the basis, relative to their mean, above which to warn."""
MAX_INIT_SPECTRA: Final = 8000
"""Training spectra added to the prior of a starting model; more change nothing."""
_REAL_IMAGES: Final = "Blind: the STF is estimated from each image."
_SIMULATED_IMAGES: Final = (
    "Blind, on new scenes simulated from the training spectra. These errors do not show how well "
    "the model does on spectra that the library lacks."
)


def run_training(
    run: RunConfig,
    *,
    data_progress: Progress | None = None,
    step_progress: StepCallback | None = None,
) -> list[str]:
    """Train a model, write its folder `out`/`name`, and return warnings on data and model.

    Under torchrun every process calls this function; the first one writes.

    Args:
        run: settings of the run.
        data_progress: called while the data are prepared.
        step_progress: called after each step.

    Raises:
        ManifestRefused: the data have problems; the message lists all of them.
        UavssrError: see `load_model` and `train`.
    """
    device = resolve_device(own_device(run.device))
    with join_process_group(device) as processes:
        processes.own_shards(run.training.shards)  # refused before data are read
        init = None if run.init is None else load_model(run.init)
        with locked_folder(run.out, run.name) if processes.is_first else nullcontext():
            data = load_run_data(run, init, processes, data_progress)
            spectra = prior_spectra(data, run.training)
            images = []
            if processes.is_first and run.training.validate > 0:
                images = validation_images(data, seed=run.training.seed, size=run.training.size)
            init = None if init is None else _add_to_prior(init, spectra)
            result = train(
                data,
                run.out,
                start=init or run.network.sizes(spectra),
                config=run.training,
                images=images,
                execution=Execution(
                    device=str(device), workers=run.workers, log=run.log, processes=processes
                ),
                progress=step_progress,
            )
            basis_error = projection_error(result.network.basis, spectra)
            if processes.is_first:
                _write_model(run, init, data, result, basis_error)
            processes.wait()
    return list(_warnings(data, result, basis_error))


@contextmanager
def locked_folder(out: Path, name: str) -> Iterator[None]:
    """Create the folder of the run, lock it against other runs, and check the model's name."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(
            f"cannot be the folder of the run ({err.strerror})",
            path=out,
            remedy="choose another --out",
        ) from err
    lock = Lock.take(out / ".lock", output=out)
    try:
        check_names([out / name])
        yield
    finally:
        lock.release()
        with suppress(OSError):  # only an empty folder is removed
            out.rmdir()


def load_run_data(
    run: RunConfig,
    init: Model | None,
    processes: ProcessGroup,
    progress: Progress | None,
) -> TrainingData:
    """The training data; the first process prepares the patches for the others."""
    if not processes.is_first:
        processes.wait()
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
            basis=None if init is None else init.network.basis,
            progress=progress if processes.is_first else None,
        )
    if processes.is_first:
        processes.wait()
    return data


def _add_to_prior(init: Model, spectra: FloatArray) -> Model:
    """The starting model with Gaussians of the training spectra added to its prior."""
    chosen = np.random.default_rng(0).permutation(len(spectra))[:MAX_INIT_SPECTRA]
    local = torch.as_tensor(spectra[chosen], dtype=torch.float32)
    return replace(init, network=add_local_prior(init.network, local))


def _has_validation(data: TrainingData) -> bool:
    return any(split.validate.size for split in data.splits)


def _write_model(
    run: RunConfig,
    init: Model | None,
    data: TrainingData,
    result: TrainingResult,
    basis_error: dict[str, float],
) -> None:
    """Write weights, config.json and card."""
    last = run.training.keep == "last" or not result.errors
    facts: dict[str, Any] = {
        "uavssr_version": __version__,
        "torch_version": torch.__version__,
        "command": run.command(),
        "init": "" if init is None else f"{init.name} ({init.sha256})",
        "step": result.step,
        "kept": "the last" if last else "the best",
        "settings": {**asdict(run.training), **asdict(run.data)},
        "data": data.facts,
        "residual": basis_error,
        "figures": [asdict(errors) for errors in result.errors],
        "figures_note": _REAL_IMAGES if _has_validation(data) else _SIMULATED_IMAGES,
    }
    folder, network = run.out / run.name, result.network
    digest = save_model(network, folder, name=run.name, training=facts)
    card = model_card(run.name, digest, network.config.to_dict(), facts)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _warnings(
    data: TrainingData, result: TrainingResult, basis_error: dict[str, float]
) -> Iterator[str]:
    for row in data.facts["rows"]:
        yield from row.get("warnings", ())
    if data.splits and not _has_validation(data):
        yield "no data are kept for validation: check data.share and the size of the scenes"
    if basis_error["relative"] > MAX_BASIS_ERROR:
        yield (
            f"the basis of rank {result.network.config.rank} leaves {basis_error['relative']:.1%} "
            "of the training spectra unexplained; train again with --rank auto"
        )
