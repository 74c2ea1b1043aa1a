"""Calibration with a satellite image of the same ground: the STF product and what it learned."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from uavssr.calibration.paired import SceneCalibration
from uavssr.calibration.satellite_cells import SatelliteCells
from uavssr.calibration.satellite_fit import SatelliteFit, fit_satellite
from uavssr.calibration.satellite_likelihood import CellValues
from uavssr.errors import InputRefused, UsageError
from uavssr.io.stf import LearnedShares, stf_arrays, with_learned_shares
from uavssr.model import (
    DEFAULT_MODEL,
    GAIN,
    SHIFT,
    STRETCH,
    Materials,
    Model,
    ResponseFamily,
    SceneStatistics,
    Stf,
    load_model,
)
from uavssr.reconstruction import (
    estimate_scene_stf,
    image_facts,
    scene_materials,
    summarise_stf,
)
from uavssr.sensors import Sensor

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import StfEstimate
    from uavssr.model import PGUNet

REFERENCE_ERROR: Final = 0.05
"""Systematic error of a satellite's reflectance: standard deviation of the logarithm of a factor
that all cells of a band share, as of atmospheric correction."""
ERROR_LIMITS: Final = (0.001, 1.0)
"""Least and greatest systematic error that may be given."""
NEAR_BAND_NM: Final = 15.0
"""Distance in nm from a satellite's band, from its half maximum, up to which it shows a band."""
MAX_FACTOR_RATIO: Final = 3.0
"""Ratio of a satellite band's factor to its prior width beyond which a warning is given."""
GROWTH_PER_DAY: Final = 0.01
"""Standard deviation of a crop's growth a day between flight and satellite, NDVI 1."""
SAME_DAY_GROWTH: Final = 0.01
"""The same within a day."""
MAX_GROWTH: Final = 0.10
"""Growth of a crop of NDVI 1 between flight and satellite beyond which a warning is given."""
MAX_MISFIT: Final = 1.5
"""Mean squared misfit over its variance beyond which a warning is given: on ten development scenes
it is 0.3-0.8, with the cells in wrong order 6-17."""


def calibrate_with_satellite(
    msi: MsiSource,
    cells: SatelliteCells,
    *,
    error: float = REFERENCE_ERROR,
    model: str | Path | Model = DEFAULT_MODEL,
) -> SceneCalibration:
    """The STF of an image from its pixels and a satellite's view of the same ground.

    The dataset is that of `calibrate_scene`, with the share of the prior variance that was removed,
    of the centre, width and gain of each band.

    Args:
        msi: from `open_msi`.
        cells: of the satellite image.
        error: systematic error of the satellite, see `REFERENCE_ERROR`.
        model: the model whose wavelengths the STF has: a name, a folder, or a loaded model.

    Raises:
        UsageError: the error is out of its limits.
        InputRefused: no cell is left, or the image has no valid pixel.
    """
    low, high = ERROR_LIMITS
    if not low <= error <= high:
        fact = f"a systematic error of {error:g} is not within {low:g} to {high:g}"
        raise UsageError(fact, remedy="give a share: 0.05 for 5 %")
    if not len(cells.msi):
        remedy = "give an image of a clear day that covers the field"
        raise InputRefused("no cell of the satellite image can be used", remedy=remedy)
    loaded = model if isinstance(model, Model) else load_model(model)
    family = ResponseFamily.of(msi.sensor, loaded.grid)
    materials = scene_materials(loaded.network, msi, Stf.from_prior(family))
    fit = _fit(loaded, family, materials, cells, error)
    estimate = _numbers(loaded.network, msi, fit.stf)
    stf = stf_arrays(
        sensor=msi.sensor,
        grid=loaded.grid,
        nominal=msi.sensor.srf(loaded.grid),
        scene=estimate,
        crs_wkt=msi.crs_wkt,
        transform=msi.transform,
        attrs=_attributes(msi, loaded, cells, fit, error),
    )
    dataset = with_learned_shares(
        stf.dataset().drop_dims("tile"), _shares(fit.learned), image=_shares(fit.learned_blind)
    )
    warnings = (*cells.warnings, *satellite_warnings(msi.sensor, cells.sensor, fit, error))
    return SceneCalibration(dataset=dataset, used=len(cells.msi), warnings=warnings)


def _fit(
    model: Model,
    family: ResponseFamily,
    materials: Materials,
    cells: SatelliteCells,
    error: float,
) -> SatelliteFit:
    """The fit with the network in float64, so that rounding does not decide it."""
    names = ("msi", "msi_se", "reflectance", "reflectance_se")
    values = {name: torch.as_tensor(np.array(getattr(cells, name), float)) for name in names}
    network, cpu = copy.deepcopy(model.network).double(), torch.device("cpu")
    exact = Materials(values=materials.values.double(), weight=materials.weight.double())
    response = torch.as_tensor(cells.sensor.srf(model.grid))
    fit = fit_satellite(
        network,
        family.to(cpu, torch.float64),
        exact,
        CellValues(**values, response=response),
        error,
        math.hypot(SAME_DAY_GROWTH, GROWTH_PER_DAY * cells.days),
    )
    return replace(fit, stf=fit.stf.to(cpu, torch.float32))


@torch.inference_mode()
def _numbers(network: PGUNet, msi: MsiSource, stf: Stf) -> StfEstimate:
    """The STF as numbers, with its residual and condition in a sample of the image."""
    basis, acting = network.basis, stf.rows @ network.basis.extended
    nothing = torch.zeros_like(acting[..., :1]), torch.zeros((1, basis.rank, 1))
    statistics = SceneStatistics.of(*nothing, acting[..., :-1], acting[..., -1])
    numbers = summarise_stf(stf, statistics, basis, valid_fraction=1.0)
    device = torch.device("cpu")
    return estimate_scene_stf(network, msi, device=device, fixed=numbers).estimate


def _shares(learned: torch.Tensor) -> LearnedShares:
    centre, fwhm, gain = learned[:, [SHIFT, STRETCH, GAIN]].numpy().T
    return LearnedShares(centre=centre, fwhm=fwhm, gain=gain)


def _attributes(
    msi: MsiSource, model: Model, cells: SatelliteCells, fit: SatelliteFit, error: float
) -> dict[str, str]:
    """Version, model, input and satellite; `cells.facts` name the file, the date and the shift."""
    factors = zip(cells.sensor.roles, fit.error.exp(), fit.error_se, strict=True)
    count = len(cells.msi) + sum(cells.skipped.values())
    facts = {
        **image_facts([msi], model),
        "scale": msi.summary.scale_evidence,
        "crs": msi.summary.crs,
        "reference_kind": "satellite",
        "reference_sensor": cells.sensor.name,
        "reference_used": f"{len(cells.msi)} of {count}",
        "reference_error": f"{error:g}",
        "reference_factors": ", ".join(
            f"{role} {factor:.3f} +- {factor * se:.3f}" for role, factor, se in factors
        ),
        "reference_growth": f"{fit.growth:.3f} +- {fit.growth_se:.3f}",
    } | {f"reference_{key}": value for key, value in cells.facts.items()}
    return {f"uavssr_{key}": value for key, value in facts.items()}


def satellite_warnings(
    camera: Sensor, satellite: Sensor, fit: SatelliteFit, error: float
) -> Iterator[str]:
    """Sentences on bands that the satellite does not show, and on cells that do not fit."""
    if far := bands_without_neighbour(camera, satellite):
        shares = fit.learned[[camera.roles.index(role) for role in far], GAIN]
        known = ", ".join(
            f"{role} {share:.0%}" for role, share in zip(far, shares.tolist(), strict=True)
        )
        yield (
            f"{satellite.name} has no band near {', '.join(far)}: the prior of spectra carries the "
            f"other bands there (share of the gain's variance that is removed: {known})"
        )
    limit = MAX_FACTOR_RATIO * error
    for role, value in zip(satellite.roles, fit.error.tolist(), strict=True):
        if abs(value - float(fit.error.mean())) > limit:
            yield (
                f"band {role} of {satellite.name} is {np.exp(value):.2f} times what image and "
                f"other bands give, beyond its error of {error:.0%}: check the product and its date"
            )
    if abs(fit.growth) > MAX_GROWTH:
        yield (
            f"vegetation of {satellite.name} differs from the image's by {fit.growth:+.0%} in the "
            "near infrared, as after growth: give a satellite image of a nearer day"
        )
    if fit.misfit > MAX_MISFIT:
        yield (
            f"the cells of {satellite.name} are {np.sqrt(fit.misfit):.1f} times as far off the "
            "image as their errors: check the date and the place"
        )


def bands_without_neighbour(camera: Sensor, satellite: Sensor) -> tuple[str, ...]:
    """Roles of a camera's bands that are further than `NEAR_BAND_NM` from a satellite's bands."""
    return tuple(
        band.role
        for band in camera.bands
        if min(abs(band.centre - other.centre) - other.fwhm / 2 for other in satellite.bands)
        > NEAR_BAND_NM
    )
