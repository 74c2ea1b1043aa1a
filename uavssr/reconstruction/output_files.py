"""A reconstruction written to files, tile by tile, so that a stopped run can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from uavssr.errors import BadVerdict, IncompleteRun, InputRefused
from uavssr.io.stf import (
    StfArrays,
    stf_path,
    tiles_path,
    write_stf,
    write_tiles,
)
from uavssr.io.writers import (
    Journal,
    PublishedFiles,
    TileRecord,
    check_free_space,
    check_names,
    check_output,
    output_locked,
)
from uavssr.reconstruction.devices import torch_threads
from uavssr.reconstruction.finished_run import RUN_TAG, finished_verdict, run_digest
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.memory_budget import memory_budget
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.pipeline import ThreadCounts, stored_tiles_reported
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import OutputWriters, Product
from uavssr.reconstruction.provenance import identity, input_identity
from uavssr.reconstruction.styles import write_styles
from uavssr.reconstruction.verdict import PixelCounts, RunVerdict
from uavssr.tiling import Progress

STFS_IN_MEMORY: Final = 256
"""Tiles whose STFs are in memory at a time while the STF file is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of every reconstruction."""

    cube: Path
    """The hyperspectral cube, or its coefficients."""
    stf: Path
    """The STFs of the scene and its tiles, netCDF."""
    tiles: Path | None
    """Polygons of the tiles with the scalars of their STFs, GeoPackage; None if not wanted."""
    verdict: RunVerdict | None = None
    """What the run says of its pixels; None before the run."""

    @classmethod
    def beside(cls, cube: Path, *, tile_stf: bool = True) -> Outputs:
        """The names that go with a cube's, that of the tiles if their own STFs are wanted."""
        return cls(cube=cube, stf=stf_path(cube), tiles=tiles_path(cube) if tile_stf else None)

    @property
    def stfs(self) -> tuple[Path, ...]:
        """The files of STFs."""
        return (self.stf,) if self.tiles is None else (self.stf, self.tiles)

    def __iter__(self) -> Iterator[Path]:
        return iter((self.cube, *self.stfs))


def write_files(
    plan: Plan, output: OutputOptions, *, fit: Callable[[], FittedScene], progress: Progress | None
) -> Outputs:
    """Write the cube, `<stem>.stf.nc`, `<stem>.tiles.gpkg`, and QGIS styles.

    Each file appears under its name when it is complete and has been read back, the cube first.
    Until then a journal beside the cube holds the finished tiles. `fit` is called unless a journal
    has the scene's STF. To resume a run that finished writes nothing.

    Raises:
        UsageError: the options do not fit the format.
        OutputExists: an output exists, and may not be replaced.
        OutputError: an output is an input, another run writes the same cube, the run to
            resume had other settings, or the disk is full.
        InputRefused: the input cannot be read, or changed.
        IncompleteRun: tiles failed, which are named; the others are in the journal.
        BadVerdict: something is odd, and `output.strict` is set; all tiles are in the journal.
    """
    outputs = finished_outputs(plan, output)
    if outputs is not None:
        return outputs
    outputs = _named(plan, output)
    replaceable = PublishedFiles(
        cube=outputs.cube, overwrite=output.overwrite, resume=output.resume
    )
    beside = (*outputs.stfs, *output.extra_files, *output.style_files)
    check_names([outputs.cube, *beside])
    for path in (*outputs.stfs, *output.style_files):
        check_output(path, overwrite=replaceable, inputs=plan.inputs)
    writers = OutputWriters.of(plan, output, overwrite=replaceable)
    error_maps = bool(output.extra_files)
    budget = memory_budget(plan, writers.pixel_bytes, error_maps=error_maps)
    with (
        ExitStack() as locks,
        Journal(outputs.cube, resume=output.resume, overwrite=output.overwrite) as journal,
    ):
        for path in beside:
            locks.enter_context(output_locked(path))
        for path in (outputs.cube, *beside):
            # Another run may have finished since the first look.
            check_output(path, overwrite=replaceable, inputs=plan.inputs)
        needed_bytes = sum(writer.needed_bytes for writer in writers)
        check_free_space(outputs.cube, needed_bytes + max(budget.journal - journal.size, 0))
        scene = _scene(plan, journal, fit, error_maps=error_maps)
        with stored_tiles_reported(journal, len(plan.tiles)), _cleared_if_changed(plan, journal):
            verdict = _write_products(
                scene,
                journal,
                writers.products(scene),
                output=output,
                threads=budget.threads,
                progress=progress,
            )
            outputs = replace(outputs, verdict=verdict)
            _write_stfs(scene, journal, output, outputs, replaceable)
            write_styles(output, overwrite=replaceable, inputs=plan.inputs)
        journal.clear()
    return outputs


def finished_outputs(plan: Plan, output: OutputOptions) -> Outputs | None:
    """The outputs with `--resume`, if a run of the very same command has finished them.

    Raises:
        BadVerdict: it has, its verdict was odd, and `output.strict` is set.
    """
    outputs = _named(plan, output)
    verdict = finished_verdict(plan, output, outputs) if output.resume else None
    if verdict is None:
        return None
    _refuse_odd(
        verdict, output, "its files were written without --strict; to accept it, leave it out"
    )
    return replace(outputs, verdict=verdict)


def _named(plan: Plan, output: OutputOptions) -> Outputs:
    return Outputs.beside(Path(output.cube), tile_stf=plan.options.tile_stf == "on")


def _refuse_odd(verdict: RunVerdict, output: OutputOptions, remedy: str) -> None:
    if output.strict and verdict.odd:
        raise BadVerdict("; ".join(verdict.odd), path=output.cube, remedy=remedy)


def _scene(
    plan: Plan, journal: Journal, fit: Callable[[], FittedScene], *, error_maps: bool
) -> FittedScene:
    """The scene of the run to resume, or a new one, with which the journal begins."""
    settings = identity(plan, error_maps=error_maps)
    if journal.begun:
        journal.check(settings)
        return FittedScene.from_numbers(plan, journal.scene)
    scene = fit()
    journal.begin(settings, scene.numbers())
    return scene


def _write_products(
    scene: FittedScene,
    journal: Journal,
    products: Sequence[Product],
    *,
    output: OutputOptions,
    threads: ThreadCounts,
    progress: Progress | None,
) -> RunVerdict:
    plan, counts = scene.plan, PixelCounts()

    def deliver(record: TileRecord) -> None:
        core = plan.tiles[record.index].core
        counts.add(record, clipped=sum(product.add(core, record) for product in products))
        plan.tile_done(progress, "writing the cube", record.index)

    with torch_threads(), ExitStack() as stack:
        error_maps = bool(output.extra_files)
        engine = scene.cube_engine(journal, progress, error_maps=error_maps, threads=threads)
        for product in products:
            stack.enter_context(product.sink)
        scene.run_pass(engine, journal, "tile", deliver, threads)
        if not _is_unchanged(plan, journal):
            raise InputRefused(
                "changed while it was read",
                path=plan.source.summary.paths[0],
                remedy="start again when nothing writes to it",
            )
        verdict = counts.verdict(scene.prior_driven_bands)
        remedy = "no file is written; to accept it, give --resume in place of --strict"
        _refuse_odd(verdict, output, remedy)
        for product in products:
            product.sink.finish()
    return verdict


def _write_stfs(
    scene: FittedScene,
    journal: Journal,
    output: OutputOptions,
    outputs: Outputs,
    overwrite: PublishedFiles,
) -> None:
    without_curves: list[StfArrays] = []  # for the map, which is written at once

    def noted(part: StfArrays) -> StfArrays:
        without_curves.append(part.without_curves())
        return part

    without_tiles = iter([scene.stf_arrays()])
    stfs = without_tiles if outputs.tiles is None else _stf_arrays(scene, journal)
    parts = map(noted, stfs)
    first, inputs = next(parts), scene.plan.inputs
    first.attrs[RUN_TAG] = run_digest(scene.plan, output)
    if outputs.verdict is not None:
        first.attrs.update(outputs.verdict.tags())
    write_stf(first, outputs.stf, further=parts, overwrite=overwrite, inputs=inputs)
    if outputs.tiles is not None:
        first, *further = without_curves
        write_tiles(first, outputs.tiles, further=further, overwrite=overwrite, inputs=inputs)


def _stf_arrays(scene: FittedScene, journal: Journal) -> Iterator[StfArrays]:
    """The STFs of the tiles with valid pixels, `STFS_IN_MEMORY` tiles at a time."""
    indices = sorted(journal.finished("tile"))
    for start in range(0, len(indices), STFS_IN_MEMORY):
        records = []
        for index in indices[start : start + STFS_IN_MEMORY]:
            record = journal.load("tile", index, maps=False)
            if record is None:
                raise IncompleteRun(f"tile {index} was damaged after it had been written")
            records += [record] if record.stf else []
        if records:
            yield scene.stf_arrays(records)


def _is_unchanged(plan: Plan, journal: Journal) -> bool:
    return input_identity(plan.source.summary).items() <= journal.identity.items()


@contextmanager
def _cleared_if_changed(plan: Plan, journal: Journal) -> Iterator[None]:
    """Clear the journal if the body fails because the input changed: no run could continue it."""
    try:
        yield
    except InputRefused:
        with suppress(InputRefused):  # the input was moved away: it may come back
            if not _is_unchanged(plan, journal):
                journal.clear()
        raise
