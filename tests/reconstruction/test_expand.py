"""A cube expanded from coefficients is the cube that would have been written in the first place."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import GRID, P4M, tiny_msi
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi.coefficient_file import CoefficientSource, open_coefficients
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.writers.formats import Format
from uavssr.model.weights import Model
from uavssr.reconstruction.api import PlannedReconstruction
from uavssr.reconstruction.expand import expand as write_cube
from uavssr.reconstruction.options import BLOCK
from uavssr.tiling import Window

HEIGHT, WIDTH, TILE = 270, 30, 64
CHOSEN = (3, 9, 10, 11, 39)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, model: Model) -> PlannedReconstruction:
    """A field with a hole that empties the first tile, and half of its first block of 256."""
    folder = tmp_path_factory.mktemp("plan")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, :TILE] = False
    source = open_msi(write(folder / "in.tif", np.where(mask, image, np.nan)), sensor="p4m")
    return plan_reconstruction(source, ReconstructionOptions(model=model, tile=TILE, workers=2))


@pytest.fixture(scope="module")
def coefficients(plan: PlannedReconstruction, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coefficients") / "coefficients.tif"
    return plan.write(OutputOptions(cube=path, format="coefficients")).cube


@pytest.fixture(scope="module")
def direct(plan: PlannedReconstruction, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cube as `reconstruct` writes it."""
    return plan.write(tmp_path_factory.mktemp("direct") / "direct.tif").cube


def expand(coefficients: Path, out: Path, *, workers: int | None = None, **options: object) -> Path:
    source = open_coefficients(coefficients)
    return write_cube(source, OutputOptions(cube=out, **options), workers=workers)


def numbers(path: Path) -> np.ndarray:
    """The stored numbers as GDAL reads them."""
    name = f'ZARR:"{path}":/reflectance' if path.suffix == ".zarr" else path
    with rasterio.open(name) as file:
        return file.read()


def test_expanded_cube_is_the_one_written_directly_to_the_last_bit(
    direct: Path, coefficients: Path, tmp_path: Path
) -> None:
    found = numbers(expand(coefficients, tmp_path / "expanded.tif"))
    assert found.dtype == np.uint16
    assert found.tobytes() == numbers(direct).tobytes()


def test_expanded_bands_are_those_written_directly_to_the_last_bit(
    plan: PlannedReconstruction, coefficients: Path, tmp_path: Path
) -> None:
    options = {"dtype": "float32", "wavelengths": GRID.centres[[*CHOSEN]]}
    direct = numbers(plan.write(OutputOptions(cube=tmp_path / "direct.tif", **options)).cube)
    found = numbers(expand(coefficients, tmp_path / "expanded.tif", **options))
    assert found.shape == (len(CHOSEN), HEIGHT, WIDTH)
    assert found.tobytes() == direct.tobytes()


@pytest.mark.parametrize(
    ("form", "name"), [("cog", "c.tif"), ("envi", "c.dat"), ("zarr", "c.zarr")]
)
def test_every_format_holds_the_same_expanded_cube(
    coefficients: Path, tmp_path: Path, form: Format, name: str
) -> None:
    plain = numbers(expand(coefficients, tmp_path / "plain.tif"))
    path = expand(coefficients, tmp_path / name, format=form, workers=3)
    assert np.array_equal(numbers(path), plain)
    assert np.array_equal(
        open_cube_source(path).grid.centres, open_cube_source(coefficients).grid.centres
    )


def test_coefficients_chosen_before_are_the_cube_chosen_after(
    plan: PlannedReconstruction, coefficients: Path, tmp_path: Path
) -> None:
    few = plan.write(
        OutputOptions(
            cube=tmp_path / "few.tif", format="coefficients", wavelengths=GRID.centres[[*CHOSEN]]
        )
    ).cube
    one = numbers(expand(few, tmp_path / "one.tif"))
    other = numbers(
        expand(coefficients, tmp_path / "other.tif", wavelengths=GRID.centres[[*CHOSEN]])
    )
    assert np.array_equal(one, other)


def test_provenance_goes_along(
    plan: PlannedReconstruction, direct: Path, coefficients: Path, tmp_path: Path
) -> None:
    """Promise P7."""
    path = expand(coefficients, tmp_path / "expanded.tif")
    with rasterio.open(direct) as one, rasterio.open(path) as other:
        assert one.tags()["uavssr_model_sha256"] == plan.plan.model.sha256
        found = other.tags()
        size = coefficients.stat().st_size
        assert found.pop("uavssr_expanded_from") == f"coefficients.tif ({size} bytes)"
        expected = one.tags()
        assert found.pop("uavssr_run") != expected.pop("uavssr_run")  # each command has its own
        assert found == expected
        assert other.tags(5) == one.tags(5)
        assert other.tags(ns="ENVI") == one.tags(ns="ENVI")


def test_no_more_blocks_are_in_memory_than_workers(
    coefficients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P6."""
    read, lock, held = CoefficientSource.coefficients, threading.Lock(), [0, 0]
    windows: list[Window] = []

    def spy(self: CoefficientSource, window: Window) -> tuple[np.ndarray, np.ndarray]:
        with lock:
            held[0] += 1
            held[1] = max(held)
            windows.append(window)
        threading.Event().wait(0.02)  # so that others would come in if they could
        with lock:
            held[0] -= 1
        return read(self, window)

    monkeypatch.setattr(CoefficientSource, "coefficients", spy)
    expand(coefficients, tmp_path / "c.tif", workers=1)
    assert held[1] == 1
    assert windows == [Window(0, 0, BLOCK, WIDTH), Window(BLOCK, 0, HEIGHT - BLOCK, WIDTH)]


def test_damaged_coefficients_leave_nothing(coefficients: Path, tmp_path: Path) -> None:
    """Rows 4, 5: found when the block is decoded."""
    broken = tmp_path / "broken.tif"
    data = bytearray(coefficients.read_bytes())
    data[-len(data) // 3 :] = bytes(len(data) // 3 + 1)
    broken.write_bytes(bytes(data[: coefficients.stat().st_size]))
    with pytest.raises(InputRefused):
        expand(broken, tmp_path / "c.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tif"]


def test_coefficients_are_not_expanded_to_coefficients(coefficients: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expand writes cubes"):
        expand(coefficients, tmp_path / "c.tif", format="coefficients")


# The command


def run(*arguments: object) -> int:
    return cli.main([str(each) for each in arguments])


def test_command_writes_what_is_asked_for(
    coefficients: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, png = tmp_path / "c.zarr", tmp_path / "c.png"
    options = ("--wavelengths", "450-900", "--dtype", "float32", "--quicklook", png, "--json")
    assert run("-q", "expand", coefficients, "--out", out, *options) == 0
    message = capfd.readouterr()
    written = json.loads(message.out)
    assert (written["cube"], written["quicklook"]) == (str(out), str(png))
    assert message.err == ""
    found = open_cube_source(out)
    assert found.grid.centres[0] >= 450
    assert found.grid.centres[-1] <= 900
    assert found.read(Window(250, 0, 20, 20))[0].dtype == np.float32
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_command_says_what_it_wrote(
    coefficients: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.tif"
    assert run("expand", coefficients, "-o", out, "--co", "COMPRESS=DEFLATE", "--workers", 1) == 0
    assert f"wrote {out}" in capfd.readouterr().err
    with rasterio.open(out) as file:
        assert file.profile["compress"] == "deflate"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--out", "c.png"), 2, "no format is written"),
        (("--out", "c.tif", "--format", "coefficients"), 2, "expand writes cubes"),
        (("--out", "c.tif", "--dtype", "int8"), 2, "--dtype must be"),
        (("--out", "c.tif", "--wavelengths", "2000-2500"), 2, "no band in 2000-2500 nm"),
        (("--out", "c.tif", "--workers", "0"), 2, "--workers must be positive"),
        (("--out", "c.tif", "--quicklook", "q.jpg"), 2, "name it .png"),
        (("--out", "c.zarr", "--co", "COMPRESS=ZSTD"), 2, "--co sets options of GeoTIFF"),
        (("--out", "old.tif"), 8, "pass --overwrite"),
        (("--out", "link.tif", "--overwrite"), 5, "is the input"),
    ],
)
def test_command_refuses_in_one_line(
    coefficients: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.tif").write_bytes(b"old")
    Path("link.tif").symlink_to(coefficients)
    assert run("expand", coefficients, *options) == code
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("uavssr: error: ")
    assert message in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.tif", "old.tif"]


def test_command_refuses_a_cube(
    coefficients: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cube = expand(coefficients, tmp_path / "cube.tif", wavelengths=GRID.centres[[*CHOSEN]])
    assert run("expand", cube, "--out", tmp_path / "c.tif") == 3
    assert "holds no coefficients" in capfd.readouterr().err


def test_evaluate_and_simulate_take_coefficients_and_stores(
    coefficients: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = expand(coefficients, tmp_path / "c.zarr", dtype="float32")
    assert run("-q", "evaluate", coefficients, store, "--json") == 0
    assert json.loads(capfd.readouterr().out)["scene"]["rmse"] < 1e-6
    for cube in (coefficients, store):
        out = tmp_path / f"{cube.stem}_msi.tif"
        assert run("-q", "simulate", cube, "--sensor", "p4m", "--out", out) == 0
        with rasterio.open(out) as file:
            assert file.tags()["uavssr_input"].startswith(cube.name)
            assert (file.count, file.shape) == (5, (HEIGHT, WIDTH))
