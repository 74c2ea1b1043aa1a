"""One run: a method fitted to a case with one seed, judged, and recorded as JSON."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.records import RunRecord, ScoredImage, write_record
from uavssr.benchmark.score import score
from uavssr.evaluation.baselines import (
    BATCH,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
)
from uavssr.io.writers import replacing

COUNTED_SIDE: Final = 256
"""Side in pixels of the image for which multiply-adds are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """Where the files of a run lie."""

    folder: Path
    """The folder of the benchmark."""
    case: str
    method: str
    seed: int

    def file(self, ending: str, *, variant: str = "") -> Path:
        """A file of the run, e.g. runs/measured/mst++/0.json."""
        name = f"{self.method}, {variant}" if variant else self.method
        return self.folder / "runs" / self.case / name / f"{self.seed}{ending}"


def run_method(
    case: Case, method: Method, place: RunPlace, settings: FitSettings, *, threads: int = 1
) -> None:
    """Fit a method to a case, judge it and its variants, and write their records.

    A training resumes from its checkpoint. The method's own record is written last, so a run
    without it is not finished.
    """
    torch.set_num_threads(threads)
    checkpoint = place.file(".pt")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    fitted = method.fit(case.training, replace(settings, checkpoint=checkpoint))
    seconds = time.process_time() - started
    for variant, use in reversed({"": fitted, **fitted.variants}.items()):
        path = place.file(".json", variant=variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        used = method
        if variant:
            knows = "true response" if variant == "true response" else method.knows
            used = replace(method, name=f"{method.name}, {variant}", knows=knows)
        write_record(_judge(case, used, use, path, place.seed, seconds), path)
    checkpoint.unlink(missing_ok=True)


def _judge(
    case: Case, method: Method, fitted: FittedMethod, path: Path, seed: int, fit_seconds: float
) -> RunRecord:
    """The record of a fitted method; the first image of each set is kept beside it.

    Only methods that are told the true response see it.
    """
    images: list[ScoredImage] = []
    pixels, seconds = 0, 0.0
    examples: dict[str, np.ndarray] = {"wavelength": case.training.grid.centres}
    for name, held_out_images in case.tests.items():
        for held_out in held_out_images:
            image = held_out.image
            if not method.applies_to(image):
                continue
            if method.knows != "true response":
                image = replace(image, rows=None)
            started = time.process_time()
            prediction = fitted.predict(image)
            seconds += time.process_time() - started
            pixels += prediction.cube[0].size
            images.append(score(name, held_out, prediction, case.training.grid))
            if f"{name}/cube_true" not in examples and not image.apart:
                examples |= _example(name, held_out, prediction)
    with replacing(path.with_suffix(".npz"), overwrite=True) as part, part.open("wb") as file:
        np.savez_compressed(file, **examples)  # type: ignore[arg-type]
    parameters, gmac = _size(case, fitted)
    trained = fitted.curve[-1].seconds if fitted.curve else 0.0
    return RunRecord(
        case=case.table or case.name,
        method=method.name,
        seed=seed,
        knows=method.knows,
        steps=fitted.steps,
        fit_seconds=max(fit_seconds, trained),  # a resumed training has the longer one
        predict_seconds_per_mpx=seconds / max(pixels, 1) * 1e6,
        parameters=parameters,
        gmac=gmac,
        peak_mb=_peak_mb(),
        batch=BATCH if method.is_trained else 0,
        curve=fitted.curve,
        images=tuple(images),
    )


def _example(name: str, held_out: HeldOutImage, prediction: Prediction) -> dict[str, np.ndarray]:
    family = held_out.image.family
    parts = {
        "cube_estimate": prediction.cube,
        "cube_true": held_out.cube,
        "rows_estimate": prediction.rows,
        "rows_true": held_out.image.rows,
        "rows_sheet": family.rows(family.prior)[0].numpy(),
    }
    return {
        f"{name}/{key}": value.astype(np.float16 if key.startswith("cube") else np.float32)
        for key, value in parts.items()
        if value is not None
    }


def _size(case: Case, fitted: FittedMethod) -> tuple[int | None, float | None]:
    """Parameters, and multiply-adds in G for an image of `COUNTED_SIDE` pixels with its STF."""
    network = fitted.network
    if network is None:
        return None, None
    image = next(iter(case.tests.values()))[0].image
    rows, cols = (-(-COUNTED_SIDE // side) for side in image.msi.shape[1:])
    msi = np.tile(image.msi, (1, rows, cols))[:, :COUNTED_SIDE, :COUNTED_SIDE]
    counted = replace(image, msi=msi, known=None, apart=False)
    with FlopCounterMode(display=False) as counter:
        fitted.predict(counted)
    parameters = sum(weights.numel() for weights in network.parameters())
    return parameters, counter.get_total_flops() / 2e9


def _peak_mb() -> float | None:
    """The largest memory of this process until now, in MB; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
