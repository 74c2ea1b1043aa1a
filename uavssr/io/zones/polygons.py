"""Polygons of vector files that GDAL reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy.typing as npt

from uavssr.errors import InputRefused, UsageError
from uavssr.io.bounded import open_regular, why_unread
from uavssr.io.hsi import reproject_points

if TYPE_CHECKING:
    from shapely import Geometry

MAX_ZONES: Final = 1_000_000
"""Most zones of a file."""


class PolygonLayer(NamedTuple):
    """A layer of a vector file as it is stored, n features."""

    columns: dict[str, npt.NDArray[Any]]
    """(n,) values by column."""
    outlines: list[Geometry]
    """(n,) geometries, not yet checked."""
    crs: str
    """Its coordinate reference system, empty without one."""


def read_polygons(path: Path) -> PolygonLayer:
    """The features of a vector file of one layer.

    Raises:
        UsageError: `pyogrio` or `shapely` is not installed.
        InputRefused: no vector file, several layers, or no features.
    """
    try:
        import pyogrio.raw
        import shapely
        from pyogrio.errors import DataSourceError
    except ModuleNotFoundError as err:
        remedy = 'pip install "uavssr[plots]"'
        raise UsageError(f"{err.name} is not installed", remedy=remedy) from err
    try:
        with open_regular(path):  # a FIFO would block
            pass
    except OSError as err:
        remedy = "check the path of the zones"
        raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
    try:
        meta, _, geometries, columns = pyogrio.raw.read(
            path.absolute(), layer=_only_layer(path), max_features=MAX_ZONES, force_2d=True
        )
    except (DataSourceError, ValueError) as err:
        raise InputRefused(
            f"GDAL reads no zones from it ({str(err).split(';')[0][:200]})",
            path=path,
            remedy="give a GeoPackage, GeoJSON or Shapefile of polygons",
        ) from err
    if geometries is None or not len(geometries):
        raise InputRefused("holds no zones", path=path, remedy="give a file of polygons")
    return PolygonLayer(
        columns=dict(zip(meta["fields"], columns, strict=True)),
        outlines=[shapely.from_wkb(geometry) for geometry in geometries],
        crs=str(meta["crs"] or ""),
    )


def _only_layer(path: Path) -> str | None:
    """The name of the layer with geometries; QGIS adds one of styles to a GeoPackage."""
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path.absolute()) if kind is not None]
    if len(layers) > 1:
        raise InputRefused(
            f"holds {len(layers)} layers: {', '.join(layers[:5])}",
            path=path,
            remedy="export the one with the zones to a file of its own",
        )
    return layers[0] if layers else None


def check_outlines(path: Path, names: Sequence[str], outlines: Sequence[Geometry | None]) -> None:
    """Refuse the first geometry that is no valid polygon; `names` are those of the features."""
    import shapely

    for name, outline in zip(names, outlines, strict=True):
        remedy = "repair it (QGIS: Fix geometries), or remove it"
        if outline is None or outline.is_empty:
            problem, remedy = "is empty", "draw its polygon, or remove it"
        elif outline.geom_type not in ("Polygon", "MultiPolygon"):
            problem = f"is a {outline.geom_type}, not a polygon"
            remedy = "make it a polygon (QGIS: Buffer), or remove it"
        elif not outline.is_valid:
            problem = f"is invalid: {shapely.is_valid_reason(outline)}"
        else:
            continue
        raise InputRefused(f"zone {name!r} {problem}", path=path, remedy=remedy)


def reprojected(path: Path, layer: PolygonLayer, target_wkt: str) -> list[Geometry]:
    """The polygons of a layer in another CRS, corner by corner.

    Raises:
        InputRefused: the layer has no CRS, or PROJ knows no way to the other.
    """
    import shapely
    from pyproj import CRS

    if not layer.crs:
        raise InputRefused(
            "names no CRS",
            path=path,
            remedy="assign one: ogr2ogr -a_srs EPSG:code out.gpkg " + path.name,
        )
    ours, theirs = CRS.from_wkt(target_wkt), CRS.from_user_input(layer.crs)
    if ours.equals(theirs, ignore_axis_order=True):
        return list(layer.outlines)
    move = partial(reproject_points, source_wkt=theirs.to_wkt(), target_wkt=target_wkt)
    try:
        return [shapely.transform(outline, move) for outline in layer.outlines]
    except InputRefused as err:
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
