"""The network on tiles: what is read of them goes in, what is kept of them comes out.

Knows nothing of dask, files or the other tiles' results, so any scheduler may run it anywhere:
`TileEngine` may be pickled, and `TileEngine.record` depends on nothing but the tile's number.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun, OutputError, UsageError
from uavssr.io.writers import TileRecord
from uavssr.model import Correction, PGUNet, SpectralBasis, Stf
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorMaps
from uavssr.reconstruction.scene_stf import Source, fill_values, telling, tile_stf
from uavssr.reconstruction.tile_input import (
    Patch,
    TileInput,
    batches,
    read_patch,
    share_weight,
    shares,
)
from uavssr.reconstruction.tile_record import FittedStf, PendingRecord, compact
from uavssr.sensors import BoolArray
from uavssr.tiling import Tile, TileGrid

COEFFICIENTS = "coefficients"
"""Name of the maps that every tile has."""

_LESS: Final = "use a smaller --tile or fewer --workers"
_THREAD: Final = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """What the network gives on a window of h x w pixels."""

    msi: Tensor
    """(c, h, w) the image."""
    coefficients: Tensor
    """(r, h, w) the result."""


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
    batch: int = 1
    """Most tiles in one forward pass."""
    overlap: int = 32
    """Pixels over which neighbouring tiles' STFs are blended, half of them on each side."""
    correction: Correction | None = None
    """What known spectra of the scene say; None where there are none."""
    doubts: ErrorMaps | None = None
    """Makes the maps of standard errors and flags; None where they are not wanted."""
    local: Mapping[int, FittedStf] = field(default_factory=dict)
    """The tiles' own STFs by index; where empty the scene's is used everywhere."""

    @property
    def basis(self) -> SpectralBasis:
        """Of the coefficients."""
        return self.network.basis if self.correction is None else self.correction.basis

    def groups(self) -> Iterator[tuple[int, ...]]:
        """All tiles in row-major order, those that go through the network together in a tuple."""
        return batches(self.tiles, 1 if self.local else self.batch)

    def record(self, index: int, *, stf: bool = True) -> TileRecord:
        """One tile from its number: reads and computes."""
        return self.compute(self.read([index]), stf=stf)[0]

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        """All that the tiles need of the image. Cheap, and apart from `begin` to run beside it.

        Raises:
            InputRefused: a block cannot be decoded, or the file changed.
        """
        fill = fill_values(self.network, self.scene)
        found = []
        for tile in map(self.tiles.__getitem__, indices):
            windows = dict(shares(self.tiles, tile, self.overlap)) if self.local else {}
            windows = windows or {tile.index: tile.core}
            patches = ((i, read_patch(self.source, self.tiles, windows[i], fill)) for i in windows)
            kept = {i: patch for i, patch in patches if patch is not None}
            found.append(TileInput(tile=tile, patches=kept))
        return found

    def compute(self, inputs: Sequence[TileInput], *, stf: bool = True) -> list[TileRecord]:
        """Reconstruct tiles that `groups` puts together; see `begin`."""
        return [finish() for finish in self.begin(inputs, stf=stf)]

    @torch.inference_mode()
    def begin(self, inputs: Sequence[TileInput], *, stf: bool = True) -> list[PendingRecord]:
        """The network on tiles that `groups` puts together, and what then makes their records.

        That takes a tenth as long, and another thread may do it while the network has the next. It
        raises OutputError where memory runs out, and IncompleteRun for an STF that is not finite.

        Args:
            inputs: from `read`.
            stf: whether the tiles' own STFs are found too.

        Raises:
            IncompleteRun: the network gave NaN or infinity in a tile, which is named.
            OutputError: out of memory, even in quarters.
        """
        with self._stream():
            if self.local:
                whole = [self._blended(given) for given in inputs]
            else:
                own = {given.tile.index: given.own for given in inputs if given.own is not None}
                maps = dict(zip(own, self._maps(list(own.values()), self.scene), strict=True))
                whole = [maps.get(given.tile.index) for given in inputs]
            for given, found in zip(inputs, whole, strict=True):
                if found is not None:
                    self._check(found.coefficients, given.tile)
        return [
            partial(_empty, given.tile)
            if found is None or given.own is None
            else partial(self._finish, given.tile, found, given.own.valid, stf=stf)
            for given, found in zip(inputs, whole, strict=True)
        ]

    @torch.inference_mode()
    def _finish(self, tile: Tile, maps: Maps, valid: BoolArray, *, stf: bool) -> TileRecord:
        try:
            with self._stream():
                found = self._stf(tile, maps, valid) if stf else None
                kept = {COEFFICIENTS: self._to_host(maps.coefficients), **self._doubted(maps)}
        except (MemoryError, RuntimeError) as err:
            if not _out_of_memory(err):
                raise
            raise OutputError("out of memory beside the network", remedy=_LESS) from err
        return TileRecord(
            index=tile.index,
            valid=valid,
            maps=kept,
            stf={} if found is None else compact(found.numbers()),
        )

    def _stf(self, tile: Tile, maps: Maps, valid: BoolArray) -> FittedStf:
        if self.local:
            return self._explained(self.local[tile.index], maps, valid)
        return self._own_stf(maps, valid)

    def _own_stf(self, maps: Maps, valid: BoolArray) -> FittedStf:
        """A tile's own STF, from the maps of its core."""
        kept = torch.from_numpy(telling(maps.msi.cpu().numpy(), valid)).to(self.device)
        stf, estimate = tile_stf(
            self.network,
            self.scene,
            maps.msi[None],
            maps.coefficients[None],
            kept[None],
            basis=self.basis,
            valid_fraction=float(valid.mean()),
        )
        return FittedStf(stf=stf, estimate=estimate)

    def _blended(self, given: TileInput) -> Maps | None:
        """A tile with the local STFs, its own and its neighbours', blended across borders."""
        tile, own = given.tile, given.own
        if own is None:
            return None
        shape = (self.basis.rank, tile.core.height, tile.core.width)
        total = torch.zeros(shape, device=self.device)
        for index, patch in given.patches.items():
            other = self.local.get(index)
            [maps] = self._maps([patch], self.scene if other is None else other.stf)
            weight = share_weight(self.tiles, self.tiles[index], patch.window, self.overlap)
            rows, cols = patch.window.within(tile.core)
            total[:, rows, cols] += maps.coefficients * torch.from_numpy(weight).to(self.device)
        return Maps(msi=own.msi.clone().to(self.device), coefficients=total)

    def _explained(self, local: FittedStf, maps: Maps, valid: BoolArray) -> FittedStf:
        """A tile's STF with the residual that it leaves with these coefficients."""
        seen = local.stf.rows[0] @ self.basis.extended
        predicted = seen[:, :-1] @ maps.coefficients.flatten(1) + seen[:, -1:]
        misfit = (predicted - maps.msi.flatten(1)).cpu().numpy()[:, valid.ravel()]
        estimate = replace(local.estimate, residual=np.sqrt((misfit**2).mean(1)))
        return replace(local, estimate=estimate)

    def _doubted(self, maps: Maps) -> dict[str, npt.NDArray[np.float32]]:
        if self.doubts is None:
            return {}
        return {ERROR_MAPS: self._to_host(self.doubts.maps(maps.msi, maps.coefficients))}

    @staticmethod
    def _check(coefficients: Tensor, tile: Tile) -> None:
        if not bool(torch.isfinite(coefficients).all()):
            raise IncompleteRun(
                f"the network gave NaN or infinity in tile {tile.index} "
                f"(row {tile.core.row}, column {tile.core.col})",
                remedy="check the input's values there with uavssr inspect",
            )

    # --- memory ----------------------------------------------------------------------------------

    def _maps(self, patches: Sequence[Patch], stf: Stf) -> list[Maps]:
        """The network on patches of one size, in one pass; in quarters where memory runs out."""
        if not patches:
            return []
        try:
            return self._forward(patches, stf)
        except (MemoryError, RuntimeError) as err:
            if not _out_of_memory(err):
                raise
        return [self._in_quarters(patch, stf) for patch in patches]

    def _forward(self, patches: Sequence[Patch], stf: Stf) -> list[Maps]:
        stack = torch.stack([patch.image for patch in patches])
        if self.device.type == "cuda":
            stack = stack.pin_memory()  # so that the copy waits for nobody
        msi = stack.to(self.device, non_blocking=True)
        result = self.network(
            msi,
            stf,
            estimate_stf=False,
            stages=self.stages,
            bfloat16=self.half,
            correction=self.correction,
        )
        found = []
        for i, patch in enumerate(patches):
            rows, cols = patch.window.within(patch.outer)
            image, coefficients = (
                each[i, :, rows, cols].clone() for each in (msi, result.coefficients)
            )
            found.append(Maps(msi=image, coefficients=coefficients))
        return found

    def _in_quarters(self, patch: Patch, stf: Stf) -> Maps:
        """The same maps, to rounding, with a quarter of the memory."""
        size = patch.window.height, patch.window.width
        bands, rank = len(patch.image), self.basis.rank
        msi, coefficients = (
            torch.empty(count, *size, device=self.device) for count in (bands, rank)
        )
        for quarter in patch.quarters(self.tiles):
            try:
                [maps] = self._forward([quarter], stf)
            except (MemoryError, RuntimeError) as err:
                if not _out_of_memory(err):
                    raise
                height, width = quarter.image.shape[1:]
                raise OutputError(
                    f"out of memory, even for {height} x {width} pixels at a time",
                    remedy=_LESS,
                ) from err
            rows, cols = quarter.window.within(patch.window)
            msi[:, rows, cols] = maps.msi
            coefficients[:, rows, cols] = maps.coefficients
        return Maps(msi=msi, coefficients=coefficients)

    @contextmanager
    def _stream(self) -> Iterator[None]:
        """On a GPU a queue of its own, so that one thread's copies run beside another's kernels."""
        if self.device.type != "cuda":
            yield
            return
        stream = _stream_of_this_thread(self.device)
        stream.wait_stream(torch.cuda.default_stream(self.device))  # for the weights and the STF
        with torch.cuda.stream(stream):
            yield
            stream.synchronize()

    def _to_host(self, maps: Tensor) -> npt.NDArray[np.float32]:
        if self.device.type != "cuda":
            return maps.numpy()
        pinned = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True)
        return pinned.copy_(maps, non_blocking=True).numpy()  # it is there when `_stream` ends


def _stream_of_this_thread(device: torch.device) -> torch.cuda.Stream:
    """One for each thread and device: those that torch hands out come round again."""
    streams = vars(_THREAD).setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    found: torch.cuda.Stream = streams[device]
    return found


def _empty(tile: Tile) -> TileRecord:
    return TileRecord(index=tile.index, valid=np.zeros((tile.core.height, tile.core.width), bool))


def _out_of_memory(err: Exception) -> bool:
    """Whether memory ran out: on the CPU torch says so in words alone."""
    known = isinstance(err, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(err)


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
