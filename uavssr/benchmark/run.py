"""One run: a method fitted to a case with one seed, judged, and recorded as JSON."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.records import RunRecord, ScoredImage, write_record
from uavssr.benchmark.score import score
from uavssr.evaluation.baselines import (
    BATCH,
    CameraImage,
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

    A training resumes from its checkpoint. The records are written last, so a run without a record
    is not finished.
    """
    torch.set_num_threads(threads)
    checkpoint = place.file(".pt")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    fitted = method.fit(case.training, replace(settings, checkpoint=checkpoint))
    facts = {
        "case": case.name,
        "seed": place.seed,
        "fit_seconds": max(
            time.process_time() - started, fitted.curve[-1].seconds if fitted.curve else 0.0
        ),
        "batch": BATCH if method.is_trained else 0,
    }
    uses = {"": fitted, **fitted.variants}
    for variant, use in reversed(uses.items()):
        path = place.file(".json", variant=variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{method.name}, {variant}" if variant else method.name
        knows = "true response" if variant == "true response" else method.knows
        used = replace(method, name=name, knows=knows)
        record = RunRecord(**_judge(case, used, use, path), **facts, method=name, knows=knows)
        write_record(record, path)
    checkpoint.unlink(missing_ok=True)


def _judge(case: Case, method: Method, fitted: FittedMethod, path: Path) -> dict[str, Any]:
    """Errors, sizes and costs; the first image of each set is kept beside the record.

    Only methods that are told the true response see it.
    """
    images, pixels, seconds = [], 0, 0.0
    examples: dict[str, np.ndarray] = {"wavelength": case.training.grid.centres}
    for name, held_out_images in case.tests.items():
        for held_out in held_out_images:
            started = time.process_time()
            if not method.applies_to(held_out.image):
                continue
            told = method.knows == "true response"
            image = held_out.image if told else replace(held_out.image, rows=None)
            prediction = fitted.predict(image)
            seconds += time.process_time() - started
            pixels += prediction.cube[0].size
            errors = score(held_out, prediction, case.training.grid)
            labels = {"scene": held_out.scene, "camera": held_out.camera}
            images.append(ScoredImage(set=name, **labels, **errors))
            if f"{name}/cube_true" not in examples:
                examples |= _example(name, held_out, prediction)
    with replacing(path.with_suffix(".npz"), overwrite=True) as part, part.open("wb") as file:
        np.savez_compressed(file, **examples)  # type: ignore[arg-type]
    return {
        "steps": fitted.steps,
        "curve": fitted.curve,
        "predict_seconds_per_mpx": seconds / max(pixels, 1) * 1e6,
        **_costs(case, fitted),
        "peak_mb": _peak_mb(),
        "images": tuple(images),
    }


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


def _costs(case: Case, fitted: FittedMethod) -> dict[str, float | int | None]:
    """Parameters, and multiply-adds in G for an image of `COUNTED_SIDE` pixels with its STF."""
    network = fitted.network
    if network is None:
        return {"parameters": None, "gmac": None}
    image = next(iter(case.tests.values()))[0].image
    rows, cols = (-(-COUNTED_SIDE // side) for side in image.msi.shape[1:])
    msi = np.tile(image.msi, (1, rows, cols))[:, :COUNTED_SIDE, :COUNTED_SIDE]
    counted = CameraImage(msi=msi, family=image.family, rows=image.rows)
    with FlopCounterMode(display=False) as counter:
        fitted.predict(counted)
    return {
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "gmac": counter.get_total_flops() / 2e9,
    }


def _peak_mb() -> float | None:
    """The largest memory of this process until now, in MB; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
