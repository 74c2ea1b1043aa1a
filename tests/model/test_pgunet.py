"""The unrolled network: what must hold whatever its weights are."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.models import (
    CONFIG,
    GRID,
    P4M,
    double,
    double_stf,
    draw_batch,
    expected_stf,
    stages_of,
    tiny_library,
    tiny_materials,
    tiny_msi,
    tiny_network,
)
from uavssr.errors import IncompleteRun, ModelRefused, UsageError
from uavssr.model.config import PGUNetConfig
from uavssr.model.materials import MATERIALS_PER_SCENE, Materials, find_materials
from uavssr.model.pgunet import FINAL_NOISE, FINAL_STF_VARIANCE_FACTOR, SENSOR_NOISE, PGUNet
from uavssr.model.proximal import ZNet
from uavssr.model.response import ResponseFamily
from uavssr.model.solvers import wiener_gain, x_step
from uavssr.model.state import PRIOR_DOMINANCE_POWER, Reconstruction, Stf
from uavssr.sensors import SENSORS, Sensor
from uavssr.training.loss import image_loss

CAMERAS = ("rgb", "sequoia", "p4m", "rededge-mx-dual")  # 3, 4, 5 and 10 bands
both_modes = pytest.mark.parametrize("blind", [True, False], ids=["blind", "fixed"])


@cache
def network_of(*, identity: bool = False, pixelwise: bool = False) -> PGUNet:
    """The tiny network in float64; `pixelwise` leaves Z-Net the identity, P-Net awake."""
    network = tiny_network(identity=identity).double().requires_grad_(False)
    for stage in stages_of(network) if pixelwise else []:
        stage.znet.head.weight.zero_()
        stage.znet.head.bias.zero_()
    return network


def stf_of(sensor: Sensor = P4M, *, spread_factor: float = 1.0) -> Stf:
    return double_stf(expected_stf(sensor, spread_factor=spread_factor))


def msi_of(sensor: Sensor = P4M, size: int = 16, *, seed: int = 0) -> Tensor:
    return tiny_msi(sensor, size, size, seed=seed).double()


def materials_of(sensor: Sensor = P4M, *, seed: int = 0) -> Materials:
    return double(tiny_materials(sensor, seed=seed))


def assert_same_stf(one: Stf, two: Stf) -> None:
    for name in ("theta", "theta_se", "rows"):
        close(getattr(one, name), getattr(two, name))


def close(one: Tensor, two: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(one, two, rtol=0, atol=atol)


def assert_same_result(one: Reconstruction, two: Reconstruction) -> None:
    close(one.coefficients, two.coefficients)
    close(one.stf.rows, two.stf.rows)
    close(one.stf.theta, two.stf.theta)
    close(one.stf.theta_se, two.stf.theta_se)


# --- one network for any camera -------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize("name", ["p4m", "rededge-mx-dual"])
def test_permuted_bands_permute_the_stf_and_leave_the_cube(name: str, *, blind: bool) -> None:
    sensor, network = SENSORS[name], network_of()
    order = np.random.default_rng(0).permutation(len(sensor))
    shuffled = replace(sensor, bands=tuple(sensor.bands[i] for i in order))
    msi = msi_of(sensor)
    result = network(msi, stf_of(sensor), estimate_stf=blind)
    other = network(msi[:, order.tolist()], stf_of(shuffled), estimate_stf=blind)
    close(other.coefficients, result.coefficients)
    for attribute in ("rows", "theta", "theta_se"):
        permuted = getattr(result.stf, attribute)[:, order.tolist()]
        close(getattr(other.stf, attribute), permuted)
        moved = not torch.allclose(permuted, getattr(result.stf, attribute), atol=1e-4)
        assert moved or (not blind and attribute == "theta")
    for stage, twin in zip(result.stage_coefficients, other.stage_coefficients, strict=True):
        close(twin, stage)


@both_modes
@pytest.mark.parametrize("identity", [False, True], ids=["subspace", "full band"])
@pytest.mark.parametrize("name", CAMERAS)
def test_the_same_weights_serve_any_camera(name: str, *, identity: bool, blind: bool) -> None:
    sensor, network = SENSORS[name], network_of(identity=identity)
    result = network(msi_of(sensor), stf_of(sensor), estimate_stf=blind)
    rank = len(GRID) if identity else CONFIG.rank
    assert result.coefficients.shape == (1, rank, 16, 16)
    assert result.stf.rows.shape == (1, len(sensor), len(GRID))
    assert result.stf.theta.shape == (1, len(sensor), 3)
    cube = network.basis.expand(result.coefficients)
    assert cube.shape == (1, len(GRID), 16, 16)
    assert torch.isfinite(cube).all()
    tensors = (result.coefficients, *(getattr(result.stf, f.name) for f in fields(Stf)[1:]))
    assert all(each.dtype == torch.float64 for each in tensors)


def test_float32_agrees_with_float64() -> None:
    single = tiny_network().requires_grad_(False)
    found = single(tiny_msi(P4M, 16, 16), expected_stf(), estimate_stf=True)
    exact = network_of()(msi_of(), stf_of(), estimate_stf=True)
    close(found.coefficients.double(), exact.coefficients, atol=5e-3)
    close(found.stf.rows.double(), exact.stf.rows, atol=1e-4)
    close(found.stf.theta_se.double(), exact.stf.theta_se, atol=1e-3)
    assert found.stf.theta.dtype == torch.float32


def test_bfloat16_proximal_networks_change_little() -> None:
    single = tiny_network().requires_grad_(False)
    full = single(tiny_msi(), expected_stf(), estimate_stf=False)
    half = single(tiny_msi(), expected_stf(), estimate_stf=False, bfloat16=True)
    assert half.coefficients.dtype == torch.float32
    difference = (half.coefficients - full.coefficients).abs()
    assert 0 < difference.mean() < 0.01
    assert difference.max() < 0.1


@both_modes
def test_scenes_of_a_batch_do_not_see_each_other(*, blind: bool) -> None:
    network, sensors = network_of(), [SENSORS["p4m"], SENSORS["altum"], SENSORS["rededge3"]]
    images = [msi_of(sensor, seed=i) for i, sensor in enumerate(sensors)]
    family = ResponseFamily.stack(
        curves=np.stack([sensor.response() for sensor in sensors]),
        centre=np.array([[band.centre for band in sensor.bands] for sensor in sensors]),
        fwhm=np.array([[band.fwhm for band in sensor.bands] for sensor in sensors]),
        grid=GRID,
        spread_factor=np.ones(3),
    )
    together = network(torch.cat(images), Stf.from_prior(double(family)), estimate_stf=blind)
    for i, (sensor, image) in enumerate(zip(sensors, images, strict=True)):
        alone = network(image, stf_of(sensor), estimate_stf=blind)
        close(together.coefficients[i], alone.coefficients[0])
        close(together.stf.rows[i], alone.stf.rows[0])


# --- stages ---------------------------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize("count", [0, 1, 2, None])
def test_as_many_stages_run_as_are_asked_for(count: int | None, *, blind: bool) -> None:
    """Of the cube: the STF is estimated all the same."""
    network = network_of()
    kept = 2 if count is None else count
    result = network(msi_of(), stf_of(), estimate_stf=blind, stages=count)
    assert len(result.stage_coefficients) == kept + 1
    assert len(result.stage_stf) == (CONFIG.response_stages + 1 if blind else 1)
    assert network.halo(count) == ZNet.reach * kept
    full = network(msi_of(), stf_of(), estimate_stf=blind)
    for own, whole in zip(result.stage_coefficients, full.stage_coefficients, strict=False):
        assert torch.equal(own, whole)
    assert torch.equal(result.stf.theta, full.stf.theta)
    assert torch.equal(result.coefficients, full.coefficients) == (kept == 2)


@pytest.mark.parametrize("count", [-1, 3])
def test_stages_that_the_model_has_not_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"stages must be 0-2 for this model, got {count}"):
        network_of()(msi_of(), stf_of(), estimate_stf=False, stages=count)
    with pytest.raises(UsageError, match="0-2"):
        network_of().halo(count)


def test_no_stages_are_the_mixtures_estimate_and_an_x_step() -> None:
    network, msi, stf = network_of(), msi_of(), stf_of()
    seen = network.observation_model(stf)
    start, _ = network.mixture.posterior(
        msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
    )
    expected = x_step(msi.flatten(2), start, seen.mixing, seen.offset, seen.final)
    result = network(msi, stf, estimate_stf=False, stages=0)
    close(result.coefficients.flatten(2), expected)
    assert result.stf is stf


def test_blind_is_an_estimate_and_then_a_cube_with_that_stf_held() -> None:
    network, msi, start = network_of(), msi_of(), stf_of()
    blind = network(msi, start, estimate_stf=True)
    stages = network.estimate_stf(find_materials(msi.flatten(2), pooled=True), start)
    for one, two in zip(blind.stage_stf, stages, strict=True):
        assert_same_stf(one, two)
    assert blind.stage_stf[0] is start
    assert blind.stf is blind.stage_stf[-1]
    held = network(msi, stages[-1], estimate_stf=False)
    assert_same_result(blind, held)
    for one, two in zip(blind.stage_coefficients, held.stage_coefficients, strict=True):
        close(one, two)


@both_modes
def test_znet_is_told_the_deviation_under_the_stf(*, blind: bool) -> None:
    """In every stage, and under the last STF: the cube follows when the STF has moved."""
    network, msi, deviations = network_of(), msi_of(), []
    hooks = [
        stage.register_forward_pre_hook(lambda _, given: deviations.append(given[0]))
        for stage in stages_of(network)
    ]
    try:
        result = network(msi, stf_of(), estimate_stf=blind)
    finally:
        for hook in hooks:
            hook.remove()
    seen = network.observation_model(result.stf)
    _, variance = network.mixture.posterior(
        msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
    )
    assert len(deviations) == 2
    for known in deviations:
        close(known[:, msi.shape[1] : -1], variance.sqrt())


def test_an_untrained_znet_leaves_the_x_step_as_it_is() -> None:
    network = tiny_network(asleep=True).double()
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 9, 9, CONFIG.rank, generator=generator).double()
    stem = torch.randn(1, 9, 9, CONFIG.width, generator=generator).double()
    for stage in stages_of(network):
        assert torch.equal(stage.znet(maps, stem), maps)


def test_stage_is_an_x_step_and_znet_of_what_the_x_step_leaves() -> None:
    """Z-Net's stem reads the X-step's result, what it leaves of the image, and the deviation."""
    network, msi = network_of(), msi_of()
    seen = network.observation_model(stf_of())
    stage, shape = stages_of(network)[0], msi.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    prior, deviation = torch.randn(2, len(msi), CONFIG.rank, *shape, generator=generator).to(msi)
    known = torch.cat([msi, deviation, torch.ones_like(msi[:, :1])], 1).flatten(2)
    result = stage(known, prior, seen, bfloat16=False)
    noise = seen.noise * stage.log_alpha.exp()
    flat = x_step(msi.flatten(2), prior.flatten(2), seen.mixing, seen.offset, noise)
    misfit = msi.flatten(2) - seen.mixing @ flat - seen.offset[..., None]
    read = torch.cat([flat, wiener_gain(seen.mixing, noise) @ misfit, deviation.flatten(2)], 1)
    stem = stage.znet.stem(read.mT).unflatten(1, shape)
    expected = stage.znet(flat.mT.unflatten(1, shape), stem).permute(0, 3, 1, 2)
    close(result, expected)


@pytest.mark.slow
def test_forward_pass_can_be_traced_as_one_graph() -> None:
    """By `torch.compile`, without a compiler: no numpy array and no branch on numbers is in it."""
    network, msi, stf = network_of().requires_grad_(False), msi_of(), stf_of()

    def coefficients(image: Tensor) -> Tensor:
        return network(image, stf, estimate_stf=False).coefficients

    compiled = torch.compile(coefficients, backend="eager", fullgraph=True)
    close(compiled(msi), coefficients(msi))


# --- locality -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_a_pixel_acts_within_the_halo_only_when_the_stf_is_fixed(stages: int) -> None:
    network, msi, halo = network_of(), msi_of(size=31), network_of().halo(stages)
    before = network(msi, stf_of(), estimate_stf=False, stages=stages).coefficients
    msi[0, :, 15, 15] += 0.05
    after = network(msi, stf_of(), estimate_stf=False, stages=stages).coefficients
    reached = (after != before)[0].any(0)
    rows, cols = torch.nonzero(reached, as_tuple=True)
    assert max((rows - 15).abs().max(), (cols - 15).abs().max()) == halo  # and no halo is wasted


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 11), (9, 7), (19, 19)])
def test_a_tile_with_its_halo_equals_the_whole(top: int, left: int) -> None:
    network, msi, size = network_of(), msi_of(size=36), 17
    whole = network(msi, stf_of(), estimate_stf=False).coefficients
    halo = network.halo()
    rows = slice(max(top - halo, 0), min(top + size + halo, 36))
    cols = slice(max(left - halo, 0), min(left + size + halo, 36))
    tile = network(msi[..., rows, cols], stf_of(), estimate_stf=False).coefficients
    core = tile[..., top - rows.start :, left - cols.start :][..., :size, :size]
    close(core, whole[..., top : top + size, left : left + size])


def test_a_shifted_image_gives_a_shifted_cube() -> None:
    network, msi, halo = network_of(), msi_of(size=30), network_of().halo()
    whole = network(msi, stf_of(), estimate_stf=False).coefficients
    moved = network(msi.roll((3, -2), (-2, -1)), stf_of(), estimate_stf=False).coefficients
    inner = slice(halo + 3, -halo - 3)
    close(moved.roll((-3, 2), (-2, -1))[..., inner, inner], whole[..., inner, inner])


@both_modes
def test_mirrored_windows_are_not_confused(*, blind: bool) -> None:
    """Height and width keep their places in a window that is not square."""
    network, msi = network_of(pixelwise=True), tiny_msi(P4M, 4, 9).double()
    tall = network(msi.mT, stf_of(), estimate_stf=blind)
    flat = network(msi, stf_of(), estimate_stf=blind)
    close(tall.coefficients.mT, flat.coefficients)


# --- pooling --------------------------------------------------------------------------------------


def test_windows_of_one_camera_are_pooled_as_one_image() -> None:
    """With Z-Net the identity nothing but the materials joins pixels."""
    network, msi = network_of(pixelwise=True), msi_of(size=16)
    windows = torch.cat([msi[..., :8, :], msi[..., 8:, :]])
    whole = network(msi, stf_of(), estimate_stf=True)
    pooled = network(windows, stf_of(), estimate_stf=True)
    assert pooled.stf.rows.shape[0] == 1
    close(pooled.stf.theta, whole.stf.theta)
    close(torch.cat(list(pooled.coefficients), -2), whole.coefficients[0])
    assert (whole.stf.theta.abs() / whole.stf.family.spread).max() > 0.1  # it did move


def small(seed: int = 0) -> Tensor:
    """An image of fewer pixels than materials: each of them is one, whatever their order."""
    msi = msi_of(seed=seed)[..., :4, :5]
    assert 2 * msi.shape[-2] * msi.shape[-1] <= MATERIALS_PER_SCENE
    return msi


def test_every_window_counts_for_the_pooled_stf() -> None:
    network, one, two = network_of(), small(0), small(1)
    both = network(torch.cat([one, two]), stf_of(), estimate_stf=True).stf
    assert_same_stf(both, network(torch.cat([two, one]), stf_of(), estimate_stf=True).stf)
    for alone in (one, two):
        theta = network(alone, stf_of(), estimate_stf=True).stf.theta
        assert not torch.allclose(theta, both.theta, atol=1e-3)


def test_a_window_that_is_repeated_says_no_more() -> None:
    network, msi = network_of(), small()
    once, thrice = (network(msi.repeat(n, 1, 1, 1), stf_of(), estimate_stf=True) for n in (1, 3))
    assert_same_stf(thrice.stf, once.stf)
    close(thrice.coefficients, once.coefficients.expand(3, -1, -1, -1))


def test_pixels_may_be_shuffled_where_the_network_is_pixelwise() -> None:
    network, msi = network_of(pixelwise=True), small()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    shuffled = msi.flatten(2)[..., order].unflatten(-1, (4, 5))
    result, other = (network(image, stf_of(), estimate_stf=True) for image in (msi, shuffled))
    assert_same_stf(other.stf, result.stf)
    close(other.coefficients.flatten(2), result.coefficients.flatten(2)[..., order])


def test_invalid_pixels_do_not_touch_the_stf() -> None:
    network, msi = network_of(pixelwise=True), msi_of(size=16)
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    valid[:, 4:10, 5:13] = False
    clean = network(msi, stf_of(), estimate_stf=True, valid=valid)
    dirty = network(torch.where(valid[:, None], msi, 0.9), stf_of(), estimate_stf=True, valid=valid)
    close(dirty.stf.theta, clean.stf.theta)
    close(dirty.stf.theta_se, clean.stf.theta_se)
    assert not torch.allclose(
        network(msi, stf_of(), estimate_stf=True).stf.theta, clean.stf.theta, atol=1e-4
    )


# --- the STF and what is known of it --------------------------------------------------------------


@pytest.mark.parametrize("name", CAMERAS)
def test_a_known_camera_stays_as_it_is(name: str) -> None:
    """A spread of zero: the image has nothing to add, and blind equals fixed."""
    network, msi, stf = network_of(), msi_of(SENSORS[name]), stf_of(SENSORS[name], spread_factor=0)
    blind = network(msi, stf, estimate_stf=True)
    assert_same_result(blind, network(msi, stf, estimate_stf=False))
    close(blind.stf.rows, stf.rows)
    assert not blind.stf.theta_se.any()


def test_a_scene_without_valid_pixels_keeps_the_prior_exactly() -> None:
    stf, nothing = stf_of(), torch.zeros(1, 16, 16, dtype=torch.bool)
    blind = network_of()(msi_of(), stf, estimate_stf=True, valid=nothing)
    for estimate in blind.stage_stf:
        for name in ("theta", "theta_se", "rows"):
            assert torch.equal(getattr(estimate, name), getattr(stf, name)), name
    assert_same_result(blind, network_of()(msi_of(), stf, estimate_stf=False))


@pytest.mark.parametrize("level", [0.02, 0.3, 1.2])
def test_a_constant_scene_keeps_the_prior(level: float) -> None:
    """The prior explains any single spectrum, so it does not count."""
    stf, image = stf_of(), torch.full((1, len(P4M), 8, 8), level).double()
    image[:, 1] *= 1.2
    result = network_of()(image, stf, estimate_stf=True)
    close(result.stf.theta, stf.theta, atol=1e-9)
    close(result.stf.theta_se, stf.theta_se, atol=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([0.0, 1e-3, 0.3, 1.0, 50.0]),
    contrast=st.sampled_from([0.0, 1e-4, 0.1, 10.0]),
    name=st.sampled_from(CAMERAS),
    spread_factor=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_stf_stays_plausible_whatever_the_image(
    seed: int, level: float, contrast: float, name: str, spread_factor: float
) -> None:
    """Constant, dark, saturated and absurd images: finite, within the prior, no surer than sane."""
    rng = np.random.default_rng(seed)
    image = level + contrast * rng.normal(size=(1, len(SENSORS[name]), 6, 5))
    stf = expected_stf(SENSORS[name], spread_factor=spread_factor)
    result = tiny_single()(torch.as_tensor(image, dtype=torch.float32), stf, estimate_stf=True)
    assert torch.isfinite(result.coefficients).all()
    for estimate in result.stage_stf:
        assert torch.isfinite(estimate.rows).all()
        assert (estimate.theta_se <= stf.theta_se).all()
        assert (estimate.theta_se >= 0.99e-3 * stf.theta_se).all()
        assert (estimate.theta.abs() <= 4.0001 * stf.family.spread).all()


@cache
def tiny_single() -> PGUNet:
    return tiny_network().requires_grad_(False)


def test_stages_refine_the_stf_with_the_prior_of_the_family() -> None:
    """Every stage starts from the family's prior, not from the last stage's posterior."""
    stf = stf_of()
    result = network_of()(msi_of(), stf, estimate_stf=True)
    for estimate in result.stage_stf:
        assert estimate.family is stf.family
    assert result.stf is result.stage_stf[-1]
    close(result.stf.rows, stf.family.rows(result.stf.theta))
    theta = [estimate.theta for estimate in result.stage_stf]
    assert all((after - before).abs().max() > 0.01 for before, after in pairwise(theta))


def test_observation_equals_moments_written_out() -> None:
    network, stf = network_of(), stf_of()
    seen, basis, mixture = network.observation_model(stf), network.basis, network.mixture
    R, D = stf.rows[0].numpy(), basis.extended.numpy()
    Q = stf.family.tangent(stf.theta)[0].numpy() @ D
    sensor, model = SENSOR_NOISE
    np.testing.assert_allclose(seen.mixing[0], R @ D[:, :-1], atol=1e-12)
    np.testing.assert_allclose(seen.offset[0], R @ D[:, -1], atol=1e-12)
    np.testing.assert_allclose(seen.tangent[0], Q, atol=1e-12)
    moments, average = mixture.second_moments().numpy(), np.zeros((2, len(P4M)))
    for k, weight in enumerate(mixture.weight.numpy()):
        for b in range(len(P4M)):
            r = R[b] @ D
            outside = (R[b] @ basis.residual.numpy()) ** 2
            power = r @ moments[k] @ r  # E[y^2] of the band under the component
            stf_variance = sum(
                stf.theta_se[0, b, p].item() ** 2 * (Q[b, p] @ moments[k] @ Q[b, p])
                for p in range(3)
            )
            noise = sensor**2 + model**2 * power + outside + stf_variance
            np.testing.assert_allclose(seen.component_noise[0, k, b], noise, rtol=1e-9)
            final = FINAL_NOISE[0] ** 2 + FINAL_NOISE[1] ** 2 * power + outside
            final += FINAL_STF_VARIANCE_FACTOR * stf_variance
            average[:, b] += weight * np.array([noise, final])
    np.testing.assert_allclose(seen.noise[0], average[0], rtol=1e-6)
    np.testing.assert_allclose(seen.final[0], average[1], rtol=1e-6)


def test_uncertainty_of_the_stf_is_noise() -> None:
    network = network_of()
    certain, half, whole = (
        network.observation_model(stf_of(spread_factor=share)) for share in (0, 0.5, 1)
    )
    assert (whole.noise > 1.2 * certain.noise).all()
    close(whole.noise - certain.noise, 4 * (half.noise - certain.noise))  # a variance


@pytest.mark.parametrize("name", ["p4m", "rgb"])
def test_an_image_determines_the_stf_whatever_the_number_of_bands(name: str) -> None:
    sensor = SENSORS[name]
    result = network_of()(msi_of(sensor, 32), stf_of(sensor), estimate_stf=True)
    assert float(result.stf.prior_dominance().mean()) < 0.8
    assert (stf_of(sensor).prior_dominance() == 1).all()


def test_standard_errors_of_a_free_stf_do_not_count_in_the_last_x_step() -> None:
    network = tiny_network(replace(CONFIG, stf="free")).double()
    seen, sure = (
        network.observation_model(stf_of()),
        network.observation_model(stf_of(spread_factor=0)),
    )
    assert (seen.noise > 1.2 * sure.noise).all()
    close(seen.final, sure.final)


def test_the_last_x_step_trusts_an_stf_as_far_as_an_image_determines_it() -> None:
    """All of its variance counts for the data sheet, hardly any after an image."""
    network, sheet = network_of(), stf_of()
    seen = network.observation_model(sheet)
    sure = network.observation_model(stf_of(spread_factor=0))
    close(sheet.prior_dominance(), torch.ones(1, len(P4M)).double())
    close(seen.final - sure.final, FINAL_STF_VARIANCE_FACTOR * (seen.noise - sure.noise))
    family, ratio = sheet.family, torch.ones_like(sheet.theta_se)
    ratio[0, 1:3] = 0.2  # the image informs of two bands
    informed = Stf.of(family, family.prior, ratio * family.spread)
    share = ratio.square().mean(-1) ** PRIOR_DOMINANCE_POWER
    close(informed.prior_dominance(), share)
    assert float(share[0, 1]) < 1e-6
    assert float(share[0, 0]) == 1
    trusted = network.observation_model(informed)
    factor = FINAL_STF_VARIANCE_FACTOR * share
    close(trusted.final - sure.final, factor * (trusted.noise - sure.noise))
    close(network.observation_model(sheet, stf_uncertainty=False).final, sure.final)
    none = Stf.of(family, family.prior, 0 * family.spread)
    close(network.observation_model(none).final, sure.final)


def test_an_image_that_is_not_finite_stops_the_run() -> None:
    msi = msi_of()
    msi[0, 2, 3, 3] = torch.nan
    with pytest.raises(IncompleteRun, match="NaN or infinity for the STF"):
        network_of()(msi, stf_of(), estimate_stf=True)


# --- the image is explained -----------------------------------------------------------------------


@both_modes
@pytest.mark.parametrize("name", CAMERAS)
def test_the_last_x_step_brings_the_cube_nearer_to_the_image(name: str, *, blind: bool) -> None:
    network, msi = network_of(), msi_of(SENSORS[name])
    result = network(msi, stf_of(SENSORS[name]), estimate_stf=blind)
    seen = network.observation_model(result.stf)

    def misfit(maps: Tensor) -> Tensor:
        return msi.flatten(2) - seen.mixing @ maps.flatten(2) - seen.offset[..., None]

    last = result.stage_coefficients[-1].flatten(2)
    close(
        result.coefficients.flatten(2),
        x_step(msi.flatten(2), last, seen.mixing, seen.offset, seen.final),
    )
    before, after = misfit(last), misfit(result.coefficients)
    assert after.square().sum() < 0.5 * before.square().sum()
    # at every pixel, weighted by the bands' noise: S (B B^T + S)^-1 is a contraction in S^-1
    weight = seen.final[..., None].rsqrt()
    assert ((weight * after).norm(dim=1) < (weight * before).norm(dim=1)).all()


# --- training reaches every weight ----------------------------------------------------------------


@both_modes
def test_gradients_reach_every_weight_that_can_learn(*, blind: bool) -> None:
    network = tiny_network().double().train()
    batch = draw_batch(tiny_library(), seed=0, step=0, count=2, size=24)
    batch = replace(
        batch,
        msi=batch.msi.double(),
        hsi=batch.hsi.double(),
        family=double(batch.family),
        theta=batch.theta.double(),
        rows=batch.rows.double(),
    )
    result = network(batch.msi, Stf.from_prior(batch.family), estimate_stf=blind)
    image_loss(network, batch, result)[0].backward()
    without = {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or parameter.grad.abs().max() < 1e-12
    }
    names = {name for name, _ in network.named_parameters()}
    of_the_stf = {name for name in names if name.startswith("response_stages.")}
    assert of_the_stf
    assert without == (set() if blind else of_the_stf)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "config rank must be a whole number in 1-4096, got 0"),
        ({"stages": 33}, "config stages must be a whole number in 1-32, got 33"),
        ({"components": 2.0}, "config components must be a whole number in 1-512, got 2.0"),
        ({"stages": True}, "config stages must be a whole number in 1-32, got True"),
        ({"response_stages": 0}, "config response_stages must be a whole number in 1-32, got 0"),
        ({"width": "8"}, "config width must be"),
        ({"width": 12}, "multiples of 8"),
        ({"stf_width": 4}, "multiples of 8"),
        ({"bands": 5, "rank": 6}, "config rank 6 exceeds bands 5"),
        ({"bands": 10**9}, "config bands must be"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ModelRefused, match=message):
        PGUNetConfig(**{**CONFIG.to_dict(), **change})
