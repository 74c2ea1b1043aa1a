"""Tables of plots: the same from CSV and npz, in the sensor's order, and refused by clear lines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.places import REPO
from uavssr.errors import InputRefused, UsageError
from uavssr.sensors import SENSORS
from uavssr.spectra import PlotTable, holds_plots, read_plot_table

SENSOR = SENSORS["rededge3"]
NM = np.array([400.0, 500.0, 700.0, 928.0])
RNG = np.random.default_rng(3)
MS, HS = RNG.uniform(0.02, 0.5, (6, 5)), RNG.uniform(0.02, 0.6, (6, 4))
FLIGHT = np.array(["b", "b", "a", "a", "a", "b"])


def write_arrays(folder: Path, **changes: object) -> Path:
    arrays = {"ms": MS, "hs": HS, "wavelength_nm": NM, "flight": FLIGHT} | changes
    path = folder / "plots.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    return path


def write_csv(folder: Path, header: list[str], rows: list[list[object]]) -> Path:
    path = folder / "plots.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]), encoding="utf-8")
    return path


def plain_csv(folder: Path, **renamed: str) -> Path:
    order = [4, 2, 0, 1, 3]  # the bands stand in another order than in the sensor
    roles = [renamed.get(SENSOR.roles[band], SENSOR.roles[band]) for band in order]
    header = ["date", "plot", *(f"{nm:g}" for nm in NM), *roles, "NDVI"]
    rows = [[FLIGHT[i], f"p{i}", *HS[i].tolist(), *MS[i, order].tolist(), "high"] for i in range(6)]
    return write_csv(folder, header, rows)


@pytest.mark.parametrize("write", [write_arrays, plain_csv])
def test_both_forms_hold_the_same(tmp_path: Path, write: object) -> None:
    table = read_plot_table(write(tmp_path), SENSOR)  # type: ignore[operator]
    np.testing.assert_allclose(table.msi, MS)
    np.testing.assert_allclose(table.spectra, HS)
    np.testing.assert_allclose(table.nm, NM)
    assert table.flights == ("a", "b")
    assert table.of("a").msi.tolist() == MS[2:5].tolist()
    assert holds_plots(table.path, SENSOR)


def test_centres_put_the_bands_in_the_order_of_the_sensor(tmp_path: Path) -> None:
    """Row 52."""
    centres = np.array([band.centre for band in SENSOR.bands]) + 2
    path = write_arrays(tmp_path, ms=MS[:, ::-1], ms_centre_nm=centres[::-1])
    np.testing.assert_allclose(read_plot_table(path, SENSOR).msi, MS)


def test_without_names_all_rows_are_one_flight(tmp_path: Path) -> None:
    assert read_plot_table(write_arrays(tmp_path, flight=None), SENSOR).flights == ("plots",)


def test_spelling_of_bands_and_scales(tmp_path: Path) -> None:
    table = read_plot_table(plain_csv(tmp_path, rededge="Red Edge"), SENSOR, msi_scale=0.5)
    np.testing.assert_allclose(table.msi, MS / 2)


def test_rows_with_gaps_are_left_out_and_counted(tmp_path: Path) -> None:
    gap = HS.copy()
    gap[1, 2] = np.nan
    table = read_plot_table(write_arrays(tmp_path, hs=gap), SENSOR)
    assert (len(table.msi), table.skipped) == (5, 1)


def test_unknown_flight(tmp_path: Path) -> None:
    table: PlotTable = read_plot_table(write_arrays(tmp_path), SENSOR)
    with pytest.raises(UsageError, match="no flight 'c'; it has a, b"):
        table.of("c")


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"hs": None}, "lacks hs"),
        ({"ms": MS[:, :4]}, "ms is (6, 4), not (6, 5), for the 5 bands of rededge3"),
        ({"hs": HS[:5]}, "hs is (5, 4), not (6, 4),"),
        ({"flight": FLIGHT[:3]}, "flight is (3,), not (6,),"),
        ({"flight": np.array(["a", "", "a", "a", "a", "a"])}, "row 2 names no flight"),
        ({"wavelength_nm": NM[::-1]}, "do not increase"),
        ({"wavelength_nm": NM / 1000}, "give nanometres"),
        ({"ms": MS * 10000}, "6 of 6 rows miss a reflectance"),
        ({"ms": MS.astype(str)[:, :1].repeat(5, 1), "hs": np.full((6, 4), "x")}, "not a table"),
        ({"ms_centre_nm": np.array([475, 560, 668, 840, 900])}, "lie at 479, 558"),
    ],
)
def test_faults_of_arrays(tmp_path: Path, changes: dict[str, object], fact: str) -> None:
    """Row 52."""
    with pytest.raises(InputRefused, match=re.escape(fact)):
        read_plot_table(write_arrays(tmp_path, **changes), SENSOR)


@pytest.mark.parametrize(
    ("header", "row", "fact"),
    [
        (["400", "500", "blue", "green"], [0.1] * 4, "no column of band red of rededge3"),
        ([*SENSOR.roles], [0.1] * 5, "no wavelengths"),
        (["400", "400", *SENSOR.roles], [0.1] * 7, "column '400' comes twice"),
        (["400", "500", *SENSOR.roles], [0.1] * 6 + ["x"], "holds 'x' where a number"),
        (["flight", "400", "500", *SENSOR.roles], ["", *[0.1] * 7], "row 1 names no flight"),
    ],
)
def test_faults_of_csv(tmp_path: Path, header: list[str], row: list[object], fact: str) -> None:
    """Row 52."""
    with pytest.raises(InputRefused, match=fact):
        read_plot_table(write_csv(tmp_path, header, [row]), SENSOR)


def test_other_files_are_no_tables_of_plots(tmp_path: Path) -> None:
    assert not holds_plots(write_csv(tmp_path, ["x", "y", "400"], [[1, 2, 0.1]]), SENSOR)
    assert not holds_plots(tmp_path / "cube.tif", SENSOR)
    (tmp_path / "bad.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputRefused, match="not a table of plots"):
        read_plot_table(tmp_path / "bad.npz", SENSOR)


def test_example_of_the_documentation(tmp_path: Path) -> None:
    text = (REPO / "docs/formats/plot-tables.md").read_text(encoding="utf-8")
    example = text.split("<!-- plots: plots.csv -->\n```csv\n")[1].split("```")[0]
    path = tmp_path / "plots.csv"
    path.write_text(example, encoding="utf-8")
    table = read_plot_table(path, SENSORS["p4m"])
    assert table.flights == ("2021-07-07",)
    assert table.spectra.shape == (2, 7)


def test_places_of_plots(tmp_path: Path) -> None:
    assert np.isnan(read_plot_table(plain_csv(tmp_path), SENSOR).places).all()
    header = ["lon", "lat", *(f"{nm:g}" for nm in NM), *SENSOR.roles]
    rows = [[8 + i, "" if i == 1 else 50, *HS[i].tolist(), *MS[i].tolist()] for i in range(3)]
    table = read_plot_table(write_csv(tmp_path, header, rows), SENSOR)
    assert table.geographic
    np.testing.assert_array_equal(table.places, [[8, 50], [9, np.nan], [10, 50]])
    arrays = read_plot_table(write_arrays(tmp_path, x=np.arange(6), y=np.zeros(6)), SENSOR)
    assert not arrays.geographic
    np.testing.assert_array_equal(arrays.of("a").places[:, 0], [2, 3, 4])
    with pytest.raises(InputRefused, match="both x,y and lon,lat"):
        read_plot_table(
            write_arrays(tmp_path, **dict.fromkeys(("x", "y", "lon", "lat"), MS[:, 0])), SENSOR
        )
