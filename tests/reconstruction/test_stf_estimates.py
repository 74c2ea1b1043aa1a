"""Pixels that represent a scene, and the STF that follows from them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.fakes import (
    FakeSource,
    coordinate_image,
    irregular_mask,
    random_stf,
    scene_sizes,
)
from tests.helpers.models import GRID, P4M, expected_stf, tiny_msi, tiny_network
from tests.helpers.places import REPO, SHARED
from uavssr.errors import IncompleteRun, InputRefused
from uavssr.io.msi import open_msi
from uavssr.io.stf import QUANTITIES, StfEstimate
from uavssr.model import load_model
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import ResponseFamily
from uavssr.model.solvers import SceneStatistics
from uavssr.model.state import Stf
from uavssr.reconstruction.api import reconstruct
from uavssr.reconstruction.fitted_stf import FittedStf
from uavssr.reconstruction.options import Precision, ReconstructionOptions
from uavssr.reconstruction.pixels import SAMPLE_COUNT, SAMPLE_SIZE, SceneSample, sample_scene
from uavssr.reconstruction.stf_estimates import (
    blind_stf,
    estimate_scene_stf,
    fill_reflectance,
    stf_from_estimate,
    summarise_stf,
)
from uavssr.sensors import Sensor, response_moments

CPU = torch.device("cpu")
FAMILY = ResponseFamily.of(P4M, GRID)
FILL = np.full(len(P4M), 0.3, np.float32)
NETWORK = tiny_network().requires_grad_(False)


def coordinates(height: int, width: int, mask: np.ndarray | None = None) -> FakeSource:
    every = np.ones((height, width), bool)
    image = coordinate_image(len(P4M), height, width)
    return FakeSource(image=image, sensor=P4M, mask=every if mask is None else mask)


def simulated(sensor: Sensor = P4M, *, mask: np.ndarray | None = None, seed: int = 0) -> FakeSource:
    size = (70, 90) if mask is None else mask.shape
    image = tiny_msi(sensor, *size, seed=seed)[0].numpy()
    every = np.ones(size, bool)
    return FakeSource(image=image, sensor=sensor, mask=every if mask is None else mask)


def fitted(source: FakeSource, network: PGUNet = NETWORK, **options: int | None) -> FittedStf:
    return estimate_scene_stf(network, source, device=CPU, **options)


# --- the sample ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(scene_sizes(300), st.integers(0, 5))
@example((1, 1), 0)
@example((64, 64), 0)
@example((600, 700), 1)
def test_sample_is_bounded_inside_and_the_same_again(size: tuple[int, int], seed: int) -> None:
    """Rows 17, 19: any size, no randomness, nothing invalid without its flag."""
    source = coordinates(*size, irregular_mask(*size, seed=seed))
    sample, again = sample_scene(source, FILL), sample_scene(source, FILL)
    assert torch.equal(sample.msi, again.msi)
    assert torch.equal(sample.valid, again.valid)
    windows = source.reads[: len(source.reads) // 2]
    assert source.reads[len(windows) :] == windows
    assert len(windows) <= 64
    assert len(set(windows)) == len(windows)
    height, width = min(size[0], SAMPLE_SIZE), min(size[1], SAMPLE_SIZE)
    assert {(w.height, w.width) for w in windows} == {(height, width)}
    assert 1 <= len(sample.msi) <= SAMPLE_COUNT
    assert sample.msi.shape[1:] == (len(P4M), height, width)
    assert sample.valid.flatten(1).any(1).all()
    hidden = sample.msi.permute(1, 0, 2, 3)[:, ~sample.valid]
    assert torch.equal(hidden, torch.full_like(hidden, 0.3))
    places = [
        np.argwhere((source.image[0] == value) & source.mask)
        for value in sample.msi[:, 0][sample.valid].unique()[:5].tolist()
    ]
    assert all(len(place) == 1 for place in places)


def test_scene_of_a_window_is_sampled_whole() -> None:
    """Row 19."""
    source = coordinates(SAMPLE_SIZE, 40)
    sample = sample_scene(source, FILL)
    assert len(source.reads) == 1
    assert np.array_equal(sample.msi[0], source.image)
    assert sample.valid_fraction == 1


def test_large_scene_is_sampled_evenly() -> None:
    """Each quarter of the scene gives a fourth of the windows."""
    source = coordinates(640, 800)
    sample = sample_scene(source, FILL)
    assert len(source.reads) == 64
    assert len(sample.msi) == SAMPLE_COUNT
    first = [int(np.flatnonzero(source.image[0] == each[0, 0, 0].item())[0]) for each in sample.msi]
    rows, cols = np.divmod(first, 800)
    for half, length in ((rows, 640), (cols, 800)):
        assert abs((half < length / 2).sum() - SAMPLE_COUNT / 2) <= 1


def test_windows_with_data_come_before_those_with_little() -> None:
    mask = np.zeros((640, 800), bool)
    mask[:320] = True
    mask[600, ::7] = True
    sample = sample_scene(coordinates(640, 800, mask), FILL)
    assert sample.valid.float().mean((1, 2)).min() >= 0.25
    assert sample.valid_fraction == pytest.approx(mask.mean(), abs=0.03)


def test_mostly_empty_scene_is_sampled_where_its_data_are() -> None:
    """Row 17: a few pixels in one window are better than a refusal."""
    mask = np.zeros((640, 800), bool)
    mask[38:42, 50:52] = True
    sample = sample_scene(coordinates(640, 800, mask), FILL)
    assert len(sample.msi) == 1
    assert sample.valid.sum() == 8
    assert 0 < sample.valid_fraction < 1e-3


def test_data_between_the_windows_are_found() -> None:
    """Row 17: a valid scene is not refused because the lattice misses its data."""
    mask = np.zeros((1000, 1000), bool)
    mask[100:140, 100:150] = True
    source = coordinates(1000, 1000, mask)
    sample = sample_scene(source, FILL)
    assert sample.valid.sum() == 2000
    assert sample.valid_fraction == pytest.approx(2000 / 1e6)
    assert np.isfinite(fitted(source).estimate.stf).all()


def test_empty_scene_is_refused() -> None:
    """Row 17."""
    source = coordinates(70, 80, np.zeros((70, 80), bool))
    with pytest.raises(InputRefused, match="no valid pixel in 80 x 70") as caught:
        sample_scene(source, FILL)
    assert caught.value.exit_code == 3


# --- the scene's STF -----------------------------------------------------------------------------


def same(one: StfEstimate, other: StfEstimate, **tolerance: float) -> bool:
    return all(
        np.allclose(getattr(one, name), getattr(other, name), **tolerance) for name in QUANTITIES
    )


def test_scene_stf_is_the_same_again() -> None:
    one, other = (fitted(simulated()).estimate for _ in range(2))
    assert same(one, other, rtol=0, atol=0)


def test_only_valid_pixels_make_the_scene_stf() -> None:
    """Promise P5: what lies under the mask is not seen, and a valid pixel is."""
    mask = irregular_mask(70, 90, seed=1)
    source = simulated(mask=mask)
    wild, other = source.image.copy(), source.image.copy()
    wild[:, ~mask] = 9.0
    other[:, mask] *= np.float32(1.1)
    found = fitted(source).estimate
    assert same(found, fitted(replace(source, image=wild)).estimate, atol=0)
    brighter = fitted(replace(source, image=other)).estimate
    assert np.abs(found.gain - brighter.gain).max() > 1e-4


def test_invalid_pixels_are_not_counted_as_what_they_are_filled_with() -> None:
    """Promise P5: half a scene without data changes nothing, where each pixel is on its own."""
    pixelwise = tiny_network(asleep=True).requires_grad_(False)
    mask = np.zeros((64, 60), bool)
    mask[:32] = True
    few = simulated().image[:, :4, :10]  # no more colours than materials: each of them is one
    half = FakeSource(image=np.tile(few, (1, 16, 6)), sensor=P4M, mask=mask)
    alone = FakeSource(image=half.image[:, :32], sensor=P4M, mask=mask[:32])
    one, other = (fitted(each, pixelwise).estimate for each in (half, alone))
    assert (one.valid_fraction, other.valid_fraction) == (0.5, 1.0)
    assert same(replace(one, valid_fraction=1.0), other, rtol=1e-4, atol=1e-5)
    assert np.abs(one.gain - 1).max() > 1e-3


def test_pixels_that_are_no_reflectance_do_not_make_the_scene_stf() -> None:
    """A glint stays in the cube; the STF is that of the scene without it."""
    source = simulated()
    mask = source.mask.copy()
    mask[10:12, 20:25] = False
    source.image[:, ~mask] = 9.0
    glint = fitted(source).stf
    hidden = fitted(replace(source, mask=mask)).stf
    for name in ("theta", "theta_se", "rows"):
        assert torch.allclose(getattr(glint, name), getattr(hidden, name), atol=1e-6), name


def test_scene_stf_does_not_depend_on_the_stages_of_the_cube() -> None:
    one, other = (fitted(simulated(), stages=n) for n in (0, None))
    assert torch.equal(one.stf.theta, other.stf.theta)
    assert not np.array_equal(one.estimate.residual, other.estimate.residual)


def test_scene_stf_does_not_depend_on_the_order_of_bands() -> None:
    turned = replace(P4M, bands=P4M.bands[::-1])
    source = simulated()
    other = replace(source, sensor=turned, image=source.image[::-1].copy())
    one, two = (fitted(each).estimate for each in (source, other))
    for name in ("stf", "centre", "fwhm", "gain", "centre_se", "gain_se", "residual"):
        assert np.allclose(getattr(one, name)[::-1], getattr(two, name), atol=1e-3), name
    assert np.abs(one.centre - two.centre).max() > 10


def test_numbers_of_an_estimate_agree_with_its_curves() -> None:
    """Gain is the row's sum; the residual is what integrating the cube leaves of the image."""
    source = simulated()
    scene = fitted(source)
    stf, found = scene.stf, scene.estimate
    assert np.allclose(found.stf.sum(1), found.gain, rtol=1e-3)
    centre, _, _ = response_moments(found.stf, GRID.centres)
    assert np.abs(centre - found.centre).max() < 3  # 15 nm between the tiny grid's bands
    sample = sample_scene(source, FILL)
    result = NETWORK(sample.msi, Stf.from_prior(FAMILY), estimate_stf=True, valid=sample.valid)
    cube = NETWORK.basis.expand(result.coefficients).double()
    seen = torch.einsum("cb,wbyx->wcyx", torch.from_numpy(found.stf), cube)
    oracle = (seen - sample.msi).square().mean((0, 2, 3)).sqrt()
    assert np.allclose(found.residual, oracle, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(result.stf.rows, stf.rows, rtol=0, atol=1e-6)


def test_standard_errors_of_curves_follow_from_those_of_parameters() -> None:
    """Delta method against sampling."""
    stf = random_stf(FAMILY, seed=5)
    stf = Stf.of(FAMILY, stf.theta, 0.1 * FAMILY.spread)
    ones = torch.ones(1, len(P4M))
    nothing = SceneStatistics(
        pixels=ones[:, 0], second=torch.eye(7)[None], cross=torch.zeros(1, 5, 7), misfit=ones
    )
    found = summarise_stf(stf, nothing, NETWORK.basis, valid_fraction=1.0)
    draws = stf.theta + stf.theta_se * torch.randn(
        4000, *stf.theta.shape[1:], generator=torch.Generator().manual_seed(0)
    )
    rows = torch.cat([FAMILY.rows(each[None]) for each in draws]).double()
    scale = found.stf_se.max(1, keepdims=True)
    assert np.abs(rows.std(0).numpy() - found.stf_se).max() < 0.08 * scale.max()
    assert np.allclose(rows.sum(-1).std(0), found.gain_se, rtol=0.08)
    assert found.condition == pytest.approx(1)


def test_nothing_known_is_prior_driven_and_everything_known_is_not() -> None:
    """Row 18: the flag follows the share of the prior's variance that is left."""
    statistics = SceneStatistics(
        pixels=torch.ones(1),
        second=torch.eye(7)[None],
        cross=torch.zeros(1, 5, 7),
        misfit=torch.ones(1, 5),
    )
    for share, flag in ((1.0, True), (0.9, True), (0.8, False), (0.0, False)):
        stf = Stf.of(FAMILY, FAMILY.prior, share * FAMILY.spread)
        found = summarise_stf(stf, statistics, NETWORK.basis, valid_fraction=1.0)
        assert (found.prior_driven == flag).all(), share


def test_what_a_profile_knows_is_not_prior_driven() -> None:
    """An image cannot narrow a tight profile, which knows more than the data sheet."""
    nothing = SceneStatistics(
        pixels=torch.ones(1),
        second=torch.eye(7)[None],
        cross=torch.zeros(1, 5, 7),
        misfit=torch.ones(1, 5),
    )
    for share, flag in ((1.0, True), (0.3, False)):
        profile = replace(FAMILY, spread=share * FAMILY.spread)
        found = summarise_stf(Stf.from_prior(profile), nothing, NETWORK.basis, valid_fraction=1.0)
        assert (found.prior_driven == flag).all()


def test_nan_from_the_network_is_incomplete_and_no_bug() -> None:
    """Row 32, for the scene: an outlier of 1e25 in a float file is enough."""
    source = simulated()
    source.image[0, 5, 5] = 1e25
    with pytest.raises(IncompleteRun, match="the network gave NaN or infinity"):
        fitted(source)


def field_sample(path: Path, **options: str) -> tuple[PGUNet, SceneSample, Stf]:
    """The released network, the sample of an image, and the prior of its camera."""
    network = load_model().network
    source = open_msi(path, **options)
    prior = Stf.from_prior(ResponseFamily.of(source.sensor, network.grid))
    return network, sample_scene(source, fill_reflectance(network, prior)), prior


def example() -> tuple[PGUNet, SceneSample, Stf]:
    return field_sample(REPO / "examples" / "field.tif")


def orchard() -> tuple[PGUNet, SceneSample, Stf]:
    path = SHARED / "fields" / "rededge3_orchard.tif"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return field_sample(path, sensor="rededge3", scale="1/32768")


def generated(seed: int) -> tuple[PGUNet, SceneSample, Stf]:
    valid = torch.ones(1, 128, 128, dtype=torch.bool)
    sample = SceneSample(msi=tiny_msi(P4M, 128, 128, seed=seed), valid=valid, valid_fraction=1)
    return NETWORK, sample, expected_stf()


@pytest.mark.parametrize(
    "scene",
    [example, orchard, partial(generated, 2), partial(generated, 8)],
    ids=["example", "orchard", "generated 2", "generated 8"],
)
def test_scene_stf_hardly_depends_on_rounding(
    scene: Callable[[], tuple[PGUNet, SceneSample, Stf]],
) -> None:
    """Ten random changes of 1e-6 of each value move it by less than a tenth of its errors."""
    network, sample, prior = scene()
    before = blind_stf(network, [sample], prior)
    generator = torch.Generator().manual_seed(0)
    moves = []
    for _ in range(10):
        noise = torch.randn(sample.msi.shape, generator=generator, dtype=torch.float64)
        changed = replace(sample, msi=sample.msi.double() * (1 + 1e-6 * noise))
        after = blind_stf(network, [changed], prior)
        moves.append(((after.theta - before.theta) / before.theta_se).abs().max().item())
    assert 0 < max(moves) < 0.1


def test_scene_stf_is_the_same_on_every_device(device: torch.device) -> None:
    """The tensors to the bit; residual and condition follow from a cube made on the device."""
    one = fitted(simulated())
    other = estimate_scene_stf(copy.deepcopy(NETWORK).to(device), simulated(), device=device)
    for name in ("theta", "theta_se", "rows"):
        tensor = getattr(other.stf, name)
        assert tensor.device.type == device.type
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.cpu(), getattr(one.stf, name)), name
    assert same(one.estimate, other.estimate, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "counts"), [("float32", 1), ("bf16", 4)])
def test_blind_cubes_of_cpu_and_gpu_agree(
    gpu: torch.device, precision: Precision, counts: int
) -> None:
    """In counts of 1e-4 reflectance, with the released model."""
    cubes = []
    for name, chosen in (("cpu", "float32"), (str(gpu), precision)):
        options = ReconstructionOptions(device=name, precision=chosen)
        data = reconstruct(open_msi(REPO / "examples" / "field.tif"), options)
        cubes.append(data["reflectance"].to_numpy())
    assert np.nanmax(np.abs(cubes[0] - cubes[1])) <= counts * 1e-4


# --- an STF that is given ------------------------------------------------------------------------


def test_given_estimate_is_the_stf_it_was_made_from() -> None:
    scene = fitted(simulated())
    stf, estimate = scene.stf, scene.estimate
    back = stf_from_estimate(NETWORK, P4M, estimate, device=CPU)
    assert torch.equal(back.rows, stf.rows)
    assert torch.allclose(back.theta, stf.theta, atol=1e-4)
    assert torch.allclose(back.theta_se, stf.theta_se, rtol=1e-4, atol=1e-6)
