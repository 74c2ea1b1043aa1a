"""What is estimated once for a scene: its STF, and what the tiles need with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch

from uavssr.io.stf import StfArrays, estimate_of, stf_arrays
from uavssr.io.writers import RecordKind, TileRecord
from uavssr.model import SceneColours
from uavssr.reconstruction.devices import full_float32, torch_threads
from uavssr.reconstruction.fitted_stf import FittedStf, StfNumbers, TileStfs
from uavssr.reconstruction.pipeline import RecordStore, ThreadCounts, TilePass
from uavssr.reconstruction.pixel_quality import PixelQuality, saturation
from uavssr.reconstruction.pixels import sample_scene
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.provenance import provenance
from uavssr.reconstruction.stf_estimates import estimate_scene_stf, fill_reflectance
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.reconstruction.tile_stfs import (
    TileStfEstimator,
    colours_as_numbers,
    colours_from_numbers,
    fit_scene_colours,
)
from uavssr.tiling import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedScene:
    """A plan with the scene's STF; made by `fit_scene`, or from the numbers in a journal."""

    plan: Plan
    """The plan."""
    stf: FittedStf
    """The scene's STF."""
    colours: SceneColours | None
    """The scene's colours; None if the tiles' own STFs are not wanted."""

    @classmethod
    def from_numbers(cls, plan: Plan, numbers: StfNumbers) -> FittedScene:
        """The scene whose STF a journal or a worker gives as named arrays."""
        stf = FittedStf.from_numbers(numbers, plan.family)
        return cls(plan=plan, stf=stf, colours=colours_from_numbers(numbers))

    def numbers(self) -> StfNumbers:
        """The STF and the colours as named arrays; `from_numbers` is the inverse."""
        colours = {} if self.colours is None else colours_as_numbers(self.colours)
        return self.stf.numbers() | colours

    @property
    def prior_driven_bands(self) -> tuple[str, ...]:
        """Bands whose STF follows from the prior alone, hardly from the image."""
        bands = zip(self.plan.source.sensor.bands, self.stf.estimate.prior_driven, strict=True)
        return tuple(band.role for band, driven in bands if driven)

    def quality(self) -> PixelQuality:
        """The flags of pixels and their standard errors with the scene's STF."""
        plan = self.plan
        return PixelQuality(
            uncertainty=plan.network.cube_uncertainty(self.stf.stf, plan.correction),
            saturation=torch.from_numpy(saturation(plan.source.summary)).to(plan.device),
            prior_driven=bool(self.prior_driven_bands),
        )

    def engine(self, *, quality: bool = False, error_maps: bool = False) -> TileEngine:
        """The network on tiles; the records get counts of flags with `quality`, or also maps."""
        plan = self.plan
        return TileEngine(
            network=plan.network,
            source=plan.source,
            tiles=plan.tiles,
            scene_stf=self.stf.stf,
            device=plan.device,
            stages=plan.stages,
            bfloat16=plan.precision == "bf16",
            batch=plan.batch,
            overlap=plan.overlap,
            correction=plan.correction,
            quality=self.quality() if quality or error_maps else None,
            error_maps=error_maps,
            tile_stf=self._tile_stf(),
        )

    def _tile_stf(self) -> TileStfEstimator | None:
        if self.colours is None:
            return None
        extended = self.plan.basis.extended.cpu().numpy()
        return TileStfEstimator(scene=self.stf.numbers(), colours=self.colours, extended=extended)

    def cube_engine(
        self,
        store: RecordStore,
        progress: Progress | None,
        *,
        error_maps: bool,
        threads: ThreadCounts | None = None,
    ) -> TileEngine:
        """The engine that makes the cube; tiles' own STFs are first estimated into `store`."""
        engine = self.engine(quality=True, error_maps=error_maps)
        if self.plan.options.stf_scope == "scene":
            return engine
        self.estimate_tile_stfs(store, progress, threads)
        tile_stfs = TileStfs(
            load=partial(store.load, "stf", maps=False),
            indices=frozenset(store.finished("stf")),
            family=self.plan.family,
        )
        return replace(engine, tile_stfs=tile_stfs)

    def estimate_tile_stfs(
        self, store: RecordStore, progress: Progress | None, threads: ThreadCounts | None = None
    ) -> None:
        """Estimate the STF of every tile with valid pixels; see `TilePass.run` for its errors."""
        report = partial(self.plan.tile_done, progress, "estimating STFs")
        self.run_pass(self.engine(), store, "stf", lambda record: report(record.index), threads)

    def run_pass(
        self,
        engine: TileEngine,
        store: RecordStore,
        kind: RecordKind,
        deliver: Callable[[TileRecord], None],
        threads: ThreadCounts | None,
    ) -> None:
        """Run an engine on all tiles, here or on the cluster; see `TilePass`."""
        cluster, threads = self.plan.options.cluster, threads or self.plan.threads
        computer = engine if cluster is None else cluster.tiles(self, engine, maps=kind == "tile")
        with torch_threads():
            TilePass(
                computer=computer, store=store, kind=kind, deliver=deliver, threads=threads
            ).run()

    def stf_arrays(self, records: Iterable[TileRecord] = ()) -> StfArrays:
        """The STFs of the scene and of the tiles in `records`; docs/formats.md lists the variables.

        Tiles without a valid pixel have no STF and are left out.
        """
        plan, sensor = self.plan, self.plan.source.sensor
        return stf_arrays(
            sensor=sensor,
            grid=plan.model.grid,
            nominal=sensor.srf(plan.model.grid),
            scene=self.stf.estimate,
            tiles=[(plan.tiles[r.index].core, estimate_of(r.stf)) for r in records if r.stf],
            crs_wkt=plan.source.crs_wkt,
            transform=plan.source.transform,
            attrs=provenance(plan),
        )


def fit_scene(plan: Plan) -> FittedScene:
    """Estimate the scene's STF, here or on the cluster, or take the fixed one."""
    if plan.options.cluster is not None:
        return FittedScene.from_numbers(plan, plan.options.cluster.fit_scene(plan))
    with torch_threads(), full_float32:
        fitted = estimate_scene_stf(
            plan.network, plan.source, device=plan.device, stages=plan.stages, fixed=plan.fixed_stf
        )
        colours = None
        if plan.options.tile_stf == "on":
            fill = fill_reflectance(plan.network, fitted.stf)
            colours = fit_scene_colours(sample_scene(plan.source, fill))
    return FittedScene(plan=plan, stf=fitted.reloaded(plan.family), colours=colours)
