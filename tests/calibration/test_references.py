"""ReferencePixels: places and cubes beside what the image shows there, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import Affine

from tests.helpers.cubes import listed, smooth_cube, write_envi
from tests.helpers.models import GRID, P4M
from tests.helpers.rasters import TRANSFORM, UTM, write
from uavssr.calibration.references import Reference, open_reference
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.source import MsiSource, open_msi

HEIGHT, WIDTH = 20, 24
SRF = P4M.srf(GRID).astype("f4")


def coordinates() -> np.ndarray:
    """An image whose blue is its row and whose other bands are its column, in thousandths."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    image = np.empty((5, HEIGHT, WIDTH), "f4")
    image[0], image[1:] = 0.001 * rows + 0.1, 0.001 * cols + 0.1
    return image


def opened(folder: Path, image: np.ndarray | None = None, **profile: object) -> MsiSource:
    numbers = coordinates() if image is None else image
    return open_msi(write(folder / "field.tif", numbers, tags={"sensor": "p4m"}, **profile))


def centre(row: float, col: float) -> tuple[float, float]:
    """Coordinates of the middle of a pixel."""
    return TRANSFORM * (col + 0.5, row + 0.5)


def table(folder: Path, *rows: tuple[float, ...], head: str = "x,y,reflectance") -> Path:
    path = folder / "known.csv"
    lines = [head, *(",".join(repr(float(v)) for v in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def place_of(found: Reference) -> list[tuple[float, float]]:
    """Rows and columns that the values of `coordinates` stand for."""
    return [
        (round((float(v[0]) - 0.1) / 0.001, 2), round((float(v[1]) - 0.1) / 0.001, 2))
        for v in found.msi
    ]


def test_place_is_the_pixel_that_holds_it(tmp_path: Path) -> None:
    msi = opened(tmp_path)
    path = table(tmp_path, (*centre(3, 7), 0.2), (*centre(19.45, 23.45), 0.3), (*centre(0, 0), 0.4))
    found = open_reference(path, msi)
    assert place_of(found) == [(3, 7), (19, 23), (0, 0)]
    assert found.kind == "panels"
    assert found.spectra[:, 0].tolist() == [0.2, 0.3, 0.4]
    assert found.skipped == {}
    assert found.patterns.shape == (3, 5, 0)


def test_longitude_and_latitude_name_the_same_pixel(tmp_path: Path) -> None:
    msi = opened(tmp_path)
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*centre(4, 9))
    found = open_reference(table(tmp_path, (lon, lat, 0.2), head="lon,lat,reflectance"), msi)
    assert place_of(found) == [(4, 9)]


@given(row=st.floats(0, HEIGHT - 1), col=st.floats(0, WIDTH - 1), radius=st.floats(0.0, 0.9))
def test_radius_takes_the_pixels_whose_centres_lie_within_it(
    tmp_path_factory: pytest.TempPathFactory, row: float, col: float, radius: float
) -> None:
    folder = tmp_path_factory.mktemp("radius")
    image, (x, y) = coordinates(), centre(row, col)
    path = table(folder, (x, y, radius, 0.2), head="x,y,radius,reflectance")
    found = open_reference(path, opened(folder))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    middles = np.stack([500000 + 0.1 * (cols + 0.5) - x, 3000000 - 0.1 * (rows + 0.5) - y])
    distance = np.hypot(*middles)
    within = distance <= radius
    if (np.abs(distance - radius) < 1e-7).any():
        return  # on the edge, where rounding decides
    within[int(row + 0.5), int(col + 0.5)] = True
    assert np.allclose(found.msi[0], image[:, within].mean(1), atol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263", "turned"])
def test_radius_is_in_metres_in_any_crs(tmp_path: Path, crs: str) -> None:
    """A radius of 25 m in pixels of 10 m: 21 of them, whatever the unit of the CRS."""
    degree = 111_320.0
    transforms = {
        "EPSG:4326": Affine(10 / degree / np.cos(np.radians(60)), 0, 9, 0, -10 / degree, 60),
        "EPSG:2263": Affine(10 / 0.3048006, 0, 9e5, 0, -10 / 0.3048006, 2e5),
        "turned": Affine.translation(5e5, 3e6) * Affine.rotation(30) * Affine.scale(10, -10),
    }
    transform = transforms[crs]
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    image = coordinates()
    image[1] = (rows - 10) ** 2 + (cols - 12) ** 2 <= 2.5**2
    image[1] = 0.1 + 0.2 * image[1]
    msi = opened(tmp_path, image, transform=transform, crs=UTM if crs == "turned" else crs)
    x, y = transform * (12.5, 10.5)
    found = open_reference(table(tmp_path, (x, y, 25, 0.2), head="x,y,radius,reflectance"), msi)
    assert found.msi[0, 1] == pytest.approx(0.3, abs=1e-5)
    wider = open_reference(table(tmp_path, (x, y, 31, 0.2), head="x,y,radius,reflectance"), msi)
    assert wider.msi[0, 1] == pytest.approx(0.1 + 0.2 * 21 / 29, abs=1e-5)


def test_places_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    image = (coordinates() * 1e4).round().astype("u2")
    image[:, 5, 5] = 0
    image[2, 6, 6] = 65535
    msi = opened(tmp_path, image, scales=[1e-4] * 5, nodata=0)
    rows = [
        (*centre(3, 7), 0.2),
        (*centre(-1, 7), 0.2),
        (*centre(3, 24), 0.2),
        (*centre(5, 5), 0.2),
        (*centre(6, 6), 0.2),
        (*centre(8, 8), 9.0),
    ]
    found = open_reference(table(tmp_path, *rows), msi)
    assert place_of(found) == [(3, 7)]
    assert found.skipped == {
        "outside the image": 2,
        "invalid in the image": 1,
        "saturated in the image": 1,
        "reflectance missing or out of range": 1,
    }


@pytest.mark.parametrize("wild", [1e30, -55.0, 7.0])
def test_wild_pixel_around_a_place_counts_as_missing(tmp_path: Path, wild: float) -> None:
    path = table(tmp_path, (*centre(5, 5), 0.25, 0.2), head="x,y,radius,reflectance")
    means = []
    for value in (wild, np.nan):
        image = coordinates()
        image[1, 5, 6] = value
        means.append(open_reference(path, opened(tmp_path, image)).msi)
    np.testing.assert_array_equal(*means)


def test_half_of_the_pixels_around_a_place_must_be_valid(tmp_path: Path) -> None:
    image = coordinates()
    image[:, :, :9] = np.nan
    msi = opened(tmp_path, image)
    head = "x,y,radius,reflectance"
    inside = open_reference(table(tmp_path, (*centre(9, 9), 0.25, 0.2), head=head), msi)
    assert inside.skipped == {}
    assert inside.msi[0, 1] > 0.109
    with pytest.raises(InputRefused, match="1 invalid in the image"):
        open_reference(table(tmp_path, (*centre(9, 7), 0.25, 0.2), head=head), msi)


def test_places_all_outside_are_refused_with_the_extent_of_the_image(tmp_path: Path) -> None:
    path = table(tmp_path, (9.0, 48.0, 0.2))
    with pytest.raises(InputRefused) as refused:
        open_reference(path, opened(tmp_path))
    assert "1 outside the image; the image spans x 500000 to 500002.4 and y" in refused.value.fact
    assert "EPSG:32650" in refused.value.fact
    assert refused.value.path == path


@pytest.mark.parametrize("value", ["1e300", "-1e300"])
def test_absurd_places_are_outside(tmp_path: Path, value: str) -> None:
    path = tmp_path / "known.csv"
    for head in ("x,y", "lon,lat"):
        path.write_text(f"{head},reflectance\n{value},1,0.5\n", encoding="utf-8")
        with pytest.raises(InputRefused):
            open_reference(path, opened(tmp_path))


def test_radius_over_a_whole_country_is_refused_before_reading(tmp_path: Path) -> None:
    image = np.full((5, 1100, 1100), 0.2, "f4")
    path = table(tmp_path, (*centre(9, 9), 1e9, 0.2), head="x,y,radius,reflectance")
    with pytest.raises(InputRefused, match="covers more than 1000000 pixels"):
        open_reference(path, opened(tmp_path, image))


@pytest.mark.parametrize("scale", ["0", "-1", "x", "1/0"])
def test_scales_that_are_none_are_refused(tmp_path: Path, scale: str) -> None:
    path = table(tmp_path, (*centre(3, 7), 0.2))
    with pytest.raises(UsageError):
        open_reference(path, opened(tmp_path), scale=scale)


def envi(folder: Path, scene: np.ndarray, name: str = "raw.img") -> Path:
    numbers = (scene * 10000).round().astype("u2")
    fields = listed("wavelength", GRID.centres), "wavelength units = nm"
    return write_envi(folder / name, numbers, *fields, "reflectance scale factor = 10000")


def test_cube_is_read_by_its_header_as_by_its_data(tmp_path: Path) -> None:
    scene = smooth_cube(HEIGHT, WIDTH)
    msi = opened(tmp_path, np.tensordot(SRF, scene, 1).astype("f4"))
    path = envi(tmp_path, scene)
    one, other = open_reference(path, msi), open_reference(f"{path}.hdr", msi)
    assert one.kind == other.kind == "cube"
    assert np.array_equal(one.spectra, other.spectra)
    assert one.nm == pytest.approx(GRID.centres)
    assert np.allclose(one.msi, one.spectra @ SRF.T, atol=1e-3)
    assert one.facts == {"block": "1 x 1 pixels", "shift": "+0.00 rows, +0.00 columns"}
    assert one.warnings == ()


def test_header_of_another_naming_is_followed_to_its_data(tmp_path: Path) -> None:
    scene = smooth_cube(HEIGHT, WIDTH)
    msi = opened(tmp_path, np.tensordot(SRF, scene, 1).astype("f4"))
    path = envi(tmp_path, scene)
    (tmp_path / "raw.img.hdr").rename(tmp_path / "raw.hdr")
    assert open_reference(tmp_path / "raw.hdr", msi).kind == "cube"
    (tmp_path / "raw.dat").write_bytes(path.read_bytes())
    with pytest.raises(InputRefused, match=r"several data files .*raw\.img, raw\.dat"):
        open_reference(tmp_path / "raw.hdr", msi)
    path.unlink()
    (tmp_path / "raw.dat").unlink()
    with pytest.raises(InputRefused, match="no data file"):
        open_reference(tmp_path / "raw.hdr", msi)


def test_cube_elsewhere_is_refused(tmp_path: Path) -> None:
    msi = opened(tmp_path, transform=TRANSFORM * Affine.translation(1000, 1000))
    with pytest.raises(InputRefused, match="no block of"):
        open_reference(envi(tmp_path, smooth_cube(HEIGHT, WIDTH)), msi)


def test_cube_of_something_else_or_moved_is_told_of(tmp_path: Path) -> None:
    scene = smooth_cube(60, 64, seed=1)
    other = np.tensordot(SRF, smooth_cube(60, 64, seed=2), 1).astype("f4")
    path = envi(tmp_path, scene)
    found = open_reference(path, opened(tmp_path, other))
    assert any("correlate by" in warning for warning in found.warnings)
    turned = np.tensordot(SRF, np.roll(scene, 2, axis=1), 1).astype("f4")
    found = open_reference(path, opened(tmp_path, turned))
    assert any("was moved by +2.0" in warning for warning in found.warnings)
    assert not any("correlate" in warning for warning in found.warnings)


def test_cube_with_impossible_reflectance_is_left_out_there(tmp_path: Path) -> None:
    scene = smooth_cube(HEIGHT, WIDTH)
    image = np.tensordot(SRF, scene, 1).astype("f4")
    scene[3, 2, 5:8] = 4.0
    found = open_reference(envi(tmp_path, scene), opened(tmp_path, image))
    assert found.skipped == {"reflectance out of range": 3}
    assert len(found.msi) == HEIGHT * WIDTH - 3


def plots(folder: Path, places: np.ndarray, factor: float, *, head: str = "x,y") -> Path:
    """A table of plots at places, `factor` times as bright as the image's pixels (8 + i, 3 i)."""
    path, count = folder / "plots.npz", len(places)
    rows = np.arange(count)
    values = coordinates()[:, 8 + rows, 3 * rows].T * factor
    names = dict(zip(head.split(","), places.T, strict=True))
    spectra = np.full((count, len(GRID)), 0.2)
    np.savez(path, ms=values, hs=spectra, wavelength_nm=GRID.centres, **names)
    return path


MIDDLES = np.array([centre(8 + i, 3 * i) for i in range(4)])


@pytest.mark.parametrize(
    ("places", "factor", "warning"),
    [
        (MIDDLES, 1.0, ""),
        (MIDDLES, 1.5, "the values in plots.npz are blue 1.50, green 1.5"),
        (MIDDLES[:2], 1.5, ""),
        (MIDDLES + 1e6, 1.0, "the image shows none of the 4 places in plots.npz (outside the imag"),
        (MIDDLES * np.nan, 1.5, ""),
    ],
)
def test_plots_are_compared_with_the_image_at_their_places(
    tmp_path: Path, places: np.ndarray, factor: float, warning: str
) -> None:
    found = open_reference(plots(tmp_path, places, factor), opened(tmp_path))
    assert len(found.warnings) == bool(warning)
    assert not warning or found.warnings[0].startswith(warning)


def test_places_of_plots_in_degrees(tmp_path: Path) -> None:
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    places = np.stack(to_degrees.transform(*MIDDLES.T), 1)
    path = plots(tmp_path, places, 1.0, head="lon,lat")
    assert open_reference(path, opened(tmp_path)).warnings == ()
    local = opened(tmp_path, crs='LOCAL_CS["Site",UNIT["metre",1]]')
    (warning,) = open_reference(path, local).warnings
    assert "whose coordinates are local" in warning
