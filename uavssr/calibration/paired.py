"""Paired calibration: a camera's STF from reference spectra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.calibration.band_coverage import on_grid, reference_bands
from uavssr.calibration.fitting import Fit, Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.notices import fit_warnings, misfit_warnings
from uavssr.calibration.references import (
    Reference,
    open_reference,
    plausible_places,
)
from uavssr.errors import UsageError
from uavssr.io.msi import Image, ImageKeywords, as_image
from uavssr.io.stf import ReferencePixels, StfEstimate, stf_arrays, with_reference_pixels
from uavssr.model import (
    DEFAULT_MODEL,
    GAIN,
    PARAMETERS,
    Model,
    ResponseFamily,
    SceneStatistics,
    SpectralBasis,
    Stf,
    load_model,
)
from uavssr.reconstruction import continue_scene_stf, image_facts, summarise_stf

if TYPE_CHECKING:
    import xarray as xr

    from uavssr.io.msi import MsiSource

MIN_REFERENCE_WEIGHT: Final = 0.5
"""Least weight in the fit of reference pixels that are stored to correct the cube."""
COMMON_WIDTHS: Final = (0.0, 0.33, 0.72, 1.83)
"""Widths that the prior of the common factor may have, over its standard deviation, equally likely.

Cameras differ: none where image and reference are calibrated alike, and in the ratio of 0.06, 0.13
and 0.33 as of three cameras (`benchmarks/camera_prior.py`). Their root mean square is 1.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """An STF from k reference spectra for a camera of c bands."""

    stf: Stf
    """The STF to reconstruct with; its standard errors are those of the joint posterior."""
    estimate: StfEstimate
    """The same as numbers; `residual` is that of the reference spectra."""
    fit: Fit
    """The fit to the reference spectra."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneCalibration:
    """A scene's calibration, ready to be written."""

    dataset: xr.Dataset
    """The STF product, for the scene alone; `io.stf.write_stf` writes it."""
    used: int
    """Reference pixels that the STF was fitted to."""
    warnings: tuple[str, ...]
    """Sentences on skipped pixels, bands that were not calibrated, offsets and outliers."""


def calibrate(
    family: ResponseFamily,
    spectra: npt.ArrayLike,
    msi: npt.ArrayLike,
    *,
    basis: SpectralBasis,
    covered: npt.ArrayLike | None = None,
    patterns: npt.ArrayLike | None = None,
    complete: Callable[[Stf], Stf] | None = None,
) -> Calibration:
    """Fit a camera's STF to k reference spectra, see `fitting` for the formula.

    Args:
        family: the camera's data sheet and the prior about it (S = 1).
        spectra: X (k, C) reflectance on the cube's wavelengths.
        msi: Y (k, c) reflectance of the same in the image.
        basis: the network's; it gives the share of a response that acts on its cubes.
        covered: (c,) bands whose wavelengths the reference holds, all by default; of the others
            the factor common to all bands alone is learned.
        patterns: (k, c, q) misregistration patterns, reflectance per pixel; none by default.
        complete: adds what is known otherwise of what the references leave open.

    Raises:
        UsageError: the shapes do not fit together.
    """
    known, seen = torch.as_tensor(np.array(spectra, float)), torch.as_tensor(np.array(msi, float))
    if known.ndim != 2 or seen.ndim != 2 or len(known) != len(seen) or not len(seen):
        raise UsageError(f"spectra {tuple(known.shape)} do not go with values {tuple(seen.shape)}")
    used = np.ones(seen.shape[1], bool) if covered is None else np.array(covered, bool)
    errors = np.zeros((*seen.shape, 0)) if patterns is None else np.array(patterns, float)
    fitting = Fitting(
        instrument=Instrument.of(family),
        spectra=known,
        msi=seen,
        patterns=torch.as_tensor(errors),
        used=torch.as_tensor(used),
    )
    fit = fitting.run()
    stf = _with_common_factor(_as_stf(fitting.instrument, fit, family), fitting.used)
    if complete is not None:
        stf = complete(stf)
    return Calibration(stf=stf, estimate=_as_numbers(fitting, fit, stf, basis), fit=fit)


def _as_stf(instrument: Instrument, fit: Fit, family: ResponseFamily) -> Stf:
    """The fit for the network, float32; its rows also hold steepness and background."""
    marginal = fit.covariance.diagonal(dim1=-2, dim2=-1)[:, :PARAMETERS].sqrt()
    deviation = marginal * instrument.family.spread[0]
    exact = (instrument.theta(fit.z), deviation, instrument.rows(fit.z))
    theta, deviation, rows = (part[None].to(family.curves) for part in exact)
    return Stf.of(family, theta, deviation, rows=rows)


def _with_common_factor(stf: Stf, used: Tensor) -> Stf:
    """The STF (S = 1) whose unused bands share what the used (c,) ones tell of a common factor.

    Gains are g = common + own, where own is N(0, w^2), and common N(0, T^2) with one of the widths
    T of `COMMON_WIDTHS`. Used bands have estimates m with errors l. Under each width the others are
    N(p + T^2 1^T G^-1 (m - p), T^2 + w^2 - T^4 1^T G^-1 1) with the prior mean p and
    G = T^2 1 1^T + diag(w^2 + l). Widths count by their likelihood N(m; p, G).
    """
    if bool(used.all()):
        return stf
    family, common = stf.family, stf.family.common[0].double() ** 2
    own = family.spread[0, :, GAIN].double().square()
    prior, mean, variance = (
        part[0, :, GAIN].double() for part in (family.prior, stf.theta, stf.theta_se.square())
    )
    # the likelihood is the posterior without the prior
    precision = (1 / variance - 1 / (common + own))[used].clamp_min(1e-9)
    seen = (mean - prior)[used] / variance[used] / precision
    scores, means, variances = [], [], []
    for square in common * torch.tensor(COMMON_WIDTHS, dtype=torch.float64) ** 2:
        system = square + torch.diag(own[used] + 1 / precision)
        inverse = torch.linalg.inv(system)
        weight = square * inverse.sum(0)
        scores.append(-(seen @ inverse @ seen + torch.logdet(system)) / 2)
        means.append(weight @ seen)
        variances.append(square * (1 - weight.sum()))
    share, factor = torch.softmax(torch.stack(scores), 0), torch.stack(means)
    expected = share @ factor
    spread = share @ (torch.stack(variances) + (factor - expected).square())
    theta, theta_se = stf.theta.clone(), stf.theta_se.clone()
    theta[0, ~used, GAIN] = (prior[~used] + expected).to(theta)
    theta_se[0, ~used, GAIN] = (spread + own[~used]).sqrt().to(theta)
    change = family.rows(theta) - family.rows(stf.theta)
    return replace(stf, theta=theta, theta_se=theta_se, rows=stf.rows + change)


def _as_numbers(fitting: Fitting, fit: Fit, stf: Stf, basis: SpectralBasis) -> StfEstimate:
    """The fit as numbers, with errors of the joint posterior and the misfit of the full spectra.

    Bands that were not fitted have the errors of the STF.
    """
    # [B, b] = R [E, mean]
    acting = stf.rows @ basis.extended
    msi = fitting.msi.T[None].to(acting)
    coefficients = basis.project(fitting.spectra.T.to(acting))[None]
    statistics = SceneStatistics.of(msi, coefficients, acting[..., :-1], acting[..., -1])
    # var R = diag((dR / dz) cov(z) (dR / dz)^T)
    tangent = fitting.instrument.tangent(fit.z)
    variance = torch.einsum("cpl,cpq,cql->cl", tangent, fit.covariance, tangent)
    misfit = fitting.msi - fitting.spectra @ fitting.instrument.rows(fit.z).T
    numbers = summarise_stf(stf, statistics, basis, valid_fraction=1.0)
    fitted = fitting.used.numpy()[:, None]
    return replace(
        numbers,
        stf_se=np.where(fitted, variance.clamp_min(0).sqrt().numpy(), numbers.stf_se),
        residual=misfit.square().mean(0).sqrt().numpy(),
    )


def calibrate_stf(
    image: Image,
    *,
    reference: str | Path,
    reference_scale: float | str | None = None,
    flight: str | None = None,
    model: str | Path | Model = DEFAULT_MODEL,
    **keywords: Unpack[ImageKeywords],
) -> xr.Dataset:
    """The STF of an image from a reference: a cube, field spectra, panels, or plots.

    Args:
        image: a path, paths of single-band files, what `open_msi` returns, or an array of xarray.
        reference: an overlapping hyperspectral GeoTIFF or ENVI file, or a table (.csv) of spectra
            or panels at coordinates, or a table of plots (.csv, .npz); see docs/formats.md.
        reference_scale: reflectance = number in the reference x scale.
        flight: the flight of a table of plots, where that holds several.
        model: the model whose wavelengths the STF has: a name, a folder, or a loaded model.
        keywords: options of `open_msi` for an image that is not open yet.

    Returns:
        The dataset that `io.stf.write_stf` writes, for the scene alone; `calibrate_scene` also
        returns the warnings.

    Raises:
        InputRefused: the reference is broken, ambiguous, off the image, or covers no band.

    Examples:
        >>> import uavssr
        >>> _ = uavssr.simulate("hsi.tif", sensor="p4m", out="paired.tif")
        >>> stf = uavssr.calibrate_stf("paired.tif", reference="hsi.tif", sensor="p4m")
        >>> bool((stf.scene_centre_se < 6).all())  # nm
        True
    """
    msi = as_image(image, **keywords)
    opened = open_reference(reference, msi, scale=reference_scale, flight=flight)
    return calibrate_scene(msi, opened, model=model).dataset


def calibrate_scene(
    msi: MsiSource, reference: Reference, *, model: str | Path | Model = DEFAULT_MODEL
) -> SceneCalibration:
    """The STF of an image from an opened reference; arguments and errors as of `calibrate_stf`."""
    loaded = model if isinstance(model, Model) else load_model(model)
    basis, family = loaded.network.basis, ResponseFamily.of(msi.sensor, loaded.grid)
    covered = reference_bands(msi.sensor, reference)
    usable = plausible_places(reference)
    complete = None
    if usable.kind == "panels" or not covered.all():  # panels tell nothing of centres and widths
        complete = partial(continue_scene_stf, loaded.network, msi)
    spectra = on_grid(usable.spectra, usable.nm, basis)
    calibration = calibrate(
        family,
        spectra,
        usable.msi,
        basis=basis,
        covered=covered,
        patterns=usable.patterns,
        complete=complete,
    )
    dataset = _dataset(msi, loaded, usable, calibration.estimate)
    dataset.attrs["uavssr_reference_converged"] = "yes" if calibration.fit.converged else "no"
    weight = calibration.fit.weight.numpy()
    if reference.kind != "panels" and covered.all():  # ground that is in the scene
        good = weight >= MIN_REFERENCE_WEIGHT
        pixels = ReferencePixels(spectra=spectra[good].astype(float), msi=usable.msi[good])
        dataset = with_reference_pixels(dataset, pixels.thinned())
    predicted = spectra @ calibration.stf.rows[0, covered].numpy().T
    warnings = (
        *usable.warnings,
        *fit_warnings(msi.sensor, usable, calibration.stf, calibration.fit, covered),
        *misfit_warnings(usable.path.name, weight, usable.msi[:, covered], predicted),
    )
    return SceneCalibration(dataset=dataset, used=len(usable.msi), warnings=warnings)


def _dataset(
    msi: MsiSource, model: Model, reference: Reference, estimate: StfEstimate
) -> xr.Dataset:
    """The STF product; version, model, input and reference are its attributes."""
    used = len(reference.msi)
    count = used + sum(reference.skipped.values())
    facts = {
        **image_facts([msi], model),
        "scale": msi.summary.scale_evidence,
        "crs": msi.summary.crs,
        "reference": f"{reference.path.name} ({reference.path.stat().st_size} bytes)",
        "reference_kind": reference.kind,
        "reference_used": f"{used} of {count}",
    } | {f"reference_{key}": value for key, value in reference.facts.items()}
    stf = stf_arrays(
        sensor=msi.sensor,
        grid=model.grid,
        nominal=msi.sensor.srf(model.grid),
        scene=replace(estimate, valid_fraction=used / count),
        crs_wkt=msi.crs_wkt,
        transform=msi.transform,
        attrs={f"uavssr_{key}": value for key, value in facts.items()},
    )
    return stf.dataset().drop_dims("tile")
