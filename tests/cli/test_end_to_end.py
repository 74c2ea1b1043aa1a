"""The released model on the example field and on a real orchard, by the command line and Python."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.windows import Window, transform

import uavssr
from tests.helpers.places import REPO
from tests.helpers.rasters import shared, write
from uavssr import cli
from uavssr.errors import ModelRefused
from uavssr.io.writers.encoding import SCALE
from uavssr.model.weights import DEFAULT_MODEL, Model, find_model, load_model
from uavssr.sensors import HEADWALL_NANO, SENSORS
from uavssr.tiling import Window as Extent

FIELD = REPO / "examples" / "field.tif"
CROP = Window(0, 290, 128, 96)
"""A corner of the field: plots, paths, and pixels outside the flight."""


@pytest.fixture(scope="module")
def released() -> Model:
    try:
        return load_model(find_model())
    except ModelRefused as err:
        if "no such model folder" not in str(err):
            raise
        pytest.skip(f"the released model {DEFAULT_MODEL} is not in models/ yet")


def crop(source: Path, out: Path, window: Window, *, tags: bool = True) -> Path:
    """A part of a raster with everything it says of itself, or with its pixels and place only."""
    with rasterio.open(source) as file:
        numbers = file.read(window=window)
        return write(
            out,
            numbers,
            names=file.descriptions if tags else None,
            colours=[each.name for each in file.colorinterp] if tags else None,
            tags=file.tags() if tags else None,
            scales=file.scales if tags else None,
            nodata=file.nodata,
            crs=file.crs,
            transform=transform(window, file.transform),
        )


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crop(FIELD, tmp_path_factory.mktemp("in") / "field.tif", CROP)


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory, field: Path, released: Model) -> Path:
    """The field's cube, with the default model."""
    out = tmp_path_factory.mktemp("out") / "hsi.tif"
    assert cli.main(["-q", "reconstruct", str(field), "-o", str(out), "--tile", "64"]) == 0
    return out


def read(path: Path) -> np.ndarray:
    """Reflectance (C, y, x), NaN where nodata."""
    with rasterio.open(path) as file:
        stored = file.read(masked=True).astype("f4").filled(np.nan)
        return stored * np.float32(file.scales[0])


def stf_beside(path: Path) -> xr.Dataset:
    return xr.load_dataset(path.with_suffix(".stf.nc"), engine="h5netcdf")


def misfit(image: np.ndarray, found: np.ndarray, stf: np.ndarray) -> np.ndarray:
    """RMS per band of the cube as the STF sees it against the image, relative to its mean."""
    valid = np.isfinite(image).all(0)
    seen = stf @ found[:, valid].astype(float)
    difference = seen - image[:, valid]
    return np.sqrt((difference**2).mean(1)) / image[:, valid].mean(1)


def test_integrating_the_cube_gives_the_image_back(field: Path, cube: Path) -> None:
    """The round trip: within 1 % RMS of each band's mean, and only with the STF that was found."""
    found, stf = read(cube), stf_beside(cube)
    image = uavssr.open_msi(field).read(Extent(0, 0, 96, 128))[0]
    assert misfit(image, found, stf["scene_stf"].to_numpy()).max() < 0.01
    assert misfit(image, found, 1.05 * stf["scene_stf"].to_numpy()).max() > 0.01


def test_cube_covers_the_valid_pixels_and_no_others(field: Path, cube: Path) -> None:
    """Promise P5."""
    with rasterio.open(field) as file:
        valid = (file.read() != 0).all(0)
        place = file.crs, file.transform
    assert 0.02 < 1 - valid.mean() < 0.9
    found = read(cube)
    assert np.array_equal(np.isfinite(found), np.broadcast_to(valid, found.shape))
    with rasterio.open(cube) as file:
        assert (file.crs, file.transform) == place
        centres = [float(file.tags(k)["wavelength"]) for k in range(1, file.count + 1)]
    assert np.allclose(centres, HEADWALL_NANO.centres, atol=1e-3)


def test_cube_is_nearer_the_truth_than_straight_lines(field: Path, cube: Path) -> None:
    """What the prior knows shows: against interpolation between the five bands."""
    with np.load(REPO / "examples" / "field_truth.npz") as truth:
        row, col, spectra = (
            truth["row"] - CROP.row_off,
            truth["col"] - CROP.col_off,
            truth["spectra"],
        )
    found, image = read(cube), uavssr.open_msi(field).read(Extent(0, 0, 96, 128))[0]
    inside = (row >= 0) & (row < 96) & (col >= 0) & (col < 128)
    row, col, spectra = row[inside], col[inside], spectra[inside].astype(float)
    keep = np.isfinite(found[0, row, col])
    assert keep.sum() >= 5
    row, col, spectra = row[keep], col[keep], spectra[keep]
    centres = [band.centre for band in SENSORS["p4m"].bands]
    lines = np.stack(
        [
            np.interp(HEADWALL_NANO.centres, centres, image[:, r, c])
            for r, c in zip(row, col, strict=True)
        ]
    )
    error, naive = (
        np.sqrt(((each - spectra) ** 2).mean()) for each in (found[:, row, col].T, lines)
    )
    assert error < 0.7 * naive
    assert error < 0.15 * spectra.mean()


def test_python_as_in_the_readme(field: Path, cube: Path, released: Model) -> None:
    msi = uavssr.open_msi(field)
    lazy = uavssr.reconstruct(msi, uavssr.ReconstructionOptions(tile=64))
    spectrum = lazy.reflectance.isel(y=60, x=70).compute()
    assert np.abs(spectrum.to_numpy() - read(cube)[:, 60, 70]).max() <= SCALE / 2 + 1e-5
    found = uavssr.estimate_stf(msi, uavssr.ReconstructionOptions(tile=64))
    assert np.allclose(found.scene_centre, stf_beside(cube).scene_centre)
    assert (found.scene_centre_se.values > 0).all()


def test_constant_scene_is_finite_and_prior_driven(tmp_path: Path, released: Model) -> None:
    """Row 18, fact 11: the STF stays near the data sheet, and the output says why."""
    spectrum = np.array([0.05, 0.09, 0.06, 0.3, 0.45], np.float32)
    image = np.broadcast_to(spectrum[:, None, None], (5, 70, 80))
    path = write(tmp_path / "flat.tif", image, tags={"sensor": "p4m"})
    out = tmp_path / "flat_cube.tif"
    assert cli.main(["-q", "reconstruct", str(path), "-o", str(out), "--tile", "64"]) == 0
    found, stf = read(out), stf_beside(out)
    assert np.isfinite(found).all()
    assert found.max() < 1
    assert np.ptp(found[:, 20:50, 20:50], axis=(1, 2)).max() < 1e-3
    assert (stf["condition"] > 1e5).all()
    assert stf["prior_driven"].all()
    assert stf["scene_condition"] > 1e5
    assert np.abs(stf["scene_centre"] - [b.centre for b in SENSORS["p4m"].bands]).max() < 10


@pytest.mark.parametrize("shape", [(1, 90), (67, 1), (1, 1)])
def test_thin_scenes_have_cubes(tmp_path: Path, released: Model, shape: tuple[int, int]) -> None:
    """Row 19."""
    with rasterio.open(FIELD) as file:
        numbers = file.read(window=Window(200, 200, shape[1], shape[0]))
    path = write(tmp_path / "thin.tif", numbers, scales=[1 / 32768] * 5, tags={"sensor": "p4m"})
    out = tmp_path / "cube.tif"
    assert cli.main(["-q", "reconstruct", str(path), "-o", str(out), "--tile", "16"]) == 0
    assert read(out).shape == (270, *shape)
    assert np.isfinite(read(out)).all()


def test_tiles_with_their_own_stfs_leave_no_seam(
    tmp_path: Path, field: Path, cube: Path, released: Model
) -> None:
    """Fact 10: tile borders change no more than they do with one STF for all."""
    out = tmp_path / "t.tif"
    options = ["--tile", "32", "--stf-scope", "tile", "-q"]
    assert cli.main(["reconstruct", str(field), "-o", str(out), *options]) == 0
    one, many = read(cube), read(out)
    assert np.nanmax(np.abs(one - many)) > 0.001
    ratios = []
    for found in (one, many):
        jump = np.abs(np.diff(found, axis=2))
        border = np.arange(1, found.shape[2]) % 32 == 0
        ratios.append(np.nanmean(jump[..., border]) / np.nanmean(jump[..., ~border]))
    assert ratios[1] / ratios[0] <= 1.05


# --- a real camera -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orchard() -> Path:
    return shared("fields/rededge3_orchard.tif")


def test_real_orchard_gives_plausible_spectra(
    tmp_path: Path, orchard: Path, released: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    """A MicaSense RedEdge-3, whose camera only the user knows."""
    path = crop(orchard, tmp_path / "orchard.tif", Window(500, 400, 200, 200))
    out = tmp_path / "cube.tif"
    options = ["--sensor", "rededge3", "--tile", "128"]
    assert cli.main(["reconstruct", str(path), "-o", str(out), *options]) == 0
    assert "uavssr: warning: scale 1/32768 is MicaSense's convention" in capfd.readouterr().err
    found, stf = read(out), stf_beside(out)
    assert np.isfinite(found).mean() > 0.95
    assert 0 <= np.nanmin(found) <= np.nanmax(found) < 2.5
    nm = HEADWALL_NANO.nearest
    ndvi = (found[nm(860)] - found[nm(670)]) / (found[nm(860)] + found[nm(670)])
    assert np.nanmedian(ndvi) < 0.5 < np.nanpercentile(ndvi, 90)  # trees, and ground between them
    nominal = [band.centre for band in SENSORS["rededge3"].bands]
    assert np.abs(stf["scene_centre"] - nominal).max() < 12
    assert np.abs(np.log(stf["scene_gain"])).max() < 0.35
    image = uavssr.open_msi(path, sensor="rededge3").read(Extent(0, 0, 200, 200))[0]
    assert misfit(image, found, stf["scene_stf"].to_numpy()).max() < 0.03


def test_real_orchard_without_its_names_is_refused_with_the_way_out(
    tmp_path: Path, orchard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Row 14: neither the camera nor the order of bands is ever guessed."""
    path = crop(orchard, tmp_path / "orchard.tif", Window(500, 400, 200, 200), tags=False)
    out = tmp_path / "cube.tif"
    assert cli.main(["reconstruct", str(path), "-o", str(out)]) == 3
    said = capfd.readouterr()
    assert said.out == ""
    assert re.match(r"uavssr: error: .*orchard\.tif: 2 problems\n", said.err)
    command = said.err.splitlines()[-1]
    assert "--sensor NAME --bands ROLE,ROLE,ROLE,ROLE,ROLE" in command
    assert sorted(p.name for p in tmp_path.iterdir()) == ["orchard.tif"]
