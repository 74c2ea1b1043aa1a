"""A+: ridge regressions anchored at the atoms of a dictionary of spectra.

Aeschbacher, Wu and Timofte, "In Defense of Shallow Learned Spectral Reconstruction from RGB
Images", ICCV Workshops 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data import PatchSampler
from uavssr.evaluation.baselines.method import FitSettings, Method
from uavssr.evaluation.baselines.pixelwise import TRAINING_PIXELS, FittedPixelMap
from uavssr.sensors import Float32Array, FloatArray

_ATOMS: Final = 256
"""Most atoms, and so anchors."""
_SPECTRA_PER_ATOM: Final = 8
_NONZERO: Final = 3
"""Atoms that make up a spectrum."""
_ROUNDS: Final = 8
"""Rounds of sparse coding and dictionary update."""
_NEIGHBOURS: Final = 0.2
"""Share of the training pixels that the regression of an anchor is fitted to."""
_PENALTIES: Final = (1e-6, 1e-5, 1e-4, 1e-3)
"""Penalties to choose from, relative to the mean squared length of an anchor's neighbours."""
_KEEP: Final = 1e-3
"""Weight of the last dictionary in the next, relative to one spectrum."""
_DARK: Final = 0.05
"""Camera values this much smaller than their root mean square are noise, and no direction."""
_LEAST: Final = 1e-6
"""Least length that is divided by."""


@dataclass(frozen=True, kw_only=True)
class AnchoredRegression(Method):
    """A regression for each anchor; a pixel takes that of the anchor nearest in direction."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedPixelMap:
        """See `Method`; the penalty is the one with the least error on the last fifth."""
        values, spectra = data.pixels(settings.seed, TRAINING_PIXELS)
        split = len(values) * 4 // 5
        parts = _Moments.of(values[:split], spectra[:split], settings.seed)
        trials = [parts.regressions(penalty) for penalty in _PENALTIES]
        errors = [np.square(fit(values[split:].T) - spectra[split:].T).mean() for fit in trials]
        whole = _Moments.of(values, spectra, settings.seed)
        return FittedPixelMap(whole.regressions(_PENALTIES[int(np.argmin(errors))]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredMap:
    """X = W_k Y with the anchor k whose line through 0 is nearest to the pixel."""

    anchors: FloatArray
    """(K, c) camera values of unit length."""
    weights: FloatArray
    """W (K, C, c)."""

    def __call__(self, msi: Float32Array) -> FloatArray:
        """Spectra (C, n) of camera pixels (c, n), both reflectance."""
        nearest = np.abs(self.anchors @ msi).argmax(0)
        spectra = np.empty((self.weights.shape[1], msi.shape[1]))
        for anchor in np.unique(nearest):
            chosen = nearest == anchor
            spectra[:, chosen] = self.weights[anchor] @ msi[:, chosen]
        return spectra


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Sums over the neighbours of each anchor."""

    anchors: FloatArray
    """(K, c)."""
    gram: FloatArray
    """E[Y Y^T] / E|Y|^2 (K, c, c) of camera values."""
    cross: FloatArray
    """E[X Y^T] / E|Y|^2 (K, C, c)."""

    @classmethod
    def of(cls, values: Float32Array, spectra: Float32Array, seed: int) -> _Moments:
        """Of camera values (n, c) and spectra (n, C)."""
        length = _length(values.astype(float))
        bright = length[:, 0] > _DARK * np.sqrt(np.square(length).mean())
        values, spectra, length = values[bright], spectra[bright], length[bright]
        inputs, targets = values / length, spectra / length
        anchors = _anchors(inputs, targets, seed)
        count = max(1, round(_NEIGHBOURS * len(values)))
        gram, cross = [], []
        for anchor in anchors:
            near = np.argpartition(-np.abs(inputs @ anchor), count - 1)[:count]
            near_values = values[near].astype(float)
            power = np.square(near_values).sum(1).mean()
            gram.append(near_values.T @ near_values / (count * power))
            cross.append(spectra[near].T @ near_values / (count * power))
        return cls(anchors=anchors, gram=np.stack(gram), cross=np.stack(cross))

    def regressions(self, penalty: float) -> AnchoredMap:
        """The regressions with a penalty on their squared weights."""
        # W = E[X Y^T] (E[Y Y^T] + penalty E|Y|^2 I)^-1
        system = self.gram + penalty * np.eye(self.gram.shape[1])
        weights = np.asarray(np.linalg.solve(system, self.cross.mT).mT, float)
        return AnchoredMap(anchors=self.anchors, weights=weights)


def _anchors(inputs: FloatArray, targets: FloatArray, seed: int) -> FloatArray:
    """Camera values (K, c), of unit length, of the atoms of a dictionary of spectra.

    The method of optimal directions (Engan et al., ICASSP 1999), started at random pixels. Camera
    values of atoms follow from the same codes as their spectra.
    """
    both = np.hstack([targets, inputs])
    count = max(1, min(_ATOMS, len(both) // _SPECTRA_PER_ATOM))
    atoms = both[np.random.default_rng(seed).permutation(len(both))[:count]]
    for _ in range(_ROUNDS):
        atoms = atoms / _length(atoms[:, : targets.shape[1]])
        codes = sparse_codes(targets, atoms[:, : targets.shape[1]], _NONZERO)
        # D = argmin |X - A D|^2 + keep |D - D_old|^2, which leaves unused atoms as they are
        gram = codes.T @ codes + _KEEP * np.eye(count)
        atoms = np.asarray(np.linalg.solve(gram, codes.T @ both + _KEEP * atoms), float)
    anchors = atoms[:, targets.shape[1] :]
    return anchors / _length(anchors)


def sparse_codes(signals: FloatArray, atoms: FloatArray, nonzero: int) -> FloatArray:
    """Codes A (n, K) of signals X (n, C) by orthogonal matching pursuit: X is about A D.

    Args:
        signals: X.
        atoms: D (K, C), of unit length.
        nonzero: atoms of each signal.
    """
    products, gram = signals @ atoms.T, atoms @ atoms.T
    chosen = np.empty((len(signals), 0), int)
    left = products
    for _ in range(nonzero):
        best = np.abs(left).argmax(1)
        chosen = np.column_stack([chosen, best])
        # A_S = (D_S D_S^T)^-1 D_S X
        system = gram[chosen[:, :, None], chosen[:, None, :]] + 1e-9 * np.eye(chosen.shape[1])
        right = np.take_along_axis(products, chosen, 1)
        amounts = np.linalg.solve(system, right[..., None])[..., 0]
        codes = np.zeros_like(products)
        np.put_along_axis(codes, chosen, amounts, 1)
        left = products - codes @ gram
    return codes


def _length(vectors: FloatArray) -> FloatArray:
    """(n, 1) lengths of vectors (n, c), of which none is 0."""
    return np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _LEAST)


A_PLUS = AnchoredRegression(
    name="a+",
    reference="Aeschbacher et al., In Defense of Shallow Learned Spectral Reconstruction, ICCV "
    "Workshops 2017; least-squares dictionary in place of K-SVD, camera values of atoms by their "
    "codes since no response is given, a fifth of the pixels as neighbours, weighed by brightness",
)
