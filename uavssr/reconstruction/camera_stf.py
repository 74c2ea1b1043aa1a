"""One STF for several flights of one camera, estimated blind from all of their images together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi import Image, ImageKeywords, as_image
from uavssr.io.stf import StfArrays, stf_arrays
from uavssr.model import (
    GAIN,
    Model,
    PGUNet,
    ResponseFamily,
    Stf,
    load_model,
)
from uavssr.reconstruction.devices import full_float32, resolve_device, torch_threads
from uavssr.reconstruction.options import ReconstructionOptions
from uavssr.reconstruction.pixels import SceneSample, sample_scene
from uavssr.reconstruction.provenance import image_facts
from uavssr.reconstruction.stf_estimates import (
    blind_stf,
    fill_reflectance,
    scene_statistics,
    summarise_stf,
)
from uavssr.sensors import FLIGHT_SPREAD

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import StfEstimate


def estimate_camera_stf(
    images: Sequence[Image],
    options: ReconstructionOptions | None = None,
    **keywords: Unpack[ImageKeywords],
) -> StfArrays:
    """The STF of one camera from the images of several flights, without tiles.

    All flights together count as much as one scene, see `model.pool_materials`. Standard errors of
    gains include `FLIGHT_SPREAD`, by which a flight differs from the mean of all.

    Args:
        images: two or more images of one camera: paths, what `open_msi` returns, or arrays.
        options: model, device and stages; the others have no effect.
        keywords: options of `open_msi` for images that are not open yet.

    Raises:
        UsageError: fewer than two images.
        InputRefused: images of different cameras, or one without a valid pixel.
        IncompleteRun: the network gave NaN or infinity.

    Examples:
        >>> import uavssr
        >>> names = ["flight1.tif", "flight2.tif"]
        >>> flights = [
        ...     uavssr.simulate("hsi.tif", sensor="p4m", out=name, seed=seed).image
        ...     for seed, name in enumerate(names)
        ... ]
        >>> stf = uavssr.estimate_camera_stf(flights, sensor="p4m").dataset()
        >>> stf.band.values.tolist()
        ['blue', 'green', 'red', 'rededge', 'nir']
    """
    sources = [as_image(image, **keywords) for image in images]
    if len(sources) < 2:
        raise UsageError(
            "one image alone is given", remedy="give two or more, or leave --same-camera out"
        )
    first = sources[0]
    for source in sources:
        if source.sensor != first.sensor:
            raise InputRefused(
                f"the camera is {source.sensor.name}, that of {Path(first.summary.paths[0]).name} "
                f"is {first.sensor.name}",
                path=source.summary.paths[0],
                remedy="give images of one camera",
            )
    chosen = options or ReconstructionOptions()
    model = chosen.model if isinstance(chosen.model, Model) else load_model(chosen.model)
    device = resolve_device(chosen.device)
    network = copy.deepcopy(model.network).to(device) if device.type == "cuda" else model.network
    with torch_threads(), full_float32:
        estimate = _estimate(network, sources, device=device, stages=chosen.stages)
    return stf_arrays(
        sensor=first.sensor,
        grid=model.grid,
        nominal=first.sensor.srf(model.grid),
        scene=estimate,
        crs_wkt="",
        transform=(1, 0, 0, 0, 1, 0),
        attrs=_attributes(sources, model),
    )


@torch.inference_mode()
def _estimate(
    network: PGUNet, sources: Sequence[MsiSource], *, device: torch.device, stages: int | None
) -> StfEstimate:
    start = Stf.from_prior(ResponseFamily.of(sources[0].sensor, network.grid).to(device))
    samples = [sample_scene(source, fill_reflectance(network, start)) for source in sources]
    stf = _of_any_flight(blind_stf(network, samples, start))
    pixels = [_pixels(network, sample, stf, stages=stages) for sample in samples]
    msi, coefficients, valid = (torch.cat(part, -1) for part in zip(*pixels, strict=True))
    statistics = scene_statistics(network.basis, msi, coefficients, stf, valid)
    fraction = sum(sample.valid_fraction for sample in samples) / len(samples)
    return summarise_stf(stf, statistics, network.basis, valid_fraction=fraction)


def _of_any_flight(stf: Stf) -> Stf:
    """The STF with standard errors of the gains of one flight, in place of those of the mean."""
    gain_se = (stf.theta_se[..., GAIN].square() + FLIGHT_SPREAD**2).sqrt()
    theta_se = stf.theta_se.clone()
    theta_se[..., GAIN] = torch.minimum(
        gain_se, torch.maximum(stf.family.spread[..., GAIN], theta_se[..., GAIN])
    )
    return replace(stf, theta_se=theta_se)


def _pixels(
    network: PGUNet, sample: SceneSample, stf: Stf, *, stages: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Y (1, c, n), A (1, r, n) and the valid pixels (1, n) of a sample."""
    msi, valid = sample.msi.to(stf.rows.device), sample.valid.to(stf.rows.device)
    result = network(msi, stf, estimate_stf=False, valid=valid, stages=stages)
    return (
        msi.movedim(1, 0).flatten(1)[None],
        result.coefficients.movedim(1, 0).flatten(1)[None],
        valid.flatten()[None],
    )


def _attributes(sources: Sequence[MsiSource], model: Model) -> dict[str, str]:
    facts = image_facts(sources, model) | {"flights": str(len(sources))}
    return {f"uavssr_{key}": value for key, value in facts.items()}
