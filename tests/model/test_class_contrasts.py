"""Classes against one common STF: uniform p-values without a difference, and planted ones found."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch

from tests.helpers.models import expected_stf, tiny_msi, tiny_network
from uavssr.model.class_contrasts import ClassEvidence, ContrastTest, DeviationPrior
from uavssr.model.class_gains import class_gain_test
from uavssr.model.likelihood import StfLikelihood, gradients_of
from uavssr.model.materials import Materials, find_materials

CLASSES, PARAMETERS = 3, 4
ODD = np.arange(0, PARAMETERS, 2)


def evidence(seed: int, *, planted: np.ndarray | None = None, draws: int = 400) -> ClassEvidence:
    """Gaussian evidence whose gradients have the stated curvature as their covariance."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(CLASSES, PARAMETERS, 2 * PARAMETERS))
    curvature = 50 * roots @ roots.swapaxes(1, 2)
    factor = np.linalg.cholesky(curvature)
    null = np.einsum("kij,skj->ski", factor, rng.normal(size=(draws, CLASSES, PARAMETERS)))
    gradient = np.einsum("kij,kj->ki", factor, rng.normal(size=(CLASSES, PARAMETERS)))
    if planted is not None:
        gradient = gradient + np.einsum("kij,kj->ki", curvature, planted)
    return ClassEvidence(gradient=gradient, curvature=curvature, null=null)


@cache
def prior() -> DeviationPrior:
    return DeviationPrior(
        common=np.eye(PARAMETERS),
        deviating=ODD,
        own=np.eye(2),
        compared=np.eye(2),
        pull=np.zeros(PARAMETERS),
    )


def test_one_stf_alarms_as_often_as_stated() -> None:
    p = np.array([ContrastTest.of(evidence(seed), prior()).p_any for seed in range(300)])
    assert 0.02 < (p <= 0.05).mean() < 0.09
    assert np.abs(np.quantile(p, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.1


@pytest.mark.parametrize(("k", "column"), [(0, 0), (2, 1)])
def test_a_planted_difference_is_found_with_its_size(k: int, column: int) -> None:
    planted = np.zeros((CLASSES, PARAMETERS))
    planted[k, ODD[column]] = 0.5
    tests = [ContrastTest.of(evidence(seed, planted=planted), prior()) for seed in range(20)]
    assert all(test.p[k, column] <= 0.05 for test in tests)
    error = [(test.value[k, column] - 0.5) / test.se[k, column] for test in tests]
    assert abs(np.mean(error)) < 1.0


def test_what_all_classes_share_is_no_difference() -> None:
    shared = np.full((CLASSES, PARAMETERS), 0.5)
    changed = ContrastTest.of(evidence(1, planted=shared), prior())
    plain = ContrastTest.of(evidence(1), prior())
    np.testing.assert_allclose(changed.value / plain.se, plain.value / plain.se, atol=0.2)


def test_another_order_of_classes_only_reorders_the_result() -> None:
    original, order = evidence(2), [2, 0, 1]
    reordered = ClassEvidence(
        gradient=original.gradient[order],
        curvature=original.curvature[order],
        null=original.null[:, order],
    )
    plain, other = (ContrastTest.of(each, prior()) for each in (original, reordered))
    for name in ("value", "se", "p", "significant_from", "deviation"):
        np.testing.assert_allclose(getattr(other, name), getattr(plain, name)[order], rtol=1e-6)


def test_contrasts_are_significant_from_the_stated_size_on() -> None:
    planted = np.random.default_rng(0).normal(0, 0.3, (CLASSES, PARAMETERS))
    for seed in range(20):
        test = ContrastTest.of(evidence(seed, planted=planted), prior())
        clear = np.abs(np.abs(test.value) / test.significant_from - 1) > 0.02
        significant = np.abs(test.value) > test.significant_from
        np.testing.assert_array_equal((test.p <= 0.05)[clear], significant[clear])


def halves(change: float = 0.0) -> list[Materials]:
    """Two classes of the same ground, the second with another gain in the third band."""
    image = tiny_msi(height=40, width=40)[0].double().flatten(1)
    parts = [image[:, ::2].clone(), image[:, 1::2].clone()]
    parts[1][2] *= np.exp(change)
    return [find_materials(part[None], None, pooled=True) for part in parts]


@cache
def network() -> object:
    return copy.deepcopy(tiny_network()).double()


def gain_test(change: float) -> ContrastTest:
    stf = expected_stf().to(torch.device("cpu"), torch.float64)
    return class_gain_test(network(), halves(change), stf)


def test_classes_of_the_same_ground_do_not_differ_in_gain() -> None:
    test = gain_test(0.0)
    assert test.p_any > 0.5
    np.testing.assert_allclose(test.value[0], -test.value[1], rtol=0.1)


@pytest.mark.parametrize("change", [-0.6, 0.6])
def test_a_gain_moves_the_contrast_of_its_band_most(change: float) -> None:
    moved = gain_test(change).value - gain_test(0.0).value
    assert moved[1].argmax() == 2 if change > 0 else moved[1].argmin() == 2
    assert moved[1, 2] / change > 0.3


def test_gradients_of_single_spectra_are_those_of_the_likelihood() -> None:
    stf = expected_stf().to(torch.device("cpu"), torch.float64)
    seen = network().observation_model(stf, stf_uncertainty=False)
    materials = halves()[0]
    single = gradients_of(materials.values[0], network().mixture, seen)
    whole = StfLikelihood.of(materials, network().mixture, seen).gradient[0]
    torch.testing.assert_close((materials.weight[0, :, None] * single).sum(0), whole)
