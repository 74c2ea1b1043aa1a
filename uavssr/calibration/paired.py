"""Paired calibration: a camera's STF from ground whose spectra are known.

k known spectra give k equations for each band, which in the parametric family is well posed; blind
estimation is the matter of `estimation`. Must not open files other than through `raster`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr._version import __version__
from uavssr.calibration.fitting import Fit, Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.references import Reference, open_reference
from uavssr.errors import InputRefused, UsageError
from uavssr.io.stf import ReferencePixels, StfEstimate, stf_dataset, with_reference_pixels
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
from uavssr.reconstruction import PLAUSIBLE, summarise_stf
from uavssr.sensors import FINE_NM, FloatArray, Sensor, WavelengthGrid
from uavssr.spectra import SubspaceCompletion, resample

if TYPE_CHECKING:
    import xarray as xr

    from uavssr.io.msi import MsiSource

Array = npt.NDArray[np.floating]

SIGNIFICANT: Final = 3.0
"""An additive offset is told of where it is so many standard errors from zero ..."""
NOTABLE: Final = 0.002
"""... and larger than this."""
LIKE_OTHERS: Final = 0.5
"""Weight from which on a piece of ground is kept for the cube to learn from."""
ODD: Final = (0.05, 0.1)
"""Weight under which a place counts for nothing, and share of such places from which it is told."""
FAR_OFF: Final = 5.0
"""Prior deviations of the mean gain beyond which the scale is doubted."""
UNFIT: Final = 0.25
"""Misfit over brightness, in the median place, from which on a reference is told not to fit."""
COVERED: Final = 0.95
"""Share of a band's response that a reference must cover for the band to be calibrated."""
CARRIED_NM: Final = 12.0
"""How far past its ends a reference is carried on without being completed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """An STF from known spectra, and what was noticed on the way."""

    stf: Stf
    """To reconstruct with; its deviations are those of the joint posterior."""
    estimate: StfEstimate
    """The same as numbers; `residual` is of the known spectra."""
    weight: FloatArray
    """(k,) 1, or less for a pixel whose misfit is unlike that of the others."""
    offset: FloatArray
    """(c,) the additive offset that the misfit asks for, in reflectance; it is not applied."""
    offset_se: FloatArray
    """(c,) its standard error."""

    @property
    def has_offset(self) -> npt.NDArray[np.bool_]:
        """(c,) whether a band's offset is significant."""
        size = np.abs(self.offset)
        return np.asarray((size > SIGNIFICANT * self.offset_se) & (size > NOTABLE))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneCalibration:
    """A scene's calibration as it is written and told of."""

    dataset: xr.Dataset
    """The STF product, for the scene alone; `raster.stf.write_stf` writes it."""
    used: int
    """Reference pixels that the STF was fitted to."""
    warnings: tuple[str, ...]
    """Pixels that were skipped, bands that were not calibrated, offsets."""


def calibrate(
    family: ResponseFamily,
    spectra: npt.ArrayLike,
    msi: npt.ArrayLike,
    *,
    basis: SpectralBasis,
    covered: npt.ArrayLike | None = None,
    patterns: npt.ArrayLike | None = None,
) -> Calibration:
    """The STF that explains what a camera saw of k known spectra.

    Args:
        family: the camera's data sheet and how far it may stray from it (S = 1).
        spectra: X (k, C) reflectance on the cube's wavelengths.
        msi: Y (k, c) what the camera saw of them.
        basis: the network's, which says what share of a response acts on its cubes.
        covered: (c,) bands whose wavelengths the reference holds, all by default; the others stay
            at the data sheet.
        patterns: (k, c, m) what errors of registration would leave in the image, reflectance per
            pixel; none by default.
    """
    known, seen = torch.as_tensor(np.array(spectra, float)), torch.as_tensor(np.array(msi, float))
    if known.ndim != 2 or seen.ndim != 2 or len(known) != len(seen) or not len(seen):
        raise UsageError(f"spectra {tuple(known.shape)} do not go with values {tuple(seen.shape)}")
    used = np.ones(seen.shape[1], bool) if covered is None else np.array(covered, bool)
    instrument = Instrument.of(family)
    errors = np.zeros((*seen.shape, 0)) if patterns is None else np.array(patterns, float)
    fit = Fitting(
        instrument=instrument,
        spectra=known,
        msi=seen,
        patterns=torch.as_tensor(errors),
        used=torch.as_tensor(used),
    ).run()
    stf = _as_stf(instrument, fit, family)
    return Calibration(
        stf=stf,
        estimate=_as_numbers(instrument, fit, stf, basis, known, seen),
        weight=fit.weight.numpy(),
        offset=fit.offset.numpy(),
        offset_se=fit.offset_se.numpy(),
    )


def _as_stf(instrument: Instrument, fit: Fit, family: ResponseFamily) -> Stf:
    """The fit as the network takes it, float32; its rows hold what theta cannot say."""
    marginal = fit.covariance.diagonal(dim1=-2, dim2=-1)[:, :PARAMETERS].sqrt()
    deviation = marginal * instrument.family.spread[0]
    exact = (instrument.theta(fit.z), deviation, instrument.rows(fit.z))
    theta, deviation, rows = (each[None].to(family.curves) for each in exact)
    return Stf(family=family, theta=theta, theta_se=deviation, rows=rows)


def _as_numbers(
    instrument: Instrument, fit: Fit, stf: Stf, basis: SpectralBasis, known: Tensor, seen: Tensor
) -> StfEstimate:
    """The fit as numbers, with errors of the joint posterior and the misfit of the full spectra."""
    acting = stf.rows @ basis.extended
    statistics = SceneStatistics.of(
        seen.T[None].to(acting),
        basis.project(known.T.to(acting))[None],
        acting[..., :-1],
        acting[..., -1],
    )
    tangent = instrument.tangent(fit.z)
    variance = torch.einsum("cpl,cpq,cql->cl", tangent, fit.covariance, tangent)
    misfit = seen - known @ instrument.rows(fit.z).T
    return replace(
        summarise_stf(stf, statistics, basis, valid_fraction=1.0),
        stf_se=variance.clamp_min(0).sqrt().numpy(),
        residual=misfit.square().mean(0).sqrt().numpy(),
    )


def calibrate_stf(
    msi: MsiSource,
    *,
    reference: str | Path,
    reference_scale: float | str | None = None,
    model: str | Path | Model = DEFAULT_MODEL,
) -> xr.Dataset:
    """The STF of an image from a reference: a cube, field spectra, or panels.

    Args:
        msi: from `open_msi`.
        reference: an overlapping hyperspectral GeoTIFF or ENVI file, or a table (.csv) of spectra
            or panels at coordinates; docs/formats.md says in which form.
        reference_scale: reflectance = number in the reference x scale.
        model: whose wavelengths the STF is to have: a name, a folder, or a loaded model.

    Returns:
        The dataset that `raster.stf.write_stf` writes, of the scene alone; `calibrate_scene` also
        gives what was noticed on the way.

    Raises:
        InputRefused: the reference is broken, ambiguous, off the image, or covers no band.
    """
    found = open_reference(reference, msi, scale=reference_scale)
    return calibrate_scene(msi, found, model=model).dataset


def calibrate_scene(
    msi: MsiSource, reference: Reference, *, model: str | Path | Model = DEFAULT_MODEL
) -> SceneCalibration:
    """The STF of an image from an opened reference; arguments and errors as of `calibrate_stf`."""
    loaded = model if isinstance(model, Model) else load_model(model)
    basis, sensor = loaded.network.basis, msi.sensor
    family = ResponseFamily.of(sensor, loaded.grid)
    covered = np.ones(len(sensor), bool)
    if reference.kind != "panels":
        covered = covered_bands(sensor, reference.nm)
    if not covered.any():
        raise InputRefused(
            f"its {len(reference.nm)} wavelengths, {reference.nm[0]:g}-{reference.nm[-1]:g} nm, "
            f"cover no band of {sensor.name}",
            path=reference.path,
            remedy="give a reference that covers the camera's bands",
        )
    kept, skipped = _plausible(reference)
    spectra = on_grid(reference.spectra[kept], reference.nm, basis)
    found = calibrate(
        family,
        spectra,
        reference.msi[kept],
        basis=basis,
        covered=covered,
        patterns=reference.patterns[kept],
    )
    used, left = int(kept.sum()), sum(skipped.values())
    dataset = stf_dataset(
        sensor=sensor,
        grid=loaded.grid,
        nominal=sensor.srf(loaded.grid),
        scene=replace(found.estimate, valid_fraction=used / (used + left)),
        crs_wkt=msi.crs_wkt,
        transform=msi.transform,
        attrs=_provenance(msi, loaded, reference, used=used, skipped=skipped),
    )
    dataset = dataset.drop_dims("tile")
    if reference.kind != "panels" and covered.all():  # ground that is in the scene
        kept_ground = found.weight >= LIKE_OTHERS
        ground = ReferencePixels(
            spectra=spectra[kept_ground].astype(float), msi=reference.msi[kept][kept_ground]
        )
        dataset = with_reference_pixels(dataset, ground.some())
    expected = spectra @ found.stf.rows[0, covered].numpy().T
    told = _misfits(reference.path.name, found.weight, reference.msi[kept][:, covered], expected)
    doubts = (*reference.warnings, *_doubts(sensor, reference, found, covered, skipped), *told)
    return SceneCalibration(dataset=dataset, used=used, warnings=doubts)


def covered_bands(sensor: Sensor, nm: FloatArray) -> npt.NDArray[np.bool_]:
    """(c,) bands of which wavelengths `nm` hold all but 5 % of the response, without a wide gap.

    A gap is too wide where it is wider than the band: what happens in it would be made up.
    """
    inside = (nm[0] - CARRIED_NM <= FINE_NM) & (nm[-1] + CARRIED_NM >= FINE_NM)
    share = sensor.response()[:, inside].sum(1)
    found = []
    for band, held in zip(sensor.bands, share, strict=True):
        near = (nm[1:] > band.centre - band.fwhm / 2) & (nm[:-1] < band.centre + band.fwhm / 2)
        found.append(held >= COVERED and np.diff(nm)[near].max(initial=0) <= band.fwhm)
    return np.array(found)


def on_grid(spectra: FloatArray, nm: FloatArray, basis: SpectralBasis) -> npt.NDArray[np.float32]:
    """Spectra (k, W) at wavelengths `nm` (W,) on the grid of a basis (k, C).

    Interpolated inside; beyond the ends completed from what the basis knows of spectra.
    """
    centres, fwhm = basis.grid.centres, basis.grid.fwhm
    known = (centres > nm[0] - CARRIED_NM) & (centres < nm[-1] + CARRIED_NM)
    if known.all():
        return resample(spectra, nm, basis.grid)
    found = np.zeros((len(spectra), len(centres)), np.float32)
    found[:, known] = resample(spectra, nm, WavelengthGrid("known", centres[known], fwhm[known]))
    mean, factors = basis.mean.double().numpy(), basis.components.double().numpy()
    return SubspaceCompletion(mean=mean, factors=factors).fill(found, known)


def _plausible(reference: Reference) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Pieces of ground (k,) whose reflectance in the image can be, and what is left out by now."""
    low, high = PLAUSIBLE
    kept = np.asarray(((reference.msi > low) & (reference.msi < high)).all(1))
    if not kept.any():
        raise InputRefused(
            f"none of its {len(kept)} places has a reflectance within {low:g} to {high:g} in the "
            "image",
            path=reference.path,
            remedy="check the image's scale with uavssr inspect",
        )
    skipped = dict(reference.skipped)
    if not kept.all():
        skipped["implausible in the image"] = int((~kept).sum())
    return kept, skipped


def _doubts(
    sensor: Sensor,
    reference: Reference,
    found: Calibration,
    covered: npt.NDArray[np.bool_],
    skipped: dict[str, int],
) -> Iterator[str]:
    """What the user should know of a calibration, in sentences."""
    name, roles = reference.path.name, sensor.roles
    if skipped:
        reasons = ", ".join(f"{number} {reason}" for reason, number in skipped.items())
        yield f"left out of {name}: {reasons}"
    if not covered.all():
        rest = ", ".join(role for role, held in zip(roles, covered, strict=True) if not held)
        yield f"{name} does not cover {rest}: left at the data sheet"
    gains, spread = (part[0, covered, GAIN] for part in (found.stf.theta, found.stf.family.spread))
    if abs(float((gains / spread).mean())) > FAR_OFF:
        bright = float(gains.exp().mean())
        yield f"{name} makes the camera {bright:.2g} times as bright as expected: check the scales"
    for index in np.flatnonzero(found.has_offset & covered):
        offset, error = found.offset[index], found.offset_se[index]
        yield (
            f"band {roles[index]} has an additive offset of {offset:+.4f} +- {error:.4f} "
            "reflectance (haze, dark current), which an STF cannot hold: correct the image first"
        )


def _misfits(name: str, weight: Array, seen: Array, expected: Array) -> Iterator[str]:
    """Sentences on places (k,) that the image (k, c) shows otherwise than is to be expected."""
    size = np.square(expected).mean(1).clip(1e-12)
    typical = float(np.median(np.sqrt(np.square(seen - expected).mean(1) / size)))
    if typical > UNFIT:
        yield f"{name} is {typical:.0%} off what the image shows: check coordinates and scale"
    if (odd := int((weight < ODD[0]).sum())) > ODD[1] * len(seen):
        yield f"{odd} of {len(seen)} places of {name} do not fit the others: check them"


def _provenance(
    msi: MsiSource, model: Model, reference: Reference, *, used: int, skipped: dict[str, int]
) -> dict[str, str]:
    """Version, weights, input and reference, as attributes."""
    inputs = (f"{path.name} ({path.stat().st_size} bytes)" for path in map(Path, msi.summary.paths))
    facts = {
        "version": __version__,
        "model": model.name,
        "model_sha256": model.sha256,
        "sensor": msi.sensor.name,
        "input": ", ".join(inputs),
        "scale": msi.summary.scale_evidence,
        "crs": msi.summary.crs,
        "reference": f"{reference.path.name} ({reference.path.stat().st_size} bytes)",
        "reference_kind": reference.kind,
        "reference_used": f"{used} of {used + sum(skipped.values())}",
    } | {f"reference_{key}": value for key, value in reference.facts.items()}
    return {f"uavssr_{key}": value for key, value in facts.items()}
