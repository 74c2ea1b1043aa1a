"""Validation images: real ones if there are any, away from training, the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.grounds import write_field_cube, write_image
from tests.helpers.models import GRID, P4M, tiny_library, tiny_network
from tests.helpers.plots import seen_plots, write_npz
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig
from uavssr.data.random_cameras import MAX_BAND_SHIFT
from uavssr.data.training_data import TrainingData, load_data
from uavssr.errors import InputRefused
from uavssr.evaluation import validation
from uavssr.evaluation.metrics import rmse, sam
from uavssr.evaluation.plots import blind_plot_stf, plot_errors
from uavssr.evaluation.ridge import fit_ridge, regress
from uavssr.evaluation.validation import (
    ImageErrors,
    mean_ratio_to_ridge,
    validate,
    validation_images,
)
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Stf
from uavssr.sensors import SENSORS, WavelengthGrid
from uavssr.spectra import read_plot_table

SIZE = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif", side=96)
    write_field_cube(folder / "cube", side=96)
    write_field_cube(folder / "other", side=96, east=600000.0)
    path = folder / "pairs.csv"
    path.write_text("msi,hsi,sensor\nmsi.tif,cube,p4m\n,other,sequoia\n")
    manifest = read_manifest(path)
    return load_data(folder / "run", manifest, DataConfig(guard=2), size=SIZE, seed=0)


def test_images_of_pairs_are_real_and_lie_where_nothing_trains(data: TrainingData) -> None:
    pair, cube = validation_images(data, seed=0, size=SIZE)
    assert (pair.name, cube.name) == ("line 2: msi.tif, cube", "line 3: other")
    assert (pair.sensor, cube.sensor) == (P4M, SENSORS["sequoia"])
    field = data.splits[0]
    inner = slice(MAX_BAND_SHIFT, -MAX_BAND_SHIFT)
    apart = field.patches.images(field.validate)[:, :, inner, inner]
    cubes = field.patches.cubes(field.validate)[:, :, inner, inner]
    for msi, hsi in zip(pair.msi.numpy(), pair.hsi.numpy(), strict=True):
        at = np.flatnonzero((apart == msi).all((1, 2, 3)))
        assert at.size == 1
        np.testing.assert_array_equal(cubes[at[0]], hsi)
    assert cube.msi.shape == (len(cube.hsi), 4, SIZE, SIZE)
    assert len(pair.msi) <= validation.PATCHES_PER_IMAGE


def test_simulated_images_have_one_camera_and_stay_the_same(data: TrainingData) -> None:
    one, again, other = (validation_images(data, seed=s, size=SIZE)[1] for s in (0, 0, 1))
    assert torch.equal(one.msi, again.msi)
    assert (one.ridge_rmse, one.ridge_sam) == (again.ridge_rmse, again.ridge_sam)
    assert not torch.equal(one.msi, other.msi)
    images = one.msi.transpose(0, 1).flatten(1).numpy().astype(float)
    spectra = one.hsi.transpose(0, 1).flatten(1).numpy().astype(float)
    rows = np.linalg.lstsq(spectra.T, images.T, rcond=1e-3)[0].T  # one camera explains them all
    assert np.abs(rows @ spectra - images).mean() < 0.05 * images.mean()


def test_ridge_of_a_real_image_is_trained_on_the_training_pairs(data: TrainingData) -> None:
    pair, _ = validation_images(data, seed=0, size=SIZE)
    (field,) = data.pairs
    chosen = np.random.default_rng([0, 71]).permutation(field.train)[:65]
    ridge = regress(field.patches.images(chosen), field.patches.cubes(chosen))
    msi, hsi = (each.transpose(0, 1).flatten(1).numpy() for each in (pair.msi, pair.hsi))
    assert pair.ridge_rmse == pytest.approx(rmse(ridge(msi), hsi), rel=1e-6)
    assert pair.ridge_sam == pytest.approx(sam(ridge(msi), hsi), rel=1e-6)
    assert pair.ridge_rmse < 0.5 * hsi.std()


def test_a_library_alone_is_validated_on_new_scenes() -> None:
    data = TrainingData.of(tiny_library())
    images = validation_images(data, seed=0, size=12)
    assert [each.name for each in images] == [f"simulated {k}" for k in range(1, 7)]
    assert all(each.sensor == P4M for each in images)
    assert all(each.hsi.shape == (1, 40, 12, 12) for each in images)
    assert all(0 < each.ridge_rmse < each.hsi.std() for each in images)


def test_no_validation_data_give_no_images(data: TrainingData) -> None:
    splits = tuple(replace(f, validate=f.validate[:0]) for f in data.splits)
    assert validation_images(replace(data, splits=splits), seed=0, size=SIZE) == []


def test_a_camera_outside_the_grid_is_passed_over() -> None:
    assert validation._first_camera(GRID) == P4M
    visible = WavelengthGrid.regular("visible", 380, 720, 40)
    assert validation._first_camera(visible) == SENSORS["rgb"]
    with pytest.raises(InputRefused, match="no known camera has all its bands within short"):
        validation._first_camera(WavelengthGrid.regular("short", 400, 450, 40))


def test_figures_are_those_of_the_blind_reconstruction(data: TrainingData) -> None:
    network = tiny_network()
    assert data.grid.matches(network.grid)
    images = validation_images(data, seed=0, size=SIZE)
    found = validate(network, images)
    for image, each in zip(images, found, strict=True):
        start = Stf.from_prior(ResponseFamily.of(image.sensor, data.grid))
        with torch.no_grad():
            result = network(image.msi, start, estimate_stf=True)
            cube = network.basis.expand(result.coefficients)
        estimate, truth = (m.transpose(0, 1).flatten(1).numpy() for m in (cube, image.hsi))
        assert each.image == image.name
        assert each.rmse == pytest.approx(rmse(estimate, truth), rel=1e-5)
        assert each.sam == pytest.approx(sam(estimate, truth), rel=1e-4)
        assert (each.ridge_rmse, each.ridge_sam) == (image.ridge_rmse, image.ridge_sam)


def test_the_figure_to_choose_by_is_the_mean_ratio_to_ridge() -> None:
    one = ImageErrors(image="a", rmse=0.1, sam=1.0, ridge_rmse=0.2, ridge_sam=1.0)
    two = replace(one, rmse=0.3, ridge_rmse=0.2)
    assert mean_ratio_to_ridge([one, two]) == pytest.approx(1.0)
    assert mean_ratio_to_ridge([one]) == pytest.approx(0.5)


def test_regression_recovers_known_weights() -> None:
    """`regress` finds the weights that made the spectra."""
    library = tiny_library()
    fitted = fit_ridge(library, P4M, seed=0, scenes=10, size=8)
    rng = np.random.default_rng(0)
    cubes = rng.uniform(0, 0.5, (4, 40, 6, 6)).astype("f4")
    weights = rng.normal(size=(40, 5)) / 40
    images = np.einsum("cb,nbyx->ncyx", P4M.srf(GRID), cubes).astype("f4")
    targets = np.einsum("bc,ncyx->nbyx", weights, images).astype("f4")
    found = regress(images, targets)
    assert fitted.weights.shape == found.weights.shape == (40, 6)
    np.testing.assert_allclose(found.weights[:, :-1], weights, atol=1e-3)


def test_plots_are_validated_each_as_ground_of_its_own(tmp_path: Path) -> None:
    write_npz(tmp_path / "plots.npz", seen_plots(count=8))
    (tmp_path / "pairs.csv").write_text("hsi,kind,sensor\nplots.npz,plots,p4m\n")
    manifest = read_manifest(tmp_path / "pairs.csv")
    data = load_data(
        tmp_path / "run",
        manifest,
        DataConfig(patches=30, accept=("ratio", "correlation")),
        size=20,
        seed=0,
    )
    (image,) = validation_images(data, seed=0, size=20)
    assert image.msi.shape == (8, 5, 1, 1)
    table = read_plot_table(tmp_path / "plots.npz", P4M).of(image.name.rsplit(" ", 1)[-1])
    spectra, seen = image.hsi[..., 0, 0].numpy(), image.msi[..., 0, 0].numpy()
    plot = np.abs(spectra[:, None] - table.spectra).max(2).argmin(1)
    assert sorted(plot) == list(range(8))
    np.testing.assert_allclose(seen, table.msi[plot], rtol=0.02, atol=0.002)
    network = tiny_network()
    together = validate(network, [image])[0].rmse
    stf = blind_plot_stf(network, P4M, seen.astype(float))
    assert together == pytest.approx(plot_errors(network, stf, table).rmse, rel=0.05)
