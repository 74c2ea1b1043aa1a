"""STF files round-trip, are readable by other programs, and are refused when they do not fit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyogrio
import pytest
import shapely
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from uavssr.errors import InputRefused, OutputError
from uavssr.io.stf import (
    QUANTITIES,
    StfArrays,
    StfEstimate,
    estimate_of,
    netcdf,
    read_stf,
    scene_estimate,
    stf_arrays,
    stf_path,
    tiles_path,
    write_stf,
    write_tiles,
)
from uavssr.io.stf import dataset as layout
from uavssr.sensors import SENSORS, WavelengthGrid
from uavssr.tiling import TileGrid, Window

SENSOR = SENSORS["p4m"]
GRID = WavelengthGrid.regular("test", 398.0, 1002.0, 61)
UTM = CRS.from_epsg(32650).to_wkt()
WGS84 = CRS.from_epsg(4326).to_wkt()
WKT2 = CRS.from_epsg(32719).to_wkt(version="WKT2_2019")
LOCAL = (
    'PROJCS["Field 7",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",31],PARAMETER["central_meridian",118.7],'
    'PARAMETER["scale_factor",1],PARAMETER["false_easting",0],PARAMETER["false_northing",0],'
    'UNIT["metre",1]]'
)
ROTATED = (0.1, 0.02, 500000.0, 0.03, -0.1, 3000000.0)


def estimate(seed: int, **changes: object) -> StfEstimate:
    rng, c = np.random.default_rng(seed), len(SENSOR)
    values: dict[str, object] = {}
    for name, quantity in QUANTITIES.items():
        shape = tuple({"band": c, "wavelength": len(GRID)}[d] for d in quantity.dims)
        drawn = rng.random(shape, np.float32).astype(float)  # what a file of float32 can hold
        values[name] = drawn if shape else float(rng.random())
    values["prior_driven"] = rng.random(c) < 0.5
    return StfEstimate(**(values | changes))  # type: ignore[arg-type]


def dataset(
    *, tiles: int = 3, crs_wkt: str = UTM, transform: tuple[float, ...] = ROTATED
) -> xr.Dataset:
    cores = [tile.core for tile in TileGrid(height=60, width=100, tile=32)][:tiles]
    stf = stf_arrays(
        sensor=SENSOR,
        grid=GRID,
        nominal=SENSOR.srf(GRID),
        scene=estimate(0, condition=np.inf),
        tiles=[(core, estimate(1 + i)) for i, core in enumerate(cores)],
        crs_wkt=crs_wkt,
        transform=transform,
        attrs={"model": "p", "model_sha256": "0" * 64, "uavssr_version": "1"},
    )
    return stf.dataset()


def assert_same(one: StfEstimate, two: StfEstimate) -> None:
    for field in dataclasses.fields(StfEstimate):
        assert np.array_equal(getattr(one, field.name), getattr(two, field.name)), field.name


def test_attributes_say_what_the_numbers_are() -> None:
    ds = dataset()
    for prefix in ("", "scene_"):
        centre = ds[f"{prefix}centre"].attrs["long_name"]
        assert centre == "nominal centre plus the estimated shift"
        assert "capped at 1e12" in ds[f"{prefix}condition"].attrs["long_name"]


def test_estimate_and_table_hold_the_same_names() -> None:
    assert {field.name for field in dataclasses.fields(StfEstimate)} == set(QUANTITIES)


def test_estimate_of_other_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"centre must have shape \(5,\), got \(4,\)"):
        estimate(0, centre=np.zeros(4))


def test_dataset_has_the_documented_names_and_dimensions() -> None:
    ds = dataset()
    tile_band = [
        *("centre", "fwhm", "gain", "centre_se", "fwhm_se", "gain_se"),
        *("span_share", "prior_driven", "residual"),
    ]
    expected = {
        "stf": ("tile", "band", "wavelength"),
        "stf_se": ("tile", "band", "wavelength"),
        "nominal_stf": ("band", "wavelength"),
        "common_gain_se": ("tile",),
        "condition": ("tile",),
        "valid_fraction": ("tile",),
        "tile_bounds": ("tile", "bounds_edge"),
        "tile_window": ("tile", "window_edge"),
    } | dict.fromkeys(tile_band, ("tile", "band"))
    expected |= {"scene_" + n: d[1:] for n, d in expected.items() if n in QUANTITIES}
    assert {name: ds[name].dims for name in ds.data_vars} == expected
    assert ds["band"].to_numpy().tolist() == list(SENSOR.roles)
    assert ds["scene_centre"].attrs["units"] == "nm"
    assert ds.attrs["sensor"] == "p4m"
    assert all(ds[name].attrs["long_name"] for name in ds.data_vars)


def test_bounds_are_those_of_the_rotated_outline() -> None:
    ds, transform = dataset(), Affine(*ROTATED)
    window = Window(*ds["tile_window"].to_numpy()[1].tolist())
    ends = [
        (window.col + i * window.width, window.row + j * window.height)
        for i in (0, 1)
        for j in (0, 1)
    ]
    x, y = zip(*[transform @ end for end in ends], strict=True)
    assert ds["tile_bounds"].to_numpy()[1] == pytest.approx([min(x), min(y), max(x), max(y)])


@pytest.mark.parametrize("slab", [1, 3, 7])
def test_tiles_may_come_some_at_a_time(tmp_path: Path, slab: int) -> None:
    """Promise P6: all tiles need not fit into memory together; the file is the same."""
    whole = dataset(tiles=8)
    parts = [StfArrays.of(whole.isel(tile=slice(i, i + slab))) for i in range(0, 8, slab)]
    path = write_stf(parts[0], tmp_path / "a.stf.nc", further=iter(parts[1:]))
    assert read_stf(path, sensor=SENSOR, grid=GRID).identical(whole)
    few = [part.without_curves() for part in parts]
    maps = [
        write_tiles(few[0], tmp_path / "run.tiles.gpkg", further=few[1:]),
        write_tiles(whole, tmp_path / "whole.tiles.gpkg"),
    ]
    from_run, from_whole = (pyogrio.raw.read(path) for path in maps)
    for key in ("fields", "dtypes"):
        assert from_run[0][key].tolist() == from_whole[0][key].tolist()
    for column, expected in zip(from_run[3], from_whole[3], strict=True):
        assert np.array_equal(column, expected)


@pytest.mark.parametrize("changed", [slice(1, 2), slice(6, 7)], ids=["first", "appended"])
def test_tiles_that_differ_when_read_back_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: slice
) -> None:
    """Row 25, also for tiles that were appended."""
    whole, real = dataset(tiles=8), netcdf._store

    def spoiled(variables: dict[str, h5py.Dataset], *given: Any) -> list[Any]:
        stored = list(real(variables, *given))
        if changed.stop <= variables["tile"].size:
            variables["centre"][changed.start, 2] = 1.5
        return stored

    monkeypatch.setattr(netcdf, "_store", spoiled)
    with pytest.raises(OutputError, match="not as written"):
        write_stf(
            whole.isel(tile=slice(3)),
            tmp_path / "a.stf.nc",
            further=[StfArrays.of(whole.isel(tile=slice(3, 8)))],
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tiles", [0, 1, 8])
def test_write_and_read_round_trip(tmp_path: Path, tiles: int) -> None:
    ds = dataset(tiles=tiles)
    path = write_stf(ds, tmp_path / "a ü.stf.nc")
    back = read_stf(path, sensor=SENSOR, grid=GRID)
    assert back.identical(ds)
    assert_same(scene_estimate(back), estimate(0, condition=np.inf))
    for i in range(tiles):
        window = Window(*back["tile_window"].to_numpy()[i].tolist())
        assert window == TileGrid(height=60, width=100, tile=32)[i].core
        assert_same(estimate_of({n: back[n].to_numpy()[i] for n in QUANTITIES}), estimate(1 + i))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_scene_alone_round_trips_without_tiles(tmp_path: Path) -> None:
    ds = dataset().drop_dims("tile")
    back = read_stf(write_stf(ds, tmp_path / "a.stf.nc"), sensor=SENSOR, grid=GRID)
    assert back.identical(ds)
    with pytest.raises(ValueError, match="no tiles"):
        write_tiles(ds, tmp_path / "a.tiles.gpkg")


def test_rows_come_in_the_sensors_order(tmp_path: Path) -> None:
    path = write_stf(dataset(), tmp_path / "a.stf.nc")
    turned = dataclasses.replace(SENSOR, bands=SENSOR.bands[::-1])
    back = read_stf(path, sensor=turned, grid=GRID)
    assert np.array_equal(scene_estimate(back).stf, estimate(0).stf[::-1])
    assert np.array_equal(back["nominal_stf"], turned.srf(GRID))


def test_plain_hdf5_reader_sees_the_numbers(tmp_path: Path) -> None:
    path = write_stf(dataset(), tmp_path / "a.stf.nc")
    with h5py.File(path) as file:
        assert np.array_equal(file["scene_stf"][:], estimate(0).stf)
        assert file["wavelength"].attrs["units"] == "nm"
        assert CRS.from_wkt(file["spatial_ref"].attrs["crs_wkt"]) == CRS.from_epsg(32650)


def calibrated(ds: xr.Dataset, count: int = 7) -> xr.Dataset:
    rng = np.random.default_rng(3)
    spectra, msi = rng.random((count, len(GRID))), rng.random((count, len(SENSOR)))
    return layout.with_reference_pixels(ds, layout.ReferencePixels(spectra=spectra, msi=msi))


def test_reference_pixels_round_trip_in_the_sensors_order(tmp_path: Path) -> None:
    ds = calibrated(dataset())
    path = write_stf(ds.isel(band=[4, 2, 0, 1, 3]), tmp_path / "a.stf.nc")
    back = layout.reference_pixels_of(read_stf(path, sensor=SENSOR, grid=GRID))
    assert back is not None
    assert np.array_equal(back.msi, ds["reference_msi"])
    assert np.array_equal(back.spectra, ds["reference_hsi"])
    assert layout.reference_pixels_of(dataset()) is None


def test_thinned_references_are_spread_over_all() -> None:
    count = layout.MAX_REFERENCES * 3
    numbers = np.arange(count, dtype=float)[:, None]
    some = layout.ReferencePixels(spectra=numbers, msi=numbers).thinned()
    assert len(some.msi) == layout.MAX_REFERENCES
    assert some.msi[0] == 0
    assert some.msi[-1] == count - 1
    assert np.array_equal(some.msi, some.spectra)
    assert np.ptp(np.diff(some.msi[:, 0])) <= 1


def change(name: str, value: float) -> Callable[[xr.Dataset], xr.Dataset]:
    def apply(ds: xr.Dataset) -> xr.Dataset:
        values = ds[name].to_numpy().copy()
        values.reshape(-1)[0] = value
        return ds.assign({name: (ds[name].dims, values)})

    return apply


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (change("scene_stf", np.nan), "variable scene_stf is not finite"),
        (change("gain", np.inf), "variable gain is not finite"),
        (change("scene_centre_se", -1.0), "variable scene_centre_se is negative"),
        (lambda ds: ds.drop_vars("scene_fwhm"), "variable scene_fwhm is missing"),
        (
            lambda ds: ds.isel(band=slice(4)),
            "variable band holds blue, green, red, rededge, and p4m",
        ),
        (lambda ds: ds.drop_vars("band"), "variable band holds nothing"),
        (
            lambda ds: ds.assign(scene_stf=ds["scene_stf"].T),
            r"variable scene_stf is float64 \(61, 5\)",
        ),
        (lambda ds: ds.assign(scene_gain=("band", list("abcde"))), "variable scene_gain is "),
        (lambda ds: ds.isel(wavelength=slice(60)), "variable wavelength"),
        (
            lambda ds: ds.assign_coords(wavelength=ds["wavelength"] + 1),
            "variable wavelength holds 399",
        ),
        (change("wavelength", np.nan), "variable wavelength"),
        (lambda _: xr.Dataset(), "variable band holds nothing"),
        (
            lambda ds: change("reference_hsi", np.nan)(calibrated(ds)),
            "reference_hsi is not finite",
        ),
        (
            lambda ds: calibrated(ds).drop_vars("reference_msi"),
            "variable reference_msi is missing",
        ),
        (
            lambda ds: calibrated(ds).assign(reference_msi=calibrated(ds)["reference_msi"].T),
            r"variable reference_msi is float32 \(5, 7\)",
        ),
        (lambda ds: calibrated(ds, 201), "holds 201 references"),
    ],
)
def test_file_that_does_not_fit_is_refused(
    tmp_path: Path, damage: Callable[[xr.Dataset], xr.Dataset], fact: str
) -> None:
    path = tmp_path / "bad.stf.nc"
    damage(dataset()).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputRefused, match=fact) as caught:
        read_stf(path, sensor=SENSOR, grid=GRID)
    assert "bad.stf.nc: " in str(caught.value)
    assert "; give a .stf.nc" in str(caught.value)


def test_file_that_is_no_netcdf_is_refused(tmp_path: Path) -> None:
    """Rows 3, 4, 10."""
    whole = write_stf(dataset(), tmp_path / "whole.stf.nc").read_bytes()
    contents = {"empty": b"", "text": b"hello", "magic": whole[:8]}
    contents |= {f"cut{share}": whole[: int(len(whole) * share)] for share in (0.25, 0.75, 0.999)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputRefused, match=name):
            read_stf(tmp_path / name, sensor=SENSOR, grid=GRID)
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "missing", "."):
        with pytest.raises(InputRefused):
            read_stf(tmp_path / name, sensor=SENSOR, grid=GRID)


def test_file_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    """Promise P3: links, external storage and virtual datasets would open other files."""
    write_stf(dataset(), tmp_path / "other.nc")
    for kind in ("link", "external", "virtual"):
        path = write_stf(dataset(), tmp_path / f"{kind}.nc")
        with h5py.File(path, "r+") as file:
            del file["scene_gain"]
            if kind == "link":
                file["scene_gain"] = h5py.ExternalLink("other.nc", "scene_gain")
            elif kind == "external":
                secret = str(tmp_path / "other.nc")
                file.create_dataset("scene_gain", (5,), "f8", external=[(secret, 0, 40)])
            else:
                source = h5py.VirtualSource("other.nc", "scene_gain", shape=(5,))
                virtual = h5py.VirtualLayout(shape=(5,), dtype="f8")
                virtual[:] = source
                file.create_virtual_dataset("scene_gain", virtual)
        with pytest.raises(InputRefused, match="variable scene_gain is"):
            read_stf(path, sensor=SENSOR, grid=GRID)


@pytest.mark.parametrize(
    ("shape", "chunks"), [((600_000, 5, 270), (1000, 5, 270)), ((5,), (2**26,))]
)
def test_file_that_claims_gigabytes_is_refused_by_its_shape(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    """Row 9: chunks that are absent take no space in the file."""
    path = write_stf(dataset(), tmp_path / "bomb.nc")
    with h5py.File(path, "r+") as file:
        largest = tuple(None for _ in shape)
        file.create_dataset("bomb", shape, "f8", chunks=chunks, maxshape=largest)
    assert path.stat().st_size < 10**6
    with pytest.raises(InputRefused, match=r"claims \S+ [MG]B with variable bomb"):
        read_stf(path, sensor=SENSOR, grid=GRID)


@pytest.mark.parametrize("crs_wkt", [UTM, WGS84, WKT2, LOCAL, ""])
def test_tiles_are_true_polygons_with_their_scalars(tmp_path: Path, crs_wkt: str) -> None:
    ds = dataset(tiles=5, crs_wkt=crs_wkt)
    path = write_tiles(ds, tmp_path / "a.tiles.gpkg")
    info = pyogrio.read_info(path)
    assert info["features"] == 5
    assert info["layer_name"] == "tiles"
    if crs_wkt:
        assert CRS.from_user_input(info["crs"]) == CRS.from_wkt(crs_wkt)
    meta, _, geometry, data = pyogrio.raw.read(path)
    columns = dict(zip(meta["fields"].tolist(), data, strict=True))
    outline = shapely.from_wkb(geometry[1])
    row, col, height, width = ds["tile_window"].to_numpy()[1].tolist()
    assert outline.area == pytest.approx(height * width * abs(Affine(*ROTATED).determinant))
    centre = Affine(*ROTATED) @ (col + width / 2, row + height / 2)
    assert outline.centroid.coords[0] == pytest.approx(centre)
    assert columns["tile"].tolist() == list(range(5))
    assert np.array_equal(columns["condition"], ds["condition"])
    for name in ("centre", "centre_se", "fwhm", "gain", "gain_se", "residual", "prior_driven"):
        assert np.array_equal(columns[f"{name}_red"], ds[name].sel(band="red")), name
    assert columns["prior_driven_red"].dtype == bool
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_numbers_that_are_missing_and_odd_roles_reach_the_map(tmp_path: Path) -> None:
    ds = dataset()
    ds["residual"][1, 0] = np.nan
    roles = ['a"b', *SENSOR.roles[1:]]
    path = write_tiles(ds.assign_coords(band=("band", roles)), tmp_path / "a.tiles.gpkg")
    meta, _, _, data = pyogrio.raw.read(path)
    residual = data[meta["fields"].tolist().index('residual_a"b')]
    assert np.array_equal(residual, ds["residual"][:, 0], equal_nan=True)


def test_no_tiles_make_an_empty_layer(tmp_path: Path) -> None:
    path = write_tiles(dataset(tiles=0), tmp_path / "none.tiles.gpkg")
    info = pyogrio.read_info(path)
    assert info["features"] == 0
    assert "gain_se_nir" in info["fields"].tolist()


@pytest.mark.parametrize("write", [write_stf, write_tiles])
def test_existing_file_needs_overwrite_and_inputs_are_safe(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Row 26."""
    path = tmp_path / ("a.stf.nc" if write is write_stf else "a.tiles.gpkg")
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="--overwrite"):
        write(dataset(), path)
    with pytest.raises(OutputError, match="is the input"):
        write(dataset(), path, overwrite=True, inputs=[path])
    with pytest.raises(OutputError, match="no folder"):
        write(dataset(), tmp_path / "gone" / path.name)
    assert path.read_bytes() == b"old"
    assert write(dataset(), path, overwrite=True).stat().st_size > 3
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 24, 25."""
    path = tmp_path / "a.stf.nc"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(netcdf, "_holds", lambda *_: False)
        with pytest.raises(OutputError, match=r"not as written when read back"):
            write_stf(dataset(), path, overwrite=True)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py, "File", full)
    with pytest.raises(OutputError, match=r"No space left on device.*needs up to"):
        write_stf(dataset(), path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_follow_the_cube() -> None:
    assert stf_path("out/field.tif") == Path("out/field.stf.nc")
    assert tiles_path(Path("out/field.v2.tif")) == Path("out/field.v2.tiles.gpkg")
    assert stf_path("field") == Path("field.stf.nc")
