"""What an image and a cube both show: the right pixels of both, wherever the cube says it lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

from tests.helpers.cubes import listed, smooth_cube, tag, write_envi, write_plain
from tests.helpers.models import GRID, P4M
from tests.helpers.rasters import TRANSFORM, write
from uavssr.calibration.lucas_kanade import shift_image
from uavssr.calibration.overlap import MAX_BLOCKS, MIN_STEADY_BLOCKS, STEADY_FACTOR, read_overlap
from uavssr.calibration.pair_registration import register_pair
from uavssr.calibration.references import open_reference
from uavssr.calibration.registration import find_shift, read_unsaturated
from uavssr.io.hsi.cube import CubeSource, open_cube_source
from uavssr.io.msi.source import MsiSource, open_msi
from uavssr.tiling import Window

Make = Callable[..., tuple[CubeSource, MsiSource]]
SRF = P4M.srf(GRID).astype("f4")


def shrunk(numbers: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks of `side` x `side` pixels of (band, y, x)."""
    bands, height, width = numbers.shape
    parts = numbers.reshape(bands, height // side, side, width // side, side)
    return np.asarray(parts.mean((2, 4)))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An image, and a cube with a geotransform of its own, as files."""

    def made(
        image: np.ndarray, cube: np.ndarray, transform: Affine = TRANSFORM, **profile: object
    ) -> tuple[CubeSource, MsiSource]:
        waves = [{"wavelength": repr(float(nm)), "wavelength_units": "nm"} for nm in GRID.centres]
        path = write_plain(tmp_path / "cube.tif", cube, transform=transform, **profile)
        field = write(tmp_path / "field.tif", image, tags={"sensor": "p4m"})
        return open_cube_source(tag(path, None, *waves)), open_msi(field)

    return made


def test_on_a_common_grid_blocks_are_pixels(make: Make) -> None:
    scene = smooth_cube(16, 18)
    image = np.tensordot(SRF, scene, 1).astype("f4")
    found = read_overlap(*make(image, scene))
    assert found.block == 1
    assert found.registered.shift == (0, 0)
    assert np.array_equal(found.spectra, scene.reshape(len(GRID), -1).T.astype(float))
    assert np.array_equal(found.msi, image.reshape(5, -1).T.astype(float))
    assert found.patterns.shape == (16 * 18, 5, 4)


def test_plenty_of_pixels_are_taken_in_blocks(make: Make) -> None:
    side = int(np.sqrt(MIN_STEADY_BLOCKS)) * STEADY_FACTOR
    scene = smooth_cube(side, side)
    found = read_overlap(*make(np.tensordot(SRF, scene, 1).astype("f4"), scene))
    assert found.block == STEADY_FACTOR
    assert len(found.msi) == MIN_STEADY_BLOCKS
    expected = shrunk(scene, STEADY_FACTOR)
    # windows come one after the other, so the blocks are compared as a set
    assert np.allclose(np.sort(found.spectra[:, 0]), np.sort(expected[0].ravel()), atol=1e-6)
    assert np.allclose(found.msi, found.spectra @ SRF.T, atol=1e-5)


@pytest.mark.parametrize("offset", [(0, 0), (5, 3)])
def test_finer_cube_is_averaged_over_the_pixels_of_the_image(
    make: Make, offset: tuple[int, int]
) -> None:
    scene = smooth_cube(36, 44)
    image = np.tensordot(SRF, shrunk(scene, 2), 1).astype("f4")
    row, col = offset
    part = scene[:, 2 * row :, 2 * col :]
    transform = TRANSFORM * Affine.translation(col, row) * Affine.scale(0.5)
    found = read_overlap(*make(image, part, transform))
    assert found.block == 1
    assert np.allclose(found.registered.shift, 0, atol=0.02)
    assert len(found.msi) >= (18 - row) * (22 - col) - 22  # a border may be lost to the shift
    assert np.allclose(found.msi, found.spectra @ SRF.T, atol=2e-3)


def test_coarser_cube_makes_blocks_coarser(make: Make) -> None:
    scene = smooth_cube(60, 64)
    image = np.tensordot(SRF, scene, 1).astype("f4")
    found = read_overlap(*make(image, shrunk(scene, 4), TRANSFORM * Affine.scale(4)))
    assert found.block > 4
    assert np.abs(found.msi - found.spectra @ SRF.T).max() < 0.02


def test_cube_in_another_crs_lies_where_it_belongs(make: Make) -> None:
    """A cube whose reflectance is its longitude and latitude, on an image of the same."""
    from pyproj import Transformer

    columns, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(36) + 0.5)
    to_degrees = Transformer.from_crs("EPSG:32650", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*(TRANSFORM * (columns, rows)))
    west, east, south, north = lon.min(), lon.max(), lat.min(), lat.max()
    image = np.zeros((5, 36, 40), "f4")
    image[0], image[1:] = (lon - west) / (east - west), (lat - south) / (north - south)
    step_x, step_y = (east - west) / 80, (north - south) / 72
    x, y = np.meshgrid(np.arange(80) + 0.5, np.arange(72) + 0.5)
    cube = np.empty((len(GRID), 72, 80), "f4")
    cube[:], cube[GRID.centres < 500] = 1 - y / 72, x / 80
    transform = Affine(step_x, 0, west, 0, -step_y, north)
    image = 0.1 + 0.5 * image
    image[1:4] *= np.array([0.7, 0.8, 0.9], "f4")[:, None, None]  # no band is another's copy
    found = read_overlap(*make(image, 0.1 + 0.5 * cube, transform, crs="EPSG:4326"))
    assert len(found.msi) > 800
    assert np.allclose(found.msi[:, 0], found.spectra[:, 0], atol=0.005)
    assert np.allclose(found.msi[:, 4], found.spectra[:, -1], atol=0.005)


@pytest.mark.parametrize("shift", [(0.6, -0.4), (2.0, 1.0), (-3.0, 4.0)])
def test_cube_is_moved_to_where_the_image_has_it(make: Make, shift: tuple[float, float]) -> None:
    scene = smooth_cube(90, 96, seed=4)
    image = np.tensordot(SRF, scene, 1).astype("f4")
    image = shift_image(shift_image(image, shift[0], 1), shift[1], 2)
    found = read_overlap(*make(np.nan_to_num(image, nan=0.0), scene))
    assert found.registered.shift == pytest.approx(shift, abs=0.1)
    assert found.registered.determined
    misfit = found.msi - found.spectra @ SRF.T
    assert np.median(np.abs(misfit)) < 0.004


@pytest.mark.parametrize("flat", ["both", "one"])
def test_shift_that_cannot_be_determined_is_told(make: Make, flat: str) -> None:
    """Row 54: ground without texture, or an image of other ground; no shift of 0.00 is claimed."""
    scene = smooth_cube(90, 96, seed=4)
    image = np.tensordot(SRF, smooth_cube(90, 96, seed=5), 1).astype("f4")
    if flat == "both":
        scene = np.broadcast_to(scene[:, :1, :1], scene.shape).copy()
        image = np.tensordot(SRF, scene, 1).astype("f4")
    cube, msi = make(image, scene)
    found = find_shift(cube, msi)
    assert not found.determined
    assert str(found) == "not determined, taken as none"
    reference = open_reference(cube.path, msi)
    assert reference.facts["shift"] == str(found)
    assert any("the shift of cube.tif against the image" in text for text in reference.warnings)
    registration = register_pair(msi, cube)
    assert not registration.facts()["shift_determined"]
    assert any("not determined" in text for text in registration.warnings())


def test_invalid_and_saturated_pixels_of_the_image_are_left_out_and_counted(make: Make) -> None:
    scene = smooth_cube(16, 18)
    seen = np.tensordot(SRF, scene, 1).astype("f4")
    cube, _ = make(seen, scene)
    image = (seen * 10000).round().astype("u2")
    image[:, 2:4, :] = 0
    image[3, 10, 5:9] = 65535
    path = cube.path.with_name("counts.tif")
    msi = open_msi(write(path, image, tags={"sensor": "p4m"}, scales=[1e-4] * 5, nodata=0))
    found = read_overlap(cube, msi)
    assert found.skipped == {"invalid in the image": 36, "saturated in the image": 4}
    assert len(found.msi) == 16 * 18 - 40
    values, valid, saturated = read_unsaturated(msi, Window(0, 0, 16, 18))
    assert not (valid & saturated).any()
    assert saturated.sum() == 4
    assert np.isfinite(values[:, valid]).all()


def test_holes_in_the_cube_are_left_out_silently(make: Make) -> None:
    scene = smooth_cube(16, 18)
    image = np.tensordot(SRF, scene, 1).astype("f4")
    scene[:, 4:6, 4:8] = np.nan
    found = read_overlap(*make(image, scene))
    assert len(found.msi) == 16 * 18 - 8
    assert found.skipped == {}


def test_without_overlap_there_are_no_blocks(make: Make) -> None:
    scene = smooth_cube(16, 18)
    far = TRANSFORM * Affine.translation(500, 500)
    found = read_overlap(*make(np.tensordot(SRF, scene, 1).astype("f4"), scene, far))
    assert found.msi.shape == (0, 5)
    assert found.spectra.shape == (0, len(GRID))


def test_line_of_pixels_is_enough(make: Make) -> None:
    scene = smooth_cube(1, 40)
    found = read_overlap(*make(np.tensordot(SRF, scene, 1).astype("f4"), scene))
    assert len(found.msi) == 40
    assert np.isfinite(found.patterns).all()


def test_envi_cube_is_read_as_well(tmp_path: Path, make: Make) -> None:
    scene = smooth_cube(16, 18)
    _, msi = make(np.tensordot(SRF, scene, 1).astype("f4"), scene)
    numbers = (scene * 10000).round().astype("u2")
    path = write_envi(
        tmp_path / "raw.img",
        numbers,
        listed("wavelength", GRID.centres),
        "wavelength units = nm",
        "reflectance scale factor = 10000",
    )
    found = read_overlap(open_cube_source(path), msi)
    assert np.allclose(found.spectra, scene.reshape(len(GRID), -1).T, atol=1e-4)


def test_no_more_blocks_are_kept_than_say_something_new(make: Make) -> None:
    scene = np.broadcast_to(smooth_cube(1, 1), (len(GRID), 140, 140)).copy()
    found = read_overlap(*make(np.tensordot(SRF, scene, 1).astype("f4"), scene))
    assert len(found.msi) == MAX_BLOCKS
