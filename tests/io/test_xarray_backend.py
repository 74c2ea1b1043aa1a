"""xarray sees a file of coefficients as the cube, and reads only what it is asked for."""

from __future__ import annotations

import pickle
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 - the .rio accessor
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from tests.helpers.models import GRID
from tests.helpers.places import REPO
from tests.io.hsi.test_coefficients import holed, maps, write
from uavssr.errors import InputRefused
from uavssr.io.cube_dataset import CHUNK_SIDE as STRIP
from uavssr.io.cube_dataset import LazyCube
from uavssr.io.hsi.coefficient_file import CoefficientSource, open_coefficients
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.xarray_backend import UavssrBackend
from uavssr.tiling import Window

SHAPE = (300, 90)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field") / "field.tif"
    return write(path, maps(*SHAPE), holed(*SHAPE), tags={"uavssr_version": "1"})


@pytest.fixture(scope="module")
def whole(field: Path) -> np.ndarray:
    return open_coefficients(field).read(Window(0, 0, *SHAPE))[0]


def test_dataset_has_the_cube_and_its_coordinates(field: Path, whole: np.ndarray) -> None:
    with xr.open_dataset(field, engine=UavssrBackend) as found:
        assert found.reflectance.dims == ("wavelength", "y", "x")
        assert found.reflectance.dtype == np.float32
        assert np.array_equal(found.wavelength, GRID.centres)
        assert np.array_equal(found.fwhm, GRID.fwhm)
        assert set(found.coords) == {"wavelength", "fwhm", "spatial_ref", "y", "x"}
        assert found.rio.crs == CRS.from_epsg(32650)
        assert found.reflectance.rio.crs == CRS.from_epsg(32650)
        assert float(found.y[0]) == 3000000 - 0.05
        assert found.attrs["uavssr_version"] == "1"
        assert not [key for key in found.attrs if "basis" in key]
        assert np.allclose(found.reflectance.values, whole, atol=1e-6, equal_nan=True)


def indexers(length: int) -> st.SearchStrategy:
    """Whole numbers, slices of either sign, and arrays with repetitions.

    Slices that take something: of others with a negative step xarray itself fails.
    """
    whole = st.integers(-length, length - 1)
    return st.one_of(
        whole,
        st.slices(length).filter(lambda part: len(range(length)[part]) > 0),
        st.lists(whole, min_size=1, max_size=5).map(np.array),
    )


@pytest.fixture(scope="module")
def lazy(field: Path) -> xr.DataArray:
    with xr.open_dataset(field, engine=UavssrBackend, cache=False) as found:
        return found.reflectance.drop_vars(["x", "y", "wavelength", "fwhm"])


@settings(deadline=None)
@given(indexers(len(GRID)), indexers(SHAPE[0]), indexers(SHAPE[1]))
def test_every_index_gives_what_numpy_gives(
    lazy: xr.DataArray, whole: np.ndarray, band: object, row: object, col: object
) -> None:
    part = lazy.isel(wavelength=band, y=row, x=col).values
    plain = xr.DataArray(whole, dims=("wavelength", "y", "x"))
    wanted = plain.isel(wavelength=band, y=row, x=col).values
    assert part.shape == wanted.shape
    assert np.allclose(part, wanted, atol=1e-6, equal_nan=True)


def test_pointwise_index_gives_spectra_at_places(field: Path, whole: np.ndarray) -> None:
    rows, cols = xr.DataArray([5, 280, 290], dims="p"), xr.DataArray([80, 3, 60], dims="p")
    with xr.open_dataset(field, engine=UavssrBackend) as found:
        spectra = found.reflectance.isel(y=rows, x=cols).values
        nearest = found.reflectance.sel(wavelength=700, method="nearest")
        assert nearest.shape == SHAPE
    assert np.allclose(spectra, whole[:, [5, 280, 290], [80, 3, 60]], atol=1e-6, equal_nan=True)


def test_only_the_asked_window_is_read(field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = CoefficientSource.coefficients

    def spy(self: CoefficientSource, window: Window) -> tuple[np.ndarray, np.ndarray]:
        asked.append(window)
        return read(self, window)

    monkeypatch.setattr(CoefficientSource, "coefficients", spy)
    with xr.open_dataset(field, engine=UavssrBackend) as found:
        part = found.reflectance[3, 40:50, 20:60]
        assert asked == []
        part.load()
        assert asked == [Window(40, 20, 10, 40)]
        asked.clear()
        found.reflectance[7].load()
        assert asked == [Window(0, 0, STRIP, 90), Window(STRIP, 0, 300 - STRIP, 90)]


def test_dask_chunks_make_up_the_whole(field: Path, whole: np.ndarray) -> None:
    with xr.open_dataset(field, engine=UavssrBackend, chunks={}) as found:
        assert found.reflectance.chunks == ((40,), (256, 44), (90,))
    chunks = {"wavelength": 7, "y": STRIP}
    with xr.open_dataset(field, engine=UavssrBackend, chunks=chunks) as found:
        threaded = found.reflectance.compute(scheduler="threads", num_workers=3)
        assert np.allclose(threaded, whole, atol=1e-6, equal_nan=True)
        mean = float(found.reflectance.mean())
    assert mean == pytest.approx(float(np.nanmean(whole)), abs=1e-5)


def test_lazy_cube_may_be_sent_to_another_process(field: Path, whole: np.ndarray) -> None:
    lazy = LazyCube(open_cube_source(field))
    lazy._read((slice(None), 0, 0))
    again: LazyCube = pickle.loads(pickle.dumps(lazy))  # noqa: S301 - our own
    assert np.allclose(again._read((4, slice(0, 9), 3)), whole[4, :9, 3], atol=1e-6, equal_nan=True)
    with xr.open_dataset(field, engine=UavssrBackend) as found:
        copy = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
        assert np.allclose(copy.reflectance[0], whole[0], atol=1e-6, equal_nan=True)


def test_variables_may_be_dropped(field: Path) -> None:
    with xr.open_dataset(field, engine=UavssrBackend, drop_variables="fwhm") as found:
        assert "fwhm" not in found.variables


def test_only_files_of_coefficients_are_taken_for_one(field: Path, tmp_path: Path) -> None:
    backend = UavssrBackend()
    assert backend.guess_can_open(field)
    assert backend.guess_can_open(str(field))
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "copy.nc").write_bytes(field.read_bytes())
    for other in (tmp_path / "text.tif", tmp_path / "gone.tif", tmp_path / "copy.nc", tmp_path, 3):
        assert not backend.guess_can_open(other)
    assert not backend.guess_can_open("/vsicurl/http://127.0.0.1:9/c.tif")
    with pytest.raises(InputRefused, match="no raster"):
        xr.open_dataset(tmp_path / "text.tif", engine=UavssrBackend)


def test_entry_point_names_the_backend() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))
    entry = project["project"]["entry-points"]["xarray.backends"]["uavssr"]
    module, name = entry.split(":")
    assert getattr(import_module(module), name) is UavssrBackend
