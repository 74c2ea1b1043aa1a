"""Plots are reconstructed flight by flight, and compared at the reference's own wavelengths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.cubes import write_cube
from tests.helpers.models import GRID, P4M, tiny_model, tiny_network, tiny_scene
from tests.helpers.plots import FLIGHTS, seen_plots, write_npz
from uavssr import cli
from uavssr.errors import InputRefused
from uavssr.evaluation import PlotErrors, blind_plot_stf, evaluate_plots, plot_errors
from uavssr.model import load_model
from uavssr.spectra import PlotTable, read_plot_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    tiny_model(folder / "tiny", network=tiny_network(asleep=True))
    write_npz(folder / "plots.npz", seen_plots(count=6))
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> PlotTable:
    return read_plot_table(folder / "plots.npz", P4M)


def test_a_plot_does_not_depend_on_those_beside_it(folder: Path, table: PlotTable) -> None:
    network, june = tiny_network(), table.of("june")
    assert network.halo() > 0
    stf = blind_plot_stf(network, P4M, june.msi)
    errors = [plot_errors(network, stf, june.rows(np.arange(6) == k)).rmse for k in range(6)]
    together = plot_errors(network, stf, june).rmse
    assert together == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-4)


def test_errors_are_those_of_each_plot_as_uniform_ground(folder: Path, table: PlotTable) -> None:
    network, june = load_model(folder / "tiny").network, table.of("june")
    stf = blind_plot_stf(network, P4M, june.msi)
    side = 2 * network.halo() + 1
    with torch.no_grad():
        wide = torch.tensor(june.msi, dtype=torch.float32)[..., None, None].repeat(1, 1, side, side)
        result = network(wide, stf, estimate_stf=False)
        cube = network.basis.expand(result.coefficients)
    own = cube[..., side // 2, side // 2].numpy().astype(float)
    same = plot_errors(network, stf, replace(june, spectra=own))
    assert (same.plots, same.coverage) == (6, 1.0)
    assert same.rmse < 1e-6
    moved = plot_errors(network, stf, replace(june, spectra=own + 0.1))
    assert moved.rmse == pytest.approx(0.1, abs=1e-6)
    coarse = GRID.centres[::3]
    fewer = plot_errors(network, stf, replace(june, spectra=own[:, ::3] + 0.1, nm=coarse))
    assert fewer.rmse == pytest.approx(0.1, abs=1e-6)


def test_each_flight_has_its_own_stf(folder: Path, table: PlotTable) -> None:
    model = load_model(folder / "tiny")
    report = evaluate_plots(table, P4M, model)
    assert list(report.flights) == sorted(FLIGHTS)
    alone = evaluate_plots(table.of("july"), P4M, model)
    assert alone.flights["july"] == report.flights["july"]
    assert report.warnings == ()


def test_wavelengths_beyond_the_model_are_refused(folder: Path, table: PlotTable) -> None:
    far = replace(table, nm=np.linspace(1500, 2000, len(table.nm)))
    with pytest.raises(InputRefused, match="wavelengths of 1500-2000 nm, the model has"):
        evaluate_plots(far, P4M, load_model(folder / "tiny"))


def write_msi(folder: Path) -> Path:
    """The image of a tiny scene by a P4M."""
    write_cube(folder / "hsi.tif", tiny_scene(24, 24))
    given = ["-q", "simulate", folder / "hsi.tif", "-o", folder / "msi.tif", "--sensor", "p4m"]
    assert cli.main([str(each) for each in given]) == 0
    return folder / "msi.tif"


def printed(
    capfd: pytest.CaptureFixture[str], folder: Path, *options: object
) -> tuple[int, str, str]:
    capfd.readouterr()
    given = ["evaluate", folder / "plots.npz", "--model", folder / "tiny", *options]
    code = cli.main([str(each) for each in given])
    return code, *capfd.readouterr()


def test_command_prints_flights_and_their_mean(
    folder: Path, table: PlotTable, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = printed(capfd, folder, "--sensor", "p4m", "--json")
    found = json.loads(out)
    assert code == 0
    rows = evaluate_plots(table, P4M, load_model(folder / "tiny")).flights
    assert [row.pop("flight") for row in found["flights"]] == list(rows)
    assert [PlotErrors(**row) for row in found["flights"]] == list(rows.values())
    assert found["mean"]["rmse"] == pytest.approx(np.mean([row.rmse for row in rows.values()]))
    assert "in 90 % interval" in printed(capfd, folder, "--sensor", "p4m")[1]


def test_calibrated_stf_corrects_its_plots_and_says_so(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    references = folder / "june.stf.nc"
    image = write_msi(folder)
    options = ["--reference", folder / "plots.npz", "--flight", "june", "-o", references]
    given = ["-q", "estimate-stf", image, *options, "--model", folder / "tiny"]
    assert cli.main([str(each) for each in given]) == 0
    blind = json.loads(printed(capfd, folder, "--sensor", "p4m", "--json")[1])
    code, out, err = printed(capfd, folder, "--sensor", "p4m", "--json", "--stf", references)
    assert code == 0
    assert "6 of 18 plots are reference spectra in june.stf.nc" in err
    known, unknown = (found["flights"][2]["rmse"] for found in (json.loads(out), blind))
    assert known < unknown


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ([], "no reference; give it with --reference; or a table of plots and --sensor"),
        (["--sensor", "p4m", "--per-band"], "--per-band has no effect without a reference"),
        (["--sensor", "p4m", "--stf", "none.stf.nc"], "no such file"),
    ],
)
def test_refusals(
    folder: Path, capfd: pytest.CaptureFixture[str], options: list[str], fact: str
) -> None:
    code, out, err = printed(capfd, folder, *options)
    assert code in (2, 3)
    assert out == ""
    assert fact in err


def test_sensor_is_not_for_cubes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, err = printed(capfd, folder, folder / "ref.tif", "--sensor", "p4m")
    assert (code, "has no effect with a reference" in err) == (2, True)
