"""Records of invented runs, with the learning curves and images of a small benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from uavssr.benchmark import (
    FACTS_FILE,
    RUNS_FOLDER,
    BenchmarkResults,
    RunRecord,
    ScoredImage,
    write_record,
)
from uavssr.evaluation.baselines import CurvePoint

NM = np.linspace(400, 700, 31)
LEVELS = {
    "ridge": 1.3,
    "mst++": 1.15,
    "awan": 1.1,
    "dian": 0.9,
    "pgunet": 1.0,
    "pgunet-oracle": 0.8,
}
"""Error of a method relative to that of ours."""
GIVEN_R = ("dian", "pgunet-oracle")
FACTS = {
    "protocol": "cave",
    "data": "six scenes",
    "machine": "2 cores",
    "budget": "300 s of processor time a method",
    "command": "uavssr benchmark cave --data DATA --out OUT",
    "versions": {"uavssr": "0.2.0"},
    "methods": list(LEVELS),
    "cases": {"rgb": "RGB cameras over CAVE"},
}


def run_record(method: str, seed: int, *, gain: float = 0.001) -> RunRecord:
    """A run; the last quarter of its learning curve improves by the share `gain`."""
    rng = np.random.default_rng([seed, list(LEVELS).index(method)])
    trained, has_stf = method != "ridge", method.startswith("pgunet")
    level = 0.02 * LEVELS[method] * (1 + 0.002 * rng.normal())
    curve = [(0, 0.08), (100, 0.03), (200, 0.0205), (300, 0.02), (400, 0.02 * (1 - gain))]
    images = []
    for number, (scene, camera) in enumerate((s, c) for s in "ABC" for c in ("canon", "nikon")):
        for group in ("seen", "unseen"):
            error = level * (1 + 0.1 * number + 0.3 * (group == "unseen"))
            images.append(
                ScoredImage(
                    set=group,
                    scene=scene,
                    camera=camera,
                    rmse=error,
                    sam=error * 200,
                    mrae=error * 5,
                    mrae_no_epsilon=error * 6,
                    psnr=float(-20 * np.log10(error)),
                    ssim=1 - error,
                    ergas=error * 100,
                    stf_relative=0.1 if has_stf else None,
                    stf_shape=0.08 if has_stf else None,
                    stf_centre_nm=2.5 if has_stf else None,
                )
            )
    return RunRecord(
        case="rgb",
        method=method,
        seed=seed,
        knows="true response" if method in GIVEN_R else "nothing",
        steps=400 if trained else 0,
        fit_seconds=300.0 if trained else 1.5,
        predict_seconds_per_mpx=2.0,
        parameters=1_619_625 if trained else None,
        gmac={"mst++": 22.3, "pgunet": 4.1}.get(method, 30.0) if trained else None,
        peak_mb=120.0,
        batch=4,
        curve=tuple(
            CurvePoint(step=step, seconds=0.75 * step, rmse=rmse * LEVELS[method])
            for step, rmse in (curve if trained else [])
        ),
        images=tuple(images),
    )


def results_of(
    seeds: int = 3, *, gain: float = 0.001, unconverged: str = "awan"
) -> BenchmarkResults:
    """Results of all methods; one is still improving."""
    runs = [
        run_record(method, seed, gain=0.1 if method == unconverged else gain)
        for method in LEVELS
        for seed in range(seeds)
    ]
    return BenchmarkResults(facts=FACTS, runs=tuple(runs))


def write_results(results: BenchmarkResults, folder: Path) -> None:
    """The folder of a benchmark, with example images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).write_text(json.dumps(results.facts))
    for run in results.runs:
        path = folder / RUNS_FOLDER / run.case / run.method / f"{run.seed}.json"
        write_record(run, path)
        np.savez(path.with_suffix(".npz"), wavelength=NM, **_examples(run))


def _examples(run: RunRecord) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([run.seed, len(run.method)])
    y, x = np.mgrid[:24, :32] / 32
    shape = 0.2 + 0.15 * np.sin(NM[:, None, None] / 60 + 5 * x) + 0.2 * y
    sheet = np.exp(-0.5 * np.square((NM - np.array([[465], [533], [604]])) / 30))
    arrays = {}
    for group in ("unseen",):
        noise = 0.02 * LEVELS[run.method] * rng.normal(size=shape.shape)
        arrays[f"{group}/cube_true"] = shape.astype(np.float16)
        arrays[f"{group}/cube_estimate"] = (shape + noise).astype(np.float16)
        arrays[f"{group}/rows_sheet"] = sheet / sheet.sum(1, keepdims=True)
        arrays[f"{group}/rows_true"] = 1.1 * np.roll(arrays[f"{group}/rows_sheet"], 1, 1)
        if run.method.startswith("pgunet"):
            arrays[f"{group}/rows_estimate"] = 1.05 * arrays[f"{group}/rows_true"]
    return arrays
