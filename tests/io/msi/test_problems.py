"""All problems of an image are reported at once, by `inspect_msi` and `open_msi` alike."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rasters import P4M, scene, write
from uavssr.errors import InputRefused
from uavssr.io.msi import ImageRefused, InputSummary, Request, inspect_msi, open_msi
from uavssr.sensors import SENSOR_TAG, Band, Sensor, sensor_json

COUNTS = np.round(scene() * 1e4).astype("u2")


def inspected(*paths: Path, **options: object) -> InputSummary:
    return inspect_msi(Request(paths=paths, **options))


def test_all_problems_and_one_command_that_answers_them(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    with pytest.raises(ImageRefused) as caught:
        open_msi(path)
    error = caught.value
    assert [problem.fact.partition(";")[0].partition(":")[0] for problem in error.problems] == [
        "no CRS",
        "no tag names the camera",
        "no evidence what its uint16 numbers mean as reflectance",
    ]
    assert error.exit_code == 3
    options = shlex.split(error.command)
    assert {"--assume-crs", "--sensor", "--scale"} <= set(options)
    lines = str(error).splitlines()
    assert len(lines) == 2 + len(error.problems)
    assert lines[0] == f"{path}: 3 problems"
    assert all(f"{path}: " in line for line in lines[:-1])
    assert lines[-1].endswith(error.command)


def test_inspection_and_refusal_are_the_same_list(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    with pytest.raises(ImageRefused) as caught:
        open_msi(path)
    summary = inspected(path)
    assert list(map(str, summary.problems)) == list(map(str, caught.value.problems))
    assert summary.command == caught.value.command


def test_inspection_of_a_good_image_has_a_command_and_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene())
    summary = inspected(path, sensor="p4m")
    assert summary.problems == ()
    expected = f"uavssr reconstruct {path} --sensor p4m --out field_cube.tif"
    assert summary.command == expected
    assert summary == open_msi(path, sensor="p4m").summary


def test_numbers_are_shown_whatever_is_wrong(tmp_path: Path) -> None:
    """Stored numbers of every band that may hold reflectance, if camera and scale are unknown."""
    path = write(tmp_path / "field.tif", COUNTS, names=None, crs=None, transform=None)
    summary = inspected(path)
    assert [band.index for band in summary.bands] == [1, 2, 3, 4, 5]
    for band, stored in zip(summary.bands, COUNTS, strict=True):
        assert band.role == ""
        assert band.scale is None
        assert band.facts is not None
        assert (band.facts.minimum, band.facts.maximum) == (stored.min(), stored.max())
    assert summary.valid_fraction == 1
    assert summary.command == ""  # no option makes an orthomosaic of a raw frame


def test_roles_that_are_known_are_shown_beside_those_that_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), names=["Blue", "Green", "Red", None, None])
    summary = inspected(path, sensor="p4m")
    assert [band.role for band in summary.bands] == ["blue", "green", "red", "", ""]
    assert [band.wavelength for band in summary.bands] == [450, 560, 650, None, None]


def test_files_that_cannot_be_read_do_not_hide_the_others(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"result_{name}.tif", band[None], names=None)
        for name, band in zip(P4M, scene(), strict=True)
    ]
    paths[1].write_bytes(b"no raster")
    paths[3].unlink()
    summary = inspected(*paths, sensor="p4m")
    assert [problem.path for problem in summary.problems] == [paths[1], paths[3]]
    assert [band.role for band in summary.bands] == ["blue", "red", "nir"]
    assert all(band.facts is not None for band in summary.bands)
    for path in paths:
        path.unlink(missing_ok=True)
    with pytest.raises(ImageRefused, match="5 problems"):
        inspected(*paths, sensor="p4m")


def test_file_of_another_size_is_left_out_of_the_table(tmp_path: Path) -> None:
    paths = [
        write(
            tmp_path / f"result_{name}.tif", band[None, : 30 if name == "Red" else 40], names=None
        )
        for name, band in zip(P4M, scene(), strict=True)
    ]
    summary = inspected(*paths, sensor="p4m")
    assert len(summary.problems) == 1
    assert summary.problems[0].path == paths[2]
    assert "result_Red.tif" not in {band.file.name for band in summary.bands}


def test_many_bands_without_a_camera_are_not_read(tmp_path: Path) -> None:
    """A hyperspectral cube is no image; a sample of its 270 bands would fill the memory."""
    path = write(tmp_path / "cube.tif", scene(bands=20, height=8, width=8), names=None)
    summary = inspected(path)
    assert len(summary.bands) == 20
    assert all(band.facts is None for band in summary.bands)


def test_one_problem_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), crs=None)
    with pytest.raises(InputRefused, match="no CRS") as caught:
        open_msi(path, sensor="p4m")
    assert len(str(caught.value).splitlines()) == 1


def test_json_names_every_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    problems = inspected(path).to_dict()["problems"]
    assert [problem["exit_code"] for problem in problems] == [3, 3, 3]
    assert all(set(problem) == {"path", "fact", "remedy", "exit_code"} for problem in problems)
    assert problems[0]["path"] == str(path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"name": "x"}', "[" * 5000, '{"bands": [{}]}'])
def test_broken_description_of_the_camera_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "field.tif", scene(), tags={SENSOR_TAG: text})
    with pytest.raises(InputRefused, match=f"its tag {SENSOR_TAG} is not a sensor"):
        open_msi(path)
    assert open_msi(path, sensor="p4m").sensor.name == "p4m"


def test_files_of_differently_described_cameras_are_refused(tmp_path: Path) -> None:
    paths = []
    for role, name in (("green", "a"), ("red", "b")):
        bands = tuple(Band(role=r, centre=c, fwhm=30) for r, c in (("green", 560), ("red", 650)))
        tags = {SENSOR_TAG: sensor_json(Sensor(name=name, bands=bands))}
        paths.append(write(tmp_path / f"{role}.tif", scene(1), names=(role,), tags=tags))
    with pytest.raises(InputRefused, match="names b, but the tag sensor_definition, a"):
        open_msi(paths)
