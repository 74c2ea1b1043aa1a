"""A layer of outlines as a GeoPackage: an SQLite database as OGC 12-128r19 describes it.

pyogrio would load pandas, which takes half a second of every run.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.io.raster import WGS84
from uavssr.sensors import FloatArray, NumberArray

_NO_CRS: Final = -1
"""Number of the undefined Cartesian system in every GeoPackage."""
_OWN_CRS: Final = 100_000
"""Number of a system that has none in the EPSG register."""
_TABLES: Final = """
PRAGMA application_id = 0x47504B47;
PRAGMA user_version = 10300;
PRAGMA journal_mode = OFF;
CREATE TABLE gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
    description TEXT DEFAULT '',
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
    min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
    srs_id INTEGER REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
    table_name TEXT NOT NULL UNIQUE REFERENCES gpkg_contents(table_name),
    column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL REFERENCES gpkg_spatial_ref_sys(srs_id),
    z TINYINT NOT NULL, m TINYINT NOT NULL, PRIMARY KEY (table_name, column_name));
"""
_POLYGON: Final = np.dtype(
    [
        *(("magic", "S2"), ("version", "u1"), ("flags", "u1")),
        *(("crs", "<i4"), ("envelope", "<f8", 4)),
        *(("order", "u1"), ("type", "<u4"), ("rings", "<u4"), ("points", "<u4")),
        ("corners", "<f8", (5, 2)),
    ]
)
"""Header of a GeoPackage geometry with its envelope, then a polygon of one ring in WKB."""


def write_outlines(
    path: Path,
    layer: str,
    outlines: FloatArray,
    columns: Mapping[str, NumberArray],
    *,
    crs_wkt: str,
) -> bool:
    """Write a layer of polygons to a new file; whether it reads back the same.

    Args:
        path: the file, which does not exist.
        layer: name of the layer.
        outlines: (n, 5, 2) closed rings in map coordinates.
        columns: (n,) values of each column by name.
        crs_wkt: coordinate reference system, empty if there is none.

    Raises:
        sqlite3.Error: the system refused, a full disk most often.
    """
    crs, systems = _reference_systems(crs_wkt)
    types = "".join(f", {_quoted(name)} {_sql_type(array)}" for name, array in columns.items())
    rows = list(_rows(outlines, columns, crs))
    places = ", ".join("?" * (2 + len(columns)))
    extent = [*outlines.min((0, 1)).tolist(), *outlines.max((0, 1)).tolist()] if rows else []
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(_TABLES)
        file.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)", systems)
        file.execute(f'CREATE TABLE "{layer}" (fid INTEGER PRIMARY KEY, geom POLYGON{types})')
        file.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id,"
            " min_x, min_y, max_x, max_y) VALUES (?, 'features', ?, ?, ?, ?, ?, ?)",
            [layer, layer, crs, *(extent or 4 * [None])],
        )
        geometry = (layer, "geom", "POLYGON", crs, 0, 0)
        file.execute("INSERT INTO gpkg_geometry_columns VALUES (?, ?, ?, ?, ?, ?)", geometry)
        file.executemany(f'INSERT INTO "{layer}" VALUES ({places})', rows)  # noqa: S608
    with closing(sqlite3.connect(path)) as file:
        return file.execute(f'SELECT * FROM "{layer}"').fetchall() == rows  # noqa: S608


def _quoted(name: str) -> str:
    """A name in SQL: a band's role may be any text."""
    return '"{}"'.format(name.replace('"', '""'))


def _sql_type(values: NumberArray) -> str:
    return {"b1": "BOOLEAN", "i8": "INTEGER", "f4": "FLOAT", "f8": "REAL"}[values.dtype.str[1:]]


def _rows(
    outlines: FloatArray, columns: Mapping[str, NumberArray], crs: int
) -> Iterator[tuple[object, ...]]:
    """Number, geometry and values of each feature; SQLite has no NaN but NULL."""
    polygons = np.zeros(len(outlines), _POLYGON)
    polygons["magic"] = b"GP"
    polygons["flags"] = 0b11  # little endian, with an envelope of x and y
    polygons["crs"] = crs
    polygons["envelope"][:, ::2], polygons["envelope"][:, 1::2] = outlines.min(1), outlines.max(1)
    polygons["order"], polygons["type"] = 1, 3  # little endian, a polygon
    polygons["rings"], polygons["points"] = 1, 5
    polygons["corners"] = outlines
    known = [_known(values) for values in columns.values()]
    for number, (polygon, *values) in enumerate(zip(polygons, *known, strict=True), 1):
        yield (number, polygon.tobytes(), *values)


def _known(values: NumberArray) -> list[object]:
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return list(numbers.tolist())


def _reference_systems(crs_wkt: str) -> tuple[int, list[tuple[str, int, str, int, str]]]:
    """The number of the layer's system, and the table with it and the three of every file."""
    systems = {
        _NO_CRS: ("Undefined Cartesian SRS", _NO_CRS, "NONE", _NO_CRS, "undefined"),
        0: ("Undefined geographic SRS", 0, "NONE", 0, "undefined"),
        4326: ("WGS 84", 4326, "EPSG", 4326, WGS84),
    }
    if not crs_wkt:
        return _NO_CRS, list(systems.values())
    code = re.search(r'(?:AUTHORITY|ID)\["EPSG","?(\d+)"?\]\]$', crs_wkt)
    name = re.search(r'^\w+\["([^"]*)"', crs_wkt)
    number, organization = (_OWN_CRS, "NONE") if code is None else (int(code[1]), "EPSG")
    title = "unnamed" if name is None else name[1]
    systems[number] = (title, number, organization, number, crs_wkt)
    return number, list(systems.values())
