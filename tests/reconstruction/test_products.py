"""Coefficients become the numbers that `quantise` would have made of the cube."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.models import GRID, expected_stf, tiny_network
from uavssr.errors import IncompleteRun
from uavssr.io.writers.encoding import NODATA, quantise
from uavssr.io.writers.tile_record import TileRecord
from uavssr.model.basis import SpectralBasis
from uavssr.reconstruction.products import CubeRender, ErrorRender, Product
from uavssr.tiling import Window

BASIS = tiny_network().basis


def coefficients(height: int, width: int, *, seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(BASIS.rank, height, width))).astype("f4")


def exact(basis: SpectralBasis, maps: np.ndarray) -> np.ndarray:
    """X = mean + E A in float64."""
    mean, components = basis.mean.double().numpy(), basis.components.double().numpy()
    return np.einsum("cr,ryx->cyx", components, maps.astype(float)) + mean[:, None, None]


@settings(max_examples=50)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 99),
    st.sampled_from([0.3, 3.0, 300.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_counts_are_those_of_the_exact_cube(
    height: int, width: int, seed: int, scale: float, share: float
) -> None:
    """Clipped at both ends, nodata where invalid, and off by one only at the half."""
    maps = coefficients(height, width, seed=seed, scale=scale)
    valid = np.random.default_rng(seed).random((height, width)) >= share
    found = CubeRender(basis=BASIS, dtype="uint16")(maps, valid)
    cube = exact(BASIS, maps)
    expected = quantise(cube.astype("f4"), valid)
    assert found.dtype == np.uint16
    assert found.shape == expected.shape
    assert np.array_equal(found == NODATA, np.broadcast_to(~valid, found.shape))
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    counts = cube * 1e4
    at_half = np.abs(counts - np.floor(counts) - 0.5) < 1e-6 * np.abs(counts).max() + 1e-3
    assert not difference[~at_half].any()


def test_float32_is_reflectance_and_nan() -> None:
    maps, valid = coefficients(9, 11, seed=0), np.random.default_rng(0).random((9, 11)) > 0.2
    found = CubeRender(basis=BASIS, dtype="float32")(maps, valid)
    assert found.dtype == np.float32
    assert np.array_equal(np.isnan(found), np.broadcast_to(~valid, found.shape))
    assert np.abs(found - exact(BASIS, maps))[:, valid].max() < 1e-6


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_chosen_wavelengths_are_rows_of_the_whole(dtype: str) -> None:
    maps, valid = coefficients(9, 11, seed=1), np.ones((9, 11), bool)
    whole = CubeRender(basis=BASIS, dtype=dtype)(maps, valid)
    chosen = [0, 3, 17, len(GRID) - 1]
    part = CubeRender(basis=BASIS, dtype=dtype, bands=chosen)(maps, valid)
    assert np.allclose(part, whole[chosen], rtol=0, atol=1e-6 if dtype == "float32" else 1)


def test_numbers_do_not_depend_on_how_the_maps_lie_in_memory() -> None:
    """Else a tile from the journal could differ from the one that was computed."""
    maps, valid = coefficients(31, 33, seed=2), np.ones((31, 33), bool)
    render = CubeRender(basis=BASIS, dtype="float32")
    expected = render(maps, valid)
    shifted = np.empty(maps.size + 1, "f4")[1:].reshape(maps.shape)
    shifted[...] = maps
    for other in (np.asfortranarray(maps), shifted, maps[:, ::-1][:, ::-1]):
        assert np.array_equal(render(other, valid), expected)


@pytest.mark.parametrize("value", [1e38, np.inf, np.nan])
def test_numbers_beyond_all_reflectance_are_refused(value: float) -> None:
    """Promise P5: valid pixels are finite."""
    maps = coefficients(3, 3, seed=0)
    maps[0, 1, 1] = value
    with pytest.raises(IncompleteRun, match="are no reflectance"):
        CubeRender(basis=BASIS, dtype="uint16")(maps, np.ones((3, 3), bool))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("bands", [None, [3, 20]])
def test_standard_errors_are_those_of_the_whole_cube_as_it_is_stored(
    dtype: str, bands: list[int] | None
) -> None:
    uncertainty = tiny_network().cube_uncertainty(expected_stf())
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 0.02, (uncertainty.expansion.shape[1] + 1, 40, 50)).astype("f4")
    valid = rng.random((40, 50)) > 0.2
    found = ErrorRender(uncertainty=uncertainty, dtype=dtype, bands=bands)(maps, valid)
    whole = uncertainty.expand(torch.from_numpy(maps[:-1])).numpy()
    expected = quantise(whole if bands is None else whole[bands], valid, dtype=dtype)
    assert found.dtype == expected.dtype
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found[:, valid], expected[:, valid], rtol=1e-6)
    maps[0, ~valid] = np.nan  # what is invalid does not matter
    ErrorRender(uncertainty=uncertainty, dtype=dtype, bands=bands)(maps, valid)
    maps[0, valid] = np.inf
    with pytest.raises(IncompleteRun, match="variances of inf are no reflectance"):
        ErrorRender(uncertainty=uncertainty, dtype=dtype, bands=bands)(maps, valid)


class CubeSink:
    """Notes what it is given."""

    path, takes, bands, dtype, needed_bytes = Path("a"), "cube", 2, "uint16", 0

    def __init__(self) -> None:
        self.given: list[tuple[str, Window, np.ndarray]] = []

    def write(self, window: Window, array: np.ndarray, valid: np.ndarray) -> None:
        assert valid.shape == array.shape[1:]
        self.given.append(("write", window, array))

    def write_quantised(self, window: Window, array: np.ndarray) -> None:
        self.given.append(("write_quantised", window, array))


def test_product_takes_its_own_maps_and_leaves_out_empty_tiles() -> None:
    window, valid = Window(0, 0, 2, 2), np.ones((2, 2), bool)
    maps = {"coefficients": np.zeros((3, 2, 2), "f4"), "sigma": np.ones((1, 2, 2), "f4")}
    record = TileRecord(index=0, valid=valid, maps=maps)
    plain, rendered = CubeSink(), CubeSink()
    Product(maps="sigma", sink=plain).add(window, record)
    Product(maps="coefficients", sink=rendered, render=lambda a, _: a[:1]).add(window, record)
    assert [(kind, where) for kind, where, _ in plain.given] == [("write", window)]
    assert np.array_equal(plain.given[0][2], maps["sigma"])
    assert [(kind, where) for kind, where, _ in rendered.given] == [("write_quantised", window)]
    assert rendered.given[0][2].shape == (1, 2, 2)
    Product(maps="sigma", sink=plain).add(window, TileRecord(index=1, valid=~valid))
    assert len(plain.given) == 1


@pytest.mark.gpu
def test_render_on_a_gpu_differs_at_the_half_alone(gpu: torch.device) -> None:
    maps, valid = coefficients(9, 11, seed=0), np.ones((9, 11), bool)
    one, other = (
        CubeRender(basis=basis, dtype="uint16")(maps, valid) for basis in (BASIS, BASIS.to(gpu))
    )
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
