"""The R-step under the mixture, against densities, autograd and dense solutions in float64."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uavssr.model.likelihood import StfLikelihood, r_step_mixture
from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.state import ObservationModel

BANDS, RANK, COMPONENTS, COUNT, SCENES = 4, 5, 3, 7, 2
FIELDS = ("curvature", "gradient", "coefficients", "band_residual", "band_residual_std")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Materials of `SCENES` scenes, each seen by a camera of its own."""

    materials: Materials
    mixture: SpectralMixture
    seen: ObservationModel

    def likelihood(self) -> StfLikelihood:
        return StfLikelihood.of(self.materials, self.mixture, self.seen)


@cache
def case_of(seed: int = 0, *, components: int = COMPONENTS) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(components, RANK, RANK)
    noise = 0.2 * normal(SCENES, components, BANDS).exp()
    return Case(
        mixture=SpectralMixture(
            weight=normal(components).softmax(0),
            mean=normal(components, RANK),
            covariance=0.3 * root @ root.mT + 0.05 * torch.eye(RANK),
        ),
        materials=Materials(
            values=1.5 * normal(SCENES, COUNT, BANDS), weight=normal(SCENES, COUNT).softmax(1)
        ),
        seen=ObservationModel(
            mixing=normal(SCENES, BANDS, RANK),
            offset=normal(SCENES, BANDS),
            tangent=normal(SCENES, BANDS, 3, RANK + 1),
            noise=noise.mean(1),
            component_noise=noise,
            final=noise.mean(1),
        ),
    )


def floats(parts: SpectralMixture | ObservationModel) -> dict[str, Any]:
    """The fields that are tensors, in float32."""
    values = {field.name: getattr(parts, field.name) for field in fields(parts)}
    return {name: value.float() for name, value in values.items() if isinstance(value, Tensor)}


def assert_close(one: StfLikelihood, two: StfLikelihood) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-11)


# --- the likelihood of a camera -------------------------------------------------------------------


def written_out(case: Case, scene: int) -> SimpleNamespace:
    """The likelihood of a scene, summed by material and component in numpy."""
    B, b, Q, noise = (
        getattr(case.seen, name)[scene].numpy()
        for name in ("mixing", "offset", "tangent", "component_noise")
    )
    values, weights = (getattr(case.materials, n)[scene].numpy() for n in ("values", "weight"))
    mixture = [getattr(case.mixture, name).numpy() for name in ("weight", "mean", "covariance")]
    found = SimpleNamespace(
        curvature=np.zeros((3 * BANDS, 3 * BANDS)),
        gradient=np.zeros(3 * BANDS),
        coefficients=np.zeros((len(values), RANK)),
        band_residual=np.zeros((len(values), BANDS)),
        band_residual_std=np.zeros((len(values), BANDS)),
    )
    for j, (y, weight) in enumerate(zip(values, weights, strict=True)):
        parts = []
        for k, (prior, mean, covariance) in enumerate(zip(*mixture, strict=True)):
            S = B @ covariance @ B.T + np.diag(noise[k])
            d = y - B @ mean - b
            density = np.exp(-0.5 * d @ np.linalg.solve(S, d)) / np.sqrt(
                np.linalg.det(2 * np.pi * S)
            )
            x = mean + covariance @ B.T @ np.linalg.solve(S, d)
            parts.append((prior * density, S, d, x))
        total = sum(joint for joint, *_ in parts)
        for joint, S, d, x in parts:
            share, L = joint / total, np.linalg.inv(S)
            found.coefficients[j] += share * x
            variance = np.zeros(BANDS)
            for i in range(BANDS):  # the band given the others, by the partitioned covariance
                rest = [o for o in range(BANDS) if o != i]
                across = np.linalg.solve(S[np.ix_(rest, rest)], S[rest, i])
                found.band_residual[j, i] += share * (d[i] - across @ d[rest])
                variance[i] = S[i, i] - across @ S[rest, i]
            found.band_residual_std[j] += share * variance
            slope = np.zeros((BANDS, 3 * BANDS))  # of what is seen with each parameter
            for i in range(BANDS):
                slope[i, 3 * i : 3 * i + 3] = Q[i] @ np.append(x, 1)
            found.curvature += weight * share * slope.T @ L @ slope
            found.gradient += weight * share * slope.T @ L @ d
    found.band_residual_std = np.sqrt(found.band_residual_std)
    return found


@pytest.mark.parametrize("components", [1, COMPONENTS])
@pytest.mark.parametrize("scene", range(SCENES))
def test_likelihood_equals_its_sums_written_out(scene: int, components: int) -> None:
    """`band_residual` is a band's misfit given the other bands, with its standard deviation."""
    case = case_of(components=components)
    found, expected = case.likelihood(), written_out(case, scene)
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name)[scene], getattr(expected, name), rtol=1e-8, atol=1e-10
        )


def moved(case: Case, change: Tensor) -> ObservationModel:
    """How a camera acts whose parameters have changed by `change` (S, 3c), along its tangent."""
    bands = (case.seen.tangent * change.unflatten(1, (BANDS, 3, 1))).sum(2)
    return replace(
        case.seen,
        mixing=case.seen.mixing + bands[..., :-1],
        offset=case.seen.offset + bands[..., -1],
    )


def likelihood(case: Case, change: Tensor, *, normalised: bool) -> Tensor:
    """Mean log likelihood of the materials; unless `normalised`, its determinants do not move."""
    seen, mixture = moved(case, change), case.mixture
    system = seen.mixing[:, None] @ mixture.covariance @ seen.mixing[:, None].mT
    system = system + torch.diag_embed(seen.component_noise)
    mean = torch.einsum("scr,kr->skc", seen.mixing, mixture.mean) + seen.offset[:, None]
    misfit = case.materials.values[:, None] - mean[:, :, None]
    distance = (misfit * torch.linalg.solve(system, misfit.mT).mT).sum(-1)
    level = -0.5 * torch.logdet(system)
    level = mixture.weight.log() + (level if normalised else level.detach())
    joint = torch.logsumexp(level[..., None] - 0.5 * distance, 1)
    return (joint * case.materials.weight).sum()


def zero_change() -> Tensor:
    return torch.zeros(SCENES, 3 * BANDS, dtype=torch.float64, requires_grad=True)


def test_gradient_is_that_of_the_likelihood_with_its_determinants_held() -> None:
    case, change = case_of(), zero_change()
    (slope,) = torch.autograd.grad(likelihood(case, change, normalised=False), change)
    torch.testing.assert_close(case.likelihood().gradient, slope)
    (whole,) = torch.autograd.grad(likelihood(case, change, normalised=True), change)
    assert (slope - whole).abs().max() > 0.1  # what is left out matters


def test_curvature_and_gradient_are_those_of_the_misfit_with_spectra_held() -> None:
    """Of -sum_j w_j sum_k share |d - (slope of a) t|_L^2 / 2, by autograd, cross terms and all."""
    case, mixture = case_of(), case_of().mixture
    system = case.seen.mixing[:, None] @ mixture.covariance @ case.seen.mixing[:, None].mT
    precision = torch.linalg.inv(system + torch.diag_embed(case.seen.component_noise))
    mean = torch.einsum("scr,kr->skc", case.seen.mixing, mixture.mean)
    misfit = case.materials.values[:, None] - (mean + case.seen.offset[:, None])[:, :, None]
    joint = mixture.weight.log() + 0.5 * torch.logdet(precision)
    joint = joint[..., None] - 0.5 * (misfit * (misfit @ precision)).sum(-1)
    weight = joint.softmax(1) * case.materials.weight[:, None]
    carried = mixture.covariance @ case.seen.mixing[:, None].mT
    spectra = mixture.mean[:, None] + misfit @ precision @ carried.mT
    extended = torch.cat([spectra, torch.ones_like(spectra[..., :1])], -1)

    def misfit_of(change: Tensor) -> Tensor:
        rows = (case.seen.tangent * change.unflatten(1, (BANDS, 3, 1))).sum(2)
        left = misfit - extended @ rows[:, None].mT
        return 0.5 * (weight * (left * (left @ precision)).sum(-1)).sum()

    found = case.likelihood()
    (slope,) = torch.autograd.functional.jacobian(misfit_of, (zero_change(),))
    torch.testing.assert_close(found.gradient, -slope)
    hessian = torch.autograd.functional.hessian(misfit_of, zero_change())
    for scene in range(SCENES):
        torch.testing.assert_close(found.curvature[scene], hessian[scene, :, scene])
        other = hessian[scene, :, 1 - scene]
        torch.testing.assert_close(other, torch.zeros_like(other))  # scenes do not see each other


def test_curvature_is_a_covariances_inverse() -> None:
    for seed in range(5):
        curvature = case_of(seed).likelihood().curvature
        torch.testing.assert_close(curvature, curvature.mT)
        assert torch.linalg.eigvalsh(curvature).min() > -1e-10


def test_spectra_are_the_posterior_means_of_the_mixture() -> None:
    case = case_of()
    mean, _ = case.mixture.posterior(
        case.materials.values.mT, case.seen.mixing, case.seen.offset, case.seen.component_noise
    )
    torch.testing.assert_close(case.likelihood().coefficients, mean.mT)


def test_one_component_equals_the_gaussian_closed_form() -> None:
    """By the other textbook form, (C^-1 + B^T N^-1 B)^-1 (C^-1 m + B^T N^-1 (y - b))."""
    case = case_of(components=1)
    m, C = case.mixture.mean[0].numpy(), case.mixture.covariance[0].numpy()
    found = case.likelihood().coefficients
    for scene in range(SCENES):
        B, b = case.seen.mixing[scene].numpy(), case.seen.offset[scene].numpy()
        weight = B.T / case.seen.component_noise[scene, 0].numpy()
        right = (
            np.linalg.solve(C, m)[:, None] + weight @ (case.materials.values[scene].numpy() - b).T
        )
        expected = np.linalg.solve(np.linalg.inv(C) + weight @ B, right)
        np.testing.assert_allclose(found[scene].T, expected, rtol=1e-8)


# --- what does not matter -------------------------------------------------------------------------


def test_the_order_of_materials_and_components_does_not_matter() -> None:
    case = case_of()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    shuffled = Materials(
        values=case.materials.values[:, order], weight=case.materials.weight[:, order]
    )
    found, other = case.likelihood(), replace(case, materials=shuffled).likelihood()
    own = {name: getattr(found, name)[:, order] for name in ("coefficients", "band_residual")}
    assert_close(other, replace(found, **own, band_residual_std=found.band_residual_std[:, order]))
    mixture = SpectralMixture(
        weight=case.mixture.weight.flip(0),
        mean=case.mixture.mean.flip(0),
        covariance=case.mixture.covariance.flip(0),
    )
    seen = replace(case.seen, component_noise=case.seen.component_noise.flip(1))
    assert_close(replace(case, mixture=mixture, seen=seen).likelihood(), found)


def test_permuted_bands_permute_the_likelihood() -> None:
    case, order = case_of(), [2, 0, 3, 1]
    seen = ObservationModel(
        mixing=case.seen.mixing[:, order],
        offset=case.seen.offset[:, order],
        tangent=case.seen.tangent[:, order],
        noise=case.seen.noise[:, order],
        component_noise=case.seen.component_noise[..., order],
        final=case.seen.final[:, order],
    )
    materials = replace(case.materials, values=case.materials.values[..., order])
    parameters = [3 * band + p for band in order for p in range(3)]
    found = case.likelihood()
    expected = StfLikelihood(
        curvature=found.curvature[:, parameters][:, :, parameters],
        gradient=found.gradient[:, parameters],
        coefficients=found.coefficients,
        band_residual=found.band_residual[..., order],
        band_residual_std=found.band_residual_std[..., order],
    )
    assert_close(replace(case, materials=materials, seen=seen).likelihood(), expected)


def test_materials_of_no_weight_say_nothing() -> None:
    case = case_of()
    values = torch.cat([case.materials.values, 9 * torch.ones(SCENES, 3, BANDS).double()], 1)
    weight = torch.cat([case.materials.weight, torch.zeros(SCENES, 3).double()], 1)
    found = replace(case, materials=Materials(values=values, weight=weight)).likelihood()
    expected = case.likelihood()
    for name in ("curvature", "gradient"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    none = replace(case, materials=replace(case.materials, weight=torch.zeros(SCENES, COUNT)))
    assert not none.likelihood().curvature.any()
    assert not none.likelihood().gradient.any()


def test_a_material_in_two_halves_says_what_it_says_whole() -> None:
    case = case_of()
    twice = Materials(
        values=case.materials.values.repeat(1, 2, 1),
        weight=0.5 * case.materials.weight.repeat(1, 2),
    )
    found, expected = replace(case, materials=twice).likelihood(), case.likelihood()
    for name in ("curvature", "gradient"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("level", [1e3, 1e6])
def test_absurd_materials_leave_a_finite_likelihood_in_float32(level: float) -> None:
    case = case_of()
    single = Case(
        materials=Materials(
            values=level * case.materials.values.float(), weight=case.materials.weight.float()
        ),
        mixture=SpectralMixture(**floats(case.mixture)),
        seen=ObservationModel(**floats(case.seen)),
    )
    found = single.likelihood()
    for name in FIELDS:
        assert getattr(found, name).dtype == torch.float32
        assert torch.isfinite(getattr(found, name)).all(), name


# --- the R-step -----------------------------------------------------------------------------------


def step_case(seed: int = 1) -> dict[str, Tensor]:
    """theta, prior, spread (S, c, 3), H (S, 3c, 3c), g (S, 3c) and samples (S,)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(SCENES, 3 * BANDS, 3 * BANDS)
    return {
        "theta": normal(SCENES, BANDS, 3),
        "prior": normal(SCENES, BANDS, 3),
        "spread": normal(SCENES, BANDS, 3).exp(),
        "curvature": root @ root.mT,
        "gradient": normal(SCENES, 3 * BANDS),
        "samples": torch.tensor([0.7, 3.0]).double(),
    }


def step(given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    nothing = torch.empty(0)
    likelihood = StfLikelihood(
        curvature=given["curvature"],
        gradient=given["gradient"],
        coefficients=nothing,
        band_residual=nothing,
        band_residual_std=nothing,
    )
    return r_step_mixture(
        given["theta"], given["prior"], given["spread"], likelihood, given["samples"]
    )


def test_r_step_equals_the_normal_equations_of_its_quadratic() -> None:
    given = step_case()
    found, share = step(given)
    for i in range(SCENES):
        theta, prior, spread = (
            given[key][i].flatten().numpy() for key in ("theta", "prior", "spread")
        )
        H, g, n = (given[key][i].numpy() for key in ("curvature", "gradient", "samples"))
        precision = n * H + np.diag(spread**-2)
        expected = np.linalg.solve(precision, n * g + n * H @ theta + prior / spread**2)
        np.testing.assert_allclose(found[i].flatten(), expected, rtol=1e-8)
        posterior = np.diag(np.linalg.inv(precision))  # of all parameters jointly
        np.testing.assert_allclose(share[i].flatten(), 1 - posterior / spread**2, atol=1e-10)


def test_r_step_is_where_the_stated_quadratic_is_flat() -> None:
    given = step_case()
    at = step(given)[0].clone().requires_grad_()
    away = (at - given["theta"]).flatten(1)
    quadratic = torch.einsum("si,sij,sj->s", away, given["curvature"], away) / 2
    image = given["samples"] * (quadratic - (given["gradient"] * away).sum(1))
    own = ((at - given["prior"]) / given["spread"]).square().sum() / 2
    (slope,) = torch.autograd.grad(image.sum() + own, at)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


def test_a_scene_that_says_nothing_leaves_the_prior_exactly() -> None:
    given = step_case()
    silent = {"curvature": torch.zeros_like, "gradient": torch.zeros_like}
    for found, share in (
        step({**given, "samples": torch.zeros(SCENES).double()}),
        step({**given, **{key: make(given[key]) for key, make in silent.items()}}),
    ):
        assert torch.equal(found, given["prior"])
        assert not share.any()


def test_endless_materials_take_the_newton_step_of_the_image_alone() -> None:
    given = step_case()
    found, share = step({**given, "samples": torch.full((SCENES,), 1e10).double()})
    newton = torch.linalg.solve(given["curvature"], given["gradient"][..., None])
    expected = given["theta"] + newton.reshape(SCENES, BANDS, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert share.min() > 0.999


def test_zero_spread_fixes_its_parameter_and_no_other() -> None:
    given = step_case()
    given["spread"][..., 1] = 0
    found, share = step(given)
    assert torch.equal(found[..., 1], given["prior"][..., 1])
    assert not share[..., 1].any()
    assert ((found - given["prior"])[..., [0, 2]].abs() > 1e-6).all()
    small = {**given, "spread": given["spread"].clamp_min(1e-9)}
    torch.testing.assert_close(found, step(small)[0], rtol=0, atol=1e-7)


def test_parameters_that_stand_in_for_each_other_share_what_is_known() -> None:
    """Of two that act alike only the sum is learned: each keeps half of its variance."""
    given = step_case()
    alike = torch.zeros(3 * BANDS).double()
    alike[[0, 4]] = 1
    given["curvature"] = torch.outer(alike, alike).expand(SCENES, -1, -1) * 1e9
    given["gradient"], given["spread"] = (
        1e9 * alike.expand(SCENES, -1),
        torch.ones(2, 4, 3).double(),
    )
    given["theta"] = given["prior"]
    found, share = step(given)
    expected = alike.expand(SCENES, -1).reshape(SCENES, BANDS, 3) / 2
    torch.testing.assert_close(share, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found - given["prior"], expected, rtol=0, atol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.floats(-12, 12),
    spreads=st.lists(st.sampled_from([0.0, 1e-6, 0.1, 10.0]), min_size=3, max_size=3),
)
def test_share_stays_within_zero_and_one(seed: int, exponent: float, spreads: list[float]) -> None:
    given_case = step_case(seed)
    given_case["samples"] = given_case["samples"] * 10**exponent
    given_case["spread"] = torch.tensor(spreads).double().expand(SCENES, BANDS, 3)
    found, share = step(given_case)
    assert torch.isfinite(found).all()
    assert share.min() >= 0
    assert share.max() <= 1
