"""A pass over the tiles that estimates their own STFs, and the engine that then uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from uavssr.io.writers import TileRecord
from uavssr.reconstruction.devices import torch_threads
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.pipeline import RecordStore, ThreadCounts, TileComputer, TilePass
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.reconstruction.tile_record import TileStfs, stf_record
from uavssr.tiling import Progress, TileGrid


def estimate_tile_stfs(
    scene: FittedScene,
    store: RecordStore,
    progress: Progress | None = None,
    *,
    threads: ThreadCounts | None = None,
) -> None:
    """Estimate the STF of every tile with valid pixels and keep it in `store` under "stf".

    Raises:
        IncompleteRun: tiles failed, which are named; the others are stored.
    """
    plan, engine = scene.plan, scene.engine()
    computer: TileComputer = engine
    if plan.options.cluster is not None:
        computer = plan.options.cluster.tiles(scene, engine, maps=False)
    with torch_threads():
        TilePass(
            computer=computer,
            store=store,
            kind="stf",
            reduce=lambda record: stf_record(record.index, record.stf),
            deliver=with_progress(lambda _: None, "estimating STFs", progress, plan.tiles),
            threads=threads or plan.threads,
        ).run()


def cube_engine(
    scene: FittedScene,
    store: RecordStore,
    progress: Progress | None = None,
    *,
    error_maps: bool = False,
    threads: ThreadCounts | None = None,
) -> TileEngine:
    """The engine that makes the cube.

    With `stf_scope="tile"` the tiles' own STFs are estimated first and kept in `store`.
    """
    engine = scene.engine(error_maps=error_maps)
    if scene.plan.options.stf_scope == "scene":
        return engine
    estimate_tile_stfs(scene, store, progress, threads=threads)
    tile_stfs = TileStfs(
        load=partial(store.load, "stf", maps=False),
        indices=frozenset(store.finished("stf")),
        family=scene.plan.family,
    )
    return replace(engine, tile_stfs=tile_stfs)


def with_progress(
    deliver: Callable[[TileRecord], None],
    task: str,
    progress: Progress | None,
    tiles: TileGrid,
) -> Callable[[TileRecord], None]:
    """`deliver`, followed by a call of `progress` with the tile's pixels."""
    total = tiles.height * tiles.width

    def delivered(record: TileRecord) -> None:
        deliver(record)
        if progress is not None:
            core = tiles[record.index].core
            progress(task, core.height * core.width, total)

    return delivered
