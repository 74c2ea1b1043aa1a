"""Interface of workers outside this process that compute tiles; `cluster.Cluster` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uavssr.reconstruction.fitted_scene import FittedScene
    from uavssr.reconstruction.pipeline import ThreadCounts, TileComputer
    from uavssr.reconstruction.plan import Plan
    from uavssr.reconstruction.tile_engine import TileEngine
    from uavssr.reconstruction.tile_record import StfNumbers


class RemoteWorkers(Protocol):
    """Other processes or machines that run the network on tiles."""

    def device(self, name: str) -> str:
        """`cpu` or `cuda`: where the workers run the network, for the name in `--device`."""

    @property
    def gpu_memory(self) -> int:
        """Bytes of the smallest GPU among the workers; 0 without GPUs."""

    def thread_counts(self, device: str, *, groups: int | None = None) -> ThreadCounts:
        """Threads of this process, of which each of the `workers` waits for one remote group."""

    def fit_scene(self, plan: Plan) -> StfNumbers:
        """The scene's STF, estimated by one of the workers."""

    def tiles(self, scene: FittedScene, engine: TileEngine, *, maps: bool) -> TileComputer:
        """A computer that gives the tiles of `engine`; without maps their STFs alone."""
