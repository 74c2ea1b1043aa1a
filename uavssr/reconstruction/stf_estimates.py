"""STFs of scenes: estimated with the network, or given, and as numbers with errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.io.stf import StfEstimate
from uavssr.model import (
    GAIN,
    SHIFT,
    STRETCH,
    Materials,
    PGUNet,
    ResponseFamily,
    SceneStatistics,
    SpectralBasis,
    Stf,
    find_materials,
    pool_materials,
)
from uavssr.reconstruction.devices import CPU_COUNT
from uavssr.reconstruction.fitted_stf import FittedStf
from uavssr.reconstruction.pixels import SceneSample, sample_scene
from uavssr.sensors import Float32Array, Sensor, nominal_spread

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

SAMPLE_GROUP: Final = 4
"""Windows of a sample that go through the network together on a CPU, whatever its cores."""
PRIOR_DRIVEN: Final = 0.75
"""Share of the data sheet's variance of centre and gain that remains, above which a band is
prior-driven. A camera's profile removes a part of it, and the image another."""


def fill_reflectance(network: PGUNet, stf: Stf) -> Float32Array:
    """(c,) reflectance that the camera measures of the prior's mean spectrum: R mean."""
    return (stf.rows[0].cpu() @ network.mean.cpu()).numpy()


@torch.inference_mode()
def estimate_scene_stf(
    network: PGUNet,
    source: MsiSource,
    *,
    device: torch.device,
    stages: int | None = None,
    fixed: StfEstimate | None = None,
) -> FittedStf:
    """The scene's STF, estimated blind from a sample of windows together; tensors on `device`.

    A `fixed` STF is kept, with the residual, condition and valid fraction that it has in the scene.

    Raises:
        InputRefused: the scene has no valid pixel.
        IncompleteRun: the network gave NaN or infinity.
    """
    if fixed is None:
        stf = Stf.from_prior(ResponseFamily.of(source.sensor, network.grid).to(device))
    else:
        stf = stf_from_estimate(network, source.sensor, fixed, device=device)
    sample = sample_scene(source, fill_reflectance(network, stf))
    if fixed is None:
        stf = blind_stf(network, [sample], stf)
    msi, valid = sample.msi.to(device), sample.valid.to(device)
    coefficients = _windows_coefficients(network, msi, stf, stages)
    statistics = scene_statistics(network.basis, msi, coefficients, stf, valid)
    fraction = sample.valid_fraction
    estimate = summarise_stf(stf, statistics, network.basis, valid_fraction=fraction)
    if fixed is not None:
        estimate = replace(
            fixed, residual=estimate.residual, condition=estimate.condition, valid_fraction=fraction
        )
    return FittedStf(stf=stf, estimate=estimate)


def blind_stf(network: PGUNet, samples: Sequence[SceneSample], start: Stf) -> Stf:
    """The STF (S = 1) of a camera from samples of its scenes and the prior of `start`.

    Raises:
        IncompleteRun: the network gave NaN or infinity.
    """
    return _in_float64(
        network, samples, start, lambda exact, *given: exact.estimate_stf(*given)[-1]
    )


def _windows_coefficients(network: PGUNet, msi: Tensor, stf: Stf, stages: int | None) -> Tensor:
    """Coefficients (W, r, h, w) of a sample's windows, on a CPU some windows on each core."""

    @torch.inference_mode()
    def coefficients(windows: Tensor) -> Tensor:
        return network(windows, stf, estimate_stf=False, stages=stages).coefficients

    if msi.device.type != "cpu":
        return coefficients(msi)
    with ThreadPoolExecutor(CPU_COUNT, "sample") as pool:
        return torch.cat(list(pool.map(coefficients, msi.split(SAMPLE_GROUP))))


@torch.inference_mode()
def scene_materials(network: PGUNet, source: MsiSource, stf: Stf) -> Materials:
    """The materials (S = 1) of a sample of the scene, in float32, see `sample_scene`.

    Raises:
        InputRefused: the scene has no valid pixel.
    """
    exact = _materials([sample_scene(source, fill_reflectance(network, stf))])
    return Materials(values=exact.values.float(), weight=exact.weight.float())


def continue_scene_stf(network: PGUNet, source: MsiSource, stf: Stf) -> Stf:
    """An STF (S = 1) that references determine in part, with what the scene adds to it.

    Raises:
        InputRefused: the scene has no valid pixel.
        IncompleteRun: the network gave NaN or infinity.
    """
    sample = sample_scene(source, fill_reflectance(network, stf))
    return _in_float64(network, [sample], stf, PGUNet.continue_stf)


@torch.inference_mode()
def _in_float64(
    network: PGUNet,
    samples: Sequence[SceneSample],
    stf: Stf,
    estimate: Callable[[PGUNet, Materials, Stf], Stf],
) -> Stf:
    """What `estimate` makes of an STF and the samples' materials in float64 on the CPU.

    In float32 a pixel between two materials could fall to either, depending on the device.
    """
    cpu, exact = torch.device("cpu"), torch.float64
    network = copy.deepcopy(network).to(cpu, exact)
    estimated = estimate(network, _materials(samples), stf.to(cpu, exact))
    return estimated.to(stf.rows.device, stf.rows.dtype)


def _materials(samples: Sequence[SceneSample]) -> Materials:
    """The materials of all samples as those of one scene (S = 1), in float64."""
    pixels = ((sample.msi.double().flatten(2), sample.valid.flatten(1)) for sample in samples)
    return pool_materials([find_materials(*scene, pooled=True) for scene in pixels])


def stf_from_estimate(
    network: PGUNet, sensor: Sensor, estimate: StfEstimate, *, device: torch.device
) -> Stf:
    """The STF that an earlier run estimated, calibrated or simulated, to be held fixed.

    Its responses are used as they are; its standard errors become noise in the X-step.
    """
    family = ResponseFamily.of(sensor, network.grid)
    gain = np.maximum(estimate.gain, 1e-6)
    # theta: shift in nm, log of the stretch, log of the gain; errors of logarithms are relative
    shift = estimate.centre - family.centre[0].numpy()
    theta = [shift, np.log(estimate.fwhm / family.fwhm[0].numpy()), np.log(gain)]
    common = np.atleast_1d(estimate.common_gain_se)
    gain_se = np.sqrt(np.square(estimate.gain_se / gain) - common**2)
    theta_se = [estimate.centre_se, estimate.fwhm_se / estimate.fwhm, gain_se]
    parameters, errors, rows, common_se = (
        torch.as_tensor(array, dtype=torch.float32, device=device)
        for array in (
            np.stack(theta, -1)[None],
            np.stack(theta_se, -1)[None],
            estimate.stf[None],
            common,
        )
    )
    return Stf.of(family.to(device), parameters, errors, rows=rows, common_se=common_se)


def scene_statistics(
    basis: SpectralBasis, msi: Tensor, coefficients: Tensor, stf: Stf, valid: Tensor
) -> SceneStatistics:
    """Statistics of the misfit Y - (R E A + R mean) and of A over the valid pixels."""
    observation = stf.rows @ basis.extended  # (S, c, r + 1): R E and R mean
    statistics = SceneStatistics.of(
        msi.flatten(2),
        coefficients.flatten(2),
        observation[..., :-1],
        observation[..., -1],
        valid=valid.flatten(1),
    )
    if not bool(torch.isfinite(statistics.second).all()):
        raise IncompleteRun(
            "the network gave NaN or infinity",
            remedy="nothing was written; check the input's values with uavssr inspect",
        )
    return statistics


def summarise_stf(
    stf: Stf,
    statistics: SceneStatistics,
    basis: SpectralBasis,
    *,
    valid_fraction: float,
) -> StfEstimate:
    """An STF of one camera (S = 1) as the numbers that are written."""
    family, theta, theta_se = stf.family, stf.theta[0], stf.theta_se[0]
    tangent = family.tangent(stf.theta)[0]  # (c, 3, C): d R / d theta
    # the share of the data sheet's variance that image, references or a profile removed
    data_sheet = torch.as_tensor(nominal_spread(family.fwhm.cpu().numpy())).to(stf.theta_se)
    removed = 1 - (stf.theta_se / data_sheet).square()
    informed = torch.maximum(removed[0, :, SHIFT], removed[0, :, GAIN])
    fwhm, gain = family.fwhm[0] * theta[:, STRETCH].exp(), theta[:, GAIN].exp()
    common = stf.common_se[0]
    # delta method: var(R) = sum over the parameters of (d R / d theta)^2 var(theta)
    numbers = {
        "stf": stf.rows[0],
        "stf_se": (
            (tangent * theta_se[..., None]).square().sum(1) + (common * stf.rows[0]).square()
        ).sqrt(),
        "centre": family.centre[0] + theta[:, SHIFT],
        "fwhm": fwhm,
        "gain": gain,
        "centre_se": theta_se[:, SHIFT],
        "fwhm_se": fwhm * theta_se[:, STRETCH],
        "gain_se": gain * (theta_se[:, GAIN].square() + common.square()).sqrt(),
        "span_share": basis.span_share(stf.rows)[0],
        "residual": statistics.misfit[0].sqrt(),
    }
    return StfEstimate(
        **{key: value.double().cpu().numpy() for key, value in numbers.items()},
        prior_driven=(1 - informed > PRIOR_DRIVEN).cpu().numpy(),
        condition=float(statistics.condition()[0]),
        common_gain_se=float(common),
        valid_fraction=valid_fraction,
    )
