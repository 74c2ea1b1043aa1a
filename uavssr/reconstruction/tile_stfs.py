"""The tiles' own STFs: the scene's STF with the drift of the gains that a tile's colours show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from uavssr.model import GAIN, LEVEL_SPREAD, SceneColours, relative_prior_se
from uavssr.reconstruction.fitted_stf import StfNumbers
from uavssr.reconstruction.pixels import SceneSample, usable_pixels
from uavssr.reconstruction.stf_estimates import PRIOR_DRIVEN
from uavssr.sensors import BoolArray, Float32Array, FloatArray

COLOUR_PIXELS: Final = 4096
"""Most pixels of a scene to which its colours are fitted."""
TILE_PIXELS: Final = 2048
"""Most pixels of a tile from which its drift and its condition number are computed."""
MAX_CONDITION: Final = 1e12
_GOLDEN: Final = (5**0.5 - 1) / 2
_COLOURS: Final = {name: f"colour_{name}" for name in ("weight", "mean", "precision", "gradient")}
"""Fields of `SceneColours`, and their names among a scene's numbers."""


def fit_scene_colours(sample: SceneSample) -> SceneColours:
    """The colours of a scene's sample."""
    pixels = sample.msi.movedim(1, -1)[sample.valid]
    return SceneColours.fit(pixels[_spread_evenly(len(pixels), COLOUR_PIXELS)])


def colours_as_numbers(colours: SceneColours) -> dict[str, npt.NDArray[Any]]:
    """The colours as named arrays; `colours_from_numbers` is the inverse."""
    return {name: getattr(colours, field).numpy() for field, name in _COLOURS.items()}


def colours_from_numbers(numbers: StfNumbers) -> SceneColours | None:
    """The colours among a scene's numbers; None where it has none."""
    if not numbers.keys() >= set(_COLOURS.values()):
        return None
    fields = {field: torch.tensor(numbers[name]) for field, name in _COLOURS.items()}
    return SceneColours(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileStfEstimator:
    """Estimates tiles' STFs one by one on the CPU: a tile's STF depends on no other tile.

    Centres and widths are the camera's, so a tile has the scene's.
    """

    scene: StfNumbers
    """The scene's STF as numbers, see `FittedStf.numbers`."""
    colours: SceneColours
    """The colours of the scene."""
    extended: Float32Array
    """[E, mean] (C, r + 1) of the basis of the tiles' coefficients."""

    @torch.inference_mode()
    def numbers(
        self, msi: Float32Array, coefficients: Float32Array, valid: BoolArray
    ) -> dict[str, npt.NDArray[Any]]:
        """A tile's STF as named arrays like the scene's.

        Of the valid pixels those of plausible reflectance count.

        Args:
            msi: Y (c, h, w) reflectance.
            coefficients: A (r, h, w).
            valid: (h, w) valid pixels.
        """
        usable = usable_pixels(msi, valid)
        pixels = np.flatnonzero(usable)
        pixels = pixels[_spread_evenly(len(pixels), TILE_PIXELS)]
        flat = np.ascontiguousarray(msi.reshape(len(msi), -1)[:, pixels].T)
        drift, drift_se = (part.numpy() for part in self.colours.drift(torch.from_numpy(flat)))
        numbers = self._moved(drift, drift_se)
        own = coefficients.reshape(len(coefficients), -1)[:, pixels]
        return numbers | {
            "condition": np.asarray(_condition(own)),
            "valid_fraction": np.asarray(float(valid.mean())),
            "residual": self._residual(numbers["stf"], msi, coefficients, usable),
        }

    def with_residual(
        self, numbers: StfNumbers, msi: Float32Array, coefficients: Float32Array, valid: BoolArray
    ) -> StfNumbers:
        """A given STF with the residual that it has in a tile; see `numbers`."""
        usable = usable_pixels(msi, valid)
        return {**numbers, "residual": self._residual(numbers["stf"], msi, coefficients, usable)}

    def _residual(
        self,
        rows: npt.NDArray[Any],
        msi: Float32Array,
        coefficients: Float32Array,
        usable: BoolArray,
    ) -> FloatArray:
        """RMS (c,) of R (E A + mean) - Y over the usable pixels (h, w); 0 without any."""
        observation = (rows @ self.extended).astype(np.float32)  # R E and R mean
        misfit = observation[:, :-1] @ coefficients.reshape(len(coefficients), -1)
        misfit += observation[:, -1:]
        misfit -= msi.reshape(len(msi), -1)
        if not usable.all():
            misfit = misfit[:, usable.ravel()]
        total = np.einsum("cn,cn->c", misfit, misfit)
        return np.asarray(np.sqrt(total / max(misfit.shape[1], 1)), dtype=float)

    def _moved(self, drift: FloatArray, drift_se: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """The scene's numbers with log gains (c,) changed by a drift with standard errors.

        A factor of the tile that all its bands share adds `LEVEL_SPREAD` to the common error.
        """
        scene, factor = self.scene, np.exp(drift)
        common = float(scene["common_gain_se"])
        rows, gain = scene["stf"] * factor[:, None], scene["gain"] * factor
        own = np.square(scene["stf_se"]) - np.square(common * scene["stf"])
        new = np.square(drift_se) + LEVEL_SPREAD**2 + common**2
        theta, theta_se = scene["theta"].copy(), scene["deviation"].copy()
        theta[:, GAIN] += drift
        theta_se[:, GAIN] = np.hypot(theta_se[:, GAIN], drift_se)
        # var(R e^d) = e^2d var(R) + R^2 e^2d var(d), where var(d) is the error of the drift and
        # that of the factors that all bands share
        stf_variance = np.square(factor)[:, None] * own.clip(0) + new[:, None] * np.square(rows)
        gain_own = np.square(scene["gain_se"]) - np.square(common * scene["gain"])
        gain_variance = np.square(factor) * gain_own.clip(0) + new * np.square(gain)
        remaining = np.square(drift_se / relative_prior_se(len(drift)))
        return {
            **scene,
            "theta": theta,
            "deviation": theta_se,
            "stf": rows,
            "stf_se": np.sqrt(stf_variance),
            "gain": gain,
            "gain_se": np.sqrt(gain_variance),
            "common_gain_se": np.asarray(np.hypot(common, LEVEL_SPREAD)),
            "prior_driven": scene["prior_driven"] | (remaining > PRIOR_DRIVEN),
        }


def _condition(coefficients: Float32Array) -> float:
    """Condition number of the mean of a a^T, a = [A; 1], of coefficients A (r, n)."""
    extended = np.vstack([coefficients, np.ones_like(coefficients[:1])]).astype(float)
    values = np.linalg.eigvalsh(extended @ extended.T / max(extended.shape[1], 1))
    largest = max(float(values[-1]), 1e-30)
    return min(largest / max(float(values[0]), largest / MAX_CONDITION), MAX_CONDITION)


def _spread_evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of `count` indices, spread evenly but in no rhythm, as rows of plants have."""
    if count <= most:
        return np.arange(count)
    # multiples of the golden ratio modulo one
    return (np.arange(most) * _GOLDEN % 1 * count).astype(np.int64)
