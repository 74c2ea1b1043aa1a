"""The closed forms against direct solutions in float64, and the laws of their statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from uavssr.model.solvers import (
    SceneStatistics,
    participation,
    r_step_free,
    wiener_by_pixel,
    wiener_gain,
    x_step,
)

BANDS, CHANNELS, PIXELS = 12, 4, 30
FORMS = ("full band", "subspace")
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def extended_basis(form: str, generator: torch.Generator) -> Tensor:
    """D = [E, mean]: the identity and zeros (the paper's form), or 5 components and a mean."""
    if form == "full band":
        return torch.cat([torch.eye(BANDS), torch.zeros(BANDS, 1)], 1).double()
    return normal(generator, BANDS, 6)


def observed(extended: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """B = R E and b = R mean."""
    seen = rows @ extended
    return seen[..., :-1], seen[..., -1]


# --- X-step ---------------------------------------------------------------------------------------


@every_form
def test_x_step_equals_the_full_normal_equations(form: str, generator: torch.Generator) -> None:
    extended = extended_basis(form, generator)
    rows = normal(generator, 1, CHANNELS, BANDS)
    mixing, offset = observed(extended, rows)
    msi = normal(generator, 1, CHANNELS, PIXELS)
    prior = normal(generator, 1, mixing.shape[-1], PIXELS)
    noise = normal(generator, 1, CHANNELS).exp()  # one variance per band

    B, b, Y, Z = (each[0].numpy() for each in (mixing, offset, msi, prior))
    weight = np.diag(1 / noise[0].numpy())
    expected = np.linalg.solve(
        B.T @ weight @ B + np.eye(B.shape[1]), B.T @ weight @ (Y - b[:, None]) + Z
    )

    found = x_step(msi, prior, mixing, offset, noise)
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-12)


def test_x_step_in_the_full_band_form_equals_the_papers(generator: torch.Generator) -> None:
    """X = (R^T R + alpha I)^-1 (R^T Y + alpha Z), the C x C solve that Woodbury avoids."""
    alpha = 0.3
    rows, msi = normal(generator, 1, CHANNELS, BANDS), normal(generator, 1, CHANNELS, PIXELS)
    prior = normal(generator, 1, BANDS, PIXELS)
    R, Y, Z = rows[0].numpy(), msi[0].numpy(), prior[0].numpy()
    expected = np.linalg.solve(R.T @ R + alpha * np.eye(BANDS), R.T @ Y + alpha * Z)
    noise, offset = torch.full((1, CHANNELS), alpha).double(), torch.zeros(1, CHANNELS).double()
    found = x_step(msi, prior, rows, offset, noise)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-7)


def test_x_step_treats_every_camera_of_a_batch_alone(generator: torch.Generator) -> None:
    mixing, offset = normal(generator, 3, CHANNELS, 5), normal(generator, 3, CHANNELS)
    noise = normal(generator, 3, CHANNELS).exp()
    msi, prior = normal(generator, 3, CHANNELS, PIXELS), normal(generator, 3, 5, PIXELS)
    together = x_step(msi, prior, mixing, offset, noise)
    for i in range(3):
        one = slice(i, i + 1)
        alone = x_step(msi[one], prior[one], mixing[one], offset[one], noise[one])
        torch.testing.assert_close(together[one], alone)


def test_one_camera_serves_all_windows_of_a_batch(generator: torch.Generator) -> None:
    mixing, offset = normal(generator, 1, CHANNELS, 5), normal(generator, 1, CHANNELS)
    noise = normal(generator, 1, CHANNELS).exp()
    msi, prior = normal(generator, 3, CHANNELS, PIXELS), normal(generator, 3, 5, PIXELS)
    shared = x_step(msi, prior, mixing, offset, noise)
    spelled_out = x_step(
        msi, prior, mixing.expand(3, -1, -1), offset.expand(3, -1), noise.expand(3, -1)
    )
    torch.testing.assert_close(shared, spelled_out)


def test_x_step_without_noise_explains_the_image(generator: torch.Generator) -> None:
    mixing, offset = normal(generator, 1, CHANNELS, 5), normal(generator, 1, CHANNELS)
    msi, prior = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    found = x_step(msi, prior, mixing, offset, torch.full((1, CHANNELS), 1e-12).double())
    torch.testing.assert_close(mixing @ found + offset[..., None], msi, rtol=0, atol=1e-9)
    # and moves in the row space of B only: what the camera cannot see stays the prior's
    null_space = torch.linalg.svd(mixing[0])[2][CHANNELS:]
    torch.testing.assert_close(null_space @ found[0], null_space @ prior[0])


def test_x_step_in_endless_noise_keeps_the_prior(generator: torch.Generator) -> None:
    mixing, offset = normal(generator, 1, CHANNELS, 5), normal(generator, 1, CHANNELS)
    msi, prior = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    found = x_step(msi, prior, mixing, offset, torch.full((1, CHANNELS), 1e12).double())
    torch.testing.assert_close(found, prior, rtol=0, atol=1e-9)


def test_a_band_in_endless_noise_is_as_good_as_absent(generator: torch.Generator) -> None:
    mixing, offset = normal(generator, 1, CHANNELS, 5), normal(generator, 1, CHANNELS)
    msi, prior = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    noise = normal(generator, 1, CHANNELS).exp()
    noise[:, -1] = 1e14
    with_it = x_step(msi, prior, mixing, offset, noise)
    without = x_step(msi[:, :-1], prior, mixing[:, :-1], offset[:, :-1], noise[:, :-1])
    torch.testing.assert_close(with_it, without, rtol=0, atol=1e-9)


def test_wiener_by_pixel_equals_the_normal_equations_of_each_pixel(
    generator: torch.Generator,
) -> None:
    """A = Z + G d solves (B^T S^-1 B + D^-1) (A - Z) = B^T S^-1 d, for two cameras."""
    mixing, noise = normal(generator, 2, CHANNELS, 6), normal(generator, 2, CHANNELS).exp()
    misfit = normal(generator, 2, CHANNELS, PIXELS)
    variance = normal(generator, 2, 6, PIXELS).exp()
    explained, left = wiener_by_pixel(misfit, variance, mixing, noise)
    for camera in range(2):
        B, weight = mixing[camera].numpy(), np.diag(1 / noise[camera].numpy())
        for pixel in range(PIXELS):
            d = misfit[camera, :, pixel].numpy()
            system = B.T @ weight @ B + np.diag(1 / variance[camera, :, pixel].numpy())
            gain = np.linalg.solve(system, B.T @ weight)
            assert explained[camera, :, pixel].numpy() == pytest.approx(gain @ d)
            assert left[camera, :, pixel].numpy() == pytest.approx(gain @ (d - B @ (gain @ d)))


def test_wiener_by_pixel_of_unit_variance_is_the_x_step(generator: torch.Generator) -> None:
    """For more pixels than are solved together, seen by one camera."""
    mixing, noise = normal(generator, 1, CHANNELS, 6), normal(generator, 1, CHANNELS).exp()
    msi = normal(generator, 2, CHANNELS, 2**14 + 3)
    prior, offset = normal(generator, 2, 6, msi.shape[-1]), normal(generator, 1, CHANNELS)
    misfit = msi - mixing @ prior - offset[..., None]
    explained, _ = wiener_by_pixel(misfit, torch.ones_like(prior), mixing, noise)
    assert torch.allclose(prior + explained, x_step(msi, prior, mixing, offset, noise), atol=1e-12)


def test_pixel_without_variance_keeps_its_prior(generator: torch.Generator) -> None:
    mixing, noise = normal(generator, 1, CHANNELS, 6), normal(generator, 1, CHANNELS).exp()
    misfit = normal(generator, 1, CHANNELS, PIXELS)
    variance = torch.ones(1, 6, PIXELS).double()
    variance[..., ::2] = 0
    explained, _ = wiener_by_pixel(misfit, variance, mixing, noise)
    assert not explained[..., ::2].any()
    assert explained[..., 1::2].abs().amin() > 0


def test_wiener_gain_equals_its_formula(generator: torch.Generator) -> None:
    mixing, noise = normal(generator, 2, CHANNELS, 5), normal(generator, 2, CHANNELS).exp()
    for gain, B, S in zip(wiener_gain(mixing, noise), mixing.numpy(), noise.numpy(), strict=True):
        expected = B.T @ np.linalg.inv(B @ B.T + np.diag(S))
        np.testing.assert_allclose(gain, expected, rtol=1e-9, atol=1e-12)


def test_x_step_has_the_gradient_of_its_differences(generator: torch.Generator) -> None:
    inputs = (
        normal(generator, 2, 3, 4),
        normal(generator, 2, 5, 4),
        normal(generator, 1, 3, 5),
        normal(generator, 1, 3),
        normal(generator, 1, 3).exp(),
    )
    assert torch.autograd.gradcheck(x_step, [each.requires_grad_() for each in inputs])


# --- statistics -----------------------------------------------------------------------------------


def statistics_of(
    msi: Tensor, coefficients: Tensor, extended: Tensor, rows: Tensor, **options: Tensor
) -> SceneStatistics:
    return SceneStatistics.of(msi, coefficients, *observed(extended, rows), **options)


def assert_same(one: SceneStatistics, two: SceneStatistics, *, atol: float = 1e-12) -> None:
    for name in ("pixels", "second", "cross", "misfit"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=0, atol=atol)


def test_statistics_equal_means_over_pixels(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 2, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 2, CHANNELS, PIXELS), normal(generator, 2, 5, PIXELS)
    found = statistics_of(msi, coefficients, extended, rows)
    for i in range(2):
        second, cross, misfit = np.zeros((6, 6)), np.zeros((CHANNELS, 6)), np.zeros(CHANNELS)
        for pixel in range(PIXELS):
            a = np.append(coefficients[i, :, pixel].numpy(), 1)
            residual = msi[i, :, pixel].numpy() - rows[i].numpy() @ extended.numpy() @ a
            second += np.outer(a, a) / PIXELS
            cross += np.outer(residual, a) / PIXELS
            misfit += residual**2 / PIXELS
        assert found.pixels[i] == PIXELS
        np.testing.assert_allclose(found.second[i], second, atol=1e-12)
        np.testing.assert_allclose(found.cross[i], cross, atol=1e-11)
        np.testing.assert_allclose(found.misfit[i], misfit, atol=1e-11)


def test_statistics_of_tiles_pool_to_those_of_the_image(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    tiles, coefficients = normal(generator, 3, CHANNELS, PIXELS), normal(generator, 3, 5, PIXELS)
    pooled = statistics_of(tiles, coefficients, extended, rows)
    whole = statistics_of(
        torch.cat(list(tiles), -1)[None], torch.cat(list(coefficients), -1)[None], extended, rows
    )
    assert pooled.pixels.item() == 3 * PIXELS
    assert_same(pooled, whole)


def test_statistics_of_uneven_tiles_add_up_by_their_pixels(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    whole = statistics_of(msi, coefficients, extended, rows)
    total = {name: torch.zeros_like(getattr(whole, name)) for name in ("second", "cross", "misfit")}
    for part in (slice(0, 7), slice(7, 8), slice(8, None)):
        tile = statistics_of(msi[..., part], coefficients[..., part], extended, rows)
        for name in total:
            total[name] += tile.pixels.item() / PIXELS * getattr(tile, name)
    assert_same(whole, replace(whole, **total))


def test_statistics_do_not_depend_on_the_size_of_the_image(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    once = statistics_of(msi, coefficients, extended, rows)
    thrice = statistics_of(msi.repeat(1, 1, 3), coefficients.repeat(1, 1, 3), extended, rows)
    assert_same(replace(thrice, pixels=once.pixels), once)


@pytest.mark.parametrize("cameras", [1, 2])
def test_invalid_pixels_do_not_count(cameras: int, generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, cameras, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 2, CHANNELS, PIXELS), normal(generator, 2, 5, PIXELS)
    valid = torch.arange(PIXELS).expand(2, -1) % 3 != 0
    kept = valid[0]
    expected = statistics_of(msi[..., kept], coefficients[..., kept], extended, rows)
    msi[..., ~kept], coefficients[..., ~kept] = 1e6, -1e6
    assert_same(statistics_of(msi, coefficients, extended, rows, valid=valid), expected)


def test_an_image_without_valid_pixels_says_nothing(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    none = torch.zeros(1, PIXELS, dtype=torch.bool)
    found = statistics_of(msi, coefficients, extended, rows, valid=none)
    assert found.pixels.item() == 0
    assert not found.second.any()
    assert not found.cross.any()
    torch.testing.assert_close(r_step_free(rows, extended, found, torch.tensor(0.1).double()), rows)


def test_a_constant_image_is_finite_and_its_condition_huge(generator: torch.Generator) -> None:
    extended, rows = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    msi = normal(generator, 1, CHANNELS, 1).expand(-1, -1, PIXELS)
    coefficients = normal(generator, 1, 5, 1).expand(-1, -1, PIXELS)
    found = statistics_of(msi, coefficients, extended, rows)
    assert found.condition().item() > 1e9
    assert np.isfinite(found.condition().item())
    assert participation(found.second).item() == pytest.approx(1)
    assert torch.isfinite(r_step_free(rows, extended, found, torch.tensor(1e-3).double())).all()


def test_condition_and_participation_of_known_moments(generator: torch.Generator) -> None:
    rotation = torch.linalg.qr(normal(generator, 3, 3))[0]
    values = torch.tensor([8.0, 2.0, 0.5]).double()
    found = SceneStatistics(
        pixels=torch.ones(1),
        second=(rotation * values @ rotation.T)[None],
        cross=torch.zeros(1, 1, 3),
        misfit=torch.zeros(1, 1),
    )
    assert found.condition().item() == pytest.approx(16)
    assert participation(found.second).item() == pytest.approx(10.5**2 / (64 + 4 + 0.25))


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_participation_counts_directions_that_are_alike(
    rank: int, generator: torch.Generator
) -> None:
    """Whatever their strength; nothing at all takes part in nothing."""
    rotation = torch.linalg.qr(normal(generator, 5, 5))[0][:, :rank]
    second = torch.stack([scale * rotation @ rotation.T for scale in (1e-3, 1.0, 40.0)])
    torch.testing.assert_close(participation(second), torch.full((3,), float(rank)).double())
    assert not participation(torch.zeros(2, 5, 5)).any()


# --- R-step ---------------------------------------------------------------------------------------


@every_form
@pytest.mark.parametrize("beta", [1e-3, 0.7])
def test_r_step_equals_augmented_least_squares_row_by_row(
    form: str, beta: float, generator: torch.Generator
) -> None:
    extended = extended_basis(form, generator)
    prior = normal(generator, 2, CHANNELS, BANDS)
    msi = normal(generator, 2, CHANNELS, PIXELS)
    coefficients = normal(generator, 2, extended.shape[1] - 1, PIXELS)
    found = r_step_free(
        prior,
        extended,
        statistics_of(msi, coefficients, extended, prior),
        torch.tensor(beta, dtype=torch.float64),
    )
    ones = np.ones((1, PIXELS))
    for i in range(2):
        X = extended.numpy() @ np.vstack([coefficients[i].numpy(), ones])
        matrix = np.vstack([X.T / np.sqrt(PIXELS), np.sqrt(beta) * np.eye(BANDS)])
        for band in range(CHANNELS):
            right = np.concatenate(
                [msi[i, band].numpy() / np.sqrt(PIXELS), np.sqrt(beta) * prior[i, band].numpy()]
            )
            expected = np.linalg.lstsq(matrix, right, rcond=None)[0]
            np.testing.assert_allclose(found[i, band], expected, rtol=1e-8, atol=1e-10)


def test_r_step_moves_only_inside_the_span_of_the_basis(generator: torch.Generator) -> None:
    """What lies outside span(E, mean) never touches an image, and stays the prior's."""
    extended, prior = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    msi, coefficients = normal(generator, 1, CHANNELS, PIXELS), normal(generator, 1, 5, PIXELS)
    statistics = statistics_of(msi, coefficients, extended, prior)
    change = r_step_free(prior, extended, statistics, torch.tensor(0.1).double()) - prior
    outside = torch.linalg.svd(extended)[0][:, 6:]
    assert change.abs().max() > 0.1
    torch.testing.assert_close(change @ outside, torch.zeros(1, CHANNELS, BANDS - 6).double())


def test_r_step_keeps_a_prior_that_explains_the_image(generator: torch.Generator) -> None:
    extended, prior = normal(generator, BANDS, 6), normal(generator, 1, CHANNELS, BANDS)
    coefficients = normal(generator, 1, 5, PIXELS)
    mixing, offset = observed(extended, prior)
    msi = mixing @ coefficients + offset[..., None]
    statistics = statistics_of(msi, coefficients, extended, prior)
    torch.testing.assert_close(
        r_step_free(prior, extended, statistics, torch.tensor(1e-2).double()), prior
    )


def test_r_step_has_the_gradient_of_its_differences(generator: torch.Generator) -> None:
    def step(prior: Tensor, extended: Tensor, msi: Tensor, maps: Tensor, beta: Tensor) -> Tensor:
        return r_step_free(prior, extended, statistics_of(msi, maps, extended, prior), beta)

    inputs = (
        normal(generator, 1, 2, 6),
        normal(generator, 6, 4),
        normal(generator, 2, 2, 5),
        normal(generator, 2, 3, 5),
        torch.tensor(0.3).double(),
    )
    assert torch.autograd.gradcheck(step, [each.requires_grad_() for each in inputs])
