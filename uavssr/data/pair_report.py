"""A report on the pairs of a manifest before any training: places, shifts, brightness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely

from uavssr.calibration import BandComparison, PairCheck, PairRegistration, register_pair
from uavssr.data.manifest import read_manifest
from uavssr.data.manifest_row import ManifestRow
from uavssr.data.pair_sources import DataConfig, SceneSource, open_flights, open_scene
from uavssr.data.plot_sources import PlotSource
from uavssr.errors import UavssrError
from uavssr.io.hsi import CubeSource, pixel_to_map, reproject_points
from uavssr.io.manifests import ManifestRefused
from uavssr.io.msi import MsiSource
from uavssr.io.raster import Place, metres_per_unit
from uavssr.sensors import FloatArray
from uavssr.tiling import Progress
from uavssr.viz import PairPanel

_NOTHING: Final = np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Footprints:
    """The ground of an image and of its cube."""

    image: FloatArray
    """(4, 2) corners of the image, in its coordinates."""
    cube: FloatArray
    """(4, 2) corners of the cube, in the same."""
    image_gsd: float
    """Length in metres of the image's pixels."""
    cube_gsd: float
    """Length in metres of the cube's pixels."""

    @classmethod
    def of(cls, image: MsiSource, cube: CubeSource) -> Footprints:
        """The footprints of two rasters, from their coordinates alone."""
        (outline, gsd), (own, cube_gsd) = _corners(image), _corners(cube.place)
        other = reproject_points(own, cube.place.crs_wkt, image.crs_wkt)
        return cls(image=outline, cube=other, image_gsd=gsd, cube_gsd=cube_gsd)

    @property
    def overlap(self) -> float:
        """Share of the image's area that the cube covers."""
        if not np.isfinite(self.cube).all():
            return 0.0
        image, cube = shapely.Polygon(self.image), shapely.Polygon(self.cube)
        return float(image.intersection(cube).area / image.area)

    def facts(self) -> dict[str, Any]:
        """Bounds (left, bottom, right, top), overlap and pixels as plain values."""
        return {
            "image_bounds": [*self.image.min(0).tolist(), *self.image.max(0).tolist()],
            "cube_bounds": [*self.cube.min(0).tolist(), *self.cube.max(0).tolist()],
            "overlap": round(self.overlap, 4),
            "image_gsd_m": round(self.image_gsd, 5),
            "cube_gsd_m": round(self.cube_gsd, 5),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairReport:
    """What is known of one row, or of one flight of a table of plots."""

    row: ManifestRow
    """The row of the manifest."""
    flight: str = ""
    """The flight of a table of plots."""
    plots: int = 0
    """Plots of that flight."""
    image: MsiSource | None = None
    """The image of a pair."""
    footprints: Footprints | None = None
    """Where image and cube lie."""
    registration: PairRegistration | None = None
    """Their registration."""
    bands: BandComparison | None = None
    """Image against integrated cube; None if nothing could be compared."""
    problems: tuple[str, ...] = ()
    """Reasons why `train` refuses the row as it is."""
    accepts: tuple[PairCheck, ...] = ()
    """Checks that `--accept` would have to name."""
    warnings: tuple[str, ...] = ()
    """Facts that training goes on with."""

    @property
    def name(self) -> str:
        """Line, files and flight."""
        files = ", ".join(path.name for path in (*self.row.msi, self.row.hsi))
        return f"line {self.row.line}: {files} {self.flight}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        facts: dict[str, Any] = {
            "line": self.row.line,
            "kind": self.row.kind,
            "files": [str(path) for path in (*self.row.msi, self.row.hsi)],
        }
        if self.flight:
            facts |= {"flight": self.flight, "plots": self.plots}
        if self.footprints is not None:
            facts["footprints"] = self.footprints.facts()
        if self.registration is not None:
            facts["registration"] = self.registration.facts()
        elif self.bands is not None:
            facts["bands"] = self.bands.facts()
        said = {"problems": self.problems, "accepts": self.accepts, "warnings": self.warnings}
        return facts | {key: list(values) for key, values in said.items()}

    def panel(self) -> PairPanel:
        """What a figure shows of it."""
        bands, prints = self.bands, self.footprints
        sensor = self.row.sensor if self.image is None else self.image.sensor
        arrows, pixels = self._arrows()
        centres = [band.centre for band in sensor.bands] if sensor and bands else []
        return PairPanel(
            title=f"{self.name}: {'refused' if self.problems else 'usable'}",
            odd=bool(self.problems),
            outlines=() if prints is None else (prints.image, prints.cube),
            arrows=arrows,
            pixels=pixels,
            nm=np.array(centres),
            ratio=_NOTHING if bands is None else bands.ratio,
            correlation=_NOTHING if bands is None else bands.correlation,
        )

    def _arrows(self) -> tuple[FloatArray, float]:
        """Places and whole shifts (w, 4) in coordinates of the image; the longest in pixels."""
        registration = self.registration
        if registration is None or self.image is None or not len(registration.places):
            return np.empty((0, 4)), 0.0
        shifts = (registration.remains + np.array(registration.shift))[:, ::-1]  # (column, row)
        start = pixel_to_map(self.image.transform, registration.places)
        end = pixel_to_map(self.image.transform, registration.places + shifts)
        return np.hstack([start, end - start]), float(np.hypot(*shifts.T).max())


def check_pairs(
    path: Path, config: DataConfig, *, progress: Progress | None = None
) -> list[PairReport]:
    """Report on each pair, cube and flight of a manifest; libraries are left to the training.

    Rasters are read in at most 64 windows each. `progress` is called after every row.

    Raises:
        ManifestRefused: the text of the manifest has problems.
    """
    manifest = read_manifest(path)
    if manifest.problems:
        raise ManifestRefused(path, manifest.problems)
    reports: list[PairReport] = []
    for row in manifest.rows:
        if row.kind != "spectra":
            reports += _reports(row, config)
        if progress is not None:
            progress("checking pairs", 1, len(manifest.rows))
    return reports


def _reports(row: ManifestRow, config: DataConfig) -> Iterator[PairReport]:
    report = PairReport(row=row)
    try:
        if row.kind == "plots":
            yield from (_flight_report(source, config) for source in open_flights(row))
            return
        scene = open_scene(row)
        if scene.image is not None:
            prints = Footprints.of(scene.image, scene.cube)
            report = replace(report, image=scene.image, footprints=prints)
            report = _registered_report(report, scene, scene.image, config)
        yield report
    except UavssrError as err:
        yield replace(report, problems=(str(err),))


def _flight_report(source: PlotSource, config: DataConfig) -> PairReport:
    plots = len(source.table.msi)
    report = PairReport(row=source.row, flight=source.flight, plots=plots, bands=source.bands)
    return _judged(report, source.bands, source.bands.warnings(), config)


def _registered_report(
    report: PairReport, scene: SceneSource, image: MsiSource, config: DataConfig
) -> PairReport:
    registration = register_pair(image, scene.cube)
    refused = registration.refusal(max_shift=config.max_shift)
    report = replace(
        report,
        registration=registration,
        bands=registration.bands,
        problems=() if refused is None else (refused,),
    )
    texts = (*scene.cube.warnings, *image.summary.warnings, *registration.warnings())
    return _judged(report, registration.bands, texts, config)


def _judged(
    report: PairReport, bands: BandComparison, warnings: tuple[str, ...], config: DataConfig
) -> PairReport:
    allowed = {*config.accept, *report.row.accept}
    odd = bands.oddities()
    refused = [oddity for oddity in odd if oddity.check not in allowed]
    accepted = [f"accepted: {oddity.text}" for oddity in odd if oddity.check in allowed]
    return replace(
        report,
        problems=(*report.problems, *(oddity.text for oddity in refused)),
        accepts=tuple(oddity.check for oddity in refused),
        warnings=(*warnings, *accepted),
    )


def _corners(raster: MsiSource | Place) -> tuple[FloatArray, float]:
    """Corners (4, 2) of a raster, and the length of its pixels in metres at its middle."""
    height, width = raster.height, raster.width
    corners = np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    placed = pixel_to_map(raster.transform, corners)
    x, y = placed.mean(0)
    a, b, _, d, e, _ = raster.transform
    across, up = metres_per_unit(raster.crs_wkt, x=float(x), y=float(y))
    return placed, float(np.sqrt(abs(a * e - b * d) * across * up))
