"""Registration: known shifts are found and corrected, brightness is compared, misfits refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.grounds import EAST, PIXEL, SIDE, write_field_cube, write_image
from tests.helpers.models import P4M
from uavssr.calibration.pair_registration import PairRegistration, register_pair
from uavssr.errors import InputRefused
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.hsi.warp import WarpedCube
from uavssr.io.msi.source import MsiSource, open_msi
from uavssr.tiling import Window


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> MsiSource:
    return open_msi(write_image(tmp_path_factory.mktemp("image") / "msi.tif"), sensor="p4m")


def fit(image: MsiSource, cube: Path) -> PairRegistration:
    return register_pair(image, open_cube_source(cube))


@pytest.mark.parametrize(
    ("shift", "options"),
    [
        ((0.0, 0.0), {}),
        ((0.043, -0.071), {}),
        ((-0.13, 0.18), {"degrees": True}),
        ((0.06, 0.11), {"degrees": True, "pixel": 0.07}),
        ((0.09, -0.05), {"degrees": True, "pixel": 0.2}),
        ((-0.8, 1.3), {"degrees": True}),
    ],
    ids=["none", "sub-pixel", "degrees", "finer", "coarser", "large"],
)
def test_a_known_shift_is_found_to_a_tenth_of_a_pixel(
    image: MsiSource, tmp_path: Path, shift: tuple[float, float], options: dict[str, object]
) -> None:
    """Row 38: `shift` metres too far north is as many too few rows."""
    found = fit(image, write_field_cube(tmp_path / "cube", shift=shift, **options))
    north, east = shift
    assert found.shift == pytest.approx((north / PIXEL, -east / PIXEL), abs=0.1)
    assert found.remaining < 0.05
    assert (found.bands.correlation > 0.97).all()


def test_the_cube_is_moved_to_where_the_image_has_it(image: MsiSource, tmp_path: Path) -> None:
    true = fit(image, write_field_cube(tmp_path / "true", noise=0.0))
    moved = fit(image, write_field_cube(tmp_path / "off", noise=0.0, shift=(0.13, -0.08)))
    window = Window(30, 30, 80, 80)
    (one, valid), (other, _) = true.warped.read(window), moved.warped.read(window)
    assert valid.all()
    unmoved, _ = WarpedCube(cube=moved.warped.cube, target=moved.warped.target).read(window)
    assert np.abs(one - other).mean() < 0.1 * np.abs(one - unmoved).mean()


def test_noise_and_holes_do_not_move_it(tmp_path: Path) -> None:
    path = write_image(tmp_path / "msi.tif", noise=0.02, invalid=(slice(40, 70), slice(60, 80)))
    cube = write_field_cube(tmp_path / "cube", shift=(0.07, 0.05), noise=0.03)
    found = fit(open_msi(path, sensor="p4m"), cube)
    assert found.shift == pytest.approx((0.7, -0.5), abs=0.1)


def test_several_windows_agree(tmp_path: Path) -> None:
    image = open_msi(write_image(tmp_path / "msi.tif"), sensor="p4m")
    found = fit(image, write_field_cube(tmp_path / "cube", shift=(0.07, 0.05)))
    assert found.windows == 25
    assert found.shift == pytest.approx((0.7, -0.5), abs=0.1)
    assert found.spread < 0.1


def test_a_narrow_strip_is_registered_in_small_windows(tmp_path: Path) -> None:
    """A flight line across the image, nothing on both sides of it."""
    image = open_msi(write_image(tmp_path / "msi.tif"), sensor="p4m")
    cube = write_field_cube(tmp_path / "cube", shift=(0.05, 0.0), fill=-9999.0)
    numbers = np.fromfile(cube, "f4").reshape(SIDE, -1, SIDE)
    row, column = np.mgrid[:SIDE, :SIDE]
    outside = np.abs(row - column) > 40
    numbers.transpose(0, 2, 1)[outside] = -9999.0
    numbers.tofile(cube)
    found = fit(image, cube)
    assert 1 < found.windows < 25
    assert found.shift == pytest.approx((0.5, 0.0), abs=0.1)


# --- brightness -----------------------------------------------------------------------------------


def test_slope_offset_and_correlation_are_those_of_a_line_through_the_pixels(
    tmp_path: Path,
) -> None:
    path = write_image(tmp_path / "msi.tif", gain=1.2, offset=0.02, noise=0.001)
    image = open_msi(path, sensor="p4m", scale=1)
    found = fit(image, write_field_cube(tmp_path / "cube", noise=0.0))
    np.testing.assert_allclose(found.bands.slope, 1.2, rtol=0.01)
    np.testing.assert_allclose(found.bands.offset, 0.02, atol=0.002)
    window = Window(0, 0, SIDE, SIDE)
    seen = image.read(window)[0].reshape(5, -1)
    cube = np.tensordot(
        P4M.srf(open_cube_source(tmp_path / "cube").grid), found.warped.read(window)[0], 1
    )
    for band, integrated in enumerate(cube.reshape(5, -1)):
        both = np.isfinite(integrated)
        slope, offset = np.polyfit(integrated[both], seen[band, both], 1)
        assert found.bands.slope[band] == pytest.approx(slope, abs=2e-3)
        assert found.bands.offset[band] == pytest.approx(offset, abs=2e-3)
        correlation = np.corrcoef(integrated[both], seen[band, both])[0, 1]
        assert found.bands.correlation[band] == pytest.approx(correlation, abs=2e-3)


@pytest.mark.parametrize(
    ("gain", "offset", "verdict"),
    [
        (1.0, 0.0, "good"),
        (0.85, 0.0, "good"),
        (1.4, 0.0, "warned"),
        (0.4, 0.0, "warned"),
        (2.0, 0.0, "warned"),
        (1.0, 0.06, "warned"),
        (3.28, 0.0, "odd"),
        (0.305, 0.0, "odd"),
        (1.0, 0.2, "odd"),
    ],
)
def test_gross_differences_of_brightness_are_odd_and_others_warned_of(
    tmp_path: Path, gain: float, offset: float, verdict: str
) -> None:
    """Real flights have gains of 0.4 to 2; 10000 taken for 32768 gives 3.28."""
    path = write_image(tmp_path / "msi.tif", gain=gain, offset=offset)
    found = fit(open_msi(path, sensor="p4m", scale=1), write_field_cube(tmp_path / "cube"))
    odd, warned = found.bands.oddities(), found.bands.warnings()
    assert [oddity.check for oddity in odd] == (["ratio"] if verdict == "odd" else [])
    assert bool(warned) == (verdict == "warned")
    assert found.refusal(max_shift=2) is None
    assert all("the image is blue" in text for text in (*warned, *(oddity.text for oddity in odd)))
    if offset == 0:
        np.testing.assert_allclose(found.bands.ratio, gain, rtol=0.02)


# --- refusals -------------------------------------------------------------------------------------


def test_a_shift_beyond_the_limit_is_refused_with_its_length(
    image: MsiSource, tmp_path: Path
) -> None:
    """Row 38: shifted, 3 with the measured shift."""
    found = fit(image, write_field_cube(tmp_path / "cube", shift=(0.3, 0.4)))
    assert found.refusal(max_shift=6) is None
    said = found.refusal(max_shift=2)
    assert said is not None
    assert "+3.00 rows and -4.00 columns, 5.00 pixels of the image, more than 2" in said


def test_another_ground_is_odd(tmp_path: Path) -> None:
    path = write_image(tmp_path / "msi.tif", east=EAST)
    cube = write_field_cube(tmp_path / "cube")
    numbers = np.fromfile(cube, "f4").reshape(SIDE, -1, SIDE)
    numbers[:, :, ::-1].tofile(cube)  # mirrored
    found = fit(open_msi(path, sensor="p4m"), cube)
    (odd,) = found.bands.oddities()
    assert odd.check == "correlation"
    assert "do not show the same ground: their bands correlate by" in odd.text


def test_a_distorted_cube_is_refused(tmp_path: Path) -> None:
    """Two halves that are shifted in opposite ways."""
    image = open_msi(write_image(tmp_path / "msi.tif"), sensor="p4m")
    cube = write_field_cube(tmp_path / "cube")
    numbers = np.fromfile(cube, "f4").reshape(SIDE, -1, SIDE)
    half = SIDE // 2
    moved = np.concatenate(
        [np.roll(numbers[:, :, :half], 3, 0), np.roll(numbers[:, :, half:], -3, 0)], axis=2
    )
    moved.tofile(cube)
    said = fit(image, cube).refusal(max_shift=5)
    assert said is not None
    assert "one of the two is distorted" in said


def test_disjoint_and_tiny_overlaps_are_refused(image: MsiSource, tmp_path: Path) -> None:
    """Row 38: disjoint."""
    for name, east in (("far", EAST + 500), ("touching", EAST + (SIDE - 20) * PIXEL)):
        cube = write_field_cube(tmp_path / name, east=east)
        with pytest.raises(InputRefused, match="share no window of 32 x 32 pixels"):
            fit(image, cube)


@pytest.mark.parametrize("pixel", [0.008, 0.45])
def test_pixels_of_another_order_of_size_are_refused(
    image: MsiSource, tmp_path: Path, pixel: float
) -> None:
    """Row 38: wrong resolution."""
    cube = write_field_cube(tmp_path / "cube", pixel=pixel, side=24)
    with pytest.raises(InputRefused, match=r"a pixel of the cube is .* pixels of the image long"):
        fit(image, cube)


def test_facts_are_plain_and_complete(image: MsiSource, tmp_path: Path) -> None:
    found = fit(image, write_field_cube(tmp_path / "cube", shift=(0.05, 0.0)))
    facts = found.facts()
    assert facts["shift_rows"] == pytest.approx(0.5, abs=0.1)
    assert facts["shift_determined"] is True
    assert list(facts["bands"]) == list(P4M.roles)
    assert set(facts["bands"]["nir"]) == {"ratio", "slope", "offset", "correlation", "variation"}
