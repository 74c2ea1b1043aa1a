"""A reconstruction written to files, tile by tile, so that whatever stops it can be gone on from.

Must not know how a tile is computed, or how a file is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    Format,
    Journal,
    QualityWriter,
    Target,
    TileRecord,
    check_format,
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
from uavssr.reconstruction.pipeline import ThreadCounts, TileComputer, TilePass, noting_kept_tiles
from uavssr.reconstruction.plan import THREADS, Preparation
from uavssr.reconstruction.products import CubeRender, Product, TileReceiver
from uavssr.reconstruction.provenance import BLOCK, identity, input_identity
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How the cube is stored; nothing here changes what is computed or kept."""

    format: Format = "gtiff"
    """Of the cube."""
    dtype: CubeDtype = "uint16"
    """Counts of 0.0001 reflectance, or float32 reflectance."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that are written; None for all."""
    creation_options: Mapping[str, str] | None = None
    """GDAL options that win over the defaults."""
    sigma: Path | None = None
    """Standard errors of the cube, in its form; None where they are not wanted."""
    quality: Path | None = None
    """Flags of every pixel; None where they are not wanted."""

    @property
    def beside(self) -> tuple[Path, ...]:
        """Further files that are made of the tiles."""
        return tuple(path for path in (self.sigma, self.quality) if path is not None)

    @property
    def stored_as(self) -> CubeDtype:
        """Type of the stored numbers."""
        return "float32" if self.format == "coefficients" else self.dtype

    def count(self, plan: Preparation) -> int:
        """Numbers that are stored for each pixel."""
        if self.format == "coefficients":
            return plan.basis.rank
        return len(plan.model.grid) if self.bands is None else len(self.bands)

    def output_bytes(self, plan: Preparation) -> int:
        """The most that all files together take."""
        size, bands = (plan.msi.height, plan.msi.width), len(plan.model.grid)
        bands = bands if self.bands is None else len(self.bands)
        total = cube_bytes(*size, self.count(plan), dtype=self.stored_as)
        total += cube_bytes(*size, bands, dtype=self.dtype) if self.sigma is not None else 0
        return total + (cube_bytes(*size, 1) if self.quality is not None else 0)

    def pixel_bytes(self, plan: Preparation) -> int:
        """Bytes of a pixel as it is written, in the larger of cube and standard errors."""
        bands = len(plan.model.grid) if self.bands is None else len(self.bands)
        own = self.count(plan) * np.dtype(self.stored_as).itemsize
        errors = bands * (np.dtype(self.dtype).itemsize + 4) if self.sigma is not None else 0
        return max(own, errors)


def write_files(
    plan: Preparation,
    out: str | Path,
    *,
    options: FileOptions,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Outputs:
    """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`.

    Each name appears when its file is complete and has been read back, the cube's first. Until then
    finished tiles are kept in a journal beside the cube.

    Args:
        plan: what to reconstruct.
        out: the cube.
        options: how it is stored.
        overwrite: whether outputs may be replaced, and a journal thrown away that is not resumed.
        resume: go on with the journal, if there is one.
        progress: told of every tile.

    Raises:
        UsageError: the options do not fit the format.
        OutputError: something stands in the way, another run is writing the same, the run to resume
            is another one, or the disk is full.
        InputRefused: the input cannot be read, or changed.
        IncompleteRun: tiles failed, which are named; the others are kept.
    """
    outputs = Outputs.beside(Path(out))
    check_format(outputs.cube, options.format)
    replaceable = overwrite or (resume and was_publishing(outputs.cube))
    for target in (outputs.stf, outputs.tiles):
        check_output(target, overwrite=replaceable, inputs=plan.inputs)
    plan = with_doubts(plan, options)
    budget = plan.budget(options.pixel_bytes(plan))
    cube = cube_product(plan, outputs.cube, options, overwrite=replaceable)
    doubts = list(_doubt_sinks(plan, options, overwrite=replaceable))
    with (
        Journal(outputs.cube, resume=resume, overwrite=overwrite) as journal,
        block_cache(),
        memory_kept(),
    ):
        if resume and not overwrite and not was_publishing(outputs.cube):
            for target in outputs:  # another run may have finished since the first look
                check_output(target, inputs=plan.inputs)
        for target in (*outputs, *options.beside):
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


def with_doubts(plan: Preparation, options: FileOptions) -> Preparation:
    """The plan as the options need it: tiles keep twice as much for standard errors or flags."""
    return replace(plan, doubted=True) if options.beside else plan


def cube_product(
    plan: Preparation,
    out: Path,
    options: FileOptions,
    *,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Product:
    """The cube, or the coefficients it is made of; of another size (rows, columns) for a trial."""
    height, width = size or (plan.msi.height, plan.msi.width)
    basis = plan.basis
    sink = open_writer(
        out,
        format=options.format,
        height=height,
        width=width,
        grid=plan.model.grid,
        crs_wkt=plan.msi.crs_wkt,
        transform=plan.msi.transform,
        dtype=options.dtype,
        block=min(plan.settings.tile, BLOCK),
        overwrite=overwrite,
        creation_options=options.creation_options,
        tags=plan.provenance,
        inputs=plan.inputs,
        basis=CubeBasis(
            grid=plan.model.grid,
            mean=basis.mean.cpu().numpy(),
            components=basis.components.cpu().numpy(),
            sha256=plan.model.sha256,
        ),
        wavelengths=options.bands,
    )
    render = CubeRender(basis=basis, dtype=options.dtype, bands=options.bands)
    return Product(maps=COEFFICIENTS, sink=sink, render=render if sink.takes == "cube" else None)


def _doubt_sinks(plan: Preparation, options: FileOptions, *, overwrite: bool) -> Iterator[Product]:
    """The standard errors and the flags, those that are wanted; what renders them comes later."""
    if options.sigma is not None:
        as_cube = "gtiff" if options.format == "coefficients" else options.format
        chosen = replace(options, format=check_format(options.sigma, as_cube))
        product = cube_product(plan, options.sigma, chosen, overwrite=overwrite)
        yield replace(product, maps=ERROR_MAPS, render=None)
    if options.quality is not None:
        target = Target(
            path=options.quality,
            height=plan.msi.height,
            width=plan.msi.width,
            bands=1,
            crs_wkt=plan.msi.crs_wkt,
            transform=plan.msi.transform,
            dtype="uint16",
            block=min(plan.settings.tile, BLOCK),
            overwrite=overwrite,
            inputs=plan.inputs,
        )
        sink = QualityWriter(target, plan.provenance)
        yield Product(maps=ERROR_MAPS, sink=sink, render=render_flags)


def _rendered(plan: Preparation, options: FileOptions, product: Product) -> Product:
    """Standard errors need the scene's STF, which a resumed run has from its journal."""
    if product.render is not None:
        return product
    found = plan.doubts.uncertainty
    return replace(
        product, render=ErrorRender(uncertainty=found, dtype=options.dtype, bands=options.bands)
    )


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
            path=plan.msi.card.paths[0],
            remedy="start again when nothing writes to it",
        )


def _unchanged(plan: Preparation, journal: Journal) -> bool:
    return input_identity(plan.msi.card).items() <= journal.identity.items()


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
