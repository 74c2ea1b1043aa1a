"""The network on tiles: pixels in, records out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.io.writers import TileRecord
from uavssr.model import Correction, PGUNet, SpectralBasis, Stf
from uavssr.reconstruction.devices import (
    is_out_of_memory,
    out_of_memory_as_error,
    own_stream,
    to_host,
)
from uavssr.reconstruction.fitted_stf import (
    FittedStf,
    PendingRecord,
    StfNumbers,
    float32_arrays,
)
from uavssr.reconstruction.pixel_quality import PixelQuality, count_marks
from uavssr.reconstruction.pixels import (
    Patch,
    TileInput,
    WindowResult,
    blend_weight,
    blend_windows,
    group_tiles,
    read_patch,
)
from uavssr.reconstruction.stf_estimates import fill_reflectance
from uavssr.reconstruction.tile_stfs import TileStfEstimator
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Tile, TileGrid

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

COEFFICIENTS: Final = "coefficients"
"""Name of the coefficient maps in a record."""
ERROR_MAPS: Final = "error_maps"
"""Name of the maps of standard errors and flags in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileEngine:
    """The network with everything that is the same for all tiles of a scene.

    It can be pickled, and `record` depends on the tile's number alone: any scheduler may run it.
    """

    network: PGUNet
    """The network in evaluation mode, on `device`."""
    source: MsiSource
    """The image."""
    tiles: TileGrid
    """Cores and halos."""
    scene_stf: Stf
    """The scene's STF, on `device`."""
    device: torch.device
    """Device on which the network runs."""
    stages: int | None = None
    """Unrolled stages to run; None for all."""
    bfloat16: bool = False
    """Run the proximal networks in bfloat16."""
    batch: int = 1
    """Most tiles in one forward pass."""
    overlap: int = 32
    """Pixels over which neighbouring tiles' STFs are blended, half of them on each side."""
    correction: Correction | None = None
    """Correction of the cube by reference spectra; None without."""
    quality: PixelQuality | None = None
    """Marks the pixels that the records then count; None if they are not wanted."""
    error_maps: bool = False
    """Add maps of standard errors and flags to the records; needs `quality`."""
    tile_stf: TileStfEstimator | None = None
    """Estimates the tiles' own STFs for the records; None if they are not wanted."""
    tile_stfs: Mapping[int, FittedStf] = field(default_factory=dict)
    """The tiles' own STFs by index, which make the cube; if empty, the scene's makes it."""

    @property
    def basis(self) -> SpectralBasis:
        """Basis of the coefficients."""
        return self.network.basis if self.correction is None else self.correction.basis

    def groups(self) -> Iterator[tuple[int, ...]]:
        """All tiles in row-major order, in groups that share a forward pass."""
        return group_tiles(self.tiles, 1 if self.tile_stfs else self.batch)

    def record(self, index: int, *, stf: bool = True) -> TileRecord:
        """Read and compute one tile."""
        return self.compute(self.read([index]), stf=stf)[0]

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """The pixels that the tiles need."""
        fill = fill_reflectance(self.network, self.scene_stf)
        return [self._read(self.tiles[index], fill) for index in indices]

    def _read(self, tile: Tile, fill: Float32Array) -> TileInput:
        windows = {tile.index: tile.core}
        if self.tile_stfs:
            windows = dict(blend_windows(self.tiles, tile, self.overlap)) or windows
        patches = {i: read_patch(self.source, self.tiles, windows[i], fill) for i in windows}
        valid = {i: patch for i, patch in patches.items() if patch is not None}
        return TileInput(tile=tile, patches=valid)

    def compute(self, inputs: Sequence[TileInput], *, stf: bool = True) -> list[TileRecord]:
        """Reconstruct tiles of one group; see `begin`."""
        return [pending() for pending in self.begin(inputs, stf=stf)]

    @torch.inference_mode()
    def begin(self, inputs: Sequence[TileInput], *, stf: bool = True) -> list[PendingRecord]:
        """Run the network on tiles of one group.

        Calling the result makes the records, with the tiles' own STFs if `stf` is set. That needs
        no network and a tenth of its time, so another thread can do it. It raises the same errors.

        Raises:
            IncompleteRun: the network gave NaN or infinity in a tile, which is named.
            OutputError: out of memory, even in quarters.
        """
        cores = {item.tile.index: item.own for item in inputs if item.own is not None}
        with own_stream(self.device):
            if self.tile_stfs:
                computed = [self._blended(item) for item in inputs if item.own is not None]
            else:
                computed = self._run(list(cores.values()), self.scene_stf)
            results = dict(zip(cores, computed, strict=True))
            for index, result in results.items():
                self._check(result.coefficients, self.tiles[index])
        return [
            partial(self._record, item.tile, results.get(item.tile.index), item.valid, stf=stf)
            for item in inputs
        ]

    @torch.inference_mode()
    def _record(
        self, tile: Tile, result: WindowResult | None, valid: BoolArray, *, stf: bool
    ) -> TileRecord:
        if result is None:
            return TileRecord(index=tile.index, valid=valid)
        with out_of_memory_as_error("out of memory beside the network"), own_stream(self.device):
            maps, counts = {COEFFICIENTS: to_host(result.coefficients)}, {}
            numbers = self._stf_numbers(tile, result, maps[COEFFICIENTS], valid) if stf else {}
            if self.quality is not None:
                marks = self.quality.marks(result.msi)
                counts = count_marks(marks, valid)
                if self.error_maps:
                    errors = self.quality.error_maps(result.msi, result.coefficients, marks)
                    maps[ERROR_MAPS] = to_host(errors)
        return TileRecord(
            index=tile.index, valid=valid, maps=maps, stf=float32_arrays(numbers), counts=counts
        )

    @staticmethod
    def _check(coefficients: Tensor, tile: Tile) -> None:
        if not bool(torch.isfinite(coefficients).all()):
            raise IncompleteRun(
                f"the network gave NaN or infinity in tile {tile.index} "
                f"(row {tile.core.row}, column {tile.core.col})",
                remedy="check the input's values there with uavssr inspect",
            )

    # --- STFs ------------------------------------------------------------------------------------

    def _stf_numbers(
        self, tile: Tile, result: WindowResult, coefficients: Float32Array, valid: BoolArray
    ) -> StfNumbers:
        """The tile's STF: estimated here, or the one that made the cube; empty if not wanted."""
        if self.tile_stf is None:
            return {}
        msi = result.msi.cpu().numpy()
        if self.tile_stfs:
            given = self.tile_stfs[tile.index].numbers()
            return self.tile_stf.with_residual(given, msi, coefficients, valid)
        return self.tile_stf.numbers(msi, coefficients, valid)

    def _blended(self, tile_input: TileInput) -> WindowResult:
        """A tile with its own and its neighbours' STFs, blended."""
        tile = tile_input.tile
        shape = (self.basis.rank, tile.core.height, tile.core.width)
        total = torch.zeros(shape, device=self.device)
        for index, patch in tile_input.patches.items():
            fitted = self.tile_stfs.get(index)
            [result] = self._run([patch], self.scene_stf if fitted is None else fitted.stf)
            weight = blend_weight(self.tiles, self.tiles[index], patch.window, self.overlap)
            rows, cols = patch.window.within(tile.core)
            total[:, rows, cols] += result.coefficients * torch.from_numpy(weight).to(self.device)
        msi = tile_input.patches[tile.index].msi
        return WindowResult(msi=msi.clone().to(self.device), coefficients=total)

    # --- the network -----------------------------------------------------------------------------

    def _run(self, patches: Sequence[Patch], stf: Stf) -> list[WindowResult]:
        """The network on patches of one size in one pass; in quarters if memory runs out."""
        if not patches:
            return []
        try:
            return self._forward(patches, stf)
        except (MemoryError, RuntimeError) as err:
            if not is_out_of_memory(err):
                raise
        return [self._in_quarters(patch, stf) for patch in patches]

    def _forward(self, patches: Sequence[Patch], stf: Stf) -> list[WindowResult]:
        stack = torch.stack([patch.image for patch in patches])
        if self.device.type == "cuda":
            stack = stack.pin_memory()  # pinned memory is copied while the GPU computes
        msi = stack.to(self.device, non_blocking=True)
        coefficients = self.network(
            msi,
            stf,
            estimate_stf=False,
            stages=self.stages,
            bfloat16=self.bfloat16,
            correction=self.correction,
        ).coefficients
        results = []
        for i, patch in enumerate(patches):
            rows, cols = patch.window.within(patch.outer)
            inner = (maps[i, :, rows, cols].clone() for maps in (msi, coefficients))
            results.append(WindowResult(msi=next(inner), coefficients=next(inner)))
        return results

    def _in_quarters(self, patch: Patch, stf: Stf) -> WindowResult:
        """The same result, to rounding, with a quarter of the memory."""
        size = patch.window.height, patch.window.width
        msi = torch.empty(len(patch.image), *size, device=self.device)
        coefficients = torch.empty(self.basis.rank, *size, device=self.device)
        for quarter in patch.quarters(self.tiles):
            height, width = quarter.image.shape[1:]
            fact = f"out of memory, even for {height} x {width} pixels at a time"
            with out_of_memory_as_error(fact):
                [result] = self._forward([quarter], stf)
            rows, cols = quarter.window.within(patch.window)
            msi[:, rows, cols] = result.msi
            coefficients[:, rows, cols] = result.coefficients
        return WindowResult(msi=msi, coefficients=coefficients)
