"""Laws of responses, grids and sensors; sensor files are read or refused."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts.response_table import lines as response_lines
from uavssr.errors import InputRefused, UsageError
from uavssr.sensors import (
    FINE_NM,
    HEADWALL_NANO,
    SATELLITES,
    SENSORS,
    Band,
    Sensor,
    WavelengthGrid,
    load_candidates,
    load_sensor,
    parse_sensor_json,
    response_moments,
    sensor_json,
)

bands = st.builds(
    Band,
    role=st.just("band"),
    centre=st.floats(450, 950),
    fwhm=st.floats(12, 80),
    shape=st.floats(2, 8),
)
every_sensor = pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)


@given(bands)
def test_response_is_half_at_half_the_width_for_any_shape(band: Band) -> None:
    half = band.fwhm / 2
    left, top, right = band.response(
        np.array([band.centre - half, band.centre, band.centre + half])
    )
    assert left / top == pytest.approx(0.5, rel=1e-9)
    assert right / top == pytest.approx(0.5, rel=1e-9)


@given(bands)
def test_response_sums_to_one_and_is_centred(band: Band) -> None:
    response = band.response()
    assert response.min() >= 0
    assert response.sum() == pytest.approx(1)
    assert response @ FINE_NM == pytest.approx(band.centre, abs=0.1)


@given(bands)
def test_moments_return_centre_width_and_gain(band: Band) -> None:
    centre, fwhm, gain = response_moments(1.25 * band.response()[None], FINE_NM)
    assert centre[0] == pytest.approx(band.centre, abs=0.1)
    assert fwhm[0] == pytest.approx(band.fwhm, abs=0.6)
    assert gain[0] == pytest.approx(1.25)


@given(bands)
def test_band_from_its_own_curve_keeps_centre_width_and_response(band: Band) -> None:
    curve = Band.from_curve("band", FINE_NM.tolist(), (7 * band.response()).tolist())
    assert curve.centre == pytest.approx(band.centre, abs=0.1)
    assert curve.fwhm == pytest.approx(band.fwhm, abs=0.6)
    np.testing.assert_allclose(curve.response(), band.response(), atol=1e-12)


@given(
    band=bands,
    count=st.integers(2, 300),
    level=st.floats(0, 1),
    slope=st.floats(-1e-3, 1e-3),
)
def test_linear_spectrum_integrates_alike_on_a_coarse_and_the_fine_grid(
    band: Band, count: int, level: float, slope: float
) -> None:
    grid = WavelengthGrid.regular("coarse", FINE_NM[0], FINE_NM[-1], count)
    srf = Sensor(name="one", bands=(band,)).srf(grid)[0]
    assert srf.sum() == pytest.approx(1)
    fine = band.response() @ (level + slope * FINE_NM)
    assert srf @ (level + slope * grid.centres) == pytest.approx(fine, abs=1e-9)


@given(
    st.lists(st.integers(400, 1000), min_size=2, max_size=40, unique=True),
    st.floats(0, 1),
    st.data(),
)
def test_interpolation_is_the_mean_of_numpys_over_each_step(
    centres: list[int], offset: float, data: st.DataObject
) -> None:
    grid = WavelengthGrid("random", np.sort(centres) + offset, np.full(len(centres), 5.0))
    spectrum = np.array(
        data.draw(st.lists(st.floats(0, 1), min_size=len(grid), max_size=len(grid)))
    )
    offsets = (np.arange(200) + 0.5) / 200 - 0.5
    points = FINE_NM[:, None] + offsets
    expected = np.interp(points, grid.centres, spectrum).mean(1)
    np.testing.assert_allclose(grid.interpolation() @ spectrum, expected, atol=1e-3)
    np.testing.assert_allclose(grid.interpolation().sum(1), 1)


@every_sensor
def test_builtin_sensor_fits_the_default_grid(sensor: Sensor) -> None:
    srf = sensor.srf(HEADWALL_NANO)
    assert srf.shape == (len(sensor), 270)
    np.testing.assert_allclose(srf.sum(1), 1)
    assert srf.min() >= 0
    centres = srf @ HEADWALL_NANO.centres
    np.testing.assert_allclose(centres, [band.centre for band in sensor.bands], atol=1.0)
    assert list(centres) == sorted(centres)


@pytest.mark.parametrize(
    ("name", "centres"),
    [  # published effective wavelengths: ESA's S2-SRF 3.0 and Landsat 8-9 Data Users Handbook, nm
        ("sentinel2a", [492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7]),
        ("sentinel2b", [492.1, 559.0, 664.9, 703.8, 739.1, 779.7, 832.9, 864.0]),
        ("landsat8", [443.0, 482.0, 561.4, 654.6, 864.7]),
        ("landsat9", [443.0, 482.0, 561.0, 654.0, 865.0]),
    ],
)
def test_satellite_has_the_published_centres(name: str, centres: list[float]) -> None:
    satellite = load_sensor(name.upper())
    assert satellite.name == name
    assert all(band.curve is not None for band in satellite.bands)
    np.testing.assert_allclose([band.centre for band in satellite.bands], centres, atol=0.7)
    np.testing.assert_allclose(satellite.srf(HEADWALL_NANO).sum(1), 1)


def test_satellites_are_no_cameras_that_a_file_may_be_taken_for() -> None:
    assert not set(SATELLITES) & set(SENSORS)


def test_p4m_width_is_twice_the_half_width_of_the_data_sheet() -> None:
    half_widths = {"blue": 16, "green": 16, "red": 16, "rededge": 16, "nir": 26}
    assert {band.role: band.fwhm / 2 for band in SENSORS["p4m"].bands} == half_widths


def test_band_outside_the_output_grid_is_refused_by_name() -> None:
    sensor = Sensor(name="far", bands=(Band(role="swir", centre=1040, fwhm=30),))
    with pytest.raises(InputRefused, match=r"band swir of far \(1040 nm\).*headwall-nano"):
        sensor.srf(HEADWALL_NANO)


def test_band_without_response_on_the_wavelengths_is_refused() -> None:
    with pytest.raises(InputRefused, match="no response at 330-400 nm"):
        Band(role="nir", centre=840, fwhm=10, shape=8).response(np.arange(330.0, 401.0))


def test_grid_matches_within_tolerance_only() -> None:
    near = WavelengthGrid("near", HEADWALL_NANO.centres + 0.04, HEADWALL_NANO.fwhm)
    far = WavelengthGrid("far", HEADWALL_NANO.centres + 0.06, HEADWALL_NANO.fwhm)
    assert HEADWALL_NANO.matches(near)
    assert not HEADWALL_NANO.matches(far)
    assert not HEADWALL_NANO.matches(WavelengthGrid.regular("short", 400, 1000, 61))
    assert HEADWALL_NANO.centres[HEADWALL_NANO.nearest(650)] == pytest.approx(650, abs=1.2)


@pytest.mark.parametrize(
    ("centres", "fwhm"),
    [([500.0], [5.0]), ([500.0, 500.0], [5.0, 5.0]), ([500.0, 510.0], [5.0])],
)
def test_invalid_grid_is_refused(centres: list[float], fwhm: list[float]) -> None:
    with pytest.raises(InputRefused, match="grid odd"):
        WavelengthGrid("odd", np.array(centres), np.array(fwhm))


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"role": "Blue"}, "Blue"),
        ({"role": ""}, "''"),
        ({"role": "dark blue"}, "dark blue"),
        ({"role": "a,b"}, "a,b"),
        ({"centre": 0.45}, "0.45 nm"),
        ({"centre": float("nan")}, "nan nm"),
        ({"fwhm": 0}, "FWHM of 0 nm"),
        ({"fwhm": 401}, "401"),
        ({"shape": 0.5}, "0.5"),
    ],
)
def test_invalid_band_is_refused_with_the_value(change: dict[str, object], number: str) -> None:
    with pytest.raises(InputRefused, match=re.escape(number)):
        Band(**{"role": "blue", "centre": 450, "fwhm": 32} | change)


def assert_same_bands(sensor: Sensor, expected: Sensor, tolerance: float = 1e-12) -> None:
    """Roles in the same order, and the same responses at every wavelength."""
    assert sensor.roles == expected.roles
    np.testing.assert_allclose(sensor.response(), expected.response(), atol=tolerance)


@pytest.mark.parametrize("name", ["p4m", "P4M", "Sentinel2"])
def test_builtin_sensor_is_found_in_any_case(name: str) -> None:
    assert load_sensor(name) is SENSORS[name.lower()]


@every_sensor
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_yaml_round_trip(sensor: Sensor, suffix: str, tmp_path: Path) -> None:
    rows = [
        {"role": b.role, "centre": b.centre, "fwhm": b.fwhm, "shape": b.shape} for b in sensor.bands
    ]
    path = tmp_path / f"mine{suffix}"
    path.write_text(yaml.safe_dump({"name": "mine", "bands": rows}))
    loaded = load_sensor(path)
    assert loaded.name == "mine"
    assert loaded.bands == sensor.bands


@every_sensor
@pytest.mark.parametrize("opening", ["", "\ufeff"], ids=["plain", "byte-order-mark"])
def test_csv_of_centres_round_trip(sensor: Sensor, opening: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(opening)
        writer = csv.writer(file)
        writer.writerow(["role", "centre", "fwhm", "shape"])
        writer.writerows([band.role, band.centre, band.fwhm, band.shape] for band in sensor.bands)
    assert load_sensor(path).bands == sensor.bands


@every_sensor
def test_csv_of_curves_round_trip(sensor: Sensor, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    table = np.vstack([FINE_NM, sensor.response()]).T
    header = ",".join(["wavelength_nm", *sensor.roles])
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.17g")
    assert_same_bands(load_sensor(path), sensor)


def test_shape_may_be_left_out_or_empty(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("role,centre,fwhm,shape\nblue,450,32,\n")
    assert load_sensor(path).bands == (Band(role="blue", centre=450, fwhm=32),)


def test_error_for_an_unknown_sensor_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown sensor 'p5m'") as caught:
        load_sensor("p5m")
    assert all(name in str(caught.value) for name in (*SENSORS, *SATELLITES))


def test_missing_sensor_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(UsageError, match="no such sensor file") as caught:
        load_sensor(path)
    assert str(caught.value).startswith(f"{path}: ")


BAD_FILES = {
    "empty.csv": b"",
    "header.csv": b"wavelength_nm,blue\n",
    "short_row.csv": b"role,centre,fwhm\nblue,450\n",
    "long_row.csv": b"wavelength_nm,blue\n400,0\n410,1,9\n420,0\n",
    "no_width.csv": b"role,centre\nblue,450\n",
    "unknown_column.csv": b"role,centre,fwhm,colour\nblue,450,32,7\n",
    "words.csv": b"role,centre,fwhm\nblue,about 450,32\n",
    "micrometres.csv": b"role,centre,fwhm\nblue,0.45,0.032\n",
    "twice.csv": b"role,centre,fwhm\nblue,450,32\nBlue,460,32\n",
    "semicolons.csv": b"wavelength_nm;blue\n400;0\n410;1\n420;0\n",
    "falling.csv": b"wavelength_nm,blue\n420,0\n410,1\n400,0\n",
    "infinite.csv": b"wavelength_nm,blue\n400,0\n410,1\ninf,0\n",
    "dark.csv": b"wavelength_nm,blue\n400,0\n410,0\n420,0\n",
    "ultraviolet.csv": b"wavelength_nm,blue\n300,0\n310,1\n320,0\n",
    "huge_cell.csv": b"x" * 200_000 + b",\n1,2\n",
    "binary.csv": b"\xff\xfe\x00\x81",
    "empty.yaml": b"",
    "list.yaml": b"[1, 2]",
    "broken.yaml": b"name: [x",
    "deep.yaml": b"[" * 5000,
    "code.yaml": b"!!python/object/apply:os.system ['true']",
    "no_bands.yaml": b"name: x",
    "number.yaml": b"bands: 3",
    "none.yaml": b"bands: []",
    "unknown_key.yaml": b"colour: 1\nbands: []",
    "string.yaml": b"bands:\n - blue",
    "american.yaml": b"bands:\n - {role: blue, center: 450, fwhm: 32}",
    "overflow.yaml": b"bands:\n - {role: blue, centre: 450, fwhm: 1e999}",
    "curve_and_width.yaml": (
        b"bands:\n - {role: blue, wavelength_nm: [400, 410, 420], response: [0, 1, 0], fwhm: 3}"
    ),
    "no_wavelengths.yaml": b"bands:\n - {role: blue, response: [0, 1, 0]}",
    "one_number.yaml": b"bands:\n - {role: blue, wavelength_nm: 400, response: 1}",
    "binary.yaml": b"\xff\xfe\x00\x81",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_sensor_file_is_refused_in_one_line_with_its_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD_FILES[name])
    with pytest.raises(InputRefused) as caught:
        load_sensor(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".yaml"]))
def test_any_bytes_are_a_sensor_or_refused(
    content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(content)
    with suppress(InputRefused):
        load_sensor(path)


def examples_in_formats(repo: Path) -> list[tuple[str, str]]:
    """(file, content) of the documented blocks after `<!-- example: name -->`."""
    text = (repo / "docs/formats/sensor-files.md").read_text(encoding="utf-8")
    return re.findall(r"<!-- example: (\S+) -->\n+```\w*\n(.*?)```", text, flags=re.DOTALL)


def test_sensor_files_in_the_documentation_load(repo: Path, tmp_path: Path) -> None:
    examples = examples_in_formats(repo)
    assert {Path(name).suffix for name, _ in examples} == {".yaml", ".csv"}
    assert len(examples) == 4
    for name, content in examples:
        (tmp_path / name).write_text(content)
        sensor = load_sensor(tmp_path / name)
        assert sensor.srf(HEADWALL_NANO).shape == (len(sensor), 270)


@pytest.mark.parametrize("name", [*SENSORS, *SATELLITES])
def test_sensor_comes_back_from_its_json(name: str) -> None:
    sensor = load_sensor(name)
    assert parse_sensor_json(sensor_json(sensor)) == sensor


def test_covered_share_counts_ends_and_gaps() -> None:
    """Boxes of 20 nm: inside, half beyond an end, and half in a gap."""
    centres = np.concatenate([np.arange(500.0, 601, 2), np.arange(700.0, 801, 2)])
    grid = WavelengthGrid("gap", centres, np.full(centres.size, 2.0))
    boxes = tuple(
        Band(role=f"b{centre}", centre=centre, fwhm=20, shape=50) for centre in (550, 802, 602, 650)
    )
    sensor = Sensor(name="boxes", bands=boxes)
    np.testing.assert_allclose(sensor.covered_share(grid), [1, 0.5, 1, 1], atol=0.05)
    share = sensor.covered_share(grid, max_step=20)
    np.testing.assert_allclose(share, [1, 0.5, 0.5, 0], atol=0.05)


def test_documented_table_of_responses_is_that_of_the_script(repo: Path) -> None:
    text = (repo / "docs" / "tables" / "responses.md").read_text("utf-8")
    assert text.splitlines() == "\n".join(response_lines()).splitlines()


@pytest.mark.parametrize("opening", ["centre,fwhm\n650,10\n", "role,centre,fwhm\n,650,10\n"])
def test_candidates_without_role_are_named_by_centre_and_width(
    opening: str, tmp_path: Path
) -> None:
    (tmp_path / "f.csv").write_text(opening)
    assert load_candidates(tmp_path / "f.csv") == (Band(role="650/10", centre=650, fwhm=10),)
    with pytest.raises(InputRefused, match="no 'role'"):
        load_sensor(tmp_path / "f.csv")


def test_candidates_may_be_a_sensor_or_more_bands_than_one_has(tmp_path: Path) -> None:
    assert load_candidates("P4M") == SENSORS["p4m"].bands
    rows = [f"{{centre: {nm}, fwhm: 20}}" for nm in range(400, 480)]
    path = tmp_path / "f.yaml"
    path.write_text(f"bands: [{', '.join(rows)}]")
    assert len(load_candidates(path)) == 80
    path.write_text(f"bands: [{rows[0]}, {rows[0]}]")
    with pytest.raises(InputRefused, match=r"f.yaml: candidate 400/20 is given twice; leave one"):
        load_candidates(path)
    path.write_text(f"bands: [{', '.join(rows * 13)}]")
    with pytest.raises(InputRefused, match="1040 candidates, more than the 1000 allowed"):
        load_candidates(path)
