"""`estimate-stf --reference` with satellite images, from files to the STF and the messages."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.helpers.commands import Ran, Run
from tests.helpers.models import tiny_model
from tests.helpers.satellites import (
    LANDSAT_NAME,
    SENTINEL_NAME,
    camera_image,
    ground,
    metadata,
    write_field,
    write_landsat,
    write_safe,
    write_stack,
)
from uavssr.calibration import MAX_DAYS, REFERENCE_ERROR
from uavssr.cli import satellite

SCENE = ground()
GIVEN = ("--reference-sensor", "sentinel2a", "--reference-scale", "0.0001")
OFFSET = ("--reference-offset", "-0.1")
DAY = ("--reference-date", "2022-06-15")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field, a .SAFE tree, a Landsat folder and stacks of the same scene, and a tiny model."""
    folder = tmp_path_factory.mktemp("satellite")
    write_field(folder / "field.tif", camera_image(SCENE))
    write_field(folder / "undated.tif", camera_image(SCENE), tags={"sensor": "p4m"})
    write_safe(folder, SCENE, shift=(6, -9))
    write_landsat(folder, SCENE)
    write_stack(folder / "s2.tif", SCENE)
    classes = np.full((15, 15), 9, "u1")
    cloudy = write_safe(folder / "cloudy", SCENE, classes=classes)
    cloudy.rename(folder / "cloudy.SAFE")
    tiny_model(folder / "tiny")
    return folder


def estimate(run: Run, folder: Path, *words: object, field: str = "field.tif") -> Ran:
    return run("estimate-stf", folder / field, "--model", folder / "tiny", *words)


def test_safe_folder_calibrates(folder: Path, tmp_path: Path, run: Run) -> None:
    out, safe = tmp_path / "stf.nc", folder / f"{SENTINEL_NAME}.SAFE"
    ran = estimate(run, folder, "--reference", safe, "--json", "-o", out)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["reference"]
    assert (found["kind"], found["sensor"], found["used"]) == ("satellite", "sentinel2a", 42)
    assert found["shift"] == "image -6.0 m down, +9.0 m right"
    assert found["skipped"] == {"partly outside the valid image": 21}
    shares = np.array(list(found["learned"].values()))
    assert shares.shape == (3, 5)
    assert shares.min() >= 0
    assert shares[2].min() > 0.3  # of the gains most is learned
    with xr.open_dataset(out, engine="h5netcdf") as written:
        assert written.attrs["uavssr_reference_kind"] == "satellite"
        assert written.attrs["uavssr_reference_date"] == "2022-06-15"
        assert written.attrs["uavssr_reference_flight"] == "2022-06-17"
        assert written.attrs["uavssr_reference_baseline"] == "04.00"
        assert written.attrs["uavssr_reference_shift"] == found["shift"]
        np.testing.assert_allclose(written["learned_gain"], found["learned"]["gain"], atol=1e-3)


def test_stf_of_a_satellite_reconstructs(folder: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "stf.nc"
    assert estimate(run, folder, "--reference", folder / LANDSAT_NAME, "-o", out).code == 0
    cube = ["--stf", out, "--model", folder / "tiny", "-o", tmp_path / "cube.tif"]
    ran = run("reconstruct", folder / "field.tif", *cube)
    assert ran.code == 0, ran.err


def test_text_says_cells_shift_and_shares(folder: Path, run: Run) -> None:
    ran = estimate(run, folder, "--reference", folder / "s2.tif", *GIVEN, *OFFSET, *DAY)
    assert ran.code == 0, ran.err
    assert "sentinel2a of 2022-06-15, flight of 2022-06-17" in ran.out
    assert "36 of 64, 20 m, Gaussian PSF of FWHM 23.6 m; left out: 28 partly outside" in ran.out
    assert "Share of the prior variance" in ran.out


def test_landsat_says_what_it_lacks(folder: Path, run: Run) -> None:
    ran = estimate(run, folder, "--reference", folder / LANDSAT_NAME)
    assert ran.code == 0
    assert "landsat8 has no band near rededge" in ran.err


def test_two_satellite_images_bracket_the_flight(folder: Path, run: Run) -> None:
    safe = folder / f"{SENTINEL_NAME}.SAFE"
    later = folder / "later.SAFE"
    if not later.exists():
        write_safe(folder / "later", SCENE, xml=metadata().replace("06-15T", "06-20T")).rename(
            later
        )
    ran = estimate(run, folder, "--reference", safe, "--reference", later, "--json")
    assert json.loads(ran.out)["reference"]["weights"] == "0.60, 0.40"


FIELD_DAY = ("--flight-date", "2022-06-17")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((f"{SENTINEL_NAME}.SAFE", "--flight-date", "2022-07-17"), 3, "32 days from the flight"),
        ((f"{SENTINEL_NAME}.SAFE", "--flight-date", "17.7.2022"), 2, "is no date; give it as in"),
        ((f"{SENTINEL_NAME}.SAFE", "--reference-sensor", "sentinel2b"), 3, "is of sentinel2a, not"),
        ((f"{SENTINEL_NAME}.SAFE", "--reference-sensor", "sentinel3"), 2, "unknown sensor"),
        ((f"{SENTINEL_NAME}.SAFE", "--reference-offset", "0"), 2, "has no effect: the metadata"),
        ((f"{SENTINEL_NAME}.SAFE", "--flight", "a"), 2, "--flight has no effect with a satellite"),
        ((f"{SENTINEL_NAME}.SAFE", "--reference-error", "2"), 2, "is not within 0.001 to 1"),
        (("cloudy.SAFE",), 3, "under cloud, cirrus or snow; give an image of a clear day"),
        (("s2.tif", *GIVEN, *OFFSET), 3, "neither its tags nor its name state a date"),
        (("s2.tif", *GIVEN, *DAY), 3, "states no offset of its uint16 numbers; give both"),
        (("s2.tif", "--max-days", "3"), 2, "--max-days is for satellite images; name the"),
        (("s2.tif", *GIVEN, *OFFSET, *DAY, *DAY), 2, "2 --reference-date for 1 --reference"),
    ],
)
def test_bad_input_is_one_clear_line(
    folder: Path, run: Run, words: tuple[str, ...], code: int, text: str
) -> None:
    ran = estimate(run, folder, "--reference", folder / words[0], *words[1:])
    assert ran.code == code, ran.err
    assert text in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_day_of_the_flight_must_be_stated_or_told(folder: Path, run: Run) -> None:
    words = ["--reference", folder / LANDSAT_NAME]
    ran = estimate(run, folder, *words, field="undated.tif")
    assert ran.code == 3
    assert "no tag states the day of the flight; give it with --flight-date YYYY-MM-DD" in ran.err
    assert estimate(run, folder, *words, *FIELD_DAY, field="undated.tif").code == 0


def test_defaults_of_the_options_are_those_of_the_functions() -> None:
    assert satellite.MAX_DAYS_DEFAULT == MAX_DAYS
    assert satellite.ERROR_DEFAULT == REFERENCE_ERROR


def test_options_of_satellites_need_a_reference(folder: Path, run: Run) -> None:
    ran = estimate(run, folder, *shlex.split("--reference-sensor landsat8"))
    assert (ran.code, ran.out) == (2, "")
    assert "--reference-sensor without --reference; give both, or neither" in ran.err
    words = ["--reference", folder / "field.tif", "--reference", folder / "s2.tif"]
    assert "2 references are given" in estimate(run, folder, *words).err
