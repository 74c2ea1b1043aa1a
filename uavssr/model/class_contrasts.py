"""Whether classes of ground share one STF: each class against the others, and the largest of all.

Class k has the parameters theta + c + d_k. What its ground tells of them is a gradient g_k and a
curvature H_k of the log likelihood at theta. The estimate is

    argmin  sum_k [(c + d_k)^T H_k (c + d_k) / 2 - g_k^T (c + d_k) + d_k^T D d_k / 2] + c^T P c / 2

with precisions P of the common change c and D of a class's own d_k. Where theta is not the prior's
mean, the gradient of the prior is added to c's. The estimate is linear in the gradients.
A class's contrast is T (d_k - mean of the other classes' d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.sensors import FloatArray, IndexArray

FAMILY_WISE_ERROR: Final = 0.05
"""Probability of a false alarm, over all classes and bands together."""
_MIN_RESPONSE: Final = 1e-3
"""Least share of a deviation that its contrast shows: less is as good as nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassEvidence:
    """What the ground of K classes tells of m parameters, and what it would tell by chance."""

    gradient: FloatArray
    """g (K, m)."""
    curvature: FloatArray
    """H (K, m, m)."""
    null: FloatArray
    """(S, K, m) gradients of S draws of other ground of the same classes, under one STF."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviationPrior:
    """What classes may share and differ in, of m parameters."""

    common: FloatArray
    """P (m, m)."""
    deviating: IndexArray
    """(q,) parameters in which classes may differ."""
    own: FloatArray
    """D (q, q)."""
    compared: FloatArray
    """T (q, q) the part of a deviation that is compared."""
    pull: FloatArray
    """(m,) gradient of the log prior of what classes share, at theta."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastTest:
    """Contrasts of K classes in q parameters, tested together against one common STF."""

    value: FloatArray
    """(K, q) a class's parameter minus the mean of the other classes'."""
    se: FloatArray
    """(K, q) its standard error where all classes have one STF."""
    p: FloatArray
    """(K, q) probability that one STF gives a largest contrast of that size, all K q considered."""
    significant_from: FloatArray
    """(K, q) size from which a contrast is significant: its p is `FAMILY_WISE_ERROR`."""
    deviation: FloatArray
    """(K, q) a class's parameter minus the mean of all classes'."""
    deviation_se: FloatArray
    """(K, q) its standard error."""

    @property
    def p_any(self) -> float:
        """The probability of the largest contrast."""
        return float(self.p.min())

    @classmethod
    def of(cls, evidence: ClassEvidence, prior: DeviationPrior) -> ContrastTest:
        """Compare two or more classes.

        z = (contrast - mean of the draws) / their standard deviation. p is the share of draws whose
        largest |z| reaches that of the contrast (maximum test, Westfall and Young 1993).
        """
        classes, size = len(evidence.gradient), len(prior.deviating)
        weights, of_common = _contrast_weights(evidence.curvature, prior)
        shape = (-1, classes, size)
        value = weights @ evidence.gradient.ravel() + of_common @ prior.pull
        value = value.reshape(shape)[0]
        null = (evidence.null.reshape(len(evidence.null), -1) @ weights.T).reshape(shape)
        mean, deviation = null.mean(0), null.std(0).clip(1e-12)
        largest = np.abs((null - mean) / deviation).max((1, 2))
        reached = np.abs((value - mean) / deviation)[None] <= largest[:, None, None]
        critical = float(np.quantile(largest, 1 - FAMILY_WISE_ERROR))
        # a deviation e of a class changes its gradient by H e
        columns = evidence.curvature[:, :, prior.deviating]
        own = weights.reshape(classes, size, classes, -1)
        seen = np.stack([own[k, :, k] @ columns[k] for k in range(classes)])
        response = np.diagonal(seen, axis1=1, axis2=2) / np.diagonal(prior.compared)
        response = response.clip(_MIN_RESPONSE)
        # a class minus the mean of all: (K - 1) / K of the class minus the mean of the others
        share = (classes - 1) / classes
        return cls(
            value=(value - mean) / response,
            se=deviation / response,
            deviation=share * (value - mean) / response,
            deviation_se=share * deviation / response,
            p=(1 + reached.sum(0)) / (1 + len(null)),
            significant_from=critical * deviation / response,
        )


def _contrast_weights(
    curvature: FloatArray, prior: DeviationPrior
) -> tuple[FloatArray, FloatArray]:
    """Matrices from all gradients (K q, K m), and from the prior's (K q, m), to all contrasts."""
    classes, size = curvature.shape[:2]
    chosen, free = prior.deviating, len(prior.deviating)
    total = size + classes * free
    system = np.zeros((total, total))
    right = np.zeros((total, (classes + 1) * size))
    # [P + sum_k H_k, H_k; H_k, H_k + D] [c; d_k] = [sum_k g_k; g_k]
    system[:size, :size] = prior.common + curvature.sum(0)
    right[:size] = np.tile(np.eye(size), classes + 1)
    for k, information in enumerate(curvature):
        own = slice(size + k * free, size + (k + 1) * free)
        system[own, own] = information[np.ix_(chosen, chosen)] + prior.own
        system[:size, own] = information[:, chosen]
        system[own, :size] = information[chosen]
        right[own, k * size : (k + 1) * size] = np.eye(size)[chosen]
    deviations = np.linalg.solve(system, right)[size:]
    others = (np.ones((classes, classes)) - np.eye(classes)) / (classes - 1)
    contrast = np.kron(np.eye(classes) - others, prior.compared)
    weights = np.asarray(contrast @ deviations)
    return weights[:, :-size], weights[:, -size:]
