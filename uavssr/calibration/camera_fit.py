"""A camera's profile from flights with known spectra: what it keeps, and what changes by flight.

    theta_fb = [shift_b, width_b, shape_b, leak_b, gain_b + common_f + own_fb]

Shift, width, shape and leak of band b belong to the camera; the logarithm of its gain also has a
factor common to all bands of flight f, N(0, T^2), and a deviation of its own, N(0, w^2). Each
flight's fit gives a Gaussian likelihood of its theta. All of them together are one Gaussian, and
the widths T and w follow by expectation maximisation: empirical Bayes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from uavssr.calibration.fitting import Fit, Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.errors import UsageError
from uavssr.model import GAIN, PARAMETERS, SHIFT, STRETCH, ResponseFamily
from uavssr.sensors import (
    FINE_NM,
    FLIGHT_SPREAD,
    Band,
    BandPrior,
    BoolArray,
    FloatArray,
    Sensor,
    WavelengthGrid,
)

EXPECTED_COMMON: Final = 0.09
"""Standard deviation of the common factor from flight to flight that is expected beforehand, of
three development flights like `FLIGHT_SPREAD` (`benchmarks/camera_prior.py`)."""
EXPECTED_FLIGHTS: Final = 2.0
"""Number of flights that these expectations count for."""
CURVE_FLOOR: Final = 1e-4
"""Responses below this share of the peak are left out of a profile's curves."""
_ITERATIONS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flight:
    """Known ground in one flight's image: k spectra (k, C) and the image there (k, c)."""

    name: str
    """Its name in messages."""
    spectra: FloatArray
    """(k, C) reflectance on the cube's wavelengths."""
    msi: FloatArray
    """(k, c) reflectance in the image, in the sensor's band order."""
    covered: BoolArray | None = None
    """(c,) bands whose wavelengths the spectra were measured at; None: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraFit:
    """A camera as its flights show it."""

    sensor: Sensor
    """The profile: fitted curves with the prior for the next flight; `--sensor` takes it."""
    flights: tuple[str, ...]
    """Names of the F flights."""
    gain: FloatArray
    """(F, c) logarithm of each flight's gains."""
    gain_se: FloatArray
    """(F, c) standard errors of these."""
    common_sd: float
    """T, from flight to flight."""
    own_sd: float
    """w, from flight to flight."""
    warnings: tuple[str, ...] = ()
    """Sentences on the flights, for the user."""


def fit_camera(
    sensor: Sensor, flights: Sequence[Flight], grid: WavelengthGrid, *, name: str
) -> CameraFit:
    """Fit a camera to F flights with known spectra.

    Args:
        sensor: its data sheet.
        flights: spectra and image values of each.
        grid: C wavelengths of the spectra.
        name: of the profile.

    Raises:
        UsageError: no flight, or shapes that do not fit together.
    """
    if not flights:
        raise UsageError("a camera's profile needs a flight with known spectra")
    instrument = Instrument.of(ResponseFamily.of(sensor, grid))
    fits = [_fit(instrument, flight) for flight in flights]
    model = _Flights.of(instrument, fits)
    common, own = EXPECTED_COMMON**2, FLIGHT_SPREAD**2
    for _ in range(_ITERATIONS):
        mean, covariance = model.posterior(common, own)
        common, own = model.variances(mean, covariance)
    mean, covariance = model.posterior(common, own)
    gains, gain_covariance = model.flight_gains(mean, covariance)
    return CameraFit(
        sensor=_profile(instrument, sensor, model, mean, covariance, (common, own), name),
        flights=tuple(flight.name for flight in flights),
        gain=gains,
        gain_se=np.sqrt(gain_covariance),
        common_sd=float(np.sqrt(common)),
        own_sd=float(np.sqrt(own)),
        warnings=tuple(_uncovered(sensor, flights)),
    )


def _uncovered(sensor: Sensor, flights: Sequence[Flight]) -> Iterator[str]:
    """A sentence for each band that some flight says nothing about."""
    for b, role in enumerate(sensor.roles):
        without = [f.name for f in flights if f.covered is not None and not f.covered[b]]
        if len(without) == len(flights):
            yield f"no flight covers {role}: but for the common factor it stays as {sensor.name}"
        elif without:
            yield f"{', '.join(without)} does not cover {role}, which the other flights determine"


def _fit(instrument: Instrument, flight: Flight) -> Fit:
    spectra, msi = (
        torch.as_tensor(np.asarray(part, float)) for part in (flight.spectra, flight.msi)
    )
    bands = instrument.family.centre.shape[1]
    if spectra.ndim != 2 or msi.shape != (len(spectra), bands) or not len(spectra):
        raise UsageError(
            f"{flight.name}: {len(spectra)} spectra do not go with values {tuple(msi.shape)}"
        )
    return Fitting(
        instrument=instrument,
        spectra=spectra,
        msi=msi,
        patterns=spectra.new_zeros((*msi.shape, 0)),
        used=torch.as_tensor(np.ones(bands, bool) if flight.covered is None else flight.covered),
    ).run()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Flights:
    """The joint Gaussian of F flights with c bands of P parameters.

    Its unknowns are z of the camera (c, P), in prior standard deviations and with the logarithm of
    the gain in place of the third, then the common factors (F,), then the own deviations (F, c).
    """

    prior_mean: FloatArray
    """(c P,) of the camera's parameters."""
    prior_precision: FloatArray
    """(c P, c P) of the same."""
    precision: FloatArray
    """(D, D) of the flights' likelihoods, D = c P + F + F c."""
    shift: FloatArray
    """(D,) precision times mean of the likelihoods."""
    size: tuple[int, int, int]
    """c, P and F."""

    @classmethod
    def of(cls, instrument: Instrument, fits: Sequence[Fit]) -> _Flights:
        family = instrument.family
        bands, count, flights = family.centre.shape[1], instrument.count, len(fits)
        gain_sd = family.spread[0, :, GAIN].numpy()
        scale = np.ones((bands, count))
        scale[:, GAIN] = gain_sd
        total = bands * count + flights + flights * bands
        precision, shift = np.zeros((total, total)), np.zeros(total)
        for f, fit in enumerate(fits):
            for b in range(bands):
                # likelihood of z = posterior / N(0, I), with the gain as a logarithm
                inverse = np.linalg.inv(fit.covariance[b].numpy())
                information = (inverse - np.eye(count)) / np.outer(scale[b], scale[b])
                centre = inverse @ fit.z[b].numpy() / scale[b]
                select = np.zeros((count, total))
                select[:, b * count : (b + 1) * count] = np.eye(count)
                select[GAIN, bands * count + f] = 1
                select[GAIN, bands * count + flights + f * bands + b] = 1
                precision += select.T @ information @ select
                shift += select.T @ (
                    centre + information[:, GAIN] * float(family.prior[0, b, GAIN])
                )
        # the camera's mean gains: one factor in common, and each its own
        own = np.square(gain_sd) - float(family.common[0]) ** 2
        covariance = np.eye(bands * count)
        index = np.arange(bands) * count + GAIN
        covariance[np.ix_(index, index)] = float(family.common[0]) ** 2 + np.diag(own)
        mean = np.zeros(bands * count)
        mean[index] = family.prior[0, :, GAIN].numpy()
        return cls(
            prior_mean=mean,
            prior_precision=np.asarray(np.linalg.inv(covariance), float),
            precision=precision,
            shift=shift,
            size=(bands, count, flights),
        )

    def posterior(self, common: float, own: float) -> tuple[FloatArray, FloatArray]:
        """Mean (D,) and covariance (D, D) given the variances from flight to flight."""
        bands, count, flights = self.size
        camera = bands * count
        variance = np.repeat([common, own], [flights, flights * bands])
        precision, shift = self.precision.copy(), self.shift.copy()
        precision[:camera, :camera] += self.prior_precision
        precision[camera:, camera:] += np.diag(1 / variance)
        shift[:camera] += self.prior_precision @ self.prior_mean
        covariance = np.asarray(np.linalg.inv(precision), float)
        return covariance @ shift, covariance

    def variances(self, mean: FloatArray, covariance: FloatArray) -> tuple[float, float]:
        """The M-step: variances of common and own deviations, shrunk to what is expected.

        (n_0 s_0^2 + sum E[x^2]) / (n_0 + n)
        """
        bands, count, flights = self.size
        second = np.square(mean) + covariance.diagonal()
        common = second[bands * count : bands * count + flights]
        own = second[bands * count + flights :]
        return (
            float(
                (EXPECTED_FLIGHTS * EXPECTED_COMMON**2 + common.sum())
                / (EXPECTED_FLIGHTS + flights)
            ),
            float(
                (EXPECTED_FLIGHTS * bands * FLIGHT_SPREAD**2 + own.sum())
                / (EXPECTED_FLIGHTS * bands + own.size)
            ),
        )

    def flight_gains(
        self, mean: FloatArray, covariance: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Logarithm of the gains of each flight (F, c), and its variance."""
        bands, count, flights = self.size
        select = np.zeros((flights, bands, mean.size))
        for f in range(flights):
            for b in range(bands):
                own = bands * count + flights + f * bands + b
                select[f, b, [b * count + GAIN, bands * count + f, own]] = 1
        variance = np.einsum("fbi,ij,fbj->fb", select, covariance, select)
        return select @ mean, variance


def _profile(
    instrument: Instrument,
    sensor: Sensor,
    model: _Flights,
    mean: FloatArray,
    covariance: FloatArray,
    variances: tuple[float, float],
    name: str,
) -> Sensor:
    """The sensor with fitted curves, and the prior of the next flight."""
    bands, count, flights = model.size
    camera = bands * count
    z, variance = mean[:camera].reshape(bands, count), covariance.diagonal()[:camera]
    z_se = np.sqrt(variance).reshape(bands, count)
    index = np.arange(bands) * count + GAIN
    gains = covariance[np.ix_(index, index)] + variances[0] + np.diag(np.full(bands, variances[1]))
    # the gains of the next flight: what they share, and what is each band's own
    shared = (
        max(float((gains.sum() - np.trace(gains)) / (bands * (bands - 1))), 0.0)
        if bands > 1
        else 0.0
    )
    own = np.sqrt(np.maximum(gains.diagonal() - shared, 1e-6))
    spread = instrument.family.spread[0].numpy()
    detail = instrument.family.detail[0].numpy()
    # share of the leak's deviation that is left: the root mean square, weighted by the curves
    size = instrument.background.square().sum(1).numpy()
    leak_se = np.sqrt(np.square(z_se[:, PARAMETERS + 1 :]) @ size / size.sum())
    curves = _curves(instrument, z)
    fitted = []
    for b, band in enumerate(sensor.bands):
        prior = BandPrior(
            shift_sd=float(z_se[b, SHIFT] * spread[b, SHIFT]),
            width_sd=float(z_se[b, STRETCH] * spread[b, STRETCH]),
            gain=float(mean[index[b]]),
            gain_sd=float(own[b]),
            shape_sd=float(z_se[b, PARAMETERS] * detail[b, 0]),
            leak_sd=float(leak_se[b] * detail[b, 1]),
        )
        used = np.flatnonzero(curves[b] > CURVE_FLOOR * curves[b].max())
        part = slice(max(used[0] - 1, 0), used[-1] + 2)
        # not the moments of the curve, which a background draws away from the band
        shift, stretch = (float(z[b, i] * spread[b, i]) for i in (SHIFT, STRETCH))
        fitted.append(
            Band(
                role=band.role,
                centre=band.centre + shift,
                nominal=band.nominal_centre,
                fwhm=band.fwhm * float(np.exp(stretch)),
                curve=(tuple(FINE_NM[part].tolist()), tuple(curves[b, part].tolist())),
                prior=prior,
            )
        )
    earlier = sensor.title or sensor.name
    return Sensor(
        name=name,
        bands=tuple(fitted),
        title=f"{earlier}{' and' if sensor.data_sheet else ', fitted to'} {flights} flights",
        common_gain_sd=float(np.sqrt(shared)),
        data_sheet=sensor.data_sheet or sensor.name,
    )


def _curves(instrument: Instrument, z: FloatArray) -> npt.NDArray[np.float64]:
    """Responses (c, F) on `FINE_NM` of parameters z (c, P), each with a sum of 1."""
    fine = replace(instrument.family, interpolation=torch.eye(len(FINE_NM), dtype=torch.float64))
    plain = z.copy()
    plain[:, GAIN] = 0
    rows = replace(instrument, family=replace(fine, prior=torch.zeros_like(fine.prior)))
    curves = rows.rows(torch.from_numpy(plain)).numpy().clip(0)
    return np.asarray(curves / curves.sum(1, keepdims=True))
