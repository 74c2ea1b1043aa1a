"""`camera fit` and `camera show`: a profile from tables of plots and from pairs of rasters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.commands import Run
from tests.helpers.cubes import write_cube
from tests.helpers.models import GRID, P4M, tiny_model, tiny_network, tiny_scene
from tests.helpers.plots import FLIGHTS, seen_plots, write_csv, write_npz
from uavssr import cli, fit_camera_profile
from uavssr.sensors import load_sensor


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return tiny_model(folder, network=tiny_network(asleep=True))


def test_profile_is_the_same_from_both_forms_of_a_table(
    tmp_path: Path, tiny: Path, run: Run
) -> None:
    plots, found = seen_plots(), []
    for name, path in (
        ("a.yaml", write_npz(tmp_path / "plots.npz", plots)),
        ("b.yaml", write_csv(tmp_path / "plots.csv", plots)),
    ):
        options = ["--sensor", "p4m", "--out", tmp_path / name, "--model", tiny, "--json"]
        ran = run("-q", "camera", "fit", path, *options)
        assert (ran.code, ran.err) == (0, "")
        found.append(json.loads(ran.out))
    first = found[0]
    assert [row["flight"] for row in first["flights"]] == sorted(FLIGHTS)
    assert first["data_sheet"] == "p4m"
    gains = [[row["log_gain"] for row in each["flights"]] for each in found]
    np.testing.assert_allclose(*gains, atol=1e-3)
    expected = np.mean(gains[0], 0)
    written = load_sensor(tmp_path / "a.yaml")
    assert written.name == "a"
    np.testing.assert_allclose(written.prior()[0][:, 2], expected, atol=0.1)
    np.testing.assert_allclose(written.prior()[0][:, 2], [b["log_gain"] for b in first["bands"]])


def test_profile_is_shown_and_drawn(tmp_path: Path, tiny: Path, run: Run) -> None:
    path, out = write_npz(tmp_path / "plots.npz", seen_plots()), tmp_path / "mine.yaml"
    options = ["--sensor", "p4m", "-o", out, "--model", tiny]
    said = run("camera", "fit", path, *options)
    assert (said.code, said.err) == (0, f"wrote {out}\n")
    assert "From flight to flight" in said.out
    shown = run("camera", "show", out, "--out", tmp_path / "curves.png")
    assert shown.code == 0
    assert shown.out in said.out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(run("camera", "show", "p4m", "--json").out)
    assert [band["centre_sd"] for band in facts["bands"]] == P4M.prior()[1][:, 0].tolist()
    assert run("camera", "fit", path, *options).code == 8


def test_rows_of_a_manifest_are_flights(tmp_path: Path, tiny: Path) -> None:
    lines = ["msi,hsi,group,kind,sensor"]
    for number in range(2):
        write_cube(tmp_path / f"hsi{number}.tif", tiny_scene(40, 48, seed=number))
        arguments = [tmp_path / f"hsi{number}.tif", "-o", tmp_path / f"msi{number}.tif"]
        options = ["--sensor", "p4m", "--perfect", "--dtype", "float32"]
        assert cli.main(["-q", "simulate", *map(str, arguments), *options]) == 0
        lines.append(f"msi{number}.tif,hsi{number}.tif,{'' if number else 'day one'},,")
    write_npz(tmp_path / "plots.npz", seen_plots(count=4))
    lines.append(",plots.npz,,plots,p4m")
    manifest = tmp_path / "pairs.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = fit_camera_profile(manifest, sensor="p4m", model=tiny)
    assert found.flights == ("day one", "msi1", *sorted(FLIGHTS))
    assert found.sensor.name == "profile"
    np.testing.assert_allclose(found.gain[:2], 0, atol=0.05)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of a tiny scene by a P4M."""
    folder = tmp_path_factory.mktemp("image")
    write_cube(folder / "hsi.tif", tiny_scene(40, 48))
    options = ["--sensor", "p4m", "--seed", "4", "--dtype", "float32"]
    arguments = [str(folder / "hsi.tif"), "-o", str(folder / "msi.tif")]
    assert cli.main(["-q", "simulate", *arguments, *options]) == 0
    return folder / "msi.tif"


def test_plots_of_one_flight_calibrate_an_image(
    tmp_path: Path, tiny: Path, image: Path, run: Run
) -> None:
    """Row 52."""
    table = write_npz(tmp_path / "plots.npz", seen_plots())
    given = ["estimate-stf", image, "--reference", table, "--model", tiny, "--json"]
    ran = run(*given)
    assert ran.code == 3
    assert "holds 3 flights: august, july, june" in ran.err
    assert "--flight NAME" in ran.err
    found = json.loads(run(*given, "--flight", "july", "-o", tmp_path / "july.stf.nc").out)
    assert found["reference"] == {"kind": "plots", "used": 10, "warnings": []}
    seen = seen_plots()
    july = seen["flight"] == "july"
    ratio = (seen["ms"][july] / (seen["hs"][july] @ P4M.srf(GRID).T)).mean(0)
    gains = [row["gain"] for row in found["scene"]]
    np.testing.assert_allclose(gains, ratio, rtol=0.1)
    assert run(*given, "--flight", "may").code == 2
    wrong = run("estimate-stf", image, "--flight", "july", "--model", tiny)
    assert (wrong.code, wrong.err.count("without --reference")) == (2, 1)
    out = ["-o", tmp_path / "cube.tif", "--model", tiny, "--stf", tmp_path / "july.stf.nc"]
    assert run("-q", "reconstruct", image, *out).code == 0


def test_estimates_start_from_a_profile(tmp_path: Path, tiny: Path, image: Path, run: Run) -> None:
    table, profile = write_npz(tmp_path / "plots.npz", seen_plots()), tmp_path / "mine.yaml"
    fit_camera_profile(table, sensor="p4m", out=profile, model=tiny)
    given = ["estimate-stf", image, "--sensor", profile, "--model", tiny, "--json"]
    blind = json.loads(run(*given).out)
    assert blind["sensor"] == "mine"
    priors = load_sensor(profile).prior()[0][:, 2]
    gains = [row["gain"] for row in blind["scene"]]
    assert np.abs(np.log(gains) - priors).max() < 0.2  # the data sheet would start from 0, not -0.3
    known = json.loads(run(*given, "--reference", table, "--flight", "june").out)
    errors = [[row["gain_se"] for row in each["scene"]] for each in (known, blind)]
    assert np.less(*errors).all()


def test_flights_of_one_camera_are_pooled(
    tmp_path: Path, tiny: Path, image: Path, run: Run
) -> None:
    given = ["--model", tiny, "--json", "--sensor", "p4m"]
    single = json.loads(run("estimate-stf", image, *given).out)["scene"]
    out = tmp_path / "camera.stf.nc"
    pooled = json.loads(run("estimate-stf", *[image] * 3, "--same-camera", *given, "-o", out).out)
    for one, same in zip(single, pooled["scene"], strict=True):  # three times the same scene
        assert same["centre"] == pytest.approx(one["centre"], abs=0.05)
        assert same["gain"] == pytest.approx(one["gain"], rel=5e-3)
        assert same["residual"] == pytest.approx(one["residual"], abs=1e-3)
        assert same["gain_se"] > one["gain_se"]  # of a flight, not of their mean
    options = ["--stf", out, "--model", tiny, "--sensor", "p4m", "-o", tmp_path / "cube.tif"]
    assert run("-q", "reconstruct", image, *options).code == 0
    alone = run("estimate-stf", image, "--same-camera", *given)
    assert (alone.code, "one image alone" in alone.err) == (2, True)
    refused = run("estimate-stf", image, image, "--same-camera", "--tile", 64, *given)
    assert "--tile has no effect with --same-camera" in refused.err


def test_odd_gains_are_named(tmp_path: Path, tiny: Path, run: Run) -> None:
    plots = seen_plots()
    plots["ms"] = plots["ms"] * np.where(plots["flight"] == "july", 0.2, 1)[:, None]
    path = write_npz(tmp_path / "plots.npz", plots)
    options = ["--sensor", "p4m", "-o", tmp_path / "mine.yaml", "--model", tiny]
    ran = run("camera", "fit", path, *options)
    assert ran.code == 0
    assert "warning: the image of flight july is 0." in ran.err


def test_spectra_that_end_early_fit_the_bands_that_they_cover(
    tmp_path: Path, tiny: Path, run: Run
) -> None:
    plots = seen_plots()
    visible = plots["wavelength_nm"] < 700
    short = plots | {name: plots[name][..., visible] for name in ("hs", "wavelength_nm")}
    path = write_npz(tmp_path / "plots.npz", short)
    ran = run("camera", "fit", path, "--sensor", "p4m", "-o", tmp_path / "a.yaml", "--model", tiny)
    assert ran.code == 0
    for role in ("rededge", "nir"):
        assert f"warning: no flight covers {role}: but for the common factor" in ran.err
    fitted = load_sensor(tmp_path / "a.yaml")
    (_, wide), (mean, narrow) = P4M.prior(), fitted.prior()
    np.testing.assert_allclose(narrow[3:, :2], wide[3:, :2], rtol=1e-4)
    assert (narrow[:3, 0] < 0.9 * wide[:3, 0]).all()
    np.testing.assert_allclose(mean[3:, 2], mean[:3, 2].mean(), atol=0.1)  # all were darker
    curves = fitted.response() - P4M.response()
    assert np.abs(curves[3:]).max() < 1e-3 < np.abs(curves[:3]).max()


def test_a_profile_as_start_is_named(tmp_path: Path, tiny: Path, run: Run) -> None:
    path, profile = write_npz(tmp_path / "plots.npz", seen_plots()), tmp_path / "mine.yaml"
    fit_camera_profile(path, sensor="p4m", out=profile, model=tiny)
    again = fit_camera_profile(path, sensor=profile, model=tiny)
    assert again.warnings[0].startswith("mine is a profile: a flight that it was fitted to must")
    assert again.sensor.title.endswith(", fitted to 3 flights and 3 flights")


@pytest.mark.parametrize(
    ("name", "text", "code", "fact"),
    [
        ("none.csv", None, 3, "no such file"),
        ("cube.tif", "", 2, "neither a table of plots nor a manifest"),
        ("plots.csv", "400,500,blue\n1,1,1\n", 3, "no column of band green of p4m"),
        ("pairs.csv", "hsi\ncube.tif\n", 3, "names no image"),
        (
            "short.csv",
            "300,310,blue,green,red,rededge,nir\n.1,.1,.1,.1,.1,.1,.1\n",
            3,
            "cover no band of p4m",
        ),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    tmp_path: Path, tiny: Path, run: Run, name: str, text: str | None, code: int, fact: str
) -> None:
    (tmp_path / "cube.tif").touch()
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    out = tmp_path / "mine.yaml"
    ran = run("camera", "fit", tmp_path / name, "--sensor", "p4m", "-o", out, "--model", tiny)
    assert (ran.code, ran.out) == (code, "")
    assert fact in ran.err
    assert not out.exists()


def test_profile_replaces_no_table(tmp_path: Path, tiny: Path, run: Run) -> None:
    table = write_csv(tmp_path / "plots.csv", seen_plots(count=3))
    table.rename(tmp_path / "plots.yaml")
    given = tmp_path / "plots.yaml"
    options = ["--sensor", "p4m", "-o", given, "--model", tiny, "--overwrite"]
    assert run("camera", "fit", given, *options).code == 5
