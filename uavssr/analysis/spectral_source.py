"""The spectra of an image by tiles, and what their errors follow from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from uavssr.io.raster import metres_per_unit
from uavssr.io.stf import ReferencePixels, StfEstimate
from uavssr.model import (
    BandErrors,
    Correction,
    CubeUncertainty,
    Model,
    ObservationModel,
    PGUNet,
    SpectralBasis,
    Stf,
)
from uavssr.reconstruction import (
    CPU_COUNT,
    RunVerdict,
    bounded_map,
    stf_from_estimate,
    torch_threads,
)
from uavssr.sensors import BoolArray, Sensor, WavelengthGrid
from uavssr.tiling import Progress, TileGrid, Window

if TYPE_CHECKING:
    from uavssr.io.raster import Transform

Mapped = TypeVar("Mapped")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectralTile:
    """The spectra of a window, n valid pixels of its h x w."""

    window: Window
    """Its place in the image."""
    index: int
    """Its number."""
    valid: BoolArray
    """(h, w)."""
    basis: SpectralBasis
    """The spectra are mean + E A."""
    coefficients: Tensor
    """A (r, n) of the valid pixels, row by row."""
    spectra: Tensor | None = None
    """X (C, n) as a file holds it; by default that of the coefficients."""

    def chosen(self, positions: Tensor) -> SpectralTile:
        """The same with some of its valid pixels only, by their positions among these."""
        spectra = None if self.spectra is None else self.spectra[:, positions]
        return replace(self, coefficients=self.coefficients[:, positions], spectra=spectra)

    def bands(self, indices: Sequence[int]) -> Tensor:
        """X (m, n), reflectance, of m bands by their indices."""
        rows = list(indices)
        if self.spectra is not None:
            return self.spectra[rows]
        # X = E A + mean
        basis = self.basis
        return torch.addmm(basis.mean[rows, None], basis.components[rows], self.coefficients)

    def combine(self, weights: Tensor) -> Tensor:
        """W X (m, n), reflectance, of weights W (m, C) on the bands."""
        if self.spectra is not None:
            return weights @ self.spectra
        # W X = (W E) A + W mean
        return (
            weights @ self.basis.components @ self.coefficients
            + (weights @ self.basis.mean)[:, None]
        )


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the cache lives in __dict__
class SpectralErrors:
    """What made a scene's spectra, from which their errors follow."""

    network: PGUNet
    """The network."""
    stf: Stf
    """The scene's STF (S = 1)."""
    basis: SpectralBasis
    """The coefficients' basis: the network's, or a wider one."""
    correction: Correction | None = None
    """The correction with reference spectra."""

    @classmethod
    def of(
        cls,
        model: Model,
        sensor: Sensor,
        estimate: StfEstimate,
        references: ReferencePixels | None,
        stages: int,
    ) -> SpectralErrors:
        """What made a cube, on the CPU.

        Args:
            model: of the cube.
            sensor: the camera.
            estimate: the scene's STF.
            references: pixels with known spectra that corrected the cube; None without.
            stages: number of stages that ran.
        """
        network = model.network
        stf = stf_from_estimate(network, sensor, estimate, device=torch.device("cpu"))
        correction = None
        if references is not None:
            arrays = references.msi, references.spectra
            pixels = (torch.tensor(array, dtype=torch.float32) for array in arrays)
            correction = network.fit_correction(stf, *pixels, stages=stages)
        basis = network.basis if correction is None else correction.basis
        return cls(network=network, stf=stf, basis=basis, correction=correction)

    def of_bands(self, weights: Tensor) -> BandErrors:
        """The joint errors of W X, weights W (m, C) on the bands."""
        return self.network.band_errors(weights, self.stf, self.correction)

    def uncertainty(self) -> CubeUncertainty:
        """The standard errors of all bands."""
        return self.network.cube_uncertainty(self.stf, self.correction)

    @property
    def bands(self) -> int:
        """Bands of the camera, c."""
        return self.stf.rows.shape[1]

    @cached_property
    def _seen(self) -> ObservationModel:
        return self.network.observation_model(self.stf, stf_uncertainty=False)

    def distance(self, coefficients: Tensor) -> Tensor:
        """(n,) squared distance of pixels (r, n) to the nearest component of the prior."""
        seen = self._seen
        return self.network.mixture.nearest_distance(
            self.image(coefficients), seen.mixing, seen.offset, seen.component_noise
        )[0]

    def image(self, coefficients: Tensor) -> Tensor:
        """Y = R X (1, c, n) of coefficients (r, n): the image, but for the misfit that is left."""
        acting = self.stf.rows[0] @ self.basis.extended
        return (acting[:, :-1] @ coefficients + acting[:, -1:])[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectralSource:
    """The spectra of an image of height x width pixels, C bands."""

    grid: WavelengthGrid
    """The C wavelengths."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """CRS, empty without one."""
    transform: Transform
    """From pixels to map coordinates."""
    inputs: tuple[Path, ...]
    """Files that are read: no output may replace them."""
    tags: dict[str, str]
    """How the spectra were made, for an output's tags."""
    tiles: TileGrid
    """The windows in which they are read or computed."""
    read: Callable[[Window, int], SpectralTile | None]
    """The tile of a window and its number, or None where it holds no valid pixel."""
    errors: SpectralErrors | None
    """None where the errors are not known."""
    sensor: Sensor | None = None
    """The camera, where it is known."""
    scene_stf: StfEstimate | None = None
    """The scene's STF of that camera, where it is known."""
    run_verdict: RunVerdict | None = None
    """Of the run that made a file, where its STF file holds it."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""
    judge: Callable[[], RunVerdict] | None = None
    """Gives the verdict on a reconstruction whose tiles were all computed; None for a file."""
    workers: int = CPU_COUNT
    """Tiles at a time."""
    tile_bytes: int = 0
    """Most bytes of memory to read or compute a tile."""

    @property
    def path(self) -> Path | None:
        """The first file; None of an array."""
        return self.inputs[0] if self.inputs else None

    @property
    def name(self) -> str:
        """Its name in messages and tags."""
        return "array" if self.path is None else self.path.name

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in metres."""
        a, b, c, d, e, f = self.transform
        along_x, along_y = metres_per_unit(self.crs_wkt, x=c, y=f)
        return math.hypot(a * along_x, d * along_y), math.hypot(b * along_x, e * along_y)

    def verdict(self) -> RunVerdict | None:
        """After all tiles were mapped: what is odd about them; None for a file."""
        return None if self.judge is None else self.judge()

    def map(
        self,
        function: Callable[[SpectralTile], Mapped],
        *,
        progress: Progress | None,
        task: str,
        indices: Sequence[int] | None = None,
    ) -> Iterator[Mapped]:
        """function(tile) of every tile with valid pixels, in row-major order, in threads.

        `indices` are the tiles to read, by default all.
        """
        numbers = range(len(self.tiles)) if indices is None else indices
        cores = [self.tiles[index].core for index in numbers]
        total = sum(core.height * core.width for core in cores)

        @torch.inference_mode()
        def run(index: int) -> Mapped | None:
            tile = self.read(self.tiles[index].core, index)
            return None if tile is None else function(tile)

        with torch_threads():
            results = bounded_map(run, numbers, workers=self.workers)
            for core, result in zip(cores, results, strict=True):
                if progress is not None:
                    progress(task, core.height * core.width, total)
                if result is not None:
                    yield result
