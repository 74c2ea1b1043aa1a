"""What a folder of results holds, as layers of a QGIS project."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rasterio.crs import CRS

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, parse_xml
from uavssr.io.checks import check_raster
from uavssr.io.hsi import QUANTITY_TAG, is_coefficient_file
from uavssr.io.raster import opened_metadata, read_tags
from uavssr.io.writers.qgis_project import ProjectLayer, QgisProject, read_pipe
from uavssr.io.writers.qgis_style import colour_renderer, style_path
from uavssr.io.writers.true_colour import TrueColour

RASTERS: Final = (".tif", ".tiff")
"""Rasters that a project shows."""
VECTORS: Final = (".gpkg", ".geojson", ".shp")
"""Polygons that a project shows."""
TILES_SUFFIX: Final = ".tiles.gpkg"
"""End of the name of a map of the tiles' STFs."""
_RANK: Final = {"maps": 0, "quality": 1, "polygons": 2, "cube": 3, "errors": 4, "image": 5}
"""Order of the layers from the top."""
_SHOWN: Final = {"maps", "polygons", "cube"}
"""Kinds of layers that are switched on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raster:
    """A raster of the folder."""

    path: Path
    tags: Mapping[str, str]
    """Dataset tags."""
    crs_wkt: str
    bounds: tuple[float, float, float, float]
    """West, south, east, north."""
    is_cube: bool
    """Whether its bands have wavelengths."""

    @classmethod
    def of(cls, path: Path) -> _Raster:
        checked = check_raster(path, max_pixels=sys.maxsize)
        with opened_metadata(checked) as dataset:
            tags = read_tags(dataset, checked)
            return cls(
                path=path,
                tags=tags,
                crs_wkt=dataset.crs.to_wkt() if dataset.crs else "",
                bounds=tuple(dataset.bounds),
                is_cube="uavssr_model" in tags and bool(dataset.tags(1).get("wavelength")),
            )

    @property
    def kind(self) -> str:
        """What it holds, a key of `_RANK`; empty for a raster of other programs."""
        if "uavssr_version" not in self.tags:
            return ""
        if QUANTITY_TAG in self.tags:
            return "errors"
        if "quality" in self.tags:
            return "quality"
        return "cube" if self.is_cube else "maps"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderProject:
    """A project of a folder, and the files that it leaves out."""

    project: QgisProject
    """The project."""
    left_out: dict[str, str]
    """Reason by name of a file."""


def project_of_folder(folder: Path, *, title: str) -> FolderProject:
    """The results of uavssr in a folder, the images that they were made of, and all polygons.

    Maps and polygons lie on top, then the cube in true colour; quality, standard errors and images
    are switched off. A style (.qml) beside a raster is used.

    Raises:
        InputRefused: the folder holds no result of uavssr.
    """
    rasters, left_out = _read(folder)
    images = {_input_name(raster.tags) for raster in rasters if raster.kind}
    layers: list[tuple[int, ProjectLayer]] = []
    for raster in rasters:
        kind = raster.kind or ("image" if raster.path.name in images else "")
        if kind:
            layers.append((_RANK[kind], _raster_layer(raster, kind)))
        else:
            left_out[raster.path.name] = "not of uavssr, nor the image of a result"
    shown = [raster for raster in rasters if raster.kind]
    if not shown:
        raise InputRefused(
            "holds no cube, map or quality layer of uavssr",
            path=folder,
            remedy="name the folder that --out wrote to",
        )
    for path in _files(folder, VECTORS):
        try:
            wkt = shown[0].crs_wkt if path.name.endswith(TILES_SUFFIX) else _vector_crs(path)
        except InputRefused as err:
            left_out[path.name] = err.fact
            continue
        layer = ProjectLayer(path=path, title=path.stem, crs_wkt=wkt, is_vector=True)
        layers.append((_RANK["polygons"], layer))
    layers.sort(key=lambda ranked: ranked[0])
    crs_wkt = shown[0].crs_wkt
    bounds = np.array([raster.bounds for raster in shown if raster.crs_wkt == crs_wkt])
    west, south = bounds[:, :2].min(0)
    east, north = bounds[:, 2:].max(0)
    project = QgisProject(
        title=title,
        layers=[layer for _, layer in layers],
        crs_wkt=crs_wkt,
        extent=(float(west), float(south), float(east), float(north)),
    )
    return FolderProject(project=project, left_out=left_out)


def _read(folder: Path) -> tuple[list[_Raster], dict[str, str]]:
    """The rasters of a folder, and those that cannot be shown with the reason."""
    rasters, left_out = [], {}
    for path in _files(folder, RASTERS):
        try:
            if is_coefficient_file(path):
                left_out[path.name] = "coefficients; `uavssr expand` makes a cube of them"
            else:
                rasters.append(_Raster.of(path))
        except InputRefused as err:
            left_out[path.name] = err.fact
    return rasters, left_out


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as err:
        remedy = "name the folder that --out wrote to"
        raise InputRefused(str(err.strerror), path=folder, remedy=remedy) from err
    return (
        path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def _vector_crs(path: Path) -> str:
    """The CRS of a vector file as WKT.

    Raises:
        InputRefused: GDAL does not read it, or the package that asks GDAL is not installed.
    """
    try:
        import pyogrio
        from pyogrio.errors import DataSourceError
    except ModuleNotFoundError as err:
        raise InputRefused('needs pip install "uavssr[plots]"', path=path) from err
    try:
        with open_regular(path):  # a FIFO would block
            pass
        crs = pyogrio.read_info(path.absolute())["crs"]
    except (OSError, DataSourceError, ValueError) as err:
        raise InputRefused("GDAL reads no polygons from it", path=path) from err
    if crs is None:
        raise InputRefused("names no CRS", path=path)
    return CRS.from_user_input(crs).to_wkt()


def _input_name(tags: Mapping[str, str]) -> str:
    """The name in `field.tif (1509370 bytes)`."""
    return re.sub(r" \(\d+ bytes\)$", "", tags.get("uavssr_input", ""))


def _raster_layer(raster: _Raster, kind: str) -> ProjectLayer:
    pipe = read_pipe(style_path(raster.path))
    if pipe is None and kind == "cube" and (colours := TrueColour.of_cube(raster.path)):
        pipe = parse_xml(f"<pipe>{colour_renderer(colours)}</pipe>".encode())
    titles = {"quality": "quality", "errors": "standard errors", "image": "input"}
    suffix = f" ({titles[kind]})" if kind in titles else ""
    return ProjectLayer(
        path=raster.path,
        title=f"{raster.path.stem}{suffix}",
        crs_wkt=raster.crs_wkt,
        pipe=pipe,
        shown=kind in _SHOWN,
    )
