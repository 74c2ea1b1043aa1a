"""Simulated images: the formula, noise and shifts that know no windows, and files that work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import uavssr
from tests.helpers.cubes import listed, smooth_cube, write_cube, write_envi
from tests.helpers.models import GRID, P4M, tiny_model
from tests.helpers.rasters import UTM, shared
from uavssr import cli
from uavssr.data.random_cameras import draw_cameras
from uavssr.data.simulate import simulate
from uavssr.data.simulated_camera import SimulationOptions, draw_camera
from uavssr.errors import InputRefused, OutputError, UsageError
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.msi.source import open_msi
from uavssr.io.stf import read_stf, scene_estimate
from uavssr.io.writers.msi_image import ImageTarget, ImageWriter, write_image
from uavssr.reconstruction.devices import torch_threads
from uavssr.sensors import HEADWALL_NANO, SENSORS, WavelengthGrid
from uavssr.tiling import Window

HEIGHT, WIDTH = 150, 290
INF = float("inf")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def cube() -> np.ndarray:
    return smooth_cube(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def valid() -> np.ndarray:
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[120:135, 100:140] = False
    return mask


@pytest.fixture(scope="module")
def hsi(tmp_path_factory: pytest.TempPathFactory, cube: np.ndarray, valid: np.ndarray) -> Path:
    return write_cube(tmp_path_factory.mktemp("hsi") / "field.tif", cube, valid)


def read(path: Path) -> np.ndarray:
    """Stored numbers as reflectance, NaN where nodata."""
    with rasterio.open(path) as file:
        numbers = file.read().astype(float) * file.scales[0]
        numbers[:, file.read_masks(1) == 0] = np.nan
    return numbers


def made(hsi: Path, folder: Path, name: str = "msi.tif", **options: object) -> np.ndarray:
    settings = {"sensor": "p4m", "dtype": "float32", "snr_db": INF} | options
    return read(simulate(hsi, out=folder / name, **settings).image)


def test_perfect_camera_sees_the_data_sheet(
    hsi: Path, cube: np.ndarray, valid: np.ndarray, tmp_path: Path
) -> None:
    image = made(hsi, tmp_path, perfect=True)
    expected = np.tensordot(P4M.srf(GRID), cube.astype(float), 1)
    assert np.array_equal(np.isfinite(image).all(0), valid)
    assert np.abs(image - expected)[:, valid].max() < 1e-6


def test_camera_is_the_one_that_training_would_draw(
    hsi: Path, cube: np.ndarray, valid: np.ndarray, tmp_path: Path
) -> None:
    image = made(hsi, tmp_path, seed=3)
    drawn = draw_cameras(np.random.default_rng([3, 5]), [P4M], GRID)
    expected = np.tensordot(drawn.rows[0].astype(float), cube.astype(float), 1)
    assert np.abs(image - expected)[:, valid].max() < 1e-6
    perfect = made(hsi, tmp_path, "perfect.tif", perfect=True)
    assert np.abs(image - perfect)[:, valid].max() > 0.005


def test_noise_has_the_ratio_asked_for(hsi: Path, valid: np.ndarray, tmp_path: Path) -> None:
    clean = made(hsi, tmp_path, "clean.tif")
    noisy = made(hsi, tmp_path, "noisy.tif", snr_db=30.0)
    error = (noisy - clean)[:, valid]
    rms = np.sqrt(np.square(clean[:, valid]).mean(1))
    ratio = 20 * np.log10(rms / error.std(1))
    assert np.allclose(ratio, 30, atol=0.15)
    assert np.abs(error.mean(1)).max() < 4 * error.std() / np.sqrt(valid.sum())
    assert np.abs(np.corrcoef(error) - np.eye(len(error))).max() < 0.03
    spatial = (noisy - clean)[0, :100]
    assert abs(np.corrcoef(spatial[:, 1:].ravel(), spatial[:, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("misregistration", [0.0, 0.7])
def test_pixels_do_not_depend_on_the_windows(
    hsi: Path, tmp_path: Path, misregistration: float
) -> None:
    options = {"snr_db": 35.0, "misregistration": misregistration, "seed": 4}
    one = made(hsi, tmp_path, "one.tif", tile=128, **options)
    two = made(hsi, tmp_path, "two.tif", tile=384, **options)
    assert np.array_equal(np.isnan(one), np.isnan(two))
    assert np.allclose(one, two, rtol=0, atol=2e-7, equal_nan=True)


def test_seed_alone_makes_the_image(hsi: Path, tmp_path: Path) -> None:
    options = {"snr_db": 35.0, "misregistration": 0.5}
    first, again, other = (
        made(hsi, tmp_path, f"{i}.tif", seed=seed, **options) for i, seed in enumerate((1, 1, 2))
    )
    assert np.array_equal(first, again, equal_nan=True)
    assert np.nanmax(np.abs(first - other)) > 0.005


def bilinear(band: np.ndarray, down: float, right: float) -> np.ndarray:
    """What lies at (y - down, x - right), pixel by pixel; NaN beyond the band."""
    out = np.full(band.shape, np.nan)
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            total, row, col = 0.0, y - down, x - right
            for i in {int(np.floor(row)), int(np.ceil(row))}:
                for j in {int(np.floor(col)), int(np.ceil(col))}:
                    if not (0 <= i < band.shape[0] and 0 <= j < band.shape[1]):
                        total = np.nan
                        continue
                    total += band[i, j] * (1 - abs(row - i)) * (1 - abs(col - j))
            out[y, x] = total
    return out


def test_shifted_bands_are_seamless_and_lie_where_they_should(
    hsi: Path, tmp_path: Path, cube: np.ndarray, valid: np.ndarray
) -> None:
    image = made(hsi, tmp_path, misregistration=1.5, seed=8, tile=128)
    random = {"sensor": P4M, "seed": 8, "snr_db": INF, "misregistration": 1.5, "perfect": False}
    files = {"scale": None, "dtype": "float32", "overwrite": False, "tile": 128}
    camera = draw_camera(SimulationOptions(**random, **files), GRID)
    assert (camera.shifts[0] == 0).all()
    assert np.abs(camera.shifts).max() == 2  # seed 8 has one that is clipped
    assert {True, False} == set((camera.shifts[1:] > 0).ravel().tolist())
    clean = np.tensordot(camera.rows.astype(float), np.where(valid, cube, np.nan), 1)
    expected = np.stack(
        [bilinear(band, *shift) for band, shift in zip(clean, camera.shifts, strict=True)]
    )
    known = np.isfinite(expected).all(0)
    assert np.array_equal(np.isfinite(image).all(0), known)
    assert not known.all()
    assert np.abs(image - expected)[:, known].max() < 1e-6


def test_image_says_all_that_is_needed_of_itself(hsi: Path, tmp_path: Path) -> None:
    for dtype in ("uint16", "float32"):
        out = tmp_path / f"{dtype}.tif"
        simulate(hsi, sensor="p4m", out=out, dtype=dtype, seed=2)
        with rasterio.open(out) as file:
            assert file.descriptions == P4M.roles
            assert [float(file.tags(i)["wavelength"]) for i in file.indexes] == [
                band.centre for band in P4M.bands
            ]
            assert [float(file.tags(i)["fwhm"]) for i in file.indexes] == [32, 32, 32, 32, 52]
            assert file.tags()["sensor"] == "p4m"
            assert "simulated from field.tif" in file.tags()["synthetic"]
            assert file.crs.to_string() == UTM
            assert file.nodata == 65535 if dtype == "uint16" else np.isnan(file.nodata)
            assert file.scales[0] == (1e-4 if dtype == "uint16" else 1)
        with rasterio.open(hsi) as source, rasterio.open(out) as file:
            assert file.transform == source.transform
        summary = open_msi(out).summary
        assert summary.sensor == "p4m"
        assert summary.warnings == ()
    wide, narrow = read(tmp_path / "float32.tif"), read(tmp_path / "uint16.tif")
    assert np.nanmax(np.abs(wide - narrow)) <= 5.1e-5


@pytest.mark.parametrize("name", sorted(SENSORS))
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_known_camera_is_read_without_options(tmp_path: Path, name: str, dtype: str) -> None:
    spectra = smooth_cube(20, 20).mean(0)
    cube = np.broadcast_to(spectra, (len(HEADWALL_NANO), 20, 20))
    path = write_cube(tmp_path / "cube.tif", cube, grid=HEADWALL_NANO)
    simulate(path, sensor=name, out=tmp_path / "msi.tif", perfect=True, snr_db=INF, dtype=dtype)
    msi = open_msi(tmp_path / "msi.tif")
    assert msi.sensor == SENSORS[name]
    found, valid = msi.read(Window(0, 0, 20, 20))
    assert valid.all()
    assert np.abs(found - spectra).max() < 6e-5  # rows of the SRF sum to one


def test_dark_scene_keeps_its_scale(tmp_path: Path) -> None:
    cube = smooth_cube(20, 20) / 60 + np.float32(0.001)
    path = write_cube(tmp_path / "cube.tif", cube, dtype="uint16")
    for dtype in ("uint16", "float32"):
        out = tmp_path / f"{dtype}.tif"
        simulate(path, sensor="p4m", out=out, perfect=True, snr_db=INF, dtype=dtype)
        found, _ = open_msi(out).read(Window(0, 0, 20, 20))
        assert np.abs(found - np.tensordot(P4M.srf(GRID), cube, 1)).max() < 1.1e-4


def test_true_stf_is_the_one_used(hsi: Path, tmp_path: Path) -> None:
    stf = tmp_path / "true.stf.nc"
    simulate(hsi, sensor="p4m", out=tmp_path / "msi.tif", stf_out=stf, seed=3, snr_db=40.0)
    ds = read_stf(stf, sensor=P4M, grid=GRID)
    drawn = draw_cameras(np.random.default_rng([3, 5]), [P4M], GRID)
    truth = scene_estimate(ds)
    assert np.array_equal(truth.stf, drawn.rows[0])
    assert "tile" not in ds.sizes
    assert "simulated" in ds.attrs["synthetic"]
    for name in ("stf_se", "centre_se", "fwhm_se", "gain_se"):
        assert not getattr(truth, name).any(), name
    assert np.allclose(truth.centre - [b.centre for b in P4M.bands], drawn.theta[0, :, 0])
    assert np.allclose(np.log(truth.gain), drawn.theta[0, :, 2])
    assert not truth.prior_driven.any()
    assert 0.9 < truth.valid_fraction < 1
    assert xr.open_dataset(stf, engine="h5netcdf").sizes["band"] == 5


@pytest.mark.parametrize("name", ["neon_harv", "abu_beach_1", "salton_sea"])
def test_real_scene_in_an_envi_file_is_seen_and_compared(tmp_path: Path, name: str) -> None:
    with np.load(shared(f"vnir/{name}.npz")) as data:
        counts = data["cube"].transpose(2, 0, 1).astype("u2")
        nm = data["wavelength_nm"].astype(float)
    lists = listed("wavelength", nm), "reflectance scale factor = 10000"
    path = write_envi(tmp_path / name, counts, *lists)
    made(path, tmp_path, seed=1, snr_db=40.0)
    msi = open_msi(tmp_path / "msi.tif")
    found, mask = msi.read(Window(0, 0, msi.height, msi.width))
    drawn = draw_cameras(np.random.default_rng([1, 5]), [P4M], open_cube_source(path).grid)
    expected = np.tensordot(drawn.rows[0].astype(float), counts / 10000, 1)
    error = np.sqrt(np.square(found - expected)[:, mask].mean(1))
    assert np.allclose(error / np.sqrt(np.square(expected)[:, mask].mean(1)), 0.01, rtol=0.1)
    grid = open_cube_source(path).grid
    copy = write_cube(tmp_path / "copy.tif", (counts / 10000 * 1.02).astype("f4"), grid=grid)
    scene = uavssr.evaluate(copy, path)["scene"]
    assert scene["sam"] < 1e-4
    assert scene["mrae"] == pytest.approx(0.02, rel=0.05)
    assert scene["ergas"] > 2


def test_sensor_of_ones_own_is_simulated_and_read_with_its_file(hsi: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.csv"
    own.write_text("role,centre,fwhm,shape\nred,650,30,20\ngreen,550,30,1\n")
    made(hsi, tmp_path, sensor=own)
    assert open_msi(tmp_path / "msi.tif", sensor=own).sensor.roles == ("red", "green")


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"seed": -1}, "seed must not be negative"),
        ({"snr_db": float("nan")}, "SNR must be 0 dB or more"),
        ({"snr_db": -3.0}, "SNR must be 0 dB or more"),
        ({"misregistration": 2.5}, "0 to 2 pixels"),
        ({"tile": 100}, "multiple of 128"),
        ({"sensor": "p5m"}, "unknown sensor"),
    ],
)
def test_options_without_sense_are_refused(
    hsi: Path, tmp_path: Path, options: dict[str, object], fact: str
) -> None:
    with pytest.raises(UsageError, match=fact):
        made(hsi, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_cube_must_cover_the_camera(tmp_path: Path) -> None:
    grid = WavelengthGrid.regular("vis", 400, 800, len(GRID))
    path = write_cube(tmp_path / "vis.tif", smooth_cube(30, 30), grid=grid)
    with pytest.raises(InputRefused, match="band nir of p4m") as refused:
        simulate(path, sensor="p4m", out=tmp_path / "msi.tif")
    assert refused.value.path == path
    assert not (tmp_path / "msi.tif").exists()


def test_what_is_no_hyperspectral_cube_is_refused(tmp_path: Path) -> None:
    """Of five wavelengths most of what a camera sees would be made up."""
    grid = WavelengthGrid.regular("few", 400, 1000, 12)
    cube = smooth_cube(30, 30)[: len(grid)]
    path = write_cube(tmp_path / "few.tif", cube, grid=grid)
    with pytest.raises(InputRefused, match=r"up to 54.5.* nm apart, more than 20; give a hyper"):
        simulate(path, sensor="p4m", out=tmp_path / "msi.tif")
    assert not (tmp_path / "msi.tif").exists()


def test_outputs_are_safe(hsi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="is the input"):
        simulate(hsi, sensor="p4m", out=hsi, overwrite=True)
    made(hsi, tmp_path)
    before = (tmp_path / "msi.tif").read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        made(hsi, tmp_path)
    monkeypatch.setattr(ImageWriter, "_wrong", lambda _: "window at row 0")
    with pytest.raises(OutputError, match="not as written when read back"):
        made(hsi, tmp_path, overwrite=True, seed=9)
    assert (tmp_path / "msi.tif").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["msi.tif"]


def image_target(hsi: Path, out: Path) -> ImageTarget:
    place = open_cube_source(hsi).place
    size = {"height": place.height, "width": place.width}
    return ImageTarget(
        path=out, **size, crs_wkt=place.crs_wkt, transform=place.transform, sensor=P4M
    )


def test_bands_are_shown_in_their_colours(hsi: Path, tmp_path: Path) -> None:
    """Programs that show the first three bands as red, green, blue would swap two."""
    part = np.full((5, 128, 128), 0.2, "f4"), np.ones((128, 128), bool)
    target = image_target(hsi, tmp_path / "x.tif")
    windows = [
        Window(row, col, min(128, target.height - row), min(128, target.width - col))
        for row in range(0, target.height, 128)
        for col in range(0, target.width, 128)
    ]
    parts = [
        (at, part[0][:, : at.height, : at.width], part[1][: at.height, : at.width])
        for at in windows
    ]
    with rasterio.open(write_image(target, parts)) as image:
        assert [colour.name for colour in image.colorinterp[:4]] == [
            "blue",
            "green",
            "red",
            "undefined",
        ]


def test_failed_read_leaves_nothing(hsi: Path, tmp_path: Path) -> None:
    def parts() -> Iterator[object]:
        raise InputRefused("a block cannot be decoded", path=hsi)
        yield

    with pytest.raises(InputRefused, match="decoded"):
        write_image(image_target(hsi, tmp_path / "x.tif"), parts())
    assert list(tmp_path.iterdir()) == []


def test_missing_or_cut_windows_are_found(hsi: Path, tmp_path: Path) -> None:
    target = image_target(hsi, tmp_path / "x.tif")
    part = np.full((5, 128, 128), 0.2, "f4"), np.ones((128, 128), bool)
    alone, cut = ([(Window(0, col, 128, 128), *part)] for col in (0, 64))
    with pytest.raises(OutputError, match="number of pixels"):
        write_image(target, alone)
    with pytest.raises(ValueError, match="whole blocks"):
        write_image(target, cut)
    assert list(tmp_path.iterdir()) == []


def test_commands_work_one_after_the_other(
    hsi: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate, reconstruct with nothing but a model, and compare with what was there."""
    model = tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    simulated = ["simulate", str(hsi), "--sensor", "p4m", "--out", "msi.tif", "--stf-out"]
    assert cli.main([*simulated, "true.stf.nc", "--seed", "1", "--json", "-q"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert (printed["image"], printed["stf"]) == ("msi.tif", "true.stf.nc")
    given = ["reconstruct", "msi.tif", "--model", str(model), "--device", "cpu", "-q"]
    assert cli.main([*given, "--out", "blind.tif"]) == 0
    assert cli.main([*given, "--out", "known.tif", "--stf", "true.stf.nc"]) == 0
    capfd.readouterr()
    stfs = ["--stf", "known.stf.nc", "--true-stf", "true.stf.nc"]
    assert cli.main(["evaluate", "known.tif", str(hsi), *stfs, "--json", "-q"]) == 0
    known = json.loads(capfd.readouterr().out)
    assert known["stf"]["relative"] < 1e-6
    assert known["valid_pixels"] == open_count(hsi)
    blind = uavssr.evaluate("blind.tif", hsi, stf="blind.stf.nc", true_stf="true.stf.nc")
    assert blind["stf"]["relative"] > 1e-3
    assert 0 < blind["scene"]["rmse"] < 1


def open_count(path: Path) -> int:
    source = open_cube_source(path)
    return int(source.read(Window(0, 0, source.height, source.width))[1].sum())


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (["--sensor", "p5m"], 2, "unknown sensor"),
        (["--dtype", "int8"], 2, "--dtype must be"),
        (["--stf-out", "msi.tif"], 2, "is asked for as two outputs"),
        (["--stf-out", "no/folder.stf.nc"], 5, "there is no folder"),
        (["--snr-db", "-1"], 2, "SNR"),
        (["--scale", "x"], 2, "no number"),
        (["--out", "msi.png"], 2, "name it .tif"),
        (["--stf-out", "true.txt"], 2, "name it .nc"),
    ],
)
def test_command_exits_with_the_code_of_the_fault(
    hsi: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: list[str],
    code: int,
    fact: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["simulate", str(hsi), "--sensor", "p4m", "--out", "msi.tif", *change]
    assert cli.main(given) == code
    printed = capfd.readouterr()
    assert fact in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_the_cube_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hsi, out = write_cube(tmp_path / "hsi.tif", smooth_cube(30, 40)), tmp_path / "msi.tif"
    (tmp_path / "hsi.tif.aux.xml").touch()
    assert cli.main(["simulate", str(hsi), "--sensor", "p4m", "-o", str(out)]) == 0
    assert "warning: sidecar files of hsi.tif ignored: hsi.tif.aux.xml" in capsys.readouterr().err
