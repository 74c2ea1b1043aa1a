"""One tile at a time: read with a halo, fill, run the network, blend, expand.

Knows nothing of dask, files or the other tiles' results, so any scheduler may run it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun, UsageError
from uavssr.estimation import Source, fill_values, filled, telling, tile_stf
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import Stf
from uavssr.raster.grid import Tile, TileGrid, Window
from uavssr.raster.stf import StfEstimate

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStf:
    """The STF of one tile."""

    index: int
    """Of the tile."""
    window: Window
    """The tile's core."""
    stf: Stf
    """As the network takes it."""
    estimate: StfEstimate
    """As numbers with standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileResult:
    """What one tile gives."""

    coefficients: Tensor
    """(r, h, w) on the core."""
    valid: Mask
    """(h, w) pixels of the core that are valid."""
    local: TileStf
    """The tile's own STF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileEngine:
    """Everything that is fixed over the tiles of a scene."""

    network: PGUNet
    """On `device`, in evaluation mode."""
    source: Source
    """Where reflectance comes from."""
    tiles: TileGrid
    """Cores and halos."""
    scene: Stf
    """The scene's STF, on `device`."""
    device: torch.device
    """Where the network runs."""
    stages: int | None = None
    """How many stages to run."""
    half: bool = False
    """Proximal networks in bfloat16."""
    overlap: int = 32
    """Pixels over which neighbouring tiles' STFs are blended, half of them on each side."""
    local: Mapping[int, Stf] = field(default_factory=dict)
    """STFs by tile index; where empty the scene's is used everywhere."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.tiles.tile:
            raise UsageError(
                f"--overlap must be 0-{self.tiles.tile} (the tile), got {self.overlap}"
            )

    @torch.inference_mode()
    def run(self, index: int) -> TileResult | None:
        """Reconstruct a tile with the scene's STF and estimate its own; None without valid pixels.

        Raises:
            IncompleteRun: the network gave NaN or infinity.
        """
        done = self._with_scene_stf(index)
        if done is None:
            return None
        msi, proximal, coefficients, valid = done
        kept = torch.from_numpy(telling(msi[0].cpu().numpy(), valid)).to(self.device)[None]
        stf, estimate = tile_stf(
            self.network,
            self.scene,
            msi,
            proximal,
            coefficients,
            kept,
            valid_fraction=float(valid.mean()),
            stages=self.stages,
        )
        window = self.tiles[index].core
        local = TileStf(index=index, window=window, stf=stf, estimate=estimate)
        return TileResult(coefficients=coefficients[0], valid=valid, local=local)

    def _with_scene_stf(self, index: int) -> tuple[Tensor, Tensor, Tensor, Mask] | None:
        """Image, last proximal copy and coefficients (1, ., h, w) of a core, and its validity."""
        tile = self.tiles[index]
        read = self._read(tile.core)
        if read is None:
            return None
        msi, valid, outer = read
        rows, cols = tile.core.within(outer)
        result = self.network(msi, self.scene, blind=False, stages=self.stages, half=self.half)
        self._check(result.coefficients[..., rows, cols], tile)
        maps = (msi, result.stage_coefficients[-1], result.coefficients)
        image, proximal, coefficients = (each[..., rows, cols] for each in maps)
        return image, proximal, coefficients, valid[rows, cols]

    @torch.inference_mode()
    def blended(self, index: int) -> tuple[Tensor, Mask] | None:
        """Coefficients (r, h, w) of a tile's core with the local STFs, blended across borders.

        Each neighbour's STF counts with a weight that falls linearly from one to zero over
        `overlap` pixels across the border; the weights of all tiles sum to one at every pixel.
        """
        tile = self.tiles[index]
        total: Tensor | None = None
        mask = np.zeros((tile.core.height, tile.core.width), dtype=bool)
        for other in self.tiles.neighbours(index):
            part = self._contribution(tile, other)
            if part is None:
                continue
            window, weighted, valid = part
            if total is None:
                shape = (weighted.shape[0], tile.core.height, tile.core.width)
                total = torch.zeros(shape, device=self.device)
            rows, cols = window.within(tile.core)
            total[:, rows, cols] += weighted
            mask[rows, cols] |= valid
        if total is None or not mask.any():
            return None
        self._check(total, tile)
        return total, mask

    def _contribution(self, tile: Tile, other: Tile) -> tuple[Window, Tensor, Mask] | None:
        """What the STF of `other` adds to the core of `tile`: where, weighted maps, validity."""
        reached = other.core.grown(
            self.overlap // 2, height=self.tiles.height, width=self.tiles.width
        )
        window = tile.core.intersection(reached)
        read = None if window is None else self._read(window)
        if window is None or read is None:
            return None
        msi, valid, outer = read
        rows, cols = window.within(outer)
        stf = self.local.get(other.index, self.scene)
        result = self.network(msi, stf, blind=False, stages=self.stages, half=self.half)
        weight = torch.from_numpy(self._weight(other, window)).to(self.device)
        return window, result.coefficients[0, :, rows, cols] * weight, valid[rows, cols]

    def _weight(self, tile: Tile, window: Window) -> npt.NDArray[np.float32]:
        core, half = tile.core, self.overlap // 2
        down = _ramp(core.row, core.height, self.tiles.height, half, window.rows)
        right = _ramp(core.col, core.width, self.tiles.width, half, window.cols)
        return np.outer(down, right).astype(np.float32)

    def _read(self, core: Window) -> tuple[Tensor, Mask, Window] | None:
        """Image (1, c, H, W), validity and window of `core` and its halo; None if core is empty."""
        outer = core.grown(self.tiles.halo, height=self.tiles.height, width=self.tiles.width)
        msi, valid = self.source.read(outer)
        if not valid[core.within(outer)].any():
            return None
        image = filled(msi, valid, fill_values(self.network, self.scene))
        return torch.from_numpy(image)[None].to(self.device), valid, outer

    @torch.inference_mode()
    def coefficients(self, index: int) -> tuple[Tensor, Mask] | None:
        """Coefficients (r, h, w) and validity of a core, with local STFs if there are any."""
        if self.local:
            return self.blended(index)
        done = self._with_scene_stf(index)
        return None if done is None else (done[2][0], done[3])

    @torch.inference_mode()
    def explained(self, local: TileStf, coefficients: Tensor) -> TileStf:
        """A tile's STF with the residual that it leaves with these coefficients (r, h, w)."""
        msi, valid = self.source.read(local.window)
        seen = local.stf.rows[0] @ self.network.basis.extended
        predicted = seen[:, :-1] @ coefficients.flatten(1) + seen[:, -1:]
        misfit = predicted.cpu().numpy()[:, valid.ravel()] - msi[:, valid]
        estimate = replace(local.estimate, residual=np.sqrt((misfit**2).mean(1)))
        return replace(local, estimate=estimate)

    def expand(self, coefficients: Tensor) -> npt.NDArray[np.float32]:
        """Reflectance (C, h, w) of coefficients (r, h, w)."""
        with torch.inference_mode():
            cube: npt.NDArray[np.float32] = self.network.basis.expand(coefficients).cpu().numpy()
        return cube

    @staticmethod
    def _check(coefficients: Tensor, tile: Tile) -> None:
        if not bool(torch.isfinite(coefficients).all()):
            raise IncompleteRun(
                f"the network gave NaN or infinity in tile {tile.index} "
                f"(row {tile.core.row}, column {tile.core.col})",
                remedy="nothing was written; check the input's values there with uavssr inspect",
            )


def _ramp(start: int, length: int, total: int, half: int, at: slice) -> npt.NDArray[np.float64]:
    """Weight along one axis of a core `start .. start+length` at the pixels `at`."""
    centre = np.arange(at.start, at.stop) + 0.5
    weight = np.ones(centre.shape)
    if half > 0 and start > 0:
        weight = np.minimum(weight, (centre - start + half) / (2 * half))
    if half > 0 and start + length < total:
        weight = np.minimum(weight, (start + length + half - centre) / (2 * half))
    return np.clip(weight, 0, 1)


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda[:i]` as a device.

    Raises:
        UsageError: no such device here; nothing else is used in its place.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise UsageError(f"unknown device {name!r}", remedy="use auto, cpu or cuda[:i]") from err
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"unsupported device {name!r}", remedy="use auto, cpu or cuda[:i]")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name} asked for, {torch.cuda.device_count()} CUDA devices found",
            remedy="use --device cpu, or install a CUDA build of torch",
        )
    return device


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Limit torch to `count` threads per operation, so that workers do not fight over cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
