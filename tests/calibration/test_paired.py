"""Paired calibration: what known spectra tell of a camera, and that the product holds it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import uavssr
from tests.helpers.models import GRID, P4M, tiny_library, tiny_model, tiny_network
from tests.helpers.rasters import TRANSFORM, write
from uavssr.calibration.band_coverage import covered_bands, on_grid
from uavssr.calibration.paired import COMMON_WIDTHS, Calibration, calibrate, calibrate_scene
from uavssr.calibration.references import Reference
from uavssr.data.random_cameras import RandomCameras, draw_cameras, observe
from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.metrics import rmse
from uavssr.io.msi.source import MsiSource, open_msi
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate, write_stf
from uavssr.model.response import GAIN, SHIFT, ResponseFamily
from uavssr.model.state import Stf
from uavssr.reconstruction.stf_estimates import stf_from_estimate

NETWORK = tiny_network(asleep=True)
FAMILY = ResponseFamily.of(P4M, GRID)
SPECTRA = tiny_library().spectra.astype(float)


def camera(seed: int = 0) -> RandomCameras:
    rng = np.random.default_rng(seed)
    return draw_cameras(rng, [P4M], GRID)


def calibrated(seed: int = 0, *, noise: float = 0.001) -> tuple[Calibration, RandomCameras]:
    taken = camera(seed)
    seen = SPECTRA @ taken.rows[0].T.astype(float)
    seen = seen + noise * np.random.default_rng(seed).normal(size=seen.shape)
    return calibrate(FAMILY, SPECTRA, seen, basis=NETWORK.basis), taken


def test_centres_and_gains_of_random_cameras_are_found() -> None:
    errors = np.stack(
        [
            found.stf.theta[0].numpy() - taken.theta[0]
            for found, taken in (calibrated(seed) for seed in range(4))
        ]
    )
    assert np.abs(errors[..., SHIFT]).mean() < 1.0
    assert np.abs(errors[..., GAIN]).mean() < 0.005


def scene_of_the_prior(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A cube (C, y, x) drawn from the tiny network's mixture, on which it is the best there is."""
    mixture, basis = NETWORK.mixture, NETWORK.basis
    weight = mixture.weight.double().numpy()
    chosen = rng.choice(len(weight), height * width, p=weight / weight.sum())
    roots = np.linalg.cholesky(mixture.covariance.double().numpy())
    drawn = rng.normal(size=(height * width, basis.rank))
    coefficients = mixture.mean.numpy()[chosen] + np.einsum("nij,nj->ni", roots[chosen], drawn)
    spectra = basis.mean.numpy()[:, None] + basis.components.numpy() @ coefficients.T
    return spectra.reshape(-1, height, width).astype("f4")


def test_calibrated_stf_closes_the_gap_to_the_true_one_on_pixels_it_has_not_seen() -> None:
    taken, rng = camera(1), np.random.default_rng(0)
    cube = scene_of_the_prior(rng, 32, 32)
    image = observe(rng, cube[None], taken.rows, snr_db=(40, 40))
    flat, seen = cube.reshape(len(cube), -1), image[0].reshape(len(P4M), -1)
    chosen = rng.choice(flat.shape[1], 50, replace=False)
    held_out = np.setdiff1d(np.arange(flat.shape[1]), chosen)
    found = calibrate(FAMILY, flat[:, chosen].T, seen[:, chosen].T, basis=NETWORK.basis)
    truth = Stf.of(
        FAMILY,
        torch.from_numpy(taken.theta),
        torch.zeros_like(FAMILY.spread),
        rows=torch.from_numpy(taken.rows),
    )

    @torch.inference_mode()
    def error(stf: Stf) -> float:
        result = NETWORK(torch.from_numpy(image), stf, estimate_stf=False)
        spectra = NETWORK.basis.expand(result.coefficients)[0].flatten(1).numpy()
        return rmse(spectra[:, held_out], flat[:, held_out])

    sheet, best = error(Stf.from_prior(FAMILY)), error(truth)
    assert sheet > 1.2 * best
    assert (sheet - error(found.stf)) / (sheet - best) > 0.9


def test_numbers_are_those_of_the_stf() -> None:
    found, _ = calibrated()
    numbers, stf = found.estimate, found.stf
    theta, deviation = stf.theta[0].double().numpy(), stf.theta_se[0].double().numpy()
    assert np.allclose(numbers.centre - [b.centre for b in P4M.bands], theta[:, SHIFT], atol=1e-4)
    assert np.allclose(numbers.centre_se, deviation[:, SHIFT], rtol=1e-5)
    assert np.allclose(np.log(numbers.gain), theta[:, GAIN], atol=1e-5)
    assert np.allclose(numbers.stf, stf.rows[0], atol=1e-7)
    assert np.allclose(numbers.stf.sum(1), numbers.gain, rtol=1e-4)
    assert not numbers.prior_driven.any()


def test_standard_errors_of_the_response_are_those_of_the_joint_posterior() -> None:
    """A scene's brightness fixes sums of the response far better than its single elements."""
    found, _ = calibrated()
    independent = np.sqrt((found.estimate.stf_se**2).sum(1))
    assert (found.estimate.gain_se < 0.5 * independent).all()
    assert (found.estimate.stf_se > 0).all()


def test_residual_is_the_misfit_of_the_response_that_is_written() -> None:
    taken = camera(2)
    seen = SPECTRA @ taken.rows[0].T.astype(float)
    found = calibrate(FAMILY, SPECTRA, seen, basis=NETWORK.basis)
    expected = np.sqrt(((seen - SPECTRA @ found.estimate.stf.T) ** 2).mean(0))
    assert np.allclose(found.estimate.residual, expected, rtol=1e-3, atol=1e-7)


def test_bands_without_information_learn_the_common_factor_alone() -> None:
    seen = 0.7 * SPECTRA @ camera().rows[0].T.astype(float)
    covered = [True, True, True, True, False]
    found = calibrate(FAMILY, SPECTRA, seen, basis=NETWORK.basis, covered=covered)
    assert found.estimate.prior_driven.tolist() == [False, False, False, False, True]
    assert not found.stf.theta[0, 4, :GAIN].any()
    assert np.allclose(found.stf.theta_se[0, 4, :GAIN], FAMILY.spread[0, 4, :GAIN])
    assert not found.fit.has_offset[4]
    # the gain is that of joint Gaussians of all bands, one for each width, given the four
    own, common = FAMILY.spread[0, :, GAIN].double().numpy() ** 2, float(FAMILY.common[0]) ** 2
    mean, variance = (
        part[0, :4, GAIN].double().numpy() for part in (found.stf.theta, found.stf.theta_se**2)
    )
    error = 1 / (1 / variance - 1 / (common + own[:4]))
    given, moments = mean * error / variance, []
    for width in COMMON_WIDTHS:
        prior = common * width**2 + np.diag(own)
        system = prior[:4, :4] + np.diag(error)
        gain = prior[4, :4] @ np.linalg.inv(system)
        likelihood = multivariate_normal(cov=system).pdf(given)
        moments.append((likelihood, gain @ given, prior[4, 4] - gain @ prior[:4, 4]))
    likelihood, means, variances = np.array(moments).T
    mean, square = (np.average(part, weights=likelihood) for part in (means, variances + means**2))
    assert np.isclose(found.stf.theta[0, 4, GAIN], mean, rtol=1e-4)
    assert np.isclose(found.stf.theta_se[0, 4, GAIN] ** 2, square - mean**2, rtol=1e-3)
    assert abs(float(found.stf.theta[0, 4, GAIN]) - np.log(0.7)) < 0.2


def test_a_small_common_factor_may_be_chance_and_a_large_one_is_none() -> None:
    """Three gains that agree by chance move the others less than their mean."""
    covered, moved = [True, True, True, False, False], []
    for factor in (1.04, 1.4):
        seen = factor * SPECTRA @ FAMILY.rows(FAMILY.prior)[0].double().numpy().T
        found = calibrate(FAMILY, SPECTRA, seen, basis=NETWORK.basis, covered=covered).stf
        moved.append(float(found.theta[0, 4, GAIN] / found.theta[0, :3, GAIN].mean()))
    assert moved[0] < 0.75
    assert moved[1] > 0.9


def test_flat_panels_tell_gains_and_leave_centres_at_the_data_sheet() -> None:
    taken = camera(3)
    panels = np.repeat([[0.05], [0.2], [0.4], [0.7]], len(GRID), axis=1)
    seen = panels @ taken.rows[0].T.astype(float)
    found = calibrate(FAMILY, panels, seen, basis=NETWORK.basis)
    assert np.abs(found.stf.theta[0, :, GAIN].numpy() - taken.theta[0, :, GAIN]).max() < 0.005
    assert np.allclose(found.stf.theta[0, :, SHIFT], 0, atol=0.02)
    assert np.allclose(found.stf.theta_se[0, :, SHIFT], FAMILY.spread[0, :, SHIFT], rtol=1e-3)


def test_one_panel_is_believed_though_the_prior_expects_another_gain() -> None:
    family = replace(FAMILY, common=torch.full((1,), 0.08), spread=FAMILY.spread.clone())
    family.spread[..., GAIN] = 0.045
    panel = np.full((1, len(GRID)), 0.5)
    seen = panel @ family.rows(family.prior)[0].numpy().T.astype(float) * np.exp(-0.28)
    found = calibrate(family, panel, seen, basis=NETWORK.basis).stf
    np.testing.assert_allclose(found.theta[0, :, GAIN], -0.28, atol=0.03)


def test_haze_is_told_of() -> None:
    seen = SPECTRA @ camera(4).rows[0].T.astype(float)
    seen = seen + 0.0005 * np.random.default_rng(0).normal(size=seen.shape)
    seen[:, 0] += 0.02
    found = calibrate(FAMILY, SPECTRA, seen, basis=NETWORK.basis)
    assert found.fit.has_offset.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("spectra", "msi"), [((0, 40), (0, 5)), ((3, 40), (4, 5)), ((40,), (40, 5))]
)
def test_arrays_that_do_not_go_together_are_refused(
    spectra: tuple[int, ...], msi: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="do not go with"):
        calibrate(FAMILY, np.zeros(spectra), np.zeros(msi), basis=NETWORK.basis)


# --- wavelengths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nm", "expected"),
    [
        (np.arange(400, 1001, 10.0), "blue green red rededge nir"),
        (np.arange(400, 801, 10.0), "blue green red rededge"),
        (np.arange(500, 1001, 5.0), "green red rededge nir"),
        (np.arange(400, 1001, 40.0), "nir"),  # 52 nm wide; the others fall between two readings
        (np.arange(1100, 2500, 10.0), ""),
    ],
)
def test_bands_are_covered_where_the_reference_has_wavelengths(
    nm: np.ndarray, expected: str
) -> None:
    covered = covered_bands(P4M, nm)
    assert " ".join(np.array(P4M.roles)[covered]) == expected


def test_gap_in_the_wavelengths_costs_the_band_in_it_only() -> None:
    nm = np.concatenate([np.arange(400, 640, 5.0), np.arange(680, 1001, 5.0)])
    assert covered_bands(P4M, nm).tolist() == [True, True, False, True, True]


def test_spectra_are_interpolated_onto_the_grid() -> None:
    nm = np.arange(390, 1011, 7.0)
    slopes = np.array([[0.1], [0.5]])
    found = on_grid(0.1 + slopes * (nm - 390) / 600, nm, NETWORK.basis)
    assert np.allclose(found, 0.1 + slopes * (GRID.centres - 390) / 600, atol=1e-5)


def test_missing_ends_are_completed_as_the_basis_has_it() -> None:
    basis = NETWORK.basis
    rng = np.random.default_rng(0)
    inside = (basis.mean + torch.tensor(rng.normal(size=(20, basis.rank))).float() @ (
        basis.components.T
    )).numpy()  # fmt: skip
    kept = GRID.centres < 905
    found = on_grid(inside[:, kept].astype(float), GRID.centres[kept], basis)
    assert np.allclose(found[:, kept], inside[:, kept], atol=1e-6)
    missed = np.abs(found - inside)[:, ~kept].mean()
    held = np.abs(inside[:, kept][:, -1:] - inside)[:, ~kept].mean()
    assert missed < 0.3 * held


# --- scenes --------------------------------------------------------------------------------------


@pytest.fixture
def msi(tmp_path: Path) -> MsiSource:
    image = np.full((5, 8, 8), 0.3, "f4")
    return open_msi(write(tmp_path / "field.tif", image, tags={"sensor": "p4m"}))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", network=NETWORK)


def reference(path: Path, *, nm: np.ndarray = GRID.centres, **changes: object) -> Reference:
    path.write_text("x", encoding="utf-8")
    seen = SPECTRA @ camera().rows[0].T.astype(float)
    fields: dict[str, object] = {
        "path": path,
        "kind": "spectra",
        "nm": nm,
        "spectra": np.stack([np.interp(nm, GRID.centres, each) for each in SPECTRA]),
        "msi": seen,
        "patterns": np.zeros((*seen.shape, 0)),
        "places": np.full((len(seen), 2), np.nan),
        "facts": {},
        "skipped": {},
        "warnings": (),
    }
    return Reference(**(fields | changes))  # type: ignore[arg-type]


def test_product_goes_through_a_file_and_into_the_network_unchanged(
    tmp_path: Path, msi: MsiSource, model: Path
) -> None:
    loaded = uavssr.load_model(model)
    found = calibrate_scene(msi, reference(tmp_path / "spectra.csv"), model=loaded)
    path = write_stf(found.dataset, tmp_path / "out.stf.nc")
    back = scene_estimate(read_stf(path, sensor=P4M, grid=loaded.grid))
    held = stf_from_estimate(loaded.network, P4M, back, device=torch.device("cpu"))
    seen = SPECTRA @ camera().rows[0].T.astype(float)
    direct = calibrate(ResponseFamily.of(P4M, loaded.grid), SPECTRA, seen, basis=NETWORK.basis)
    assert np.allclose(held.rows, direct.stf.rows, atol=1e-6)
    assert np.allclose(held.theta, direct.stf.theta, atol=1e-4)
    assert np.allclose(held.theta_se, direct.stf.theta_se, rtol=1e-4)
    assert "tile" not in found.dataset.sizes


def test_product_holds_the_ground_that_a_cube_learns_from(
    tmp_path: Path, msi: MsiSource, model: Path
) -> None:
    loaded, given = uavssr.load_model(model), reference(tmp_path / "spectra.csv")
    spoiled = given.msi.copy()
    spoiled[::9] *= 3  # moved, or in the shade: the fit leaves them out
    found = calibrate_scene(msi, reference(tmp_path / "spectra.csv", msi=spoiled), model=loaded)
    ground = reference_pixels_of(found.dataset)
    assert ground is not None
    kept = np.setdiff1d(np.arange(len(SPECTRA)), np.arange(0, len(SPECTRA), 9))
    assert len(ground.msi) <= len(kept)
    assert len(ground.msi) > 0.8 * len(kept)
    nearest = np.abs(ground.msi[:, None] - given.msi[None]).sum(-1).argmin(1)
    assert set(nearest) <= set(kept)
    assert np.allclose(ground.spectra, SPECTRA[nearest], atol=2e-3)


@pytest.mark.parametrize(
    "changes", [{"kind": "panels"}, {"nm": np.arange(400, 801, 10.0)}], ids=["panels", "short"]
)
def test_what_is_not_ground_or_not_whole_corrects_no_cube(
    tmp_path: Path, msi: MsiSource, model: Path, changes: dict[str, object]
) -> None:
    found = calibrate_scene(msi, reference(tmp_path / "some.csv", **changes), model=model)
    assert reference_pixels_of(found.dataset) is None


def test_product_says_where_it_is_from(tmp_path: Path, msi: MsiSource, model: Path) -> None:
    given = reference(tmp_path / "spectra.csv", skipped={"outside the image": 5})
    found = calibrate_scene(msi, given, model=model)
    attributes = found.dataset.attrs
    count = len(SPECTRA)
    assert attributes["uavssr_reference"] == "spectra.csv (1 bytes)"
    assert attributes["uavssr_reference_kind"] == "spectra"
    assert attributes["uavssr_reference_used"] == f"{count} of {count + 5}"
    assert attributes["uavssr_model"] == "tiny"
    assert attributes["uavssr_input"].startswith("field.tif (")
    assert float(found.dataset["scene_valid_fraction"]) == pytest.approx(count / (count + 5))
    assert found.warnings == ("left out of spectra.csv: 5 outside the image",)


def test_bands_that_the_reference_lacks_are_told(
    tmp_path: Path, msi: MsiSource, model: Path
) -> None:
    given = reference(tmp_path / "short.csv", nm=np.arange(400, 801, 10.0))
    found = calibrate_scene(msi, given, model=model)
    assert found.warnings == (
        "short.csv does not cover nir: estimated from the image, with the others known",
    )
    assert found.dataset["scene_prior_driven"].values.tolist() == [0, 0, 0, 0, 1]


def test_reference_of_other_wavelengths_altogether_is_refused(
    tmp_path: Path, msi: MsiSource, model: Path
) -> None:
    given = reference(tmp_path / "swir.csv", nm=np.arange(1100, 2500, 10.0))
    with pytest.raises(InputRefused, match="cover no band of p4m"):
        calibrate_scene(msi, given, model=model)


def test_places_that_cannot_be_reflectance_do_not_count(
    tmp_path: Path, msi: MsiSource, model: Path
) -> None:
    given = reference(tmp_path / "glint.csv")
    spoiled = given.msi.copy()
    spoiled[:7] = 40.0
    found = calibrate_scene(msi, reference(tmp_path / "glint.csv", msi=spoiled), model=model)
    clean = calibrate_scene(
        msi,
        reference(
            tmp_path / "glint.csv",
            msi=given.msi[7:],
            spectra=given.spectra[7:],
            patterns=given.patterns[7:],
            places=given.places[7:],
        ),
        model=model,
    )
    assert found.used == len(SPECTRA) - 7
    assert found.warnings == ("left out of glint.csv: 7 implausible in the image",)
    assert np.array_equal(found.dataset["scene_stf"], clean.dataset["scene_stf"])
    with pytest.raises(InputRefused, match="none of its"):
        calibrate_scene(msi, reference(tmp_path / "glint.csv", msi=given.msi + 90.0), model=model)


def test_public_call_reads_a_table(tmp_path: Path, msi: MsiSource, model: Path) -> None:
    x, y = TRANSFORM * (2.5, 2.5)
    panel = tmp_path / "panel.csv"
    panel.write_text(f"x,y,reflectance\n{x},{y},25\n", encoding="utf-8")
    found = uavssr.calibrate_stf(msi, reference=panel, reference_scale="1/100", model=model)
    # The image is 0.3 everywhere: a gain of 1.2, of which the prior's 8 % takes a part.
    assert (found["scene_gain"] > 1.05).all()
    assert (found["scene_gain"] < 1.2).all()


def test_reference_that_does_not_fit_is_told(tmp_path: Path, msi: MsiSource, model: Path) -> None:
    """Of another scale, of another place altogether, or some of whose places are."""
    path, given = tmp_path / "moved.csv", reference(tmp_path / "moved.csv")

    def warnings_of(seen: np.ndarray) -> tuple[str, ...]:
        return calibrate_scene(msi, reference(path, msi=seen), model=model).warnings

    assert warnings_of(given.msi) == ()
    brighter = warnings_of(given.msi * 3)
    assert any("times as bright as expected: check" in warning for warning in brighter)
    elsewhere = warnings_of(np.random.default_rng(0).permutation(given.msi))
    assert any("off what the image shows: check coord" in warning for warning in elsewhere)
    spoiled = given.msi.copy()
    spoiled[::4] /= 2
    count = f"{len(spoiled[::4])} of {len(spoiled)} places of moved.csv do not fit the others"
    assert any(count in warning for warning in warnings_of(spoiled))
