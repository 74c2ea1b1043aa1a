"""Records of the runs of a benchmark, and their files: one folder, or one packed file.

A run is a case, a method and a seed. The folder of a benchmark holds `benchmark.json` (its facts),
`runs/CASE/METHOD/SEED.json` (a record each), and beside each an `.npz` with example images. The
packed file holds facts and records, without images and with five digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.evaluation.baselines import CameraKnowledge, CurvePoint
from uavssr.io.bounded import parse_json, read_bytes, why_unread
from uavssr.io.writers import replacing

FACTS_FILE: Final = "benchmark.json"
RUNS_FOLDER: Final = "runs"
MAX_RECORD_BYTES: Final = 2**25
"""Largest file of records, in bytes."""
OURS: Final = "pgunet"
"""Our method; names that begin with it are of its variants."""
_DIGITS: Final = 5
"""Significant digits of packed numbers."""
_LABELS: Final = ("set", "scene", "camera")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImage:
    """Errors of a method on one image; None where a metric does not apply."""

    set: str
    """Set of images, e.g. of seen or unseen cameras."""
    scene: str
    camera: str
    rmse: float
    """In reflectance."""
    sam: float
    """Mean spectral angle in degrees."""
    mrae: float | None = None
    """Mean relative absolute error, with the smallest denominator `MRAE_EPSILON`."""
    mrae_no_epsilon: float | None = None
    """The same without a smallest denominator, as in NTIRE 2022."""
    psnr: float | None = None
    """In dB."""
    ssim: float | None = None
    ergas: float | None = None
    stf_relative: float | None = None
    """|R - R_true| / |R_true| (Frobenius norms); None where the method estimates no STF."""
    stf_shape: float | None = None
    """The same after the best factor per band."""
    stf_centre_nm: float | None = None
    """Mean absolute error of the bands' centroids in nm."""
    coverage: float | None = None
    """Share of bands and pixels within the nominal 90 % interval; None without standard errors."""


METRICS: Final = tuple(f.name for f in fields(ScoredImage) if f.name not in _LABELS)
"""Names of the errors of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The result of one run: a case, a method and a seed."""

    case: str
    method: str
    seed: int
    knows: CameraKnowledge
    steps: int
    """Training steps; 0 for a closed form."""
    fit_seconds: float
    """Processor time of fitting."""
    predict_seconds_per_mpx: float
    """Seconds to predict a million pixels."""
    parameters: int | None = None
    """Learned numbers; None for a closed form."""
    gmac: float | None = None
    """Multiply-adds of an image of 256 x 256 pixels, in 1e9; None for a closed form."""
    peak_mb: float | None = None
    """Peak memory of a prediction, in MB."""
    batch: int = 0
    """Patches of a training step."""
    curve: tuple[CurvePoint, ...] = ()
    """The learning curve; empty for a closed form."""
    images: tuple[ScoredImage, ...] = ()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunRecord:
        """A record of plain values, as `asdict` makes them; other keys are left out.

        Raises:
            ValueError: it lacks something, or a part is of another kind.
        """
        try:
            values = {f.name: content[f.name] for f in fields(cls) if f.name in content}
            values["curve"] = tuple(CurvePoint(**point) for point in content["curve"])
            values["images"] = tuple(ScoredImage(**image) for image in content["images"])
            return cls(**values)
        except (KeyError, TypeError) as err:
            raise ValueError(f"is no record of a run ({err})") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResults:
    """All records of a benchmark."""

    facts: Mapping[str, Any]
    """Protocol, data, machine, budget, command, versions; titles of the cases by name (`cases`)."""
    runs: tuple[RunRecord, ...]
    folder: Path | None = None
    """Where the example images are; None for a packed file."""

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.facts["protocol"])

    @property
    def cases(self) -> dict[str, str]:
        """Titles of the cases that have runs, by name."""
        titles = self.facts.get("cases", {})
        return {run.case: titles.get(run.case, run.case) for run in self.runs}

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that have runs: in the order of the facts (`methods`), then of their names.

        A variant, "METHOD, VARIANT", comes after its method.
        """
        order = list(self.facts.get("methods", ()))

        def place(name: str) -> tuple[int, str]:
            method = name.partition(", ")[0]
            return order.index(method) if method in order else len(order), name

        return tuple(sorted({run.method for run in self.runs}, key=place))

    @property
    def ours(self) -> str:
        """The method that others are compared with: `OURS`, or else its first variant."""
        own = [name for name in self.methods if name.startswith(OURS)]
        return OURS if OURS in own or not own else own[0]

    def of(self, case: str, method: str | None = None) -> list[RunRecord]:
        """Runs of a case, of one method or all, by method and seed."""
        chosen = [run for run in self.runs if run.case == case and method in (None, run.method)]
        return sorted(chosen, key=lambda run: (self.methods.index(run.method), run.seed))


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as part:
        part.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def read_record(path: Path) -> RunRecord:
    """The record of a run.

    Raises:
        InputRefused: the file is damaged; removed, it is made again by the command.
    """
    try:
        return RunRecord.from_dict(_read(path))
    except ValueError as err:
        raise InputRefused(
            str(err), path=path, remedy="remove it and give the benchmark's command again"
        ) from err


def read_results(path: Path) -> BenchmarkResults:
    """The results in the folder of a benchmark, or in a packed file.

    Raises:
        InputRefused: it holds none, or a file is damaged.
    """
    if path.is_file():
        return _unpacked(path)
    if not (path / FACTS_FILE).is_file():
        raise InputRefused(
            f"is no folder of a benchmark: it has no {FACTS_FILE}",
            path=path,
            remedy="name the --out of uavssr benchmark",
        )
    records = [read_record(file) for file in sorted((path / RUNS_FOLDER).glob("*/*/*.json"))]
    runs = _merged_runs(records)
    return BenchmarkResults(facts=_read(path / FACTS_FILE), runs=tuple(runs), folder=path)


def _merged_runs(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs with those of one method, seed and table as one: images of all, means of the rest.

    These are of cases that share a table, such as one flight after the other held out.
    """
    groups: dict[tuple[str, str, int], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.case, run.method, run.seed), []).append(run)
    return [_merged(group) if group[1:] else group[0] for group in groups.values()]


def _merged(runs: Sequence[RunRecord]) -> RunRecord:
    def mean(name: str, parts: Sequence[RunRecord | CurvePoint] = runs) -> float:
        return float(np.mean([getattr(part, name) for part in parts]))

    points = zip(*(run.curve for run in runs), strict=False)
    return replace(
        runs[0],
        steps=round(mean("steps")),
        fit_seconds=mean("fit_seconds"),
        predict_seconds_per_mpx=mean("predict_seconds_per_mpx"),
        peak_mb=max((run.peak_mb for run in runs if run.peak_mb is not None), default=None),
        curve=tuple(
            CurvePoint(
                step=round(mean("step", same)),
                seconds=mean("seconds", same),
                rmse=mean("rmse", same),
            )
            for same in points
        ),
        images=tuple(image for run in runs for image in run.images),
    )


def pack_results(results: BenchmarkResults, path: Path) -> None:
    """Write facts and records into one small JSON file, one line a run."""
    runs = "\n,".join(json.dumps(_packed(run), separators=(",", ":")) for run in results.runs)
    text = f'{{"facts":{json.dumps(dict(results.facts))},\n"runs":[{runs}\n]}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")


def _packed(run: RunRecord) -> dict[str, Any]:
    """A run with its images as columns."""
    content = _rounded(asdict(run))
    columns = [f.name for f in fields(ScoredImage)]
    content["images"] = {name: [image[name] for image in content["images"]] for name in columns}
    content["images"] |= {name: _indexed(content["images"][name]) for name in _LABELS}
    absent = [name for name in METRICS if not any(map(_is_number, content["images"][name]))]
    return content | {
        "images": {name: v for name, v in content["images"].items() if name not in absent}
    }


def _indexed(labels: Sequence[str]) -> dict[str, Any]:
    """Labels as the distinct ones and the number of each: {"names": [...], "at": [...]}."""
    names = list(dict.fromkeys(labels))
    return {"names": names, "at": [names.index(label) for label in labels]}


def _is_number(value: object) -> bool:
    return value is not None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _unpacked(path: Path) -> BenchmarkResults:
    try:
        content = _read(path)
        runs = [
            RunRecord.from_dict(run | {"images": _rows(run["images"])}) for run in content["runs"]
        ]
        return BenchmarkResults(facts=dict(content["facts"]), runs=tuple(runs))
    except (KeyError, TypeError, IndexError, ValueError) as err:
        raise InputRefused(f"is no packed benchmark ({err})", path=path) from err


def _rows(columns: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    lists = {
        name: [column["names"][k] for k in column["at"]] if name in _LABELS else column
        for name, column in columns.items()
    }
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path, MAX_RECORD_BYTES))
    except (OSError, ValueError) as err:
        raise InputRefused(why_unread(err, path), path=path) from err
    if not isinstance(content, dict):
        raise InputRefused("is not a JSON object", path=path)
    return content
