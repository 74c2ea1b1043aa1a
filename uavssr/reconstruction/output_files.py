"""A reconstruction written to files, tile by tile, so that whatever stops it can be gone on from.

Must not know how a tile is computed, or how a file is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from uavssr.errors import IncompleteRun, InputRefused
from uavssr.io.checks import block_cache
from uavssr.io.hsi import CubeBasis
from uavssr.io.stf import stf_path, tiles_path, write_stf, write_tiles
from uavssr.io.writers import (
    CubeDtype,
    CubeTarget,
    Journal,
    QualityWriter,
    Target,
    TileRecord,
    check_output,
    check_room,
    cube_bytes,
    open_writer,
    remove_stale_parts,
    was_publishing,
)
from uavssr.model import ResponseFamily
from uavssr.reconstruction.allocator import memory_kept
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorRender, render_flags
from uavssr.reconstruction.options import BLOCK, OutputOptions
from uavssr.reconstruction.pipeline import ThreadCounts, TileComputer, TilePass, noting_kept_tiles
from uavssr.reconstruction.plan import THREADS, Preparation
from uavssr.reconstruction.products import CubeRender, Product, TileReceiver
from uavssr.reconstruction.provenance import identity, input_identity
from uavssr.reconstruction.tile_engine import COEFFICIENTS, TileEngine, torch_threads
from uavssr.reconstruction.tile_record import FittedStf
from uavssr.tiling import Progress

SLAB = 256
"""Tiles whose STFs are in memory at a time while they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files of one reconstruction."""

    cube: Path
    """The hyperspectral cube, or its coefficients."""
    stf: Path
    """The STF of the scene and its tiles, netCDF."""
    tiles: Path
    """Tile polygons with the scalars, GeoPackage."""

    @classmethod
    def beside(cls, cube: Path) -> Outputs:
        """The names that go with a cube."""
        return cls(cube=cube, stf=stf_path(cube), tiles=tiles_path(cube))

    def __iter__(self) -> Iterator[Path]:
        return iter((self.cube, self.stf, self.tiles))


def stored_numbers(plan: Preparation, output: OutputOptions) -> int:
    """Numbers that are stored for each pixel: wavelengths or coefficients."""
    if output.cube_format == "coefficients":
        return plan.basis.rank
    return _wavelength_count(plan, output)


def output_bytes(plan: Preparation, output: OutputOptions) -> int:
    """Most bytes of the cube, its standard errors and its flags together."""
    size = plan.msi.height, plan.msi.width
    total = cube_bytes(*size, stored_numbers(plan, output), dtype=_stored_dtype(output))
    if output.uncertainty is not None:
        total += cube_bytes(*size, _wavelength_count(plan, output), dtype=output.dtype)
    return total + (cube_bytes(*size, 1) if output.quality is not None else 0)


def pixel_bytes(plan: Preparation, output: OutputOptions) -> int:
    """Bytes of one pixel while it is written, in the larger of cube and standard errors."""
    cube = stored_numbers(plan, output) * np.dtype(_stored_dtype(output)).itemsize
    if output.uncertainty is None:
        return cube
    return max(cube, _wavelength_count(plan, output) * (np.dtype(output.dtype).itemsize + 4))


def _wavelength_count(plan: Preparation, output: OutputOptions) -> int:
    indices = output.wavelength_indices(plan.model.grid)
    return len(plan.model.grid) if indices is None else len(indices)


def _stored_dtype(output: OutputOptions) -> CubeDtype:
    return "float32" if output.cube_format == "coefficients" else output.dtype


def write_files(
    plan: Preparation, options: OutputOptions, *, progress: Progress | None = None
) -> Outputs:
    """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`.

    Each name appears when its file is complete and has been read back, the cube's first. Until then
    finished tiles are kept in a journal beside the cube.

    Args:
        plan: what to reconstruct.
        options: the files.
        progress: told of every tile.

    Raises:
        UsageError: the options do not fit the format.
        OutputError: something stands in the way, another run is writing the same, the run to resume
            is another one, or the disk is full.
        InputRefused: the input cannot be read, or changed.
        IncompleteRun: tiles failed, which are named; the others are kept.
    """
    outputs = Outputs.beside(Path(options.cube))
    overwrite, resume = options.overwrite, options.resume
    replaceable = overwrite or (resume and was_publishing(outputs.cube))
    for target in (outputs.stf, outputs.tiles):
        check_output(target, overwrite=replaceable, inputs=plan.inputs)
    plan = with_doubts(plan, options)
    budget = plan.budget(pixel_bytes(plan, options))
    cube = cube_product(plan, options, overwrite=replaceable)
    doubts = list(_doubt_sinks(plan, options, overwrite=replaceable))
    with (
        Journal(outputs.cube, resume=resume, overwrite=overwrite) as journal,
        block_cache(),
        memory_kept(),
    ):
        if resume and not overwrite and not was_publishing(outputs.cube):
            for target in outputs:  # another run may have finished since the first look
                check_output(target, inputs=plan.inputs)
        for target in (*outputs, *options.extra_files):
            remove_stale_parts(target)
        needed = sum(product.sink.needed_bytes for product in (cube, *doubts))
        check_room(outputs.cube, needed + max(budget.journal - journal.size, 0))
        begun = _begun(plan, journal)
        products = [cube, *(_rendered(begun, options, product) for product in doubts)]
        with noting_kept_tiles(journal, len(plan.tiles)), _forgetting_a_change(plan, journal):
            _write_products(begun, journal, products, budget.crew, progress)
            _write_stfs(begun, journal, outputs, overwrite=replaceable)
        journal.clear()
    return outputs


def with_doubts(plan: Preparation, options: OutputOptions) -> Preparation:
    """The plan as the options need it: tiles keep twice as much for standard errors or flags."""
    return replace(plan, doubted=True) if options.extra_files else plan


def cube_product(
    plan: Preparation,
    options: OutputOptions,
    *,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Product:
    """The cube, or the coefficients it is made of; of another size (rows, columns) for a trial."""
    height, width = size or (plan.msi.height, plan.msi.width)
    basis, indices = plan.basis, options.wavelength_indices(plan.model.grid)
    target = CubeTarget(
        path=Path(options.cube),
        format=options.cube_format,
        height=height,
        width=width,
        grid=plan.model.grid,
        crs_wkt=plan.msi.crs_wkt,
        transform=plan.msi.transform,
        dtype=options.dtype,
        block=min(plan.settings.tile, BLOCK),
        overwrite=overwrite,
        creation_options=options.creation_options or {},
        tags=plan.provenance,
        inputs=plan.inputs,
        basis=CubeBasis(
            grid=plan.model.grid,
            mean=basis.mean.cpu().numpy(),
            components=basis.components.cpu().numpy(),
            sha256=plan.model.sha256,
        ),
        wavelengths=indices,
    )
    sink = open_writer(target)
    render = CubeRender(basis=basis, dtype=options.dtype, bands=indices)
    return Product(maps=COEFFICIENTS, sink=sink, render=render if sink.takes == "cube" else None)


def _doubt_sinks(
    plan: Preparation, options: OutputOptions, *, overwrite: bool
) -> Iterator[Product]:
    """The standard errors and the flags, those that are wanted; what renders them comes later."""
    if options.uncertainty is not None:
        as_cube = "gtiff" if options.cube_format == "coefficients" else options.cube_format
        chosen = replace(options, cube=options.uncertainty, format=as_cube)
        product = cube_product(plan, chosen, overwrite=overwrite)
        yield replace(product, maps=ERROR_MAPS, render=None)
    if options.quality is not None:
        target = Target(
            path=Path(options.quality),
            height=plan.msi.height,
            width=plan.msi.width,
            crs_wkt=plan.msi.crs_wkt,
            transform=plan.msi.transform,
            dtype="uint16",
            block=min(plan.settings.tile, BLOCK),
            overwrite=overwrite,
            inputs=plan.inputs,
            tags=plan.provenance,
        )
        sink = QualityWriter(target)
        yield Product(maps=ERROR_MAPS, sink=sink, render=render_flags)


def _rendered(plan: Preparation, options: OutputOptions, product: Product) -> Product:
    """Standard errors need the scene's STF, which a resumed run has from its journal."""
    if product.render is not None:
        return product
    render = ErrorRender(
        uncertainty=plan.doubts.uncertainty,
        dtype=options.dtype,
        bands=options.wavelength_indices(plan.model.grid),
    )
    return replace(product, render=render)


def _begun(plan: Preparation, journal: Journal) -> Preparation:
    """The plan with the scene's STF that the journal holds, from now on or from before."""
    now = identity(plan.msi, plan.model, plan.settings, doubted=plan.doubted)
    if not journal.begun:
        journal.begin(now, plan.found.numbers())
        return plan
    journal.check(now)
    family = ResponseFamily.of(plan.msi.sensor, plan.model.grid).to(plan.device)
    return replace(plan, known=FittedStf.of(journal.scene, family))


def _write_products(
    plan: Preparation,
    journal: Journal,
    products: Sequence[Product],
    crew: ThreadCounts,
    progress: Progress | None,
) -> None:
    tiles = plan.tiles

    def add(record: TileRecord) -> None:
        for receiver in receivers:
            receiver.add(tiles[record.index].core, record)

    with torch_threads(THREADS), ExitStack() as stack:
        engine = plan.localised(journal, progress, crew=crew)
        for product in products:
            stack.enter_context(product.sink)
        computer, receivers = _at_work(plan, engine, products)
        TilePass(
            computer=computer,
            keeper=journal,
            kind="tile",
            deliver=plan.tracked("writing the cube", progress, add),
            crew=crew,
        ).run()
        _check_unchanged(plan, journal)
        journal.publish()
        for product in products:
            product.sink.finish()


def _at_work(
    plan: Preparation, engine: TileEngine, products: Sequence[Product]
) -> tuple[TileComputer, Sequence[TileReceiver]]:
    if plan.farm is None:
        return engine, products
    return plan.farm.tiles(plan, engine, products)


def _write_stfs(plan: Preparation, journal: Journal, outputs: Outputs, *, overwrite: bool) -> None:
    slabs = _stf_slabs(plan, journal)
    first, inputs = next(slabs), plan.inputs
    write_stf(first, outputs.stf, further=slabs, overwrite=overwrite, inputs=inputs)
    with xr.open_dataset(outputs.stf, engine="h5netcdf") as found:
        write_tiles(found, outputs.tiles, overwrite=overwrite, inputs=inputs)


def _stf_slabs(plan: Preparation, journal: Journal) -> Iterator[xr.Dataset]:
    """The STFs of the tiles that have one, some hundred at a time: together they may be large."""
    indices = sorted(journal.finished("tile"))
    for start in range(0, len(indices), SLAB):
        records = []
        for index in indices[start : start + SLAB]:
            record = journal.load("tile", index, maps=False)
            if record is None:
                raise IncompleteRun(f"tile {index} was damaged after it had been written")
            records += [record] if record.stf else []
        if records:
            yield plan.stf_dataset(records)


def _check_unchanged(plan: Preparation, journal: Journal) -> None:
    if not _unchanged(plan, journal):
        raise InputRefused(
            "changed while it was read",
            path=plan.msi.summary.paths[0],
            remedy="start again when nothing writes to it",
        )


def _unchanged(plan: Preparation, journal: Journal) -> bool:
    return input_identity(plan.msi.summary).items() <= journal.identity.items()


@contextmanager
def _forgetting_a_change(plan: Preparation, journal: Journal) -> Iterator[None]:
    """Clear the journal of an image that is no longer what it was: nothing could go on with it."""
    try:
        yield
    except InputRefused:
        try:
            same = _unchanged(plan, journal)
        except InputRefused:
            same = False  # it is gone
        if not same:
            journal.clear()
        raise
