"""Errors of cubes and STFs: windows equal the whole, values equal scikit-image's and formulas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import uavssr
from tests.helpers.cubes import smooth_cube, write_cube, write_envi
from tests.helpers.models import GRID, P4M
from tests.helpers.rasters import TRANSFORM
from uavssr import cli
from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.metrics import CubeScorer, Scores, rmse, sam
from uavssr.io.stf import StfEstimate, stf_arrays, write_stf
from uavssr.sensors import SENSORS, Sensor, WavelengthGrid
from uavssr.tiling import TileGrid, Window

HEIGHT, WIDTH = 70, 90


def perturbed(cube: np.ndarray, *, seed: int = 5, deviation: float = 0.02) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, cube.shape)
    return (cube * 1.03 + noise).astype("f4")


def scored(
    estimate: np.ndarray,
    reference: np.ndarray,
    valid: np.ndarray,
    tile: int = 1000,
    **options: float,
) -> Scores:
    scorer = CubeScorer(len(reference), **options)
    for each in TileGrid(height=valid.shape[0], width=valid.shape[1], tile=tile, halo=scorer.halo):
        cut = (slice(None), each.read.rows, each.read.cols)
        scorer.add(estimate[cut], reference[cut], valid[cut[1:]], core=each.core, read=each.read)
    return scorer.scores()


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    reference = smooth_cube(HEIGHT, WIDTH)
    return perturbed(reference), reference


@pytest.fixture(scope="module")
def holes() -> np.ndarray:
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[20:31, 40:47] = False
    valid[60, 5] = False
    valid[:, 88:] = False
    return valid


def test_scores_equal_scikit_image_on_whole_cubes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    estimate, reference = pair
    found = scored(estimate, reference, np.ones((HEIGHT, WIDTH), bool), tile=32)
    for k, (p, r) in enumerate(zip(*pair, strict=True)):
        one, two = p.astype(float), r.astype(float)
        ssim = structural_similarity(
            one, two, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
        assert found.ssim[k] == pytest.approx(ssim, abs=1e-9)
        psnr = peak_signal_noise_ratio(two, one, data_range=1.0)
        assert found.psnr[k] == pytest.approx(psnr, abs=1e-9)
    assert found.ssim_pixels == (HEIGHT - 10) * (WIDTH - 10)


def test_ssim_of_a_masked_scene_is_the_mean_over_windows_without_a_hole(
    pair: tuple[np.ndarray, np.ndarray], holes: np.ndarray
) -> None:
    estimate, reference = (np.where(holes, cube, np.nan) for cube in pair)
    found = scored(estimate, reference, holes, tile=32)
    kept = np.zeros_like(holes)
    for y in range(5, HEIGHT - 5):
        for x in range(5, WIDTH - 5):
            kept[y, x] = holes[y - 5 : y + 6, x - 5 : x + 6].all()
    for k in (0, 17, 39):
        _, full = structural_similarity(
            pair[0][k].astype(float),
            pair[1][k].astype(float),
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )
        assert found.ssim[k] == pytest.approx(full[kept].mean(), abs=1e-9)
    assert found.ssim_pixels == kept.sum()


def test_scores_equal_their_formulas(
    pair: tuple[np.ndarray, np.ndarray], holes: np.ndarray
) -> None:
    p, r = (cube[:, holes].astype(float) for cube in pair)
    r[3, :50] = 1e-5  # below epsilon
    whole = np.full((2, len(p), HEIGHT, WIDTH), np.nan)
    whole[0][:, holes], whole[1][:, holes] = p, r
    found = scored(*whole, holes, tile=16)
    mse = np.square(p - r).mean(1)
    assert found.pixels == holes.sum()
    assert np.allclose(found.rmse, np.sqrt(mse), rtol=1e-12)
    assert np.allclose(found.mrae, (np.abs(p - r) / np.maximum(r, 1e-3)).mean(1), rtol=1e-12)
    assert np.allclose(found.psnr, 10 * np.log10(1 / mse), rtol=1e-12)
    assert found.sam == pytest.approx(sam(p, r), rel=1e-9)
    relative = np.sqrt(mse) / r.mean(1)
    assert found.ergas == pytest.approx(100 * np.sqrt(np.square(relative).mean()), rel=1e-12)
    assert found.scene["rmse"] == pytest.approx(rmse(p, r), rel=1e-12)
    assert found.scene["psnr"] == pytest.approx(np.mean(10 * np.log10(1 / mse)), rel=1e-12)
    assert found.scene["psnr"] > 10 * np.log10(1 / mse.mean())  # the trap: of one error over all


@pytest.mark.parametrize("tile", [16, 17, 32, 61, 1000])
def test_streamed_equals_whole(
    pair: tuple[np.ndarray, np.ndarray], holes: np.ndarray, tile: int
) -> None:
    whole, parts = scored(*pair, holes), scored(*pair, holes, tile=tile)
    assert (parts.pixels, parts.ssim_pixels) == (whole.pixels, whole.ssim_pixels)
    for name in ("rmse", "mrae", "psnr", "ssim", "sam", "ergas"):
        assert np.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-10), name


def test_scene_smaller_than_ssims_window_has_no_ssim() -> None:
    cube = smooth_cube(8, 30)
    found = scored(perturbed(cube), cube, np.ones((8, 30), bool))
    assert found.ssim_pixels == 0
    assert np.isnan(found.scene["ssim"])
    assert np.isfinite(found.scene["rmse"])


def test_data_range_and_epsilon_are_used(pair: tuple[np.ndarray, np.ndarray]) -> None:
    valid = np.ones((HEIGHT, WIDTH), bool)
    one, two = scored(*pair, valid), scored(*pair, valid, data_range=0.5, epsilon=0.5)
    assert np.allclose(one.psnr - two.psnr, 20 * np.log10(2))
    assert (one.mrae > two.mrae).all()
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(UsageError, match="positive and finite"):
            CubeScorer(3, epsilon=wrong)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, holes: np.ndarray) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cubes")
    cube = smooth_cube(HEIGHT, WIDTH)
    other = holes.copy()
    other[:4] = False
    return (
        write_cube(folder / "pred.tif", perturbed(cube), other),
        write_cube(folder / "ref.tif", cube, holes),
    )


def test_cube_against_itself_is_without_error(files: tuple[Path, Path]) -> None:
    report = uavssr.evaluate(files[1], files[1])
    scene = report["scene"]
    assert [scene[name] for name in ("rmse", "mrae", "sam", "ergas")] == [0, 0, 0, 0]
    assert scene["ssim"] == pytest.approx(1, abs=1e-12)
    assert scene["psnr"] == np.inf


def test_known_perturbation_is_measured(tmp_path: Path) -> None:
    cube = np.round(smooth_cube(40, 50) * 1000) / 1000
    ref = write_cube(tmp_path / "ref.tif", cube, dtype="uint16")
    pred = write_cube(tmp_path / "pred.tif", cube + np.float32(0.01), dtype="uint16")
    report = uavssr.evaluate(pred, ref)
    assert report["scene"]["rmse"] == pytest.approx(0.01, abs=1e-7)
    assert report["scene"]["psnr"] == pytest.approx(40, abs=1e-4)
    assert len(report["per_band"]) == report["bands"] == len(GRID)
    row = report["per_band"][7]
    assert row["wavelength"] == GRID.centres[7]
    assert row["mrae"] == pytest.approx((0.01 / cube[7]).mean(), rel=1e-4)


def test_files_are_compared_over_pixels_valid_in_both(
    files: tuple[Path, Path], holes: np.ndarray, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    both = holes.copy()
    both[:4] = False
    seen = []
    report = uavssr.evaluate(*files, tile=32, progress=lambda *update: seen.append(update))
    expected = scored(*pair, both)
    assert report["valid_pixels"] == both.sum()
    assert report["pixels"] == HEIGHT * WIDTH == sum(done for _, done, _ in seen)
    for name, value in expected.scene.items():
        assert report["scene"][name] == pytest.approx(value, rel=1e-9), name
    assert report["settings"]["mrae_epsilon"] == 1e-3
    assert report["settings"]["ssim_window"] == "gaussian, sigma 1.5, 11 x 11"


def test_envi_reference_is_compared_with_its_scale_given(tmp_path: Path) -> None:
    cube = np.round(smooth_cube(40, 50) * 4000) / 4000
    pred = write_cube(tmp_path / "pred.tif", cube.astype("f4"))
    centres = "wavelength = {" + ", ".join(map(repr, GRID.centres.tolist())) + "}"
    ref = write_envi(tmp_path / "ref", np.rint(cube * 4000).astype("u2"), centres)
    report = uavssr.evaluate(pred, ref, ref_scale="1/4000")
    assert report["scene"]["rmse"] < 1e-7


@pytest.mark.parametrize("wild", [-0.9999, 1e30, 77.0])
def test_pixels_that_are_no_reflectance_do_not_count(
    tmp_path: Path, pair: tuple[np.ndarray, np.ndarray], wild: float
) -> None:
    """In whichever cube they lie, unless uavssr has made it: then they are its errors."""
    estimate, reference = (cube[:, :40, :50].copy() for cube in pair)
    valid = np.ones((40, 50), bool)
    valid[:, :9] = valid[20, 30] = False
    ref = write_cube(tmp_path / "ref.tif", reference)
    expected = scored(estimate, reference, valid).scene["rmse"]
    estimate[:, ~valid] = wild
    report = uavssr.evaluate(write_cube(tmp_path / "pred.tif", estimate), ref)
    assert report["valid_pixels"] == valid.sum()
    assert report["scene"]["rmse"] == pytest.approx(expected, rel=1e-9)
    (warning,) = report["warnings"]
    assert warning.startswith("pred.tif: 361 of 2000 pixels are fill that no nodata tag names")
    own = write_cube(tmp_path / "own.tif", estimate, tags={"uavssr_model": "tiny"})
    assert uavssr.evaluate(own, ref, pred_scale=1)["scene"]["rmse"] > 0.1


def test_cubes_without_a_common_pixel_are_refused(tmp_path: Path) -> None:
    cube = smooth_cube(40, 50)
    left = np.zeros((40, 50), bool)
    left[:, :20] = True
    one = write_cube(tmp_path / "one.tif", cube, left)
    two = write_cube(tmp_path / "two.tif", cube, ~left)
    with pytest.raises(InputRefused, match="no pixel is valid both here and in"):
        uavssr.evaluate(one, two)


def write_stf_of(
    path: Path,
    *,
    sensor: Sensor = P4M,
    grid: WavelengthGrid = GRID,
    shift: float = 0.0,
    stretch: float = 1.0,
    gain: float = 1.0,
) -> Path:
    count = len(sensor)
    zeros, stf = np.zeros(count), sensor.srf(grid) * gain
    estimate = StfEstimate(
        stf=stf,
        stf_se=np.zeros_like(stf),
        centre=np.array([band.centre for band in sensor.bands]) + shift,
        fwhm=np.array([band.fwhm for band in sensor.bands]) * stretch,
        gain=np.full(count, gain),
        centre_se=zeros,
        fwhm_se=zeros,
        gain_se=zeros,
        condition=1.0,
        span_share=np.ones(count),
        prior_driven=np.zeros(count, bool),
        residual=zeros,
        valid_fraction=1.0,
    )
    stf = stf_arrays(
        sensor=sensor,
        grid=grid,
        nominal=sensor.srf(grid),
        scene=estimate,
        crs_wkt="",
        transform=tuple(TRANSFORM)[:6],
    )
    return write_stf(stf, path)


def test_stf_errors_are_those_put_in(tmp_path: Path, files: tuple[Path, Path]) -> None:
    true = write_stf_of(tmp_path / "true.stf.nc")
    est = write_stf_of(tmp_path / "est.stf.nc", shift=-1.5, stretch=1.1, gain=1.05)
    found = uavssr.evaluate(*files, stf=est, true_stf=true)["stf"]
    assert found["relative"] == pytest.approx(0.05)
    assert found["centre_nm"] == pytest.approx(1.5)
    assert found["fwhm_nm"] == pytest.approx(0.1 * np.mean([b.fwhm for b in P4M.bands]))
    assert found["gain_percent"] == pytest.approx(5)
    assert [row["band"] for row in found["per_band"]] == list(P4M.roles)
    assert found["per_band"][4]["fwhm_nm"] == pytest.approx(5.2)
    assert found["per_band"][4]["centre_nm"] == pytest.approx(-1.5)
    assert found["sensor"] == "p4m"


def test_bands_of_stfs_are_paired_by_name(tmp_path: Path, files: tuple[Path, Path]) -> None:
    turned = replace(P4M, bands=P4M.bands[::-1])
    one = write_stf_of(tmp_path / "one.stf.nc", sensor=turned)
    two = write_stf_of(tmp_path / "two.stf.nc")
    found = uavssr.evaluate(*files, stf=one, true_stf=two)["stf"]
    assert found["relative"] == found["centre_nm"] == 0


def test_stfs_that_do_not_match_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    true = write_stf_of(tmp_path / "true.stf.nc")
    other = write_stf_of(tmp_path / "m3m.stf.nc", sensor=SENSORS["m3m"])
    with pytest.raises(InputRefused, match=r"is of m3m \(green, nir, red, rededge\)"):
        uavssr.evaluate(*files, stf=other, true_stf=true)
    grid = WavelengthGrid.regular("x", 390, 1010, len(GRID))
    wide = write_stf_of(tmp_path / "wide.stf.nc", grid=grid)
    with pytest.raises(InputRefused, match="variable wavelength"):
        uavssr.evaluate(*files, stf=wide, true_stf=true)
    with pytest.raises(UsageError, match="go together"):
        uavssr.evaluate(*files, stf=true)


def test_command_prints_a_table_or_json(
    files: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stf = str(write_stf_of(tmp_path / "true.stf.nc"))
    given = ["evaluate", *map(str, files), "--stf", stf, "--true-stf", stf]
    assert cli.main([*given, "--json", "-q"]) == 0
    printed = capfd.readouterr()
    report = json.loads(printed.out)
    known = uavssr.evaluate(*files, stf=stf, true_stf=stf)
    assert {key: report[key] for key in known} == known
    assert report.keys() - known.keys() == {"bytes", "seconds", "versions"}
    assert cli.main([*given, "--per-band", "-q"]) == 0
    table = capfd.readouterr().out
    for text in (f"{report['scene']['rmse']:.5f}", "epsilon 0.001", "rededge", "1000"):
        assert text in table, text


def test_json_of_a_perfect_cube_is_json(
    files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(files[0]), str(files[0]), "--json"]) == 0

    def fail(name: str) -> None:
        raise AssertionError(name)

    report = json.loads(capfd.readouterr().out, parse_constant=fail)
    assert report["scene"]["psnr"] == "inf"
    assert "per_band" in report


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (["nowhere.tif"], 3, "no such file"),
        (["--stf", "x.stf.nc"], 2, "go together"),
        (["--epsilon", "0"], 2, "positive"),
    ],
)
def test_command_exits_with_the_code_of_the_fault(
    files: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
    change: list[str],
    code: int,
    fact: str,
) -> None:
    given = change if len(change) == 2 else []
    ref = str(files[1]) if given else change[0]
    assert cli.main(["evaluate", str(files[0]), ref, *given]) == code
    printed = capfd.readouterr()
    assert fact in printed.err
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_scorer_without_valid_pixels_counts_none() -> None:
    cube = smooth_cube(20, 20)
    scorer = CubeScorer(len(cube))
    window = Window(0, 0, 20, 20)
    scorer.add(cube, cube, np.zeros((20, 20), bool), core=window, read=window)
    assert scorer.scores().pixels == 0
