"""How errors of the spectral prior, the sensor's noise and the STF reach a cube (S = 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uavssr.model.basis import SpectralBasis
from uavssr.model.mixture import SpectralMixture
from uavssr.model.solvers import wiener_gain
from uavssr.model.state import ObservationModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPropagation:
    """The linear steps that make a cube, of K mixture components, r coefficients, c bands.

    The cube is A = (I - G B) Z + G (Y - b), the last X-step, of Z = sum_k p_k (mu_k + K_k (Y - B
    mu_k - b)), the mixture's estimate. Under component k its error is M (A - mu_k) + N_k noise,

        M = (I - G B) (I - K_k B),   N_k = (I - G B) K_k + G
    """

    gain: Tensor
    """K_k (K, r, c)."""
    constant: Tensor
    """(K, r) mu_k - K_k (B mu_k + b)."""
    missed: Tensor
    """E M (K, C, r): from the error of the prior to the cube."""
    passed: Tensor
    """E N_k (K, C, c): from errors of the image's bands to the cube."""

    @classmethod
    def of(
        cls, seen: ObservationModel, basis: SpectralBasis, mixture: SpectralMixture
    ) -> ErrorPropagation:
        """The steps under an observation model; symbols as above."""
        covariance, mixing = mixture.covariance, seen.mixing[0]
        # K_k = C_k B^T (B C_k B^T + diag(noise_k))^-1
        carried = covariance @ mixing.mT  # (K, r, c)
        system = mixing @ carried + torch.diag_embed(seen.component_noise[0])
        gain = torch.linalg.solve(system, carried.mT).mT
        identity = torch.eye(mixing.shape[1], dtype=mixing.dtype, device=mixing.device)
        last = _last_gain(seen, (identity - gain @ mixing) @ covariance)
        rest = identity - last @ mixing
        predicted = mixture.mean @ mixing.mT + seen.offset[0]
        return cls(
            gain=gain,
            constant=mixture.mean - (gain @ predicted[..., None])[..., 0],
            missed=basis.components @ rest @ (identity - gain @ mixing),
            passed=basis.components @ (rest @ gain + last),
        )


def _last_gain(seen: ObservationModel, posterior: Tensor) -> Tensor:
    """G (r, c) of the last X-step, or (K, r, c) of pixels that belong to one component each.

    Args:
        seen: the observation model.
        posterior: C_k - K_k B C_k (K, r, r), the covariance of a component's posterior.
    """
    if seen.final_factor is None:
        return wiener_gain(seen.mixing, seen.final)[0]
    # G = D B^T (B D B^T + S)^-1,  D = factor diag(C_k - K_k B C_k)
    deviation = (seen.final_factor * posterior.diagonal(dim1=-2, dim2=-1).clamp_min(0)).sqrt()
    gain = wiener_gain(seen.mixing * deviation[:, None], seen.final)
    return deviation[..., None] * gain
