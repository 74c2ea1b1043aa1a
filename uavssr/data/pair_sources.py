"""Opened rows of a manifest: cubes, pairs and plots, for one wavelength grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_dataclass

from uavssr.calibration import (
    BandComparison,
    Oddity,
    PairCheck,
    PairRegistration,
    register_pair,
)
from uavssr.data.manifest import Manifest
from uavssr.data.manifest_row import ManifestRow
from uavssr.data.plot_sources import PlotSource, flight_source, read_plots
from uavssr.errors import InputRefused, UavssrError, UsageError
from uavssr.io.hsi import CubeSource, TargetGrid, open_cube_source
from uavssr.io.manifests import ManifestProblem, ManifestRefused
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.raster import Place
from uavssr.io.settings import KNOWN_KEYS_ONLY, Number, Settings, WholeNumber
from uavssr.model import SpectralBasis
from uavssr.sensors import HEADWALL_NANO, BoolArray, Float32Array, Sensor, WavelengthGrid
from uavssr.spectra import load_library, resample
from uavssr.tiling import Progress, Window

REFLECTANCE_RANGE: Final = (-0.05, 2.0)
"""Range of valid reflectance: below lies noise, above lie specular glints."""
MAX_GAP_NM: Final = 20.0
"""Widest gap in nm between bands of a cube that is resampled to another grid."""
_MAX_MISSING_NM: Final = 10.0
"""Largest distance in nm by which a cube may end before the wavelength grid does."""


@settings_dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class DataConfig(Settings):
    """Use of a manifest: patches, splits, registration; the section `data` of a run's settings."""

    section: ClassVar[str] = "data"

    share: Annotated[Number, Field(ge=0, le=0.5)] = 0.2
    """Share of the groups, or of the blocks of each scene, for validation; 0: no validation."""
    guard: Annotated[WholeNumber, Field(ge=0)] = 16
    """Pixels between training and validation ground within a scene."""
    patches: Annotated[WholeNumber, Field(gt=0)] = 2000
    """Square patches kept in all, divided among the rows; 1.4 MB each at 270 bands and size 32."""
    max_shift: Annotated[Number, Field(ge=0)] = 2.0
    """Largest shift of a cube against its image, in pixels of the image."""
    accept: tuple[PairCheck, ...] = ()
    """Checks whose odd result is accepted for all pairs, with a warning: ratio, correlation."""
    grid: Literal["auto", "headwall-nano"] = "auto"
    """Wavelengths of the model: auto (of --init, else of the first cube) or headwall-nano."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneSource:
    """An opened row with pixels: a cube, or an image with the cube registered to it."""

    row: ManifestRow
    """The row of the manifest."""
    cube: CubeSource
    """The cube on its own grid."""
    image: MsiSource | None = None
    """The image of a pair."""
    registration: PairRegistration | None = None
    """The cube's registration to the image of a pair."""
    accepted: tuple[Oddity, ...] = ()
    """Odd figures of the pair that the user accepts."""

    @property
    def place(self) -> TargetGrid | Place:
        """The pixel grid of the scene: the image's, else the cube's own."""
        return self.cube.place if self.registration is None else self.registration.warped.target

    @property
    def grid(self) -> WavelengthGrid:
        """The cube's own wavelengths."""
        return self.cube.grid

    @property
    def sensor(self) -> Sensor | None:
        """The camera: of the image, or named by the row of a cube."""
        return self.row.sensor if self.image is None else self.image.sensor

    def read(
        self, window: Window, grid: WavelengthGrid
    ) -> tuple[Float32Array | None, Float32Array, BoolArray]:
        """Read the image (c, y, x), if any, the cube (C, y, x) and the valid pixels (y, x).

        The cube is resampled to `grid`. It is not read where the image has no valid pixel.
        """
        msi: Float32Array | None = None
        valid = np.ones((window.height, window.width), bool)
        if self.image is not None:
            msi, valid = self.image.read(window)
            valid = valid & _in_range(msi)
        if not valid.any():
            return msi, np.full((len(grid), *valid.shape), np.nan, np.float32), valid
        reader = self.cube if self.registration is None else self.registration.warped
        hsi, cube_valid = reader.read(window)
        if not self.cube.grid.matches(grid):
            hsi = resample(np.moveaxis(hsi, 0, -1), self.cube.grid.centres, grid)
            hsi = np.ascontiguousarray(np.moveaxis(hsi, -1, 0))
        return msi, hsi, valid & cube_valid & _in_range(hsi)

    def warnings(self) -> list[str]:
        """Return warnings about the files, each with the row's line."""
        texts = self.cube.warnings
        if self.image is not None and self.registration is not None:
            texts = (*texts, *self.image.summary.warnings, *self.registration.warnings())
            texts = (*texts, *(f"accepted: {oddity.text}" for oddity in self.accepted))
        return [f"line {self.row.line}: {text}" for text in texts]


PatchSource = SceneSource | PlotSource
"""Gives patches: a cube, a pair, or the plots of a flight."""


def open_sources(
    manifest: Manifest,
    config: DataConfig,
    *,
    grid: WavelengthGrid | None = None,
    basis: SpectralBasis | None = None,
    progress: Progress | None = None,
) -> tuple[WavelengthGrid, list[PatchSource]]:
    """Open every row; returns the model's wavelengths, and cubes, pairs and flights in order.

    Args:
        manifest: rows, and the problems of its text.
        config: limits and the choice of a grid.
        grid: wavelengths of the initial model, which the data must then cover.
        basis: spectral basis of the initial model, which completes the spectra of plots.
        progress: called after every row.

    Raises:
        UsageError: `config.grid` is not the grid of the initial model.
        ManifestRefused: a row has a problem; the message lists all problems of all rows.
    """
    problems = list(manifest.problems)
    sources: list[PatchSource] = []
    for row in manifest.rows:
        if row.kind != "spectra":
            with _collecting(row, problems):
                sources += _open_row(row, config)
        if progress is not None:
            progress("checking the data", 1, len(manifest.rows))
    chosen = _model_grid(config, grid, sources)
    for row in manifest.rows:
        if row.kind == "spectra":
            with _collecting(row, problems):
                load_library(row.hsi, chosen)
    for source in sources:
        with _collecting(source.row, problems):
            _check_bands(source, chosen, completes=basis is not None)
    if problems:
        raise ManifestRefused(manifest.path, list(dict.fromkeys(problems)))
    return chosen, sources


def _open_row(row: ManifestRow, config: DataConfig) -> list[PatchSource]:
    """Open the files of a row and check them; a table of plots gives a source for each flight."""
    if row.kind == "plots":
        return [_accepted_flight(source, config) for source in open_flights(row)]
    scene = open_scene(row)
    if scene.image is None:
        return [scene]
    registration = register_pair(scene.image, scene.cube)
    accepted = accepted_oddities(row, registration.bands, config)
    refused = registration.refusal(max_shift=config.max_shift)
    if refused is not None:
        raise InputRefused(refused, path=row.hsi)
    return [replace(scene, registration=registration, accepted=accepted)]


def open_scene(row: ManifestRow) -> SceneSource:
    """Open the files of a row, unchecked and not registered."""
    cube = open_cube_source(row.hsi, scale=row.hsi_scale)
    if not row.msi:
        return SceneSource(row=row, cube=cube)
    image = open_msi(row.msi, sensor=row.sensor, bands=row.bands, scale=row.msi_scale)
    return SceneSource(row=row, cube=cube, image=image)


def open_flights(row: ManifestRow) -> list[PlotSource]:
    """Open a table of plots, unchecked; a source for each flight."""
    table = read_plots(row)
    return [flight_source(row, table, flight) for flight in table.flights]


def _accepted_flight(source: PlotSource, config: DataConfig) -> PlotSource:
    try:
        accepted = accepted_oddities(source.row, source.bands, config)
    except InputRefused as err:
        fact = f"flight {source.flight}: {err.fact}"
        raise InputRefused(fact, path=err.path, remedy=err.remedy) from err
    return replace(source, accepted=accepted)


def accepted_oddities(
    row: ManifestRow, bands: BandComparison, config: DataConfig
) -> tuple[Oddity, ...]:
    """The odd figures of a pair, all of which row or settings accept.

    Raises:
        InputRefused: one is not accepted; the remedy says how to.
    """
    odd, allowed = bands.oddities(), {*config.accept, *row.accept}
    if refused := [oddity for oddity in odd if oddity.check not in allowed]:
        checks = ",".join(oddity.check for oddity in refused)
        raise InputRefused(
            "; ".join(oddity.text for oddity in refused),
            path=row.hsi,
            remedy=f"--accept {checks}, or a column accept, if that is as it should be",
        )
    return odd


@contextmanager
def _collecting(row: ManifestRow, problems: list[ManifestProblem]) -> Iterator[None]:
    """Add an error of the body to the problems of the row."""
    try:
        yield
    except UavssrError as err:
        text = str(err)
        if "--" in (err.remedy or "") and "--accept" not in (err.remedy or ""):
            text += "; in a manifest the options are columns: sensor, bands, msi_scale, hsi_scale"
        problems.append(ManifestProblem(row.line, text))


def _model_grid(
    config: DataConfig, initial: WavelengthGrid | None, sources: Sequence[PatchSource]
) -> WavelengthGrid:
    """The wavelengths of the model: as configured, of the initial model, or of a cube."""
    if config.grid != "auto":
        if initial is not None and not initial.matches(HEADWALL_NANO):
            raise UsageError(
                f"data.grid is {config.grid}, the initial model has the grid {initial.name}",
                remedy="leave data.grid out, or choose another --init",
            )
        return HEADWALL_NANO
    if initial is not None:
        return initial
    kinds = ("pair", "cube", "plots", "spectra")
    ordered = sorted(sources, key=lambda source: kinds.index(source.row.kind))
    return ordered[0].grid if ordered else HEADWALL_NANO


def _check_bands(source: PatchSource, grid: WavelengthGrid, *, completes: bool) -> None:
    """Refuse a source whose wavelengths do not cover the grid, or whose camera exceeds it.

    If the initial model `completes` spectra, those of plots may end before the grid does.
    """
    if source.sensor is not None:
        source.sensor.srf(grid)
    if source.grid.matches(grid):
        return
    own, asked = source.grid.centres, grid.centres
    missing = max(own[0] - asked[0], asked[-1] - own[-1])
    inside = own[(own > asked[0] - MAX_GAP_NM) & (own < asked[-1] + MAX_GAP_NM)]
    gap = float(np.diff(inside).max()) if inside.size > 1 else np.inf
    plots = source.row.kind == "plots"
    if (missing > _MAX_MISSING_NM and not (plots and completes)) or gap > MAX_GAP_NM:
        completed = "start from a model, which completes them: --init; " if plots else ""
        raise InputRefused(
            f"its wavelengths, {own[0]:.1f}-{own[-1]:.1f} nm and up to {gap:.1f} nm apart, do not "
            f"cover those of the model, {asked[0]:.1f}-{asked[-1]:.1f} nm ({grid.name}); at most "
            f"{_MAX_MISSING_NM:g} nm may be missing at the ends, {MAX_GAP_NM:g} nm between bands",
            path=source.row.hsi,
            remedy=f"{completed}train on cubes of one instrument, or see data.grid",
        )


def _in_range(reflectance: Float32Array) -> BoolArray:
    """The pixels (y, x) with valid reflectance in every band; NaN is invalid."""
    low, high = REFLECTANCE_RANGE
    return np.asarray(((reflectance >= low) & (reflectance <= high)).all(0))
