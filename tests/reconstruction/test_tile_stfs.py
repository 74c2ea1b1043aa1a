"""The tiles' own STFs: each from its own pixels alone, and none where they are not wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr

from tests.helpers.fakes import FakeSource, coordinate_image, irregular_mask, random_stf
from tests.helpers.models import GRID, P4M, tiny_msi, tiny_network
from tests.helpers.tile_stfs import fitted_stf, tile_stf_estimator
from uavssr import OutputOptions, ReconstructionOptions, plan_reconstruction
from uavssr.errors import UsageError
from uavssr.model import GAIN, LEVEL_SPREAD, ResponseFamily, SceneColours, relative_prior_se
from uavssr.model.weights import Model
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.reconstruction.tile_stfs import (
    TileStfEstimator,
    colours_as_numbers,
    colours_from_numbers,
)
from uavssr.tiling import TileGrid

FAMILY = ResponseFamily.of(P4M, GRID)
NETWORK = tiny_network().requires_grad_(False)
SCENE = random_stf(FAMILY, seed=1)
SIZE = (40, 50)


def scene() -> FakeSource:
    image = tiny_msi(P4M, *SIZE)[0].numpy()
    return FakeSource(image=image, sensor=P4M, mask=np.ones(SIZE, bool))


def numbers_of(
    valid: np.ndarray, *, beyond: float = 0.0, gain: float = 1.0, estimator: object = None
) -> dict[str, np.ndarray]:
    """A tile's STF in the scene, `beyond` off where it is not valid, one band's gain changed."""
    source = scene()
    msi = np.where(valid, source.image, source.image + np.float32(beyond))
    msi[3] *= gain
    coefficients = NETWORK(torch.from_numpy(msi)[None], SCENE, estimate_stf=False).coefficients
    own = estimator or tile_stf_estimator(NETWORK, SCENE, source)
    assert isinstance(own, TileStfEstimator)
    return own.numbers(msi, coefficients[0].numpy(), valid)


def test_tile_differs_from_the_scene_in_its_gains_alone() -> None:
    given, tile = fitted_stf(NETWORK, SCENE).numbers(), numbers_of(np.ones(SIZE, bool), gain=0.9)
    factor = tile["gain"] / given["gain"]
    assert factor.argmin() == 3
    assert np.allclose(tile["stf"], given["stf"] * factor[:, None])
    assert np.allclose(tile["theta"][:, GAIN] - given["theta"][:, GAIN], np.log(factor), atol=1e-6)
    for name in ("centre", "fwhm", "centre_se", "fwhm_se", "span_share"):
        assert np.array_equal(tile[name], given[name]), name
    assert (tile["gain_se"] > given["gain_se"] * factor).all()
    assert tile["common_gain_se"] == np.hypot(given["common_gain_se"], LEVEL_SPREAD)


def test_standard_errors_add_up() -> None:
    """Of the scene's, the drift's and the level's, relative to the gain."""
    given, tile = fitted_stf(NETWORK, SCENE).numbers(), numbers_of(np.zeros(SIZE, bool))
    own = relative_prior_se(len(P4M))
    for name in ("gain", "stf"):
        expected = np.sqrt(given[f"{name}_se"] ** 2 + (own**2 + LEVEL_SPREAD**2) * given[name] ** 2)
        assert np.allclose(tile[f"{name}_se"], expected)
        assert np.allclose(tile[name], given[name])
    assert tile["prior_driven"].all()


def test_pixels_that_are_not_valid_change_nothing() -> None:
    """Promise P5."""
    valid = irregular_mask(*SIZE, seed=3)
    one, other = numbers_of(valid), numbers_of(valid, beyond=0.3)
    for name in ("gain", "gain_se", "stf", "theta"):
        assert np.array_equal(one[name], other[name]), name


def test_residual_is_that_of_the_tiles_own_stf() -> None:
    valid, source = irregular_mask(*SIZE, seed=3), scene()
    estimator = tile_stf_estimator(NETWORK, SCENE, source)
    coefficients = NETWORK(torch.from_numpy(source.image)[None], SCENE, estimate_stf=False)
    tile = estimator.numbers(source.image, coefficients.coefficients[0].numpy(), valid)
    cube = NETWORK.basis.expand(coefficients.coefficients)[0].numpy()
    misfit = np.einsum("cw,wyx->cyx", tile["stf"], cube) - source.image
    assert np.allclose(tile["residual"], np.sqrt((misfit[:, valid] ** 2).mean(1)), rtol=1e-3)


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_stf_of_a_tile_is_the_same_to_the_bit_in_any_batch(batch: int) -> None:
    size = (48, 96)
    mask = irregular_mask(*size, seed=1)
    source = FakeSource(image=coordinate_image(len(P4M), *size), sensor=P4M, mask=mask)
    engine = TileEngine(
        network=NETWORK,
        source=source,
        tiles=TileGrid(height=size[0], width=size[1], tile=16, halo=NETWORK.halo()),
        scene_stf=SCENE,
        device=torch.device("cpu"),
        tile_stf=tile_stf_estimator(NETWORK, SCENE, source),
    )
    many = replace(engine, batch=batch)
    for group in many.groups():
        for record in many.compute(many.read(group)[::-1]):
            alone = engine.record(record.index).stf
            for name in ("theta", "deviation", "stf", "stf_se", "gain", "gain_se"):
                assert (name in alone) == (name in record.stf)
                assert np.array_equal(record.stf.get(name, 0), alone.get(name, 0)), name


def test_colours_come_back_from_their_numbers() -> None:
    colours = SceneColours.fit(torch.rand(200, 4, generator=torch.Generator().manual_seed(0)))
    again = colours_from_numbers(colours_as_numbers(colours))
    assert again is not None
    for name in ("weight", "mean", "precision", "gradient"):
        assert torch.equal(getattr(colours, name), getattr(again, name))
    assert colours_from_numbers({}) is None


def test_tile_stf_off_leaves_out_the_tiles_stfs(tmp_path: Path, model: Model) -> None:
    """The cube is the same to the bit, and the STF file holds the scene's STF."""
    cubes = []
    for tile_stf in ("on", "off"):
        options = ReconstructionOptions(model=model, tile=32, workers=1, tile_stf=tile_stf)
        plan = plan_reconstruction(scene(), options)
        outputs = plan.write(OutputOptions(cube=tmp_path / f"{tile_stf}.tif", dtype="float32"))
        with xr.open_dataset(outputs.stf, engine="h5netcdf") as stf:
            assert stf.sizes["tile"] == (4 if tile_stf == "on" else 0)
            assert np.isfinite(stf["scene_gain"]).all()
        assert (outputs.tiles is not None) == (tile_stf == "on")
        cubes.append(rasterio_read(outputs.cube))
    assert np.array_equal(*cubes, equal_nan=True)
    assert not (tmp_path / "off.tiles.gpkg").exists()
    assert plan.stf().sizes["tile"] == 0


def rasterio_read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"tile_stf": "no"}, "--tile-stf must be on or off, got 'no'"),
        ({"tile_stf": "off", "stf_scope": "tile"}, "which --tile-stf off leaves out; choose one"),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, str], fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        ReconstructionOptions(**options)
