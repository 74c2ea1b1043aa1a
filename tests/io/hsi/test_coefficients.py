"""Files of coefficients hold all that the cube holds, and are refused where they do not."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.crs import CRS
from rasterio.shutil import copy as rasterio_copy

from tests.helpers.models import GRID, tiny_library
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi.coefficient_file import CoefficientSource, open_coefficients
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.hsi.cube_basis import CubeBasis
from uavssr.io.writers import CubeTarget, open_writer
from uavssr.model.basis import SpectralBasis
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import TileGrid, Window
from uavssr.viz.quicklook import read_preview

UTM = CRS.from_epsg(32650).to_wkt()
TRANSFORM = (0.1, 0.0, 500000.0, 0.0, -0.1, 3000000.0)


def basis(rank: int = 5, grid: WavelengthGrid = GRID) -> CubeBasis:
    rng = np.random.default_rng(1)
    components = np.linalg.qr(rng.normal(size=(len(grid), rank)))[0] / 10
    return CubeBasis(
        grid=grid,
        mean=(0.3 + 0.1 * np.sin(grid.centres / 60)).astype("f4"),
        components=components.astype("f4"),
        sha256="abc",
    )


def maps(height: int = 70, width: int = 90, rank: int = 5) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(rank, height, width)).astype("f4")


def holed(height: int = 70, width: int = 90) -> np.ndarray:
    valid = np.random.default_rng(5).random((height, width)) < 0.9
    valid[:32, 32:64] = False
    return valid


def write(path: Path, coefficients: np.ndarray, valid: np.ndarray, **options: object) -> Path:
    height, width = valid.shape
    given = {"basis": basis(), "grid": GRID, "crs_wkt": UTM, "transform": TRANSFORM, "block": 32}
    given |= {"format": "coefficients", "height": height, "width": width} | options
    with open_writer(CubeTarget(path=path, **given)) as sink:
        assert (sink.takes, sink.bands, sink.dtype) == ("coefficients", 5, "float32")
        for tile in TileGrid(height=height, width=width, tile=32):
            rows, cols = tile.core.rows, tile.core.cols
            if valid[rows, cols].any():
                sink.write(tile.core, coefficients[:, rows, cols], valid[rows, cols])
        return sink.finish()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "field.tif"
    return write(path, maps(), holed(), tags={"uavssr_version": "1"})


def test_coefficients_and_basis_come_back_to_the_last_bit(field: Path) -> None:
    source = open_coefficients(field)
    found, valid = source.coefficients(Window(0, 0, 70, 90))
    assert np.array_equal(valid, holed())
    assert np.array_equal(found[:, valid], maps()[:, valid])
    assert np.isnan(found[:, ~valid]).all()
    wanted = basis()
    assert np.array_equal(source.basis.mean, wanted.mean)
    assert np.array_equal(source.basis.components, wanted.components)
    assert np.array_equal(source.basis.grid.centres, GRID.centres)
    assert np.array_equal(source.basis.grid.fwhm, GRID.fwhm)
    assert (source.basis.grid.name, source.basis.sha256) == (GRID.name, "abc")
    with rasterio.open(field) as file:
        assert file.profile["dtype"] == "float32"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        assert file.descriptions[4] == "coefficient 5"


def test_expansion_is_the_affine_map_of_the_basis(field: Path) -> None:
    wanted = basis()
    exact = np.einsum("cr,ryx->cyx", wanted.components.astype(float), maps().astype(float))
    exact += wanted.mean[:, None, None]
    found, valid = open_coefficients(field).read(Window(5, 7, 60, 80))
    part = (slice(5, 65), slice(7, 87))
    assert np.array_equal(valid, holed()[part])
    assert np.abs(found - exact[:, *part])[:, valid].max() < 1e-6
    assert np.isnan(found[:, ~valid]).all()


def test_expansion_of_some_bands_is_that_of_all(field: Path) -> None:
    source, chosen = open_coefficients(field), [3, 8, 30]
    coefficients, _ = source.coefficients(Window(0, 0, 20, 30))
    whole = source.basis.expand(coefficients)[chosen]
    for some in (source.basis.expand(coefficients, bands=chosen), source.basis.subset(chosen)):
        found = some if isinstance(some, np.ndarray) else some.expand(coefficients)
        assert np.allclose(found, whole, atol=1e-6, equal_nan=True)


def test_basis_expands_as_the_networks_own() -> None:
    network = SpectralBasis.fit(tiny_library().spectra.astype(float), GRID, rank=6)
    ours = CubeBasis(grid=GRID, mean=network.mean.numpy(), components=network.components.numpy())
    coefficients = maps(rank=6)
    theirs = network.expand(torch.from_numpy(coefficients)).numpy()
    assert np.abs(ours.expand(coefficients) - theirs).max() < 1e-6


def test_overviews_of_coefficients_are_those_of_the_cube(tmp_path: Path) -> None:
    """The mean of affine maps is the map of the mean."""
    coefficients, valid = maps(600, 64), np.ones((600, 64), bool)
    path = write(tmp_path / "c.tif", coefficients, valid)
    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        small = overview.read()
    cube = basis().expand(coefficients)
    means = cube.reshape(len(GRID), 150, 4, 16, 4).mean((2, 4))
    assert np.abs(basis().expand(small) - means).max() < 1e-6


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_copies_keep_the_basis(field: Path, tmp_path: Path, driver: str) -> None:
    """gdal_translate and the COG driver copy the default domain, and no other one for sure."""
    rasterio_copy(field, tmp_path / "copy.tif", driver=driver)
    found, _ = open_coefficients(tmp_path / "copy.tif").coefficients(Window(0, 0, 70, 90))
    assert np.array_equal(
        found, open_coefficients(field).coefficients(Window(0, 0, 70, 90))[0], True
    )


def test_open_cube_reads_coefficients_as_a_cube(field: Path) -> None:
    found = open_cube_source(field)
    numbers, valid = found.read(Window(0, 0, 70, 90))
    expanded, _ = open_coefficients(field).read(Window(0, 0, 70, 90))
    assert np.array_equal(numbers, expanded, equal_nan=True)
    assert np.array_equal(valid, holed())
    assert found.place.transform == TRANSFORM
    with pytest.raises(UsageError, match="no scale"):
        open_cube_source(field, scale="1/10000")


def test_source_may_be_sent_to_another_process(field: Path) -> None:
    source = open_coefficients(field)
    source.read(Window(0, 0, 3, 3))
    again: CoefficientSource = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    for each in (source, again):
        assert np.isfinite(each.read(Window(40, 0, 20, 30))[0]).any()


def test_chosen_wavelengths_keep_their_rows_of_the_basis(tmp_path: Path) -> None:
    chosen = [2, 3, 20]
    path = write(tmp_path / "c.tif", maps(), holed(), wavelengths=chosen)
    found = open_coefficients(path).basis
    assert np.array_equal(found.components, basis().components[chosen])
    assert np.array_equal(found.grid.centres, GRID.centres[chosen])


def test_preview_shows_the_cube(field: Path) -> None:
    preview = read_preview(field)
    assert preview.bands.shape == (4, 70, 90)
    whole = open_cube_source(field).read(Window(0, 0, 70, 90))[0]
    assert np.allclose(preview.bands, whole[list(preview.indices)], atol=1e-6, equal_nan=True)
    spot = preview.spots(1)[0]
    assert np.isfinite(spot.spectrum).all()


def retagged(path: Path, copy: Path, **tags: str | None) -> Path:
    copy.write_bytes(path.read_bytes())
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(copy, "r+") as file:
        kept = file.tags() | tags
        file.update_tags(**{key: text or "" for key, text in kept.items()})
    return copy


@pytest.mark.parametrize(
    ("tag", "text", "said"),
    [
        ("mean", "%%%%", "basis in its tags is damaged"),
        ("mean", "AAAA", "damaged"),
        ("components", "", "damaged"),
        ("crc32", "00000000", "its checksum differs"),
        ("crc32", "zebra", "damaged"),
        ("wavelength", "AAAAAAAA8D8=", "its checksum differs"),
    ],
)
def test_damaged_basis_is_refused(
    field: Path, tmp_path: Path, tag: str, text: str, said: str
) -> None:
    path = retagged(field, tmp_path / "d.tif", **{f"uavssr_basis_{tag}": text})
    with pytest.raises(InputRefused, match=said):
        open_coefficients(path)
    with pytest.raises(InputRefused, match=said):
        open_cube_source(path)


def test_basis_for_another_number_of_bands_is_refused() -> None:
    tags = basis().tags()
    with pytest.raises(InputRefused, match="40 wavelengths for 4 coefficient bands"):
        CubeBasis.of_tags(tags, rank=4, path=Path("x.tif"))
    with pytest.raises(InputRefused, match="does not fit 40 wavelengths"):
        CubeBasis(grid=GRID, mean=np.zeros(3, "f4"), components=np.zeros((40, 2), "f4"))


def test_cube_is_no_file_of_coefficients(tmp_path: Path) -> None:
    path = tmp_path / "cube.tif"
    options = {"height": 8, "width": 8, "grid": GRID, "crs_wkt": UTM, "transform": TRANSFORM}
    with open_writer(CubeTarget(path=path, **options)) as sink:
        sink.write(Window(0, 0, 8, 8), np.full((40, 8, 8), 0.3, "f4"), np.ones((8, 8), bool))
        sink.finish()
    with pytest.raises(InputRefused, match="holds no coefficients"):
        open_coefficients(path)


def test_small_files_of_many_bands_stay_small(field: Path) -> None:
    """The basis costs as much as 40 wavelengths of 5 coefficients do, once."""
    assert field.stat().st_size < 4 * 5 * 70 * 90 * 1.2 + 20_000
