"""A reconstruction written to files, tile by tile, so that a stopped run can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xarray as xr

from uavssr.errors import IncompleteRun, InputRefused
from uavssr.io.checks import block_cache
from uavssr.io.stf import stf_path, tiles_path, write_stf, write_tiles
from uavssr.io.writers import (
    Journal,
    TileRecord,
    check_free_space,
    check_output,
    remove_stale_parts,
    was_publishing,
)
from uavssr.reconstruction.allocator import freed_memory_reused
from uavssr.reconstruction.devices import torch_threads
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.output_products import OutputProducts
from uavssr.reconstruction.pipeline import (
    ThreadCounts,
    TileComputer,
    TilePass,
    stored_tiles_reported,
)
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import Product
from uavssr.reconstruction.provenance import identity, input_identity
from uavssr.reconstruction.tile_stf_pass import cube_engine, with_progress
from uavssr.tiling import Progress

STFS_IN_MEMORY: Final = 256
"""Tiles whose STFs are in memory at a time while the STF file is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The three files of every reconstruction."""

    cube: Path
    """The hyperspectral cube, or its coefficients."""
    stf: Path
    """The STFs of the scene and its tiles, netCDF."""
    tiles: Path
    """Polygons of the tiles with the scalars of their STFs, GeoPackage."""

    @classmethod
    def beside(cls, cube: Path) -> Outputs:
        """The names that go with a cube's."""
        return cls(cube=cube, stf=stf_path(cube), tiles=tiles_path(cube))

    def __iter__(self) -> Iterator[Path]:
        return iter((self.cube, self.stf, self.tiles))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run that holds the journal's lock and has a scene."""

    scene: FittedScene
    """The plan with the scene's STF."""
    output: OutputOptions
    """The files."""
    journal: Journal
    """Finished tiles."""
    threads: ThreadCounts
    """Threads, as many as the memory limit allows."""
    progress: Progress | None
    """Called with each finished tile."""


def write_files(
    plan: Plan,
    output: OutputOptions,
    *,
    fit: Callable[[], FittedScene],
    progress: Progress | None = None,
) -> Outputs:
    """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`.

    Each file appears under its name when it is complete and has been read back, the cube first.
    Until then a journal beside the cube holds the finished tiles.

    Args:
        plan: the plan.
        output: the files.
        fit: gives the scene's STF; called unless a journal has it.
        progress: called with each finished tile.

    Raises:
        UsageError: the options do not fit the format.
        OutputError: an output exists or is an input, another run writes the same cube, the run to
            resume had other settings, or the disk is full.
        InputRefused: the input cannot be read, or changed.
        IncompleteRun: tiles failed, which are named; the others are in the journal.
    """
    outputs = Outputs.beside(Path(output.cube))
    replaceable = output.overwrite or (output.resume and was_publishing(outputs.cube))
    for path in (outputs.stf, outputs.tiles):
        check_output(path, overwrite=replaceable, inputs=plan.inputs)
    products = OutputProducts.of(plan, output, overwrite=replaceable)
    budget = plan.memory_budget(products.pixel_bytes, error_maps=output.needs_error_maps)
    with (
        Journal(outputs.cube, resume=output.resume, overwrite=output.overwrite) as journal,
        block_cache(),
        freed_memory_reused(),
    ):
        if output.resume and not output.overwrite and not was_publishing(outputs.cube):
            for path in outputs:  # another run may have finished since the first look
                check_output(path, inputs=plan.inputs)
        for path in (*outputs, *output.extra_files):
            remove_stale_parts(path)
        needed_bytes = products.needed_bytes + max(budget.journal - journal.size, 0)
        check_free_space(outputs.cube, needed_bytes)
        run = _Run(
            scene=_scene(plan, journal, fit, error_maps=output.needs_error_maps),
            output=output,
            journal=journal,
            threads=budget.threads,
            progress=progress,
        )
        with stored_tiles_reported(journal, len(plan.tiles)), _journal_of_this_input(run):
            _write_products(run, products.for_scene(run.scene))
            _write_stfs(run, outputs, overwrite=replaceable)
        journal.clear()
    return outputs


def _scene(
    plan: Plan, journal: Journal, fit: Callable[[], FittedScene], *, error_maps: bool
) -> FittedScene:
    """The scene of the run to resume, or a new one, with which the journal begins."""
    settings = identity(plan, error_maps=error_maps)
    if journal.begun:
        journal.check(settings)
        return FittedScene.from_numbers(plan, journal.scene)
    scene = fit()
    journal.begin(settings, scene.stf.numbers())
    return scene


def _write_products(run: _Run, products: Sequence[Product]) -> None:
    plan, journal = run.scene.plan, run.journal
    with torch_threads(), ExitStack() as stack:
        engine = cube_engine(
            run.scene,
            journal,
            run.progress,
            error_maps=run.output.needs_error_maps,
            threads=run.threads,
        )
        for product in products:
            stack.enter_context(product.sink)
        computer: TileComputer = engine
        if plan.options.cluster is not None:
            computer = plan.options.cluster.tiles(run.scene, engine, maps=True)

        def deliver(record: TileRecord) -> None:
            for product in products:
                product.add(plan.tiles[record.index].core, record)

        TilePass(
            computer=computer,
            store=journal,
            kind="tile",
            deliver=with_progress(deliver, "writing the cube", run.progress, plan.tiles),
            threads=run.threads,
        ).run()
        _check_unchanged(run)
        journal.publish()
        for product in products:
            product.sink.finish()


def _write_stfs(run: _Run, outputs: Outputs, *, overwrite: bool) -> None:
    parts = _stf_datasets(run)
    first, inputs = next(parts), run.scene.plan.inputs
    write_stf(first, outputs.stf, further=parts, overwrite=overwrite, inputs=inputs)
    with xr.open_dataset(outputs.stf, engine="h5netcdf") as written:
        write_tiles(written, outputs.tiles, overwrite=overwrite, inputs=inputs)


def _stf_datasets(run: _Run) -> Iterator[xr.Dataset]:
    """The STFs of the tiles with valid pixels, `STFS_IN_MEMORY` tiles at a time."""
    indices = sorted(run.journal.finished("tile"))
    for start in range(0, len(indices), STFS_IN_MEMORY):
        records = []
        for index in indices[start : start + STFS_IN_MEMORY]:
            record = run.journal.load("tile", index, maps=False)
            if record is None:
                raise IncompleteRun(f"tile {index} was damaged after it had been written")
            records += [record] if record.stf else []
        if records:
            yield run.scene.stf_dataset(records)


def _check_unchanged(run: _Run) -> None:
    if not _is_unchanged(run):
        raise InputRefused(
            "changed while it was read",
            path=run.scene.plan.source.summary.paths[0],
            remedy="start again when nothing writes to it",
        )


def _is_unchanged(run: _Run) -> bool:
    current = input_identity(run.scene.plan.source.summary)
    return current.items() <= run.journal.identity.items()


@contextmanager
def _journal_of_this_input(run: _Run) -> Iterator[None]:
    """Clear the journal if the body fails because the input changed: no run could continue it."""
    try:
        yield
    except InputRefused:
        try:
            unchanged = _is_unchanged(run)
        except InputRefused:
            unchanged = False  # the input is gone
        if not unchanged:
            run.journal.clear()
        raise
