"""`estimate-stf --reference` from file to file: simulated truth, references, a better cube."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from tests.helpers.commands import Run
from tests.helpers.cubes import write_cube
from tests.helpers.models import GRID, tiny_library, tiny_model, tiny_network
from tests.helpers.rasters import TRANSFORM
from uavssr import cli

HEIGHT, WIDTH = 40, 48
CHOSEN = np.random.default_rng(5).choice(HEIGHT * WIDTH, 50, replace=False)
"""The pixels that were measured on the ground."""
GREY = (0.05, 0.2, 0.4, 0.7)


def scene() -> np.ndarray:
    """A cube (C, y, x) of patches of the tiny library, their edges mixed, on four grey panels."""
    rng = np.random.default_rng(0)
    library = tiny_library().spectra
    shares = rng.dirichlet(np.full(4, 0.4), (HEIGHT // 2, WIDTH // 2))
    chosen = rng.integers(len(library), size=(*shares.shape[:2], 4))
    coarse = np.einsum("yxk,yxkc->cyx", shares, library[chosen])
    cube = coarse.repeat(2, 1).repeat(2, 2).astype("f4")
    for index, value in enumerate(GREY):
        cube[:, :4, 4 * index : 4 * index + 4] = value
    return cube


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cube, its image by a random camera, and references made of the cube."""
    folder = tmp_path_factory.mktemp("field")
    cube = scene()
    write_cube(folder / "hsi.tif", cube)
    out = [folder / "msi.tif", "--stf-out", folder / "true.stf.nc"]
    arguments = ["-q", "simulate", folder / "hsi.tif", "--sensor", "p4m", "--out", *out]
    options = ["--seed", 2, "--snr-db", 55, "--dtype", "float32"]
    assert cli.main([str(each) for each in (*arguments, *options)]) == 0
    write_spectra(folder / "spectra.csv", cube)
    lines = ["x,y,radius,reflectance"]
    for index, value in enumerate(GREY):
        x, y = TRANSFORM * (4 * index + 2, 2)
        lines.append(f"{x},{y},0.12,{value}")
    (folder / "panel.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tiny_model(folder / "tiny", network=tiny_network(asleep=True))
    return folder


def write_spectra(path: Path, cube: np.ndarray) -> None:
    lines = ["x,y," + ",".join(f"{nm:.4f}" for nm in GRID.centres)]
    for index in CHOSEN:
        row, col = divmod(int(index), WIDTH)
        x, y = TRANSFORM * (col + 0.5, row + 0.5)
        lines.append(f"{x},{y}," + ",".join(f"{v:.6f}" for v in cube[:, row, col]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def errors(scene_rows: list[dict[str, float]], truth: Path) -> tuple[np.ndarray, np.ndarray]:
    """Errors (c,) of the centres in nm and of the gains in per cent."""
    with xr.open_dataset(truth / "true.stf.nc", engine="h5netcdf") as true:
        centres, gains = true["scene_centre"].to_numpy(), true["scene_gain"].to_numpy()
    centre = np.array([row["centre"] for row in scene_rows]) - centres
    gain = 100 * (np.array([row["gain"] for row in scene_rows]) / gains - 1)
    return centre, gain


@pytest.mark.parametrize(("name", "kind"), [("spectra.csv", "spectra"), ("hsi.tif", "cube")])
def test_camera_is_calibrated_with_reference_spectra(
    truth: Path, run: Run, name: str, kind: str
) -> None:
    options = ["--reference", truth / name, "--model", truth / "tiny", "--json"]
    ran = run("estimate-stf", truth / "msi.tif", *options)
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert ran.out == json.dumps(found) + "\n"
    used = 50 if kind == "spectra" else HEIGHT * WIDTH // 4
    assert found["reference"] == {"kind": kind, "used": used, "warnings": []}
    assert found["sensor"] == "p4m"
    centre, gain = errors(found["scene"], truth)
    assert np.sqrt(np.mean(centre**2)) < 1.0
    assert np.sqrt(np.mean(gain**2)) < 1.0
    assert not any(row["prior_driven"] for row in found["scene"])


@pytest.mark.parametrize("panels", [1, 4])
def test_gains_are_calibrated_with_panels(
    tmp_path: Path, truth: Path, run: Run, panels: int
) -> None:
    lines = (truth / "panel.csv").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "panel.csv"
    path.write_text("\n".join([lines[0], *lines[-panels:]]) + "\n", encoding="utf-8")
    options = ["--model", truth / "tiny", "--json"]
    found = json.loads(run("estimate-stf", truth / "msi.tif", *options, "--reference", path).out)
    assert found["reference"] == {"kind": "panels", "used": panels, "warnings": []}
    _, gain = errors(found["scene"], truth)
    assert np.abs(gain).max() < 3.0
    se = np.array([100 * row["gain_se"] for row in found["scene"]])
    assert (np.abs(gain) < 3 * se).all()
    # panels tell nothing of the centres: the image does, as without them
    blind = json.loads(run("estimate-stf", truth / "msi.tif", *options).out)
    of_panels, of_image = (
        np.array([row["centre_se"] for row in result["scene"]]) for result in (found, blind)
    )
    assert (of_panels < 1.05 * of_image).all()


def test_calibrated_stf_makes_a_better_cube_of_pixels_that_were_not_measured(
    tmp_path: Path, truth: Path, run: Run
) -> None:
    model = ["--model", truth / "tiny"]
    stf = tmp_path / "found.stf.nc"
    reference = ["--reference", truth / "spectra.csv", "-o", stf]
    assert run("-q", "estimate-stf", truth / "msi.tif", *reference, *model).code == 0
    with xr.open_dataset(stf, engine="h5netcdf") as written:
        before = written["scene_stf"].to_numpy(), written["scene_centre_se"].to_numpy()

    def error(name: str, *options: object) -> float:
        out = tmp_path / name
        wanted = ["-o", out, "--dtype", "float32", "--tile", 32]
        assert run("-q", "reconstruct", truth / "msi.tif", *wanted, *model, *options).code == 0
        with rasterio.open(out) as file:
            cube = file.read()
        held_out = np.setdiff1d(np.arange(HEIGHT * WIDTH), CHOSEN)
        difference = (cube - scene()).reshape(len(GRID), -1)[:, held_out]
        return float(np.sqrt(np.mean(difference**2)))

    blind, corrected = error("blind.tif"), error("corrected.tif", "--stf", stf)
    calibrated = error("calibrated.tif", "--stf", stf, "--stf-only")
    best = error("best.tif", "--stf", truth / "true.stf.nc")
    assert calibrated < blind
    assert calibrated < best + 0.1 * (blind - best)
    assert corrected < best
    with xr.open_dataset(tmp_path / "calibrated.stf.nc", engine="h5netcdf") as held:
        assert np.array_equal(held["scene_stf"], before[0])
        assert np.array_equal(held["scene_centre_se"], before[1])


def test_run_names_its_reference_spectra(tmp_path: Path, truth: Path, run: Run) -> None:
    model, stf = ["--model", truth / "tiny"], tmp_path / "found.stf.nc"
    reference = ["--reference", truth / "spectra.csv", "-o", stf]
    said = run("estimate-stf", truth / "msi.tif", *reference, *model)
    assert "50 spectra" in said.err
    ran = run("reconstruct", truth / "msi.tif", "-o", tmp_path / "a.tif", "--stf", stf, *model)
    assert "uavssr: correcting the cube with the 50 reference spectra in found.stf.nc\n" in ran.err
    assert "warning" not in ran.err
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags()["uavssr_references"] == "50"
    other = tmp_path / "other.tif"
    other.write_bytes((truth / "msi.tif").read_bytes())
    ran = run("reconstruct", other, "-o", tmp_path / "c.tif", "--stf", stf, *model)
    assert ran.code == 0
    assert "the reference spectra in found.stf.nc are of another image, msi.tif (" in ran.err
    ran = run("reconstruct", truth / "msi.tif", "-o", tmp_path / "b.tif", "--stf-only", *model)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--stf-only without --stf" in ran.err


def test_table_warnings_and_plot(tmp_path: Path, truth: Path, run: Run) -> None:
    text = (truth / "panel.csv").read_text(encoding="utf-8")
    path = tmp_path / "panel.csv"
    path.write_text(text + "0,0,0,0.5\n", encoding="utf-8")
    options = ["--reference", path, "--model", truth / "tiny", "--plot", tmp_path / "stf.png"]
    ran = run("estimate-stf", truth / "msi.tif", *options)
    assert ran.code == 0
    assert "STF of the scene, p4m" in ran.out
    warning = "uavssr: warning: left out of panel.csv: 1 outside the image"
    assert ran.err.splitlines() == [warning, f"wrote {tmp_path / 'stf.png'}"]
    assert (tmp_path / "stf.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("reference", "options", "code", "fact"),
    [
        ("panel.csv", ["--reference-scale", "bright"], 2, "is no number"),
        (None, ["--reference-scale", "1/100"], 2, "--reference-scale without --reference"),
        ("none.csv", [], 3, "no such file"),
        ("none.hdr", [], 3, "no such file"),
        ("alone.hdr", [], 3, "no data file beside this ENVI header"),
        ("true.stf.nc", [], 3, "HDF5"),
        ("panel.csv", ["--reference-scale", "100"], 3, "rows miss a reflectance"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    tmp_path: Path,
    truth: Path,
    run: Run,
    reference: str | None,
    options: list[str],
    code: int,
    fact: str,
) -> None:
    (truth / "alone.hdr").write_text("ENVI\n")
    given = [] if reference is None else ["--reference", truth / reference]
    out = ["-o", tmp_path / "out.stf.nc", "--model", truth / "tiny"]
    ran = run("estimate-stf", truth / "msi.tif", *given, *out, *options)
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("uavssr: error: ")
    assert ran.err.count("\n") == 1
    assert fact in ran.err
    assert list(tmp_path.iterdir()) == []


def test_reference_is_not_written_over(truth: Path, run: Run) -> None:
    before = (truth / "true.stf.nc").read_bytes()
    target = truth / "true.stf.nc"
    options = ["--reference", target, "-o", target, "--overwrite", "--model", truth / "tiny"]
    assert run("estimate-stf", truth / "msi.tif", *options).code == 5
    assert target.read_bytes() == before


@pytest.mark.parametrize("option", [("--tile", 128), ("--stages", 1), ("--device", "cpu")])
def test_options_of_the_network_are_refused_with_a_reference(
    option: tuple[str, object], run: Run
) -> None:
    done = run("estimate-stf", "field.tif", "--reference", "spectra.csv", *option)
    assert done.code == 2
    assert f"{option[0]} has no effect with --reference" in done.err


@pytest.mark.parametrize("planted", [0.0, 0.25])
def test_classes_of_known_ground_differ_where_it_is_planted(
    run: Run, truth: Path, tmp_path: Path, planted: float
) -> None:
    codes = np.ones((1, HEIGHT, WIDTH), "u1")
    codes[:, HEIGHT // 2 :] = 2
    with rasterio.open(truth / "msi.tif") as file:
        image, profile, tags = file.read(), file.profile, file.tags()
        names = file.descriptions
    image[3, HEIGHT // 2 :] *= np.exp(planted)
    with rasterio.open(tmp_path / "msi.tif", "w", **profile) as file:
        file.write(image)
        file.descriptions = names
        file.update_tags(**tags)
    with rasterio.open(
        tmp_path / "codes.tif", "w", **(profile | {"count": 1, "dtype": "uint8", "nodata": None})
    ) as file:
        file.write(codes)
    arguments = ["estimate-stf", tmp_path / "msi.tif", "--reference", truth / "hsi.tif", "--json"]
    options = ["--model", truth / "tiny", "--zones", tmp_path / "codes.tif", "-q"]
    done = run(*arguments, *options)
    assert done.code == 0, done.err
    found = json.loads(done.out)["classes"]
    if not planted:
        assert "do not differ beyond" in found["verdict"]
        return
    assert "gain of rededge in class 1" in found["verdict"]
    row = next(row for row in found["rows"] if (row["class"], row["band"]) == ("2", "rededge"))
    # beside the mean of the five bands
    assert row["gain_difference"] == pytest.approx(0.8 * planted, abs=4 * row["gain_difference_se"])


def test_panels_have_no_classes(run: Run, truth: Path) -> None:
    options = ["--reference", truth / "panel.csv", "--zones", "auto", "--model", truth / "tiny"]
    done = run("estimate-stf", truth / "msi.tif", *options, "-q")
    assert done.code == 3
    assert "holds panels, which are not at places of classes" in done.err
