"""The pictures of a benchmark: learning curves, and example images of each case and set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from uavssr.benchmark.records import OURS, RUNS_FOLDER, BenchmarkResults, RunRecord
from uavssr.benchmark.summary import costs, flat_from, sets_of
from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, opened_arrays, read_array, why_unread
from uavssr.sensors import Float32Array, FloatArray
from uavssr.viz import (
    BandPanel,
    LearningCurve,
    MapPanel,
    MethodStyle,
    SpectrumPanel,
    draw_compared_spectra,
    draw_compared_stfs,
    draw_learning_curves,
    draw_maps,
    method_styles,
    value_range,
)

_MAX_EXAMPLE_BYTES: Final = 2**30
_SPECTRA: Final = 4
"""Pixels whose spectra are drawn."""
_COMPARED: Final = 4
"""Baselines whose spectra are drawn, those with the smallest error of the example."""


class Picture(NamedTuple):
    """A picture of the results."""

    name: str
    """Of its file."""
    caption: str
    case: str | None = None
    """The case that it belongs to; None for all."""
    set: str | None = None
    """The set of its example image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Example:
    """What a method made of the example image of a set."""

    nm: FloatArray
    """(C,)"""
    estimate: Float32Array
    """(C, y, x)"""
    truth: Float32Array
    rows: Float32Array | None
    """(c, C) the estimated STF."""
    true_rows: Float32Array | None
    sheet: Float32Array | None

    @property
    def error(self) -> Float32Array:
        """(y, x) RMSE over the bands."""
        return np.asarray(np.sqrt(np.square(self.estimate - self.truth).mean(0)), np.float32)


def write_pictures(results: BenchmarkResults, folder: Path) -> list[Picture]:
    """Draw all pictures into a folder, replacing earlier ones; packed results have curves alone.

    Raises:
        InputRefused: an example is damaged.
    """
    styles = method_styles(results.methods, results.ours)
    drawn = [*_learning_curves(results, folder, styles)]
    for case, title in results.cases.items():
        for group in sets_of(results, case):
            if examples := _examples(results, case, group):
                name, text = f"{case}_{_slug(group)}", f"{title}, {group}"
                pictures = _draw_examples(examples, folder, name, text, styles)
                drawn += [picture._replace(case=case, set=group) for picture in pictures]
    return drawn


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text)


def _learning_curves(
    results: BenchmarkResults, folder: Path, styles: Mapping[str, MethodStyle]
) -> Iterator[Picture]:
    panels: dict[str, list[LearningCurve]] = {}
    for case, title in results.cases.items():
        converged = [row.method for row in costs(results, case) if row.converged]
        for run in results.of(case):
            if run.curve and ", " not in run.method:  # variants share the training
                curve = _curve(run, is_flat=run.method in converged)
                panels.setdefault(title, []).append(curve)
    if panels:
        draw_learning_curves(panels, folder / "learning_curves.png", styles=styles)
        caption = "Validation RMSE against training time; a dot is where a curve becomes flat"
        yield Picture("learning_curves.png", caption)


def _curve(run: RunRecord, *, is_flat: bool) -> LearningCurve:
    points = [(point.seconds, point.rmse) for point in run.curve]
    seconds, rmse = np.array(points).T
    flat = run.curve.index(flat_from(run.curve)) if is_flat else None
    return LearningCurve(run.method, seconds, rmse, flat)


def _examples(results: BenchmarkResults, case: str, group: str) -> dict[str, _Example]:
    """The example image of a set by method, of each method's first seed, where it is the same."""
    found: dict[str, _Example] = {}
    for method in results.methods if results.folder else ():
        for run in results.of(case, method)[:1]:
            path = (results.folder or Path()) / RUNS_FOLDER / case / method / f"{run.seed}.npz"
            example = _read_example(path, group) if path.is_file() else None
            first = next(iter(found.values()), example)
            if example and first and np.array_equal(example.truth, first.truth):
                found[method] = example
    return found


def _read_example(path: Path, group: str) -> _Example | None:
    try:
        with open_regular(path) as file, opened_arrays(file, _MAX_EXAMPLE_BYTES) as archive:
            names = archive.namelist()
            if f"{group}/cube_estimate.npy" not in names:
                return None

            def array(name: str) -> Float32Array:
                return np.asarray(read_array(archive, f"{group}/{name}"), np.float32)

            def optional(name: str) -> Float32Array | None:
                return array(name) if f"{group}/{name}.npy" in names else None

            return _Example(
                nm=read_array(archive, "wavelength").astype(float),
                estimate=array("cube_estimate"),
                truth=array("cube_true"),
                rows=optional("rows_estimate"),
                true_rows=optional("rows_true"),
                sheet=optional("rows_sheet"),
            )
    except (OSError, ValueError) as err:
        raise InputRefused(why_unread(err, path), path=path) from err


def _draw_examples(
    examples: Mapping[str, _Example],
    folder: Path,
    name: str,
    text: str,
    styles: Mapping[str, MethodStyle],
) -> Iterator[Picture]:
    shown = {method: example.error for method, example in examples.items()}
    if min(next(iter(shown.values())).shape) > 1:  # not a row of plots
        path = folder / f"error_maps_{name}.png"
        draw_maps(_maps(shown), path, title=f"RMSE over all bands: {text}", overwrite=True)
        yield Picture(path.name, f"Errors of the example image: {text}")
    nm = next(iter(examples.values())).nm
    panels = _spectra(examples)
    path = folder / f"spectra_{name}.png"
    draw_compared_spectra(panels, nm, path, title=f"Spectra of the example: {text}", styles=styles)
    yield Picture(path.name, f"Spectra of four pixels of the example image: {text}")
    if bands := _bands(examples):
        path = folder / f"stf_{name}.png"
        draw_compared_stfs(bands, nm, path, title=f"STF of the example: {text}", styles=styles)
        yield Picture(path.name, f"STF of the example image against the truth: {text}")


def _maps(errors: Mapping[str, Float32Array]) -> list[MapPanel]:
    """Maps of errors on one scale."""
    limits = value_range(np.concatenate([e.ravel() for e in errors.values()]), is_error=True)
    return [
        MapPanel(f"{method}: {np.sqrt(np.square(error).mean()):.4f}", error, True, limits)
        for method, error in errors.items()
    ]


def _spectra(examples: Mapping[str, _Example]) -> list[SpectrumPanel]:
    """Four pixels of different spectra, as ours and the best baselines see them."""
    first = next(iter(examples.values()))
    errors = {method: float(np.square(e.error).mean()) for method, e in examples.items()}
    own = sorted((m for m in errors if m.startswith(OURS)), key=lambda m: m != OURS)
    others = sorted((m for m in errors if m not in own), key=errors.__getitem__)
    chosen = [*reversed(others[:_COMPARED]), *own[:1]]
    panels = []
    for y, x in _different_pixels(first.truth, _SPECTRA):
        panels.append(
            SpectrumPanel(
                f"row {y}, column {x}",
                first.truth[:, y, x],
                {method: examples[method].estimate[:, y, x] for method in chosen},
            )
        )
    return panels


def _different_pixels(cube: Float32Array, count: int) -> list[tuple[int, int]]:
    """Pixels whose spectra differ most: each the farthest from all before."""
    spectra = cube.reshape(len(cube), -1)
    distance = np.linalg.norm(spectra - np.median(spectra, 1, keepdims=True), axis=0)
    chosen = [int(np.argsort(distance)[len(distance) // 2])]
    distance = np.full(distance.shape, np.inf)
    for _ in range(min(count, spectra.shape[1]) - 1):
        last = spectra[:, chosen[-1]]
        distance = np.minimum(distance, np.linalg.norm(spectra - last[:, None], axis=0))
        chosen.append(int(distance.argmax()))
    rows, columns = np.unravel_index(chosen, cube.shape[1:])
    return [(int(y), int(x)) for y, x in zip(rows, columns, strict=True)]


def _bands(examples: Mapping[str, _Example]) -> list[BandPanel]:
    """The bands of the camera, with the methods that estimate an STF."""
    estimated = {m: e.rows for m, e in examples.items() if e.rows is not None}
    first = next(iter(examples.values()))
    if not estimated or first.sheet is None:
        return []
    centres = first.sheet @ first.nm / first.sheet.sum(1)
    return [
        BandPanel(
            f"band at {centre:.0f} nm",
            None if first.true_rows is None else first.true_rows[k],
            first.sheet[k],
            {method: rows[k] for method, rows in estimated.items()},
        )
        for k, centre in enumerate(centres)
    ]
