"""The STF product of an image with a satellite's cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import uavssr
from tests.helpers.models import GRID, P4M, tiny_model, tiny_scene
from tests.helpers.rasters import write
from uavssr.calibration import SatelliteCells, bands_without_neighbour, calibrate_with_satellite
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.stf import read_stf, scene_estimate, write_stf
from uavssr.model import Model
from uavssr.sensors import Sensor, load_satellite, load_sensor

LEVEL = 1.25
"""The image over the ground's reflectance."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return uavssr.load_model(tiny_model(tmp_path_factory.mktemp("model")))


def image_of(cube: np.ndarray) -> np.ndarray:
    return LEVEL * np.tensordot(P4M.srf(GRID), cube, 1)


@pytest.fixture(scope="module")
def msi(tmp_path_factory: pytest.TempPathFactory) -> MsiSource:
    image = np.round(image_of(tiny_scene(48, 48)) * 10000).clip(0, 65000).astype("u2")
    return open_msi(
        write(tmp_path_factory.mktemp("image") / "field.tif", image), sensor="p4m", scale=1e-4
    )


def cells_of(satellite: Sensor, count: int = 36) -> SatelliteCells:
    """Cells of 8 x 8 pixels."""
    cube = tiny_scene(48, 48)
    means = cube.reshape(len(cube), 6, 8, 6, 8).mean((2, 4)).reshape(len(cube), -1)[:, :count]
    spectra, seen = means @ np.eye(means.shape[1]), image_of(means).T
    reflectance = (satellite.srf(GRID) @ spectra).T
    return SatelliteCells(
        sensor=satellite,
        reflectance=reflectance,
        reflectance_se=np.full(reflectance.shape, 0.002),
        msi=seen,
        msi_se=np.full(seen.shape, 0.002),
        places=np.zeros((len(seen), 2)),
        skipped={"partly outside the image": 4},
        facts={"date": "2022-06-28"},
        warnings=("two dates bracket the flight",),
    )


def test_product_says_what_was_learned_and_goes_through_a_file(
    tmp_path: Path, msi: MsiSource, model: Model
) -> None:
    calibration = calibrate_with_satellite(
        msi, cells_of(load_satellite("sentinel2a")), error=0.03, model=model
    )
    ds = calibration.dataset
    estimate = scene_estimate(ds)
    assert np.abs(np.log(estimate.gain / LEVEL)).max() < 0.15
    assert estimate.common_gain_se < P4M.common_gain_sd / 2
    assert (estimate.residual < 0.05).all()
    for name in ("centre", "fwhm", "gain"):
        learned, image = ds[f"learned_{name}"], ds[f"learned_image_{name}"]
        assert learned.dims == ("band",)
        assert (image >= 0).all()
        assert (learned >= image - 1e-6).all()
        assert (learned <= 1).all()
    assert (ds["learned_gain"] > 0.6).all()
    assert ds.attrs["uavssr_reference_used"] == "36 of 40"
    assert ds.attrs["uavssr_reference_date"] == "2022-06-28"
    assert ds.attrs["uavssr_reference_factors"].count("+-") == 8
    assert calibration.used == 36
    assert calibration.warnings[0] == "two dates bracket the flight"
    back = read_stf(write_stf(ds, tmp_path / "out.stf.nc"), sensor=P4M, grid=model.grid)
    np.testing.assert_allclose(back["learned_gain"], ds["learned_gain"])


def test_landsat_is_said_to_lack_the_red_edge(msi: MsiSource, model: Model) -> None:
    cells = cells_of(load_satellite("landsat8"))
    warnings = calibrate_with_satellite(msi, cells, model=model).warnings
    assert any("landsat8 has no band near rededge" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("satellite", "camera", "far"),
    [
        ("sentinel2a", "p4m", ()),
        ("sentinel2a", "rededge3", ()),
        ("landsat8", "rededge3", ("rededge",)),
    ],
)
def test_bands_without_a_neighbour(satellite: str, camera: str, far: tuple[str, ...]) -> None:
    assert bands_without_neighbour(load_sensor(camera), load_satellite(satellite)) == far


def test_other_ground_is_noticed(msi: MsiSource, model: Model) -> None:
    cells = cells_of(load_satellite("sentinel2a"))
    wrong = replace(cells, reflectance=cells.reflectance[::-1])
    warnings = calibrate_with_satellite(msi, wrong, model=model).warnings
    assert any("check the date and the place" in warning for warning in warnings)


def test_no_cells_and_senseless_errors_are_refused(msi: MsiSource, model: Model) -> None:
    cells = cells_of(load_satellite("sentinel2a"))
    with pytest.raises(UsageError, match="systematic error"):
        calibrate_with_satellite(msi, cells, error=5.0, model=model)
    with pytest.raises(InputRefused, match="no cell"):
        calibrate_with_satellite(msi, replace(cells, msi=cells.msi[:0]), model=model)


def test_more_days_leave_more_growth_open(msi: MsiSource, model: Model) -> None:
    cells = cells_of(load_satellite("sentinel2a"))
    errors = []
    for days in (0.0, 5.0, 10.0):
        ds = calibrate_with_satellite(msi, replace(cells, days=days), model=model).dataset
        errors.append(float(ds.attrs["uavssr_reference_growth"].split("+- ")[1]))
    assert errors == sorted(errors)
    assert errors[0] < 0.011
    assert errors[2] > 2 * errors[0]
