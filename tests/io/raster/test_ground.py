"""Metres on the ground, and coordinates that are none of the CRS that a file states."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from pyproj import Geod
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rio.main import main_group
from rasterio.transform import Affine
from rasterio.warp import transform

from tests.helpers.rasters import P4M, scene, write
from uavssr.errors import InputRefused
from uavssr.io.msi import open_msi
from uavssr.io.raster import metres_per_unit
from uavssr.tiling import Window

LOCAL = 'LOCAL_CS["Site",LOCAL_DATUM["Site",0],UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'


@pytest.mark.parametrize(
    ("code", "lon", "lat"),
    [
        (3857, 10, 50),
        (3857, -70, 78),
        (32632, 12, 50),
        (4326, 10, -33),
        (4807, 2, 48),  # grads
        (2263, -74, 40.7),  # US survey feet
        (2056, 8, 47),
        (32660, 179.99999, 10),
    ],
)
def test_unit_of_a_crs_is_as_long_as_the_geodesic(code: int, lon: float, lat: float) -> None:
    crs = CRS.from_epsg(code)
    (x,), (y,) = transform("EPSG:4326", crs, [lon], [lat])
    step = 20 / metres_per_unit(crs.to_wkt(), x=x, y=y)[1]
    lons, lats = transform(crs, "EPSG:4326", [x, x + step, x], [y, y, y + step])
    lengths = [
        Geod(ellps="WGS84").inv(lons[0], lats[0], lons[i], lats[i])[2] / step for i in (1, 2)
    ]
    assert metres_per_unit(crs.to_wkt(), x=x, y=y) == pytest.approx(lengths, rel=1e-4)


def test_unit_of_local_coordinates_is_the_one_stated() -> None:
    wkt = CRS.from_wkt(LOCAL.replace('UNIT["metre",1]', 'UNIT["foot",0.3048]')).to_wkt()
    assert metres_per_unit(wkt, x=1e7, y=0) == pytest.approx((0.3048, 0.3048))


@pytest.mark.parametrize(
    ("crs", "grid", "fact", "code"),
    [
        ("EPSG:32650", Affine(1e-6, 0, 117, 0, -1e-6, 27), "degrees", "EPSG:4326"),
        ("EPSG:2263", Affine(9e-5, 0, -74, 0, -9e-5, 41), "degrees", "EPSG:4326"),
        ("EPSG:4326", Affine(0.1, 0, 5e5, 0, -0.1, 3e6), "no longitude", "EPSG:32650"),
        ("EPSG:4326", Affine(1e-6, 0, 27, 0, -1e-6, 117), "no longitude", "EPSG:32650"),
        ("EPSG:32632", Affine(0.1, 0, 20.5e6, 0, -0.1, 3e6), "outside its range", "EPSG:3857"),
    ],
)
def test_coordinates_of_another_crs_are_refused_with_a_remedy_that_works(
    tmp_path: Path, crs: str, grid: Affine, fact: str, code: str
) -> None:
    """RELIABILITY row 46."""
    path = write(tmp_path / "my field.tif", scene(), crs=crs, transform=grid)
    with pytest.raises(InputRefused, match=f"its CRS is {crs}, but .* {fact}") as caught:
        open_msi(path, sensor="p4m")
    command = (caught.value.remedy or "").partition(": ")[2].replace("EPSG:CODE", code)
    run_rio(command)
    with rasterio.open(path) as file:
        assert file.crs == CRS.from_string(code)
    if grid.f < 90 or code == "EPSG:3857":
        assert open_msi(path, sensor="p4m").summary.crs == code


@pytest.mark.parametrize(
    ("crs", "grid"),
    [
        ("EPSG:4326", Affine(1e-6, 0, 359.9, 0, -1e-6, -89)),
        ("EPSG:3857", Affine(0.1, 0, 5, 0, -0.1, 7)),
        ("EPSG:32650", Affine(0.01, 0, 5, 0, -0.01, 7)),
        ("EPSG:32632+5773", Affine(0.1, 0, 5e5, 0, -0.1, 5e6)),
        (LOCAL, Affine(1e-5, 0, 0, 0, -1e-5, 0)),
    ],
    ids=["0 to 360", "near null island", "far from its zone", "compound", "local"],
)
def test_unusual_coordinates_are_taken(tmp_path: Path, crs: str, grid: Affine) -> None:
    """RELIABILITY row 46: no false refusal."""
    path = write(tmp_path / "field.tif", scene(), crs=CRS.from_user_input(crs), transform=grid)
    assert open_msi(path, sensor="p4m").transform == tuple(grid)[:6]


def test_control_points_are_warped_as_the_message_says(tmp_path: Path) -> None:
    """RELIABILITY row 46."""
    numbers = scene()
    corners = [(row, col) for row in (0, 40) for col in (0, 50)]
    points = [
        GroundControlPoint(row=r, col=c, x=5e5 + 0.1 * c, y=3e6 - 0.1 * r) for r, c in corners
    ]
    path = write(tmp_path / "points.tif", numbers, gcps=points, transform=None)
    with pytest.raises(InputRefused, match="4 ground control points, but no geotrans") as caught:
        open_msi(path, sensor="p4m")
    run_rio((caught.value.remedy or "").partition(": ")[2].partition(";")[0])
    source = open_msi(tmp_path / "points.warped.tif", sensor="p4m", bands=P4M)
    np.testing.assert_array_equal(source.read(Window(0, 0, 40, 50))[0], numbers)
    assert source.transform == pytest.approx((0.1, 0, 5e5, 0, -0.1, 3e6))


def run_rio(command: str) -> None:
    name, *arguments = shlex.split(command)
    done = CliRunner().invoke(main_group, arguments)
    assert (name, done.exit_code) == ("rio", 0), done.output
