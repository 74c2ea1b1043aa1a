"""Zones of vector files, their covered pixels, and statistics over them."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from rasterio.warp import transform as move

from tests.helpers.models import P4M, tiny_msi, tiny_network
from tests.helpers.rasters import write
from uavssr import ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.analysis import (
    IndexEvaluation,
    IndexRequest,
    SpectralSource,
    Zone,
    of_image,
    own_share_of_mean,
    read_zones,
    zone_statistics,
)
from uavssr.analysis.zone_statistics import SHARED_IN_ZONE
from uavssr.errors import InputRefused, UsageError
from uavssr.model import save_model
from uavssr.tiling import Window

HEIGHT, WIDTH = 70, 45
REQUESTS = IndexRequest.of(["NDVI"], ["R800"])
SQUARES = {"a": (3, 5, 12, 15), "b": (30, 25, 41.5, 33.25), "c": (10, 40, 44, 68)}
"""Left, top, right, bottom in pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zones")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, 50:, :20] = np.nan
    write(folder / "in.tif", image)
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> SpectralSource:
    options = ReconstructionOptions(model=folder / "tiny", tile=32, workers=2)
    return of_image(plan_reconstruction(open_msi(folder / "in.tif", sensor="p4m"), options))


Writer = Callable[..., Path]


@pytest.fixture
def zone_file(source: SpectralSource, tmp_path: Path) -> Writer:
    """Writes squares in pixels of the image as polygons of a CRS."""

    def written(
        name: str = "zones.geojson",
        squares: dict[str, tuple[float, ...]] = SQUARES,
        crs: str = "EPSG:4326",
        column: str = "plot",
    ) -> Path:
        a, b, c, d, e, f = source.transform
        shapes = []
        for sides in squares.values():
            points = np.array(shapely.box(*sides).exterior.coords)
            on_map = points @ [[a, d], [b, e]] + [c, f]
            lon, lat = move(source.crs_wkt, crs, *on_map.T)
            shapes.append(shapely.to_wkb(shapely.Polygon(np.stack([lon, lat], 1))))
        path = tmp_path / name
        pyogrio.raw.write(
            path,
            geometry=np.array(shapes, object),
            field_data=[np.array(list(squares), object)],
            fields=[column],
            geometry_type="Polygon",
            crs=crs,
        )
        return path

    return written


@pytest.mark.parametrize("name", ["zones.geojson", "zones.gpkg", "zones.shp"])
def test_zones_of_any_format_and_crs_lie_where_they_were_drawn(
    zone_file: Writer, source: SpectralSource, name: str
) -> None:
    crs = "EPSG:3857" if name.endswith("gpkg") else "EPSG:4326"
    zones = read_zones(zone_file(name, crs=crs), source).zones
    assert [zone.name for zone in zones] == list(SQUARES)
    for zone, sides in zip(zones, SQUARES.values(), strict=True):
        np.testing.assert_allclose(zone.outline.bounds, sides, atol=0.01)


def test_covered_shares_are_exact_and_add_up_over_windows() -> None:
    zone = Zone(name="z", outline=shapely.Polygon([(2.5, 1), (30, 8), (18.25, 27)]))
    total = 0.0
    for window in (Window(0, 0, 16, 16), Window(0, 16, 16, 20), Window(16, 0, 16, 36)):
        covered = zone.within(window)
        assert covered is not None
        total += covered.share.sum()
        for row, col, share in zip(*covered, strict=True):
            pixel = shapely.box(
                window.col + col, window.row + row, window.col + col + 1, window.row + row + 1
            )
            assert share == pytest.approx(zone.outline.intersection(pixel).area, abs=1e-6)
    assert total == pytest.approx(zone.outline.area, rel=1e-6)
    assert zone.within(Window(40, 0, 16, 16)) is None


def test_statistics_are_those_of_the_pixels(zone_file: Writer, source: SpectralSource) -> None:
    rows = zone_statistics(source, read_zones(zone_file(), source).zones, REQUESTS)
    evaluation = IndexEvaluation.of(REQUESTS, source.grid, source.errors)
    parts = {}
    for window, valid, indices in source.map(
        lambda tile: (tile.window, tile.valid, evaluation(tile)), progress=None, task=""
    ):
        for name, numbers in (("value", indices.value), ("own", indices.own_variance)):
            image = parts.setdefault(name, np.full((2, HEIGHT, WIDTH), np.nan))
            image[:, window.rows, window.cols][:, valid] = numbers.numpy()
    left, top, right, bottom = SQUARES["a"]
    square = parts["value"][:, top:bottom, left:right].reshape(2, -1)
    got = rows[0].indices["NDVI"]
    assert got.mean == pytest.approx(square[0].mean(), rel=1e-4)
    assert got.deviation == pytest.approx(square[0].std(), rel=1e-3)
    assert got.median == pytest.approx(np.median(square[0]), abs=0.02)
    assert rows[0].pixels == pytest.approx(90, rel=1e-3)
    assert rows[0].valid == pytest.approx(1, abs=1e-3)
    own = parts["own"][0, top:bottom, left:right].mean() * own_share_of_mean(1 / 90)
    assert got.value_se > np.sqrt(own)
    # rows 50-67 of the third zone are invalid in columns 10-19
    assert rows[2].valid == pytest.approx(1 - 10 * 18 / (34 * 28), abs=1e-3)


def test_spectra_are_those_of_the_pixels(zone_file: Writer, folder: Path) -> None:
    planned = plan_reconstruction(
        open_msi(folder / "in.tif", sensor="p4m"),
        ReconstructionOptions(model=folder / "tiny", tile=32, workers=2),
    )
    source, bands = of_image(planned), [3, 20, 39]
    zones = read_zones(zone_file(), source).zones
    left, top, right, bottom = SQUARES["a"]
    cube = planned.dataset().reflectance.load().to_numpy()
    pixels = cube[bands, top:bottom, left:right].reshape(3, -1)
    rows = zone_statistics(source, zones, [], bands=bands)
    spectrum = rows[0].spectrum
    np.testing.assert_allclose(spectrum.mean, pixels.mean(1), rtol=1e-4)
    np.testing.assert_allclose(spectrum.deviation, pixels.std(1), rtol=1e-3)
    np.testing.assert_allclose(spectrum.median, np.median(pixels, 1), rtol=0.05)
    assert rows[2].pixels == pytest.approx(34 * 28 - 10 * 18, rel=1e-3)
    assert not rows[0].indices


def test_errors_of_spectra_are_those_of_one_wavelength_as_an_index(
    zone_file: Writer, source: SpectralSource
) -> None:
    """Two ways of computing: by the band's variance maps, and by the joint errors of an index."""
    bands = [13, 26]
    requests = IndexRequest.of([], ["R600", "R800"])
    for row in zone_statistics(
        source, read_zones(zone_file(), source).zones, requests, bands=bands
    ):
        for name in ("mean", "deviation", "value_se", "compare_se"):
            expected = [getattr(of, name) for of in row.indices.values()]
            np.testing.assert_allclose(getattr(row.spectrum, name), expected, rtol=0.02)


def test_what_all_zones_share_is_in_the_value_and_not_in_the_comparison(
    zone_file: Writer, source: SpectralSource
) -> None:
    """The factor common to all bands: it scales R800 everywhere alike."""
    rows = zone_statistics(source, read_zones(zone_file(), source).zones, REQUESTS)
    for row in rows:
        reflectance = row.indices["formula"]
        assert reflectance.value_se > 0.15 * reflectance.mean
    value, compare = (
        np.mean([getattr(row.indices["formula"], name) for row in rows])
        for name in ("value_se", "compare_se")
    )
    assert compare < 0.95 * value


def test_plot_where_an_index_is_undefined_leaves_the_others_alone(source: SpectralSource) -> None:
    zones = [Zone(name=name, outline=shapely.box(*SQUARES[name])) for name in SQUARES]
    plain = IndexRequest.of([], ["R800"])
    by_level = sorted(
        zip(zone_statistics(source, zones, plain), zones, strict=True),
        key=lambda pair: pair[0].indices["formula"].mean,
    )
    middle = np.mean([row.indices["formula"].mean for row, _ in by_level[:2]])
    dark, light = (
        Zone(name=z.name, outline=z.outline.centroid.buffer(0.5)) for _, z in by_level[::2]
    )
    dark_row, light_row = zone_statistics(
        source, [dark, light], IndexRequest.of([], [f"sqrt(R800 - {middle:.6f})"])
    )
    assert np.isnan(dark_row.indices["formula"].mean)
    assert light_row.indices["formula"].compare_se > 0


def test_mean_of_many_pixels_keeps_what_they_have_in_common() -> None:
    assert own_share_of_mean(1) == pytest.approx(1)
    assert own_share_of_mean(1e-9) == pytest.approx(SHARED_IN_ZONE)


def test_buffer_shrinks_by_metres(zone_file: Writer, source: SpectralSource) -> None:
    width, height = source.pixel_size
    zones = read_zones(zone_file(), source, buffer=-2 * width).zones
    sides = np.array(SQUARES["a"]) + np.array([2, 2 * width / height, -2, -2 * width / height])
    np.testing.assert_allclose(zones[0].outline.bounds, sides, atol=0.02)


def test_zones_outside_the_image_are_named(zone_file: Writer, source: SpectralSource) -> None:
    far = {"far": (500, 500, 520, 520), "thin": (20, 20, 21, 40)}
    read = read_zones(zone_file(squares=SQUARES | far), source, buffer=-source.pixel_size[0])
    assert read.outside == ("far", "thin")
    assert [zone.name for zone in read.zones] == list(SQUARES)


def polygons(*features: dict) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def feature(points: list[tuple[float, float]], **properties: object) -> dict:
    geometry = {"type": "Polygon", "coordinates": [points]} if points else None
    return {"type": "Feature", "properties": properties, "geometry": geometry}


FAR = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
BOW_TIE = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("no vector file", "GDAL reads no zones"),
        (polygons(), "holds no zones"),
        (polygons(feature(FAR, id=1)), "none of its 1 zones lies in the image"),
        (polygons(feature(FAR, plot=1), feature(FAR, plot=1)), "has '1' twice"),
        (polygons(feature(FAR, crop="beet")), "no column identifies its zones (columns: crop)"),
        (polygons(feature(BOW_TIE, id="x")), "zone 'x' is invalid: Self-intersection"),
        (polygons(feature([], id="x")), "zone 'x' is empty"),
        (polygons(feature(FAR, id=None), feature(FAR, id="x")), "no value in the column id"),
        (polygons(feature(FAR, id=None), feature(FAR, id=1)), "no value in the column id"),
    ],
)
def test_bad_zones_are_refused(
    source: SpectralSource, tmp_path: Path, text: str, fact: str
) -> None:
    path = tmp_path / "zones.geojson"
    path.write_text(text)
    with pytest.raises(InputRefused) as caught:
        read_zones(path, source)
    assert fact in str(caught.value)
    assert caught.value.remedy


def test_several_layers_are_refused_and_one_of_styles_is_not(
    zone_file: Writer, source: SpectralSource
) -> None:
    path = zone_file("zones.gpkg")
    with sqlite3.connect(path) as database:  # as QGIS stores a style
        database.execute("create table layer_styles (id integer primary key, styleqml text)")
        database.execute(
            "insert into gpkg_contents (table_name, data_type, identifier) "
            "values ('layer_styles', 'attributes', 'layer_styles')"
        )
    assert len(read_zones(path, source).zones) == len(SQUARES)
    pyogrio.raw.write(
        path,
        layer="more",
        geometry=np.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))], object),
        field_data=[np.array(["a"], object)],
        fields=["id"],
        geometry_type="Polygon",
        crs="EPSG:4326",
        append=True,
    )
    with pytest.raises(InputRefused, match="holds 2 layers: zones, more"):
        read_zones(path, source)


def test_missing_file_is_refused(source: SpectralSource, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no such file") as caught:
        read_zones(tmp_path / "gone.gpkg", source)
    assert caught.value.path == tmp_path / "gone.gpkg"


def test_column_that_is_not_there_is_refused(zone_file: Writer, source: SpectralSource) -> None:
    with pytest.raises(UsageError, match="has no column 'parcel'; choose: plot"):
        read_zones(zone_file(), source, id_column="parcel")


@pytest.mark.parametrize("package", ["exactextract", "pyogrio", "shapely"])
def test_missing_package_is_named_with_its_extra(
    package: str, zone_file: Writer, source: SpectralSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    zones = zone_file()
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    remedy = r'is not installed; pip install "uavssr\[plots\]"'
    with pytest.raises(UsageError, match=f"{package}.* {remedy}"):
        read_zones(zones, source)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_zones_without_crs_are_refused(source: SpectralSource, tmp_path: Path) -> None:
    path = tmp_path / "bare.gpkg"
    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))], object),
        field_data=[np.array(["a"], object)],
        fields=["id"],
        geometry_type="Polygon",
        crs=None,
    )
    with pytest.raises(InputRefused, match="names no CRS"):
        read_zones(path, source)


def test_command_writes_a_row_per_plot_and_wavelength(
    folder: Path, zone_file: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plots.csv"
    camera = ["--sensor", "p4m", "--model", str(folder / "tiny")]
    asked = ["--zones", str(zone_file()), "--index", "NDVI", "--out", str(out)]
    command = ["plots", str(folder / "in.tif"), *camera, *asked]
    assert cli.main([*command, "--wavelengths", "500-600"]) == 2
    assert "give --spectra too" in capsys.readouterr().err
    assert cli.main([*command, "--spectra", "--wavelengths", "500-600"]) == 0
    rows, spectra = (
        list(csv.DictReader(path.read_text().splitlines()))
        for path in (out, tmp_path / "plots_spectra.csv")
    )
    assert [row["zone"] for row in rows] == list(SQUARES)
    assert all(float(row["NDVI_compare_se"]) > 0 for row in rows)
    count = len(spectra) // len(SQUARES)
    assert [row["zone"] for row in spectra[::count]] == list(SQUARES)
    assert all(500 <= float(row["wavelength"]) <= 600 for row in spectra)
    assert all(float(row["value_se"]) > 0 for row in spectra)
