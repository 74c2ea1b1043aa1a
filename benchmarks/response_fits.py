"""Fits of a camera's response to known spectra: free and parametric, with their errors.

The spectra are mixtures of k random measured spectra of the library, so that the scene has rank k.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from heldout import HeldOut

from uavssr.calibration import calibrate
from uavssr.data import draw_cameras
from uavssr.evaluation import stf_error
from uavssr.sensors import FloatArray

PIXELS: Final = 500
NOISE: Final = 0.001
"""Standard deviation of the noise over a band's mean: better than any camera."""
RIDGES: Final = tuple(10.0 ** np.arange(-12, 1))
"""Weights of the ridge over the largest eigenvalue of X X^T."""


class KnownScene(NamedTuple):
    """Spectra that are known, and what a camera makes of them."""

    spectra: FloatArray
    """X (C, n)."""
    elsewhere: FloatArray
    """(C, n) spectra that are not in the scene."""
    image: FloatArray
    """Y (c, n)."""
    rows: FloatArray
    """The true R (c, C)."""


class ResponseErrors(NamedTuple):
    """Relative errors of a response, by norms."""

    whole: float
    inside: float
    """Of its part in the span of the scene's spectra."""
    outside: float
    image: float
    """Misfit of the image."""
    elsewhere: float
    """Misfit of the images of other spectra."""


def known_scene(given: HeldOut, rank: int, seed: int) -> KnownScene:
    """Mixtures of `rank` measured spectra, seen by a random camera."""
    rng = np.random.default_rng([seed, rank])
    measured = given.library.spectra[given.library.source != "synthetic"].astype(float)
    materials = measured[rng.choice(len(measured), rank, replace=False)].T
    spectra = materials @ rng.dirichlet(np.ones(rank), PIXELS).T * rng.uniform(0.5, 1, PIXELS)
    elsewhere = measured[rng.choice(len(measured), PIXELS, replace=False)].T
    rows = draw_cameras(rng, [given.sensor], given.model.grid).rows[0].astype(float)
    clean = rows @ spectra
    noise = NOISE * clean.mean(1, keepdims=True) * rng.normal(size=clean.shape)
    return KnownScene(spectra, elsewhere, clean + noise, rows)


def free_response(scene: KnownScene) -> FloatArray:
    """R (c, C) by the ridge regression that is nearest to the truth."""
    # R = Y X^T (X X^T + lambda I)^-1
    gram = scene.spectra @ scene.spectra.T
    cross = scene.image @ scene.spectra.T
    largest = float(np.linalg.eigvalsh(gram)[-1])
    fits = (
        np.linalg.solve(gram + ridge * largest * np.eye(len(gram)), cross.T).T for ridge in RIDGES
    )
    return min(fits, key=lambda rows: stf_error(rows, scene.rows))


def parametric_response(given: HeldOut, scene: KnownScene) -> FloatArray:
    """R (c, C) as `estimate-stf --reference` fits it."""
    basis = given.model.network.basis
    stf = calibrate(given.family, scene.spectra.T, scene.image.T, basis=basis).stf
    return np.asarray(stf.rows[0].double().numpy())


def response_errors(rows: FloatArray, scene: KnownScene) -> ResponseErrors:
    """The errors of R (c, C)."""
    left, values, _ = np.linalg.svd(scene.spectra, full_matrices=False)
    span = left[:, values > 1e-9 * values[0]]
    size, error = np.linalg.norm(scene.rows), rows - scene.rows
    inside = error @ span
    return ResponseErrors(
        whole=float(np.linalg.norm(error) / size),
        inside=float(np.linalg.norm(inside) / size),
        outside=float(np.linalg.norm(error - inside @ span.T) / size),
        image=stf_error(rows @ scene.spectra, scene.image),
        elsewhere=stf_error(rows @ scene.elsewhere, scene.rows @ scene.elsewhere),
    )


def errors_at(given: HeldOut, rank: int) -> dict[str, ResponseErrors]:
    """Root mean squares over cameras of both responses' errors at one rank."""
    errors: dict[str, list[ResponseErrors]] = {"free": [], "parametric": []}
    for seed in given.seeds(0):
        scene = known_scene(given, rank, seed)
        errors["free"].append(response_errors(free_response(scene), scene))
        errors["parametric"].append(response_errors(parametric_response(given, scene), scene))
    return {
        name: ResponseErrors(*np.sqrt(np.square(rows).mean(0)).tolist())
        for name, rows in errors.items()
    }
