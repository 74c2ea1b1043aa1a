"""Figures are drawn from real files, show the right pixels, and obey the output rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from matplotlib.image import imread
from rasterio.crs import CRS

from uavssr.errors import InputRefused, OutputError
from uavssr.io.stf import StfEstimate, stf_arrays
from uavssr.io.writers import CubeTarget, open_writer
from uavssr.sensors import SENSORS, Sensor, WavelengthGrid, response_moments
from uavssr.tiling import Window
from uavssr.viz.figures import draw_quicklook, draw_stf
from uavssr.viz.quicklook import read_preview

GRID = WavelengthGrid.regular("test", 400.0, 1000.0, 31)
UTM = CRS.from_epsg(32650).to_wkt()


def write_cube(path: Path, cube: np.ndarray, valid: np.ndarray, *, crs: str = UTM) -> Path:
    height, width = valid.shape
    step = 1e-6 if CRS.from_wkt(crs).is_geographic else 0.1
    target = CubeTarget(
        path=path,
        height=height,
        width=width,
        grid=GRID,
        crs_wkt=crs,
        transform=(step, 0.0, 118.0, 0.0, -step, 60.0),
    )
    with open_writer(target) as out:
        out.write(Window(0, 0, height, width), cube, valid)
        return out.finish()


def halves(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Vegetation on the left, bare soil on the right, nodata in the last 10 rows."""
    green = np.where(GRID.centres > 710, 0.45, 0.04) + 0.001 * np.arange(31)
    soil = 0.1 + 0.2 * (GRID.centres - 400) / 600
    left = (np.arange(width) < width / 2)[None, None]
    cube = np.where(left, green[:, None, None], soil[:, None, None])
    cube = np.broadcast_to(cube, (31, height, width)).astype(np.float32)
    valid = np.ones((height, width), bool)
    valid[-10:] = False
    return cube, valid


def stf_of(sensor: Sensor, tiles: int) -> xr.Dataset:
    srf, bands = sensor.srf(GRID), len(sensor)
    centre, fwhm, gain = response_moments(srf, GRID.centres)
    one = np.ones(bands)
    estimate = StfEstimate(
        stf=srf,
        stf_se=srf * 0.1,
        centre=centre,
        fwhm=fwhm,
        gain=gain,
        centre_se=one,
        fwhm_se=one,
        gain_se=one * 0.01,
        condition=1.0,
        span_share=one,
        prior_driven=np.arange(bands) == 0,
        residual=one * 0,
        valid_fraction=1.0,
    )
    stf = stf_arrays(
        sensor=sensor,
        grid=GRID,
        nominal=srf,
        scene=estimate,
        tiles=[(Window(0, 32 * k, 32, 32), estimate) for k in range(tiles)],
        crs_wkt=UTM,
        transform=(0.1, 0.0, 0.0, 0.0, -0.1, 0.0),
    )
    return stf.dataset()


def test_spots_lie_on_valid_pixels_and_carry_the_cubes_own_spectra(tmp_path: Path) -> None:
    cube, valid = halves()
    preview = read_preview(write_cube(tmp_path / "c.tif", cube, valid))
    spots = preview.spots(6)
    assert len(spots) >= 4
    assert len({(spot.x, spot.y) for spot in spots}) == len(spots)
    for spot in spots:
        assert valid[spot.y, spot.x]
        around = slice(spot.y - 2, spot.y + 3), slice(spot.x - 2, spot.x + 3)
        mean = cube[:, *around][:, valid[around]].mean(1)
        assert spot.spectrum == pytest.approx(mean, abs=1e-4)
        red, nir = (spot.spectrum[np.abs(GRID.centres - nm).argmin()] for nm in (650, 860))
        assert spot.ndvi == pytest.approx((nir - red) / (nir + red), abs=1e-6)  # of what is shown
    best = next(spot for spot in spots if spot.name == "highest NDVI")
    assert best.x < 80
    assert best.ndvi > 0.7


def test_composite_shows_the_asked_bands_and_hides_nodata(tmp_path: Path) -> None:
    cube, valid = halves()
    preview = read_preview(write_cube(tmp_path / "c.tif", cube, valid))
    image, shown = preview.composite((860.0, 650.0, 560.0), joint=False)
    assert shown in {(860.0, 660.0, 560.0), (860.0, 640.0, 560.0)}
    assert np.array_equal(image[..., 3] == 1, valid)
    assert image[5, 5, 0] == 1.0
    assert image[5, 5, 1] == 0.0
    assert preview.metres_per_pixel == pytest.approx(0.1, rel=0.004)


def test_large_cube_is_read_at_figure_size(tmp_path: Path) -> None:
    cube, valid = halves(40, 2100)
    preview = read_preview(write_cube(tmp_path / "c.tif", cube, valid))
    assert preview.bands.shape == (4, 19, 1000)
    assert preview.metres_per_pixel == pytest.approx(0.21, rel=0.004)
    assert preview.spots(6)[0].spectrum == pytest.approx(cube[:, 0, 0], abs=1e-4)


def test_degrees_become_metres(tmp_path: Path) -> None:
    cube, valid = halves()
    path = write_cube(tmp_path / "c.tif", cube, valid, crs=CRS.from_epsg(4326).to_wkt())
    assert read_preview(path).metres_per_pixel == pytest.approx(0.0558, abs=1e-4)


@pytest.mark.parametrize("shape", [(120, 160), (160, 60), (1, 1)])
def test_quicklook_is_a_png_with_colours(tmp_path: Path, shape: tuple[int, int]) -> None:
    cube, valid = halves(*shape)
    valid[0] = True
    path = write_cube(tmp_path / "c.tif", cube, valid)
    png = draw_quicklook(path, tmp_path / "q.png", title="field 7")
    image = imread(png)
    assert image.shape[1] == 2400
    assert image[..., :3].std() > 0.05
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.tif", "q.png"]


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 3), (3, 3), (4, 5), (6, 6), (7, 9), (10, 10), (12, 12), (12, 1)]
)
@pytest.mark.parametrize("noisy", [False, True])
def test_small_scene_is_drawn(tmp_path: Path, shape: tuple[int, int], *, noisy: bool) -> None:
    cube = halves(*shape)[0]
    if noisy:
        cube = cube + np.random.default_rng(0).random(cube.shape, dtype=np.float32) / 10
    path = write_cube(tmp_path / "c.tif", cube, np.ones(shape, bool))
    assert 1 <= len(read_preview(path).spots(6)) <= min(6, shape[0] * shape[1])
    assert imread(draw_quicklook(path, tmp_path / "q.png")).shape[1] == 2400


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_few_valid_pixels_are_drawn(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    cube = rng.random((31, 120, 160), dtype=np.float32) / 2
    valid = np.zeros((120, 160), bool)
    valid.flat[rng.choice(valid.size, count, replace=False)] = True
    path = write_cube(tmp_path / "c.tif", cube, valid)
    spots = read_preview(path).spots(6)
    assert 1 <= len(spots) <= count
    assert all(valid[spot.y, spot.x] for spot in spots)
    draw_quicklook(path, tmp_path / "q.png")


def test_lone_valid_pixel_of_a_large_scene_is_drawn(tmp_path: Path) -> None:
    """Its preview pixel is valid, but the pixels that would be averaged there are not."""
    cube = halves(4, 8000)[0]
    valid = np.zeros((4, 8000), bool)
    valid[0, 4008] = True
    path = write_cube(tmp_path / "c.tif", cube, valid)
    assert all(np.isfinite(spot.spectrum).any() for spot in read_preview(path).spots(6))
    draw_quicklook(path, tmp_path / "q.png")


@pytest.mark.parametrize("shape", [(1, 1), (9, 8), (120, 160)])
def test_dark_scene_is_drawn_without_ndvi(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write_cube(tmp_path / "c.tif", np.zeros((31, *shape), np.float32), np.ones(shape, bool))
    spots = read_preview(path).spots(6)
    assert [spot.name for spot in spots] == ["darkest, NDVI"]
    draw_quicklook(path, tmp_path / "q.png")


@pytest.mark.parametrize(("name", "tiles"), [("p4m", 0), ("rededge-mx-dual", 3)])
def test_stf_figure_is_a_png_for_any_camera(tmp_path: Path, name: str, tiles: int) -> None:
    ds = stf_of(SENSORS[name], tiles)
    png = draw_stf(ds if tiles else ds.drop_dims("tile"), tmp_path / "s.png")
    assert imread(png).shape[1] == 2000
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_existing_figure_needs_overwrite(tmp_path: Path) -> None:
    """Row 26."""
    png = tmp_path / "s.png"
    png.write_bytes(b"old")
    with pytest.raises(OutputError, match="--overwrite"):
        draw_stf(stf_of(SENSORS["p4m"], 0), png)
    with pytest.raises(OutputError, match="is the input"):
        draw_stf(stf_of(SENSORS["p4m"], 0), png, overwrite=True, inputs=[png])
    assert png.read_bytes() == b"old"
    draw_stf(stf_of(SENSORS["p4m"], 0), png, overwrite=True)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_file_without_a_cube_is_refused_and_nothing_drawn(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tif"
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        height=4,
        width=4,
        count=1,
        dtype="uint8",
        crs="EPSG:32650",
        transform=rasterio.Affine(1, 0, 5, 0, -1, 5),
    ) as file:
        file.write(np.ones((1, 4, 4), np.uint8))
    empty = write_cube(
        tmp_path / "empty.tif", *[np.zeros((31, 4, 4), np.float32), np.zeros((4, 4), bool)]
    )
    (tmp_path / "text.tif").write_text("hello")
    for path, fact in (
        (plain, "a wavelength for 0 of its 1 bands"),
        (empty, "no valid pixel"),
        (tmp_path / "text.tif", "no raster"),
    ):
        with pytest.raises(InputRefused, match=fact):
            draw_quicklook(path, tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()
