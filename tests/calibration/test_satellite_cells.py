"""Cells of a satellite image and a camera's image of the same known scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from rasterio.transform import Affine

from tests.helpers.rasters import UTM
from tests.helpers.satellites import (
    CAMERA_LEVELS,
    FIELD_TRANSFORM,
    LEVELS,
    ORIGIN,
    camera_image,
    ground,
    seen_by,
    write_field,
    write_landsat,
    write_safe,
)
from uavssr.calibration import SatelliteCells, read_satellite_cells
from uavssr.calibration.satellite_dates import date_weights, open_days
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.satellite import SatelliteImage, SatelliteRequest, open_satellite

SCENE = ground()
FLIGHT = date(2022, 6, 17)


@pytest.fixture(scope="module")
def satellite(tmp_path_factory: pytest.TempPathFactory) -> SatelliteImage:
    return opened(write_safe(tmp_path_factory.mktemp("safe"), SCENE))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> MsiSource:
    return open_msi(write_field(tmp_path_factory.mktemp("field") / "f.tif", camera_image(SCENE)))


def opened(path: Path) -> SatelliteImage:
    return open_satellite(SatelliteRequest(path=path))


def cells_of(msi: MsiSource, *images: SatelliteImage, flight: date = FLIGHT) -> SatelliteCells:
    return read_satellite_cells(msi, images, flight=flight)


def over_level(cells: SatelliteCells) -> tuple[np.ndarray, np.ndarray]:
    """The scene's reflectance in the cells, by the image (k, c) and by the satellite (k, b)."""
    return cells.msi / CAMERA_LEVELS, cells.reflectance / np.array(list(LEVELS.values()))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.0, -12.0), (-18.0, 5.0), (20.0, -20.0)])
def test_image_and_satellite_agree_in_every_cell_whatever_the_shift(
    field: MsiSource, tmp_path: Path, shift: tuple[float, float]
) -> None:
    cells = cells_of(field, opened(write_safe(tmp_path, SCENE, shift=shift)))
    image, satellite = over_level(cells)
    assert len(image) >= 36
    np.testing.assert_allclose(image, np.broadcast_to(image[:, :1], image.shape), rtol=1e-5)
    np.testing.assert_allclose(satellite, image[:, :1].repeat(8, 1), atol=3e-3)
    assert np.sqrt(np.mean((satellite - image[:, :1]) ** 2)) < 8e-4
    down, right = -np.array(shift) + 0.0
    found = cells.facts["shift"].removeprefix("image ").split(", ")
    assert float(found[0].split(" m")[0]) == pytest.approx(down, abs=0.8)
    assert float(found[1].split(" m")[0]) == pytest.approx(right, abs=0.8)


def test_cells_lie_where_their_places_say(field: MsiSource, satellite: SatelliteImage) -> None:
    cells = cells_of(field, satellite)
    view = seen_by(SCENE, 20)
    cols = (cells.places[:, 0] - ORIGIN[0]) / 20 - 0.5
    rows = (ORIGIN[1] - cells.places[:, 1]) / 20 - 0.5
    np.testing.assert_allclose(cols, np.round(cols), atol=1e-6)
    expected = view[np.round(rows).astype(int), np.round(cols).astype(int)]
    np.testing.assert_allclose(over_level(cells)[0][:, 0], expected, atol=5e-4)


def test_errors_hold_a_shift_and_a_width_that_are_not_known(
    field: MsiSource, satellite: SatelliteImage
) -> None:
    """A satellite with another PSF and a shift that the registration does not see."""
    cells = cells_of(field, satellite)
    rng = np.random.default_rng(0)
    rows, cols = ((ORIGIN[1] - cells.places[:, 1]) / 20, (cells.places[:, 0] - ORIGIN[0]) / 20)
    index = (np.round(rows - 0.5).astype(int), np.round(cols - 0.5).astype(int))
    ratios = []
    for _ in range(20):
        shift = rng.normal(0, 2.0, 2)  # SHIFT_ERROR_CELLS of 10 m
        seen = seen_by(SCENE, 20, (shift[0], shift[1]))[index]
        ratios.append((cells.msi[:, 1] / 0.7 - seen) / (cells.msi_se[:, 1] / 0.7))
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.2


def test_landsat_cells_agree(field: MsiSource, tmp_path: Path) -> None:
    cells = cells_of(field, opened(write_landsat(tmp_path, SCENE)))
    assert cells.sensor.name == "landsat8"
    assert cells.facts["cell"].startswith("30 m")
    np.testing.assert_allclose(cells.msi, cells.reflectance, atol=6e-4)


def test_image_in_another_crs_gives_the_same_cells(
    field: MsiSource, satellite: SatelliteImage, tmp_path: Path
) -> None:
    image, size = camera_image(SCENE), 160
    transform, width, height = rasterio.warp.calculate_default_transform(
        UTM, "EPSG:4326", size, size, *rasterio.transform.array_bounds(size, size, FIELD_TRANSFORM)
    )
    warped = np.full((5, height, width), np.nan, "f4")
    rasterio.warp.reproject(
        image,
        warped,
        src_transform=FIELD_TRANSFORM,
        src_crs=UTM,
        dst_transform=transform,
        dst_crs="EPSG:4326",
        src_nodata=np.nan,
        dst_nodata=np.nan,
    )
    options = {"crs": "EPSG:4326", "transform": transform}
    degrees = open_msi(write_field(tmp_path / "degrees.tif", warped, **options))
    cells, expected = cells_of(degrees, satellite), cells_of(field, satellite)
    assert np.abs(cells.places).max() < 180
    assert len(cells.msi) == len(expected.msi)
    # nearest neighbours move an edge by half a pixel
    np.testing.assert_allclose(cells.msi, expected.msi, atol=8e-3)


def test_rotated_image_gives_the_same_means(satellite: SatelliteImage, tmp_path: Path) -> None:
    """Columns run down: the transposed image with its transform."""
    turned = np.swapaxes(camera_image(SCENE), 1, 2)
    transform = Affine(0, 1, FIELD_TRANSFORM.c, -1, 0, FIELD_TRANSFORM.f)
    rotated = open_msi(write_field(tmp_path / "turned.tif", turned, transform=transform))
    image, seen = over_level(cells_of(rotated, satellite))
    np.testing.assert_allclose(seen, image[:, :1].repeat(8, 1), atol=3e-3)


def test_large_image_is_read_in_strips(
    field: MsiSource, satellite: SatelliteImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = cells_of(field, satellite)
    monkeypatch.setattr("uavssr.calibration.image_cells._READ_PIXELS", 900)
    np.testing.assert_allclose(cells_of(field, satellite).msi, expected.msi, rtol=1e-9)


def test_invalid_and_saturated_pixels_leave_their_cells_out(
    satellite: SatelliteImage, tmp_path: Path
) -> None:
    image = np.round(camera_image(SCENE) * 10000).astype("u2")
    image[:, 75:85, 75:85] = 0
    image[3, 30, 120] = 65535
    path = write_field(tmp_path / "holes.tif", image, nodata=0, scales=[1e-4] * 5)
    cells = cells_of(open_msi(path), satellite)
    assert cells.skipped["partly outside the valid image"] > 28
    assert cells.skipped["saturated in the image"] >= 1
    hole = np.array([ORIGIN[0] + 140, ORIGIN[1] - 140])
    assert np.abs(cells.places - hole).max(1).min() > 15


def test_partly_clouded_field_is_used_where_it_is_clear(field: MsiSource, tmp_path: Path) -> None:
    classes = np.full((15, 15), 4, "u1")
    classes[:, :6] = 9
    cells = cells_of(field, opened(write_safe(tmp_path, SCENE, classes=classes)))
    assert cells.skipped["under cloud, cirrus or snow"] == 12
    assert cells.places[:, 0].min() > ORIGIN[0] + 120


def test_two_images_are_interpolated_in_time(field: MsiSource, satellite: SatelliteImage) -> None:
    """Bands that grow in proportion to the day, from two satellites."""
    later = replace(satellite, acquired=date(2022, 6, 20))
    factors = [
        replace(b.scale, factors=(b.scale.factors[0] * 2,), offsets=(-0.2,)) for b in later.bands
    ]
    later = replace(
        later, bands=tuple(replace(b, scale=s) for b, s in zip(later.bands, factors, strict=True))
    )
    cells, first = cells_of(field, satellite, later), cells_of(field, satellite)
    np.testing.assert_allclose(cells.reflectance, first.reflectance * (0.6 + 0.4 * 2), rtol=1e-9)
    assert cells.facts["date"] == "2022-06-15, 2022-06-20"
    assert cells.facts["weights"] == "0.60, 0.40"
    assert cells.sensor == satellite.sensor


def test_facts_say_where_the_numbers_come_from(field: MsiSource, satellite: SatelliteImage) -> None:
    facts = cells_of(field, satellite).facts
    assert facts["date"] == "2022-06-15"
    assert facts["flight"] == "2022-06-17"
    assert facts["cell"] == "20 m, Gaussian PSF of FWHM 23.6 m"
    assert facts["cells"] == "36 of 64"
    assert facts["baseline"] == "04.00"


def refusal(msi: MsiSource, *images: SatelliteImage, flight: date = FLIGHT) -> str:
    with pytest.raises((InputRefused, UsageError)) as caught:
        cells_of(msi, *images, flight=flight)
    return str(caught.value)


def test_other_day_is_refused(field: MsiSource, satellite: SatelliteImage) -> None:
    text = refusal(field, satellite, flight=date(2022, 6, 26))
    assert "was acquired on 2022-06-15, 11 days from the flight on 2022-06-26, more than 10" in text
    assert text.endswith("--max-days 11")
    cells = read_satellite_cells(field, [satellite], flight=date(2022, 6, 26), max_days=11)
    assert len(cells.msi) == 36


def test_two_images_on_one_side_of_the_flight_are_refused(
    field: MsiSource, satellite: SatelliteImage
) -> None:
    earlier = replace(satellite, acquired=date(2022, 6, 10))
    text = refusal(field, satellite, earlier)
    assert "on one side of the flight on 2022-06-17 (2022-06-15, 2022-06-10)" in text
    assert "3 satellite images are given" in refusal(field, satellite, satellite, satellite)


@pytest.mark.parametrize(
    ("days", "weights"), [((-2, 3), (0.6, 0.4)), ((3, -2), (0.4, 0.6)), ((0, 5), (1.0, 0.0))]
)
def test_weights_of_two_days(
    satellite: SatelliteImage, days: Sequence[int], weights: tuple[float, float]
) -> None:
    images = [replace(satellite, acquired=date(2022, 6, 17 + day)) for day in days]
    assert date_weights(images, FLIGHT) == pytest.approx(weights)
    first, second = map(abs, days)
    assert open_days(images, FLIGHT) == pytest.approx(first * second / (first + second))
    assert open_days(images[:1], FLIGHT) == first


def test_other_place_is_refused(satellite: SatelliteImage, tmp_path: Path) -> None:
    transform = Affine(1, 0, 510000, 0, -1, 3000000)
    far = open_msi(write_field(tmp_path / "f.tif", camera_image(SCENE), transform=transform))
    text = refusal(far, satellite)
    assert "shows other ground than the image: x 500000 to 500300, y 2999700 to 3000000" in text
    assert "the image's middle lies at x 510080, y 2999920" in text


def test_local_coordinates_are_refused(satellite: SatelliteImage, tmp_path: Path) -> None:
    local = 'LOCAL_CS["Site",UNIT["metre",1]]'
    image = open_msi(write_field(tmp_path / "f.tif", camera_image(SCENE), crs=local))
    text = refusal(image, satellite)
    assert text.startswith(f"{tmp_path / 'f.tif'}: no way from")
    assert "are local; georeference the raster" in text


def test_clouds_over_the_whole_field_are_refused(field: MsiSource, tmp_path: Path) -> None:
    classes = np.full((15, 15), 9, "u1")
    text = refusal(field, opened(write_safe(tmp_path, SCENE, classes=classes)))
    assert "none of its 64 cells on the image can be used: 28 partly outside" in text
    assert "36 under cloud, cirrus or snow; give an image of a clear day" in text


def test_image_smaller_than_a_cell_is_refused(satellite: SatelliteImage, tmp_path: Path) -> None:
    small = open_msi(write_field(tmp_path / "f.tif", camera_image(SCENE)[:, :30, :30]))
    text = refusal(small, satellite)
    assert "no cell of 20 m lies wholly inside the valid image" in text
    assert "give an image that is valid over 33 m or more in each direction" in text


def test_image_as_coarse_as_the_satellite_is_refused(
    satellite: SatelliteImage, tmp_path: Path
) -> None:
    coarse = camera_image(SCENE)[:, ::10, ::10]
    transform = FIELD_TRANSFORM @ Affine.scale(10)
    image = open_msi(write_field(tmp_path / "f.tif", coarse, transform=transform))
    assert "a cell of the satellite, 20 m, is 2 pixels of the image long" in refusal(
        image, satellite
    )


def test_two_grids_are_refused(field: MsiSource, satellite: SatelliteImage, tmp_path: Path) -> None:
    landsat = opened(write_landsat(tmp_path, SCENE))
    later = replace(landsat, acquired=date(2022, 6, 20))
    assert "has bands b1, b2, b3, b4, b5, not b2, b3" in refusal(field, satellite, later)
    moved = [
        replace(
            b,
            place=replace(
                b.place, transform=(*b.place.transform[:2], 500003.0, *b.place.transform[3:])
            ),
        )
        for b in satellite.bands
    ]
    other = replace(satellite, bands=tuple(moved), acquired=date(2022, 6, 20))
    assert "has another grid than" in refusal(field, satellite, other)
