"""All that a reconstruction needs before its first tile: image, network, settings, the scene's STF.

Must not write files or build graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import torch

from uavssr.io.stf import ReferencePixels, StfEstimate, estimate_of, stf_dataset
from uavssr.io.writers import TileRecord
from uavssr.model import (
    CORRECTION_DIRECTIONS,
    VARIANCE_MAPS,
    Correction,
    PGUNet,
    ResponseFamily,
    SpectralBasis,
)
from uavssr.reconstruction.error_maps import ErrorMaps, saturation
from uavssr.reconstruction.memory import Budget
from uavssr.reconstruction.pipeline import RecordStore, ThreadCounts, TileComputer, TilePass
from uavssr.reconstruction.products import Product, TileReceiver
from uavssr.reconstruction.provenance import Settings, provenance
from uavssr.reconstruction.scene_stf import held_stf, scene_stf
from uavssr.reconstruction.tile_engine import TileEngine, torch_threads
from uavssr.reconstruction.tile_input import TileInput
from uavssr.reconstruction.tile_record import FittedStf, Numbers, PendingRecord, TileStfs
from uavssr.tiling import Progress, TileGrid

if TYPE_CHECKING:
    import xarray as xr

    from uavssr.io.msi import MsiSource
    from uavssr.model import Model

THREADS: Final = 1
"""Torch's own, for a tile and for the scene's STF: with more the last digits would depend on the
machine, and its threads spend longer waiting for each other than they save."""


class RemoteWorkers(Protocol):
    """Other processes that compute; `cluster.Cluster` is one."""

    def scene(self, plan: Preparation) -> Numbers:
        """The scene's STF, as `FittedStf.numbers` gives it."""

    def tiles(
        self, plan: Preparation, engine: TileEngine, products: Sequence[Product]
    ) -> tuple[TileComputer, Sequence[TileReceiver]]:
        """What computes tiles as `engine` would, and what takes them into the products."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is found once lives in __dict__
class Preparation:
    """What is fixed for all tiles; the scene's STF is found when it is first asked for."""

    msi: MsiSource
    """The input."""
    model: Model
    """The model, on the CPU."""
    network: PGUNet
    """Its network, on `device`."""
    device: torch.device
    """Where the network runs."""
    settings: Settings
    """What the pixels depend on besides."""
    crew: ThreadCounts
    """Threads."""
    inputs: tuple[Path, ...]
    """Files that are read and must survive."""
    given: StfEstimate | None = None
    """An STF to be held fixed."""
    references: ReferencePixels | None = None
    """Known ground, from which the cube learns what the network gets wrong with that STF."""
    known: FittedStf | None = None
    """The scene's STF as an earlier run found it."""
    mem_limit: int | None = None
    """Bytes of memory that a run may take; None for as many as it does."""
    doubted: bool = False
    """Whether standard errors and flags are made beside the cube."""
    farm: RemoteWorkers | None = None
    """Where tiles are computed; None for here."""

    @property
    def tiles(self) -> TileGrid:
        """The scene, cut."""
        tile, halo = self.settings.tile, self.settings.halo
        return TileGrid(height=self.msi.height, width=self.msi.width, tile=tile, halo=halo)

    @cached_property
    def found(self) -> FittedStf:
        """The scene's STF: known already, held fixed, or estimated now from a sample of windows.

        Raises:
            InputRefused: the scene has no valid pixel.
            IncompleteRun: the network gave NaN or infinity.
        """
        if self.known is not None:
            return self.known
        if self.farm is not None:
            family = ResponseFamily.of(self.msi.sensor, self.model.grid).to(self.device)
            return FittedStf.of(self.farm.scene(self), family)
        find = scene_stf if self.given is None else partial(held_stf, given=self.given)
        with torch_threads(THREADS):
            stf, estimate = find(
                self.network, self.msi, device=self.device, stages=self.settings.stages
            )
        # By way of its numbers, so that it lies in memory as one that comes from a journal does:
        # how a tensor lies there may change the last digit of what is computed from it.
        return FittedStf.of(FittedStf(stf=stf, estimate=estimate).numbers(), stf.family)

    @property
    def scene(self) -> StfEstimate:
        """The scene's STF as numbers."""
        return self.found.estimate

    @cached_property
    def correction(self) -> Correction | None:
        """What the references say, with the STF that is held."""
        if self.references is None:
            return None
        ground = self.references
        msi, spectra = (
            torch.tensor(each, dtype=torch.float32, device=self.device)
            for each in (ground.msi, ground.spectra)
        )
        with torch_threads(THREADS):
            return self.network.fit_correction(
                self.found.stf, msi, spectra, stages=self.settings.stages
            )

    @property
    def basis(self) -> SpectralBasis:
        """Of the coefficients that tiles keep."""
        return self.network.basis if self.correction is None else self.correction.basis

    @cached_property
    def engine(self) -> TileEngine:
        """What runs for each tile, with the scene's STF."""
        return TileEngine(
            network=self.network,
            source=self.msi,
            tiles=self.tiles,
            scene=self.found.stf,
            device=self.device,
            stages=self.settings.stages,
            half=self.settings.precision == "bf16",
            batch=self.settings.batch,
            overlap=self.settings.overlap,
            correction=self.correction,
            doubts=self.doubts if self.doubted else None,
        )

    @property
    def doubts(self) -> ErrorMaps:
        """What standard errors and flags are made with, for the scene's STF."""
        return ErrorMaps(
            uncertainty=self.network.cube_uncertainty(self.found.stf, self.correction),
            saturation=torch.from_numpy(saturation(self.msi.summary)).to(self.device),
            prior_driven=bool(self.scene.prior_driven.any()),
        )

    @property
    def provenance(self) -> dict[str, str]:
        """What an output records: version, weights, settings, input."""
        return provenance(self.msi, self.model, self.settings)

    def budget(self, pixel_bytes: int) -> Budget:
        """Memory and disk of a run that writes so many bytes per pixel; fewer workers if need be.

        Raises:
            OutputError: one is too many for `mem_limit`.
        """
        return Budget(
            config=self.network.config,
            stages=self.settings.stages,
            msi_bands=len(self.msi.sensor),
            tiles=self.tiles,
            batch=self.settings.batch,
            crew=self.crew,
            pixel_bytes=pixel_bytes,
            gpu=self.device.type == "cuda" or self.farm is not None,
            extra=(VARIANCE_MAPS + 1 if self.doubted else 0)
            + (CORRECTION_DIRECTIONS if self.references else 0),
        ).within(self.mem_limit)

    def tracked(
        self, what: str, progress: Progress | None, deliver: Callable[[TileRecord], None]
    ) -> Callable[[TileRecord], None]:
        """`deliver`, and then a word on the tile's pixels to `progress`."""
        tiles = self.tiles
        total = tiles.height * tiles.width

        def done(record: TileRecord) -> None:
            deliver(record)
            if progress is not None:
                core = tiles[record.index].core
                progress(what, core.height * core.width, total)

        return done

    def find_tile_stfs(
        self, keeper: RecordStore, progress: Progress | None, *, crew: ThreadCounts | None = None
    ) -> None:
        """A pass over the tiles that leaves each one's own STF with `keeper`."""
        computer: TileComputer = _StfsOnly(engine=self.engine)
        if self.farm is not None:
            computer, _ = self.farm.tiles(self, self.engine, [])
        estimating = TilePass(
            computer=computer,
            keeper=keeper,
            kind="stf",
            deliver=self.tracked("estimating STFs", progress, lambda _: None),
            crew=crew or self.crew,
        )
        with torch_threads(THREADS):
            estimating.run()

    def localised(
        self, keeper: RecordStore, progress: Progress | None, *, crew: ThreadCounts | None = None
    ) -> TileEngine:
        """The engine that makes the cube; with `stf_scope="tile"` after a pass for their STFs."""
        if self.settings.stf_scope == "scene":
            return self.engine
        self.find_tile_stfs(keeper, progress, crew=crew)
        local = TileStfs(
            load=partial(keeper.load, "stf", maps=False),
            indices=frozenset(keeper.finished("stf")),
            family=self.found.stf.family,
        )
        return replace(self.engine, local=local)

    def stf_dataset(self, records: Iterable[TileRecord] = ()) -> xr.Dataset:
        """The STF of the scene and of those tiles among `records` that have one."""
        sensor, tiles = self.msi.sensor, self.tiles
        return stf_dataset(
            sensor=sensor,
            grid=self.model.grid,
            nominal=sensor.srf(self.model.grid),
            scene=self.scene,
            tiles=[(tiles[r.index].core, estimate_of(r.stf)) for r in records if r.stf],
            crs_wkt=self.msi.crs_wkt,
            transform=self.msi.transform,
            attrs=self.provenance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _StfsOnly:
    """An engine whose records hold nothing but the tiles' STFs."""

    engine: TileEngine

    def groups(self) -> Iterator[tuple[int, ...]]:
        return self.engine.groups()

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        return self.engine.read(indices)

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        return [partial(self._stf_of, rest) for rest in self.engine.begin(inputs)]

    @staticmethod
    def _stf_of(rest: PendingRecord) -> TileRecord:
        record = rest()
        return TileRecord(index=record.index, valid=np.zeros((0, 0), bool), stf=record.stf)
