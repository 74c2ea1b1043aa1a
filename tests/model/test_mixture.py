"""The mixture prior against Bayes' rule written out in float64, pixel by pixel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from uavssr.model.mixture import SpectralMixture, fit_mixture

RANK, CHANNELS, PIXELS, COMPONENTS = 5, 3, 11, 4


def random_mixture(seed: int = 0, components: int = COMPONENTS) -> SpectralMixture:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(components, RANK, RANK, generator=generator, dtype=torch.float64)
    return SpectralMixture(
        weight=torch.randn(components, generator=generator).double().softmax(0),
        mean=1.5 * torch.randn(components, RANK, generator=generator, dtype=torch.float64),
        covariance=0.2 * root @ root.mT + 0.01 * torch.eye(RANK).double(),
    )


def single(mixture: SpectralMixture) -> SpectralMixture:
    names = ("weight", "mean", "covariance")
    return SpectralMixture(**{name: getattr(mixture, name).float() for name in names})


def random_case(cameras: int, components: int = COMPONENTS) -> tuple[Tensor, ...]:
    """Y (2, c, N), B, b and the noise of `cameras` cameras."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return (
        normal(2, CHANNELS, PIXELS),
        normal(cameras, CHANNELS, RANK),
        normal(cameras, CHANNELS),
        0.1 * normal(cameras, components, CHANNELS).exp(),
    )


def bayes(
    mixture: SpectralMixture, y: np.ndarray, B: np.ndarray, b: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and mean variance at one pixel, from the densities themselves."""
    joint, means, variances = [], [], []
    weights, centres, covariances = (
        each.double().numpy() for each in (mixture.weight, mixture.mean, mixture.covariance)
    )
    for k, (weight, centre, covariance) in enumerate(
        zip(weights, centres, covariances, strict=True)
    ):
        predicted, spread = B @ centre + b, B @ covariance @ B.T + np.diag(noise[k])
        inverse = np.linalg.inv(spread)
        away = y - predicted
        density = np.exp(-0.5 * away @ inverse @ away) / np.sqrt(np.linalg.det(2 * np.pi * spread))
        joint.append(weight * density)
        means.append(centre + covariance @ B.T @ inverse @ away)
        variances.append(np.diag(covariance - covariance @ B.T @ inverse @ B @ covariance))
    share = np.array(joint) / sum(joint)
    return share @ np.array(means), share @ np.array(variances)


@pytest.mark.parametrize("cameras", [1, 2])
def test_posterior_equals_bayes_rule_pixel_by_pixel(cameras: int) -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(cameras)
    mean, variance = mixture.posterior(msi, mixing, offset, noise)
    for i in range(2):
        camera = min(i, cameras - 1)
        known = (each[camera].numpy() for each in (mixing, offset, noise))
        B, b, S = known
        for pixel in range(PIXELS):
            expected = bayes(mixture, msi[i, :, pixel].numpy(), B, b, S)
            np.testing.assert_allclose(mean[i, :, pixel], expected[0], rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(variance[i, :, pixel], expected[1], rtol=1e-8, atol=1e-9)


def test_one_component_equals_the_wiener_filter() -> None:
    """m + C B^T (B C B^T + S)^-1 (y - B m - b), by the other textbook form of it."""
    mixture = random_mixture(components=1)
    msi, mixing, offset, noise = random_case(1, components=1)
    m, C = mixture.mean[0].numpy(), mixture.covariance[0].numpy()
    B, b, S = mixing[0].numpy(), offset[0].numpy(), noise[0, 0].numpy()
    precision = np.linalg.inv(C) + B.T @ np.diag(1 / S) @ B
    mean, variance = mixture.posterior(msi, mixing, offset, noise)
    for i in range(2):
        right = np.linalg.inv(C) @ m[:, None] + B.T @ ((msi[i].numpy() - b[:, None]) / S[:, None])
        np.testing.assert_allclose(mean[i], np.linalg.solve(precision, right), rtol=1e-8)
        expected = np.diag(np.linalg.inv(precision))[:, None] * np.ones(PIXELS)
        np.testing.assert_allclose(variance[i], expected, rtol=1e-8)


def test_posterior_does_not_depend_on_the_order_of_the_components() -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(1)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = SpectralMixture(
        weight=mixture.weight[order], mean=mixture.mean[order], covariance=mixture.covariance[order]
    )
    found = mixture.posterior(msi, mixing, offset, noise)
    other = shuffled.posterior(msi, mixing, offset, noise[:, order])
    torch.testing.assert_close(found, other)


@pytest.mark.parametrize("cameras", [1, 2])
def test_belonging_equals_the_densities_written_out(cameras: int) -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(cameras)
    share = mixture.component_posterior(msi, mixing, offset, noise)
    nearest = mixture.nearest_distance(msi, mixing, offset, noise)
    torch.testing.assert_close(share.sum(1), torch.ones(2, PIXELS).double())
    for i in range(2):
        B, b, S = (each[min(i, cameras - 1)] for each in (mixing, offset, noise))
        joint = torch.empty(COMPONENTS, PIXELS).double()
        distances = []
        for k in range(COMPONENTS):
            covariance = B @ mixture.covariance[k] @ B.T + torch.diag(S[k])
            seen = torch.distributions.MultivariateNormal(B @ mixture.mean[k] + b, covariance)
            joint[k] = mixture.weight[k].log() + seen.log_prob(msi[i].T)
            away = (msi[i] - seen.mean[:, None]).numpy()
            distances.append((away * np.linalg.solve(covariance.numpy(), away)).sum(0))
        np.testing.assert_allclose(nearest[i], np.min(distances, axis=0), rtol=1e-9)
        torch.testing.assert_close(share[i], joint.softmax(0))


def test_posterior_without_information_is_the_prior() -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(1)
    mean, variance = mixture.posterior(msi, mixing, offset, torch.full_like(noise, 1e12))
    expected = (mixture.weight @ mixture.mean)[:, None].expand(2, -1, PIXELS)
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6)
    own = mixture.weight @ mixture.covariance.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(variance, own[:, None].expand(2, -1, PIXELS), rtol=1e-5, atol=0)


def test_posterior_far_from_every_component_is_finite() -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(1)
    small = single(mixture)
    far = (each.float() for each in (1e4 * msi, mixing, offset, noise))
    mean, variance = small.posterior(*far)
    assert torch.isfinite(mean).all()
    assert torch.isfinite(variance).all()
    assert variance.min() >= 0


def test_posterior_of_an_image_is_that_of_its_pixels_however_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(2)
    many = msi.repeat(1, 1, 600 // PIXELS + 1)  # more than are computed at a time
    monkeypatch.setattr("uavssr.model.mixture._CACHED_ELEMENTS", 1)
    assert many.shape[-1] > 2 * 256
    for whole, part in zip(
        mixture.posterior(many, mixing, offset, noise),
        mixture.posterior(msi, mixing, offset, noise),
        strict=True,
    ):
        torch.testing.assert_close(whole, part.repeat(1, 1, 600 // PIXELS + 1))


def test_no_share_is_so_small_that_it_costs_more_than_a_large_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixture, (msi, mixing, offset, noise) = random_mixture(), random_case(1)
    small = single(mixture)
    known = [each.float() for each in (mixing, offset, noise)]
    share = small.component_posterior(30 * msi.float(), *known)
    assert share.min() > 1e-30
    torch.testing.assert_close(share.sum(1), torch.ones_like(share[:, 0]))
    monkeypatch.setattr("uavssr.model.mixture._MIN_LOG_RATIO", -1000.0)
    assert small.component_posterior(30 * msi.float(), *known).min() < 1e-38, "no case of it"


def test_second_moments_are_those_of_samples() -> None:
    mixture = random_mixture()
    moments = mixture.second_moments()
    torch.testing.assert_close(moments, moments.mT)
    for k in range(COMPONENTS):
        m, C = mixture.mean[k], mixture.covariance[k]
        torch.testing.assert_close(moments[k, :-1, :-1], C + torch.outer(m, m))
        torch.testing.assert_close(moments[k, -1], torch.cat([m, torch.ones(1).double()]))


# --- fit ------------------------------------------------------------------------------------------


def two_clouds() -> tuple[Tensor, np.ndarray]:
    """600 points about (4, -3) and 1400 about (-4, 3), and which is which."""
    rng = np.random.default_rng(1)
    root = np.array([[0.9, 0.0], [0.4, 0.3]])
    first = np.array([4.0, -3.0]) + rng.normal(size=(600, 2)) @ root.T
    second = np.array([-4.0, 3.0]) + 0.5 * rng.normal(size=(1400, 2))
    points = np.concatenate([first, second])
    return torch.as_tensor(points), np.arange(2000) < 600


@pytest.mark.parametrize("seed", range(4))
def test_fit_recovers_two_clouds_from_any_start(seed: int) -> None:
    points, first = two_clouds()
    found = fit_mixture(points, components=2, floor=0.0, seed=seed)
    order = found.weight.argsort().tolist()
    for k, kept in zip(order, (first, ~first), strict=True):
        cloud = points.numpy()[kept]
        np.testing.assert_allclose(found.weight[k], len(cloud) / 2000, atol=1e-4)
        np.testing.assert_allclose(found.mean[k], cloud.mean(0), atol=1e-3)
        expected = np.cov(cloud.T, bias=True)
        np.testing.assert_allclose(found.covariance[k], expected, atol=1e-3)


def test_fit_adds_the_floor_to_the_variances() -> None:
    points, _ = two_clouds()
    found = fit_mixture(points, components=1, floor=0.25)
    expected = np.cov(points.numpy().T, bias=True) + 0.25 * np.eye(2)
    np.testing.assert_allclose(found.covariance[0], expected, rtol=1e-5)


def test_more_iterations_do_not_lower_the_likelihood() -> None:
    points = random_points()

    def likelihood(iterations: int) -> float:
        found = fit_mixture(points, components=3, iterations=iterations, floor=0.0, seed=2)
        densities = [
            weight.double().log()
            + torch.distributions.MultivariateNormal(mean.double(), cov.double()).log_prob(points)
            for weight, mean, cov in zip(found.weight, found.mean, found.covariance, strict=True)
        ]
        return torch.stack(densities).logsumexp(0).mean().item()

    climb = [likelihood(iterations) for iterations in (1, 2, 4, 8, 16, 32)]
    assert all(after > before - 1e-6 for before, after in pairwise(climb))
    assert climb[-1] > climb[0] + 1e-3


def random_points() -> Tensor:
    mixture = random_mixture(seed=5, components=3)
    generator = torch.Generator().manual_seed(6)
    chosen = torch.multinomial(mixture.weight, 800, replacement=True, generator=generator)
    noise = torch.randn(800, RANK, 1, generator=generator, dtype=torch.float64)
    root = torch.linalg.cholesky(mixture.covariance)
    return mixture.mean[chosen] + (root[chosen] @ noise)[..., 0]


def test_fit_is_a_function_of_its_seed() -> None:
    points = random_points()
    one, two = (fit_mixture(points, components=3, iterations=3, seed=4) for _ in range(2))
    other = fit_mixture(points, components=3, iterations=3, seed=5)
    assert torch.equal(one.mean, two.mean)
    assert not torch.equal(one.mean, other.mean)
