"""The rows of a manifest opened: cubes and pairs that give reflectance on one wavelength grid.

Everything that is wrong with them is gathered. Must not keep pixels or draw anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass

from uavssr.calibration import PairRegistration, register_pair
from uavssr.data.manifest import Manifest, Problem, Row
from uavssr.errors import InputRefused, UavssrError, UsageError
from uavssr.io.hsi import CubeSource, TargetGrid, WarpedCube, open_cube
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.settings import KNOWN_KEYS_ONLY, Number, Settings, WholeNumber
from uavssr.sensors import HEADWALL_NANO, BoolArray, Float32Array, Sensor, WavelengthGrid
from uavssr.spectra import SpectralLibrary, load_library, resample
from uavssr.tiling import Progress, Window

PLAUSIBLE: Final = (-0.05, 2.0)
"""Reflectance outside counts as invalid: noise below, specular glints above."""
MISSING_NM: Final = 10.0
"""How far (nm) a cube may end before the wavelength grid does."""
GAP_NM: Final = 20.0
"""The widest gap (nm) between bands of a cube that is brought to another grid."""


@settings_dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class DataConfig(Settings):
    """Use of a manifest: patches, splits, registration; the section `data` of a run's settings."""

    section: ClassVar[str] = "data"

    share: Annotated[Number, Field(ge=0, le=0.5)] = 0.2
    """Share of the groups, or of the blocks of each scene, for validation; 0: no validation."""
    guard: Annotated[WholeNumber, Field(ge=0)] = 16
    """Pixels between training and validation ground within a scene."""
    patches: Annotated[WholeNumber, Field(gt=0)] = 2000
    """Square patches kept in all, shared among the rows; 1.4 MB each at 270 bands and size 32."""
    max_shift: Annotated[Number, Field(ge=0)] = 2.0
    """Largest shift of a cube against its image, in pixels of the image."""
    grid: Literal["auto", "headwall-nano"] = "auto"
    """Wavelengths of the model: auto (of --init, else of the first cube) or headwall-nano."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """An opened row with pixels: a cube, or an image with the cube on its grid."""

    row: Row
    """What the manifest says of it."""
    place: TargetGrid
    """The grid of its pixels: the image's, else the cube's own."""
    cube: CubeSource | WarpedCube
    """Where spectra come from."""
    bands: WavelengthGrid
    """The cube's own wavelengths."""
    image: MsiSource | None = None
    """Of a pair."""
    registration: PairRegistration | None = None
    """Of a pair."""

    @property
    def sensor(self) -> Sensor | None:
        """The camera of the image, or that which the row names for a cube."""
        return self.row.sensor if self.image is None else self.image.sensor

    def read(
        self, window: Window, grid: WavelengthGrid
    ) -> tuple[Float32Array | None, Float32Array, BoolArray]:
        """Image (c, y, x), if any, cube (C, y, x) on `grid`, and the pixels valid in both (y, x).

        Where the image has no valid pixel the cube is not read.
        """
        msi: Float32Array | None = None
        seen = np.ones((window.height, window.width), bool)
        if self.image is not None:
            msi, seen = self.image.read(window)
            seen = seen & _plausible(msi)
        if not seen.any():
            return msi, np.full((len(grid), *seen.shape), np.nan, np.float32), seen
        hsi, valid = self.cube.read(window)
        if not self.bands.matches(grid):
            hsi = resample(np.moveaxis(hsi, 0, -1), self.bands.centres, grid)
            hsi = np.ascontiguousarray(np.moveaxis(hsi, -1, 0))
        return msi, hsi, seen & valid & _plausible(hsi)

    def warnings(self) -> list[str]:
        """What to be wary of, each with the row's line."""
        found: list[str] = []
        if self.image is not None and self.registration is not None:
            found = [*self.image.summary.warnings, *self.registration.warnings()]
        elif isinstance(self.cube, CubeSource):
            found = list(self.cube.warnings)
        return [f"line {self.row.line}: {text}" for text in found]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """All rows of a manifest that could be opened, and what is wrong with the others."""

    grid: WavelengthGrid
    """Wavelengths of the model."""
    scenes: tuple[Scene, ...]
    """Cubes and pairs, in the manifest's order."""
    libraries: tuple[tuple[Row, SpectralLibrary], ...]
    """Spectral libraries on the grid."""
    problems: tuple[Problem, ...]
    """Of all rows, those of the manifest's text included."""


def open_sources(
    manifest: Manifest,
    config: DataConfig,
    *,
    grid: WavelengthGrid | None = None,
    progress: Progress | None = None,
) -> Sources:
    """Open every row, register the pairs, and gather all problems.

    Args:
        manifest: rows, and the problems of its text.
        config: limits and the choice of a grid.
        grid: wavelengths of the model to start from, which the data must then cover.
        progress: told of every row that was opened.

    Raises:
        UsageError: the grid asked for is not that of the model to start from.
    """
    problems = list(manifest.problems)
    scenes: list[Scene] = []
    for row in manifest.rows:
        if row.kind != "spectra":
            with _gathering(row, problems):
                scenes.append(open_scene(row, config))
        if progress is not None:
            progress("checking the data", 1, len(manifest.rows))
    chosen = _grid(config, grid, scenes)
    libraries: list[tuple[Row, SpectralLibrary]] = []
    for row in manifest.rows:
        if row.kind == "spectra":
            with _gathering(row, problems):
                libraries.append((row, load_library(row.hsi, chosen)))
    for scene in scenes:
        with _gathering(scene.row, problems):
            _check_bands(scene, chosen)
    return Sources(
        grid=chosen, scenes=tuple(scenes), libraries=tuple(libraries), problems=tuple(problems)
    )


def open_scene(row: Row, config: DataConfig) -> Scene:
    """Open the files of a row; the cube of a pair is registered to its image.

    Raises:
        InputRefused: a file is refused, or the two do not fit together.
        UsageError: an option makes no sense.
    """
    cube = open_cube(row.hsi, scale=row.hsi_scale)
    if not row.msi:
        place = cube.place
        target = TargetGrid(
            height=place.height,
            width=place.width,
            crs_wkt=place.crs_wkt,
            transform=place.transform,
        )
        return Scene(row=row, place=target, cube=cube, bands=cube.grid)
    image = open_msi(row.msi, sensor=row.sensor, bands=row.bands, scale=row.msi_scale)
    fit = register_pair(image, cube)
    refused = fit.refusal(max_shift=config.max_shift)
    if refused is not None:
        raise InputRefused(refused, path=row.hsi)
    return Scene(
        row=row,
        place=fit.warped.target,
        cube=fit.warped,
        bands=cube.grid,
        image=image,
        registration=fit,
    )


@contextmanager
def _gathering(row: Row, problems: list[Problem]) -> Iterator[None]:
    """Turn an error of the body into a problem of the row."""
    try:
        yield
    except UavssrError as err:
        text = str(err)
        if "--" in (err.remedy or ""):
            text += "; the options are columns here: sensor, bands, msi_scale, hsi_scale"
        problems.append(Problem(row.line, text))


def _grid(
    config: DataConfig, given: WavelengthGrid | None, scenes: Sequence[Scene]
) -> WavelengthGrid:
    if config.grid != "auto":
        if given is not None and not given.matches(HEADWALL_NANO):
            raise UsageError(
                f"data.grid is {config.grid}, the model to start from has the grid {given.name}",
                remedy="leave data.grid out, or start from another model",
            )
        return HEADWALL_NANO
    if given is not None:
        return given
    ordered = sorted(scenes, key=lambda scene: scene.image is None)  # pairs before cubes
    return ordered[0].bands if ordered else HEADWALL_NANO


def _check_bands(scene: Scene, grid: WavelengthGrid) -> None:
    """Refuse a scene whose spectra would be guesses on the grid, or whose camera looks beyond it.

    Raises:
        InputRefused: what is missing.
    """
    if scene.sensor is not None:
        scene.sensor.srf(grid)
    if scene.bands.matches(grid):
        return
    own, asked = scene.bands.centres, grid.centres
    missing = max(own[0] - asked[0], asked[-1] - own[-1])
    inside = own[(own > asked[0] - GAP_NM) & (own < asked[-1] + GAP_NM)]
    gap = float(np.diff(inside).max()) if inside.size > 1 else np.inf
    if missing > MISSING_NM or gap > GAP_NM:
        raise InputRefused(
            f"its wavelengths, {own[0]:.1f}-{own[-1]:.1f} nm and up to {gap:.1f} nm apart, do not "
            f"cover those of the model, {asked[0]:.1f}-{asked[-1]:.1f} nm ({grid.name}), to within "
            f"{MISSING_NM:g} nm at the ends and {GAP_NM:g} nm between bands",
            path=scene.row.hsi,
            remedy="train on cubes of one instrument, or see data.grid",
        )


def _plausible(reflectance: Float32Array) -> BoolArray:
    """Pixels (y, x) whose every band is plausible; NaN is not."""
    low, high = PLAUSIBLE
    return np.asarray(((reflectance >= low) & (reflectance <= high)).all(0))
