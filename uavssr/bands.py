"""Bands, sensors and wavelength grids: what is known of a camera before any image is seen.

Wavelengths are nanometres everywhere. Must not read rasters or import torch.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused, UsageError

FloatArray = npt.NDArray[np.float64]

FINE_NM: Final[FloatArray] = np.arange(330.0, 1081.0, 1.0)
"""The axis (F,) on which response curves are tabulated before they are put on a grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One camera band and its nominal spectral response function (SRF).

    Without a measured curve the response is a generalised Gaussian (flat-topped for shape > 2),
    `exp(-ln 2 |2 (nm - centre) / fwhm| ** shape)`, which is 1/2 at half the width for any shape.
    """

    role: str
    """Name that is unique in its sensor, in lower case: blue, green, rededge705 ..."""
    centre: float
    """Centre wavelength in nm."""
    fwhm: float
    """Full width at half maximum in nm (DJI's `WavelengthFWHM` tag holds half of it)."""
    shape: float = 4.0
    """Exponent of the generalised Gaussian: 2 is a Gaussian, large values a box."""
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """A measured curve as (wavelengths in nm, relative response), which wins over the shape."""

    def __post_init__(self) -> None:
        if self.role.lower().split() != [self.role] or "," in self.role:
            raise InputRefused(
                f"band role must be lower case without blanks or commas, got {self.role!r}"
            )
        if not 350 <= self.centre <= 1050:
            raise InputRefused(
                f"band {self.role} is centred at {self.centre} nm, outside 350-1050 nm",
                remedy="give nanometres, and leave out bands beyond the output grid",
            )
        if not 0.5 <= self.fwhm <= 400:
            raise InputRefused(f"band {self.role} has a FWHM of {self.fwhm} nm, not 0.5-400 nm")
        if not 1 <= self.shape <= 50:
            raise InputRefused(f"band {self.role} has shape {self.shape}, not 1-50")

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The response at wavelengths `nm` (F,), scaled to sum to one over them.

        Raises:
            InputRefused: no sensitivity at all on these wavelengths.
        """
        if self.curve is None:
            with np.errstate(under="ignore"):
                values = np.exp2(-(np.abs(2 * (nm - self.centre) / self.fwhm) ** self.shape))
        else:
            values = np.interp(nm, self.curve[0], self.curve[1], left=0.0, right=0.0)
        total = float(values.sum())
        if not total > 0:
            raise InputRefused(f"band {self.role} has no response at {nm[0]:g}-{nm[-1]:g} nm")
        return np.asarray(values / total)

    @classmethod
    def from_curve(cls, role: str, nm: Sequence[float], response: Sequence[float]) -> Band:
        """A band from a measured curve; small negative readings are taken as zero.

        Args:
            role: unique name of the band.
            nm: (F,) wavelengths in nm, increasing.
            response: (F,) relative response at those wavelengths.
        """
        axis, values = np.asarray(nm, float), np.clip(np.asarray(response, float), 0, None)
        if axis.size < 3 or axis.size != values.size or not np.all(np.diff(axis) > 0):
            raise InputRefused(f"band {role}: a curve needs three or more increasing wavelengths")
        if not np.isfinite([axis, values]).all() or values.max() <= 0:
            raise InputRefused(f"band {role}: the curve holds no positive finite response")
        fine = np.interp(FINE_NM, axis, values, left=0.0, right=0.0)
        if fine.sum() <= 0:
            raise InputRefused(f"band {role}: the curve has no response at 330-1080 nm")
        centre, fwhm, _ = response_moments(fine[None] / fine.sum(), FINE_NM)
        kept = (tuple(axis.tolist()), tuple(values.tolist()))
        return cls(role=role, centre=float(centre[0]), fwhm=float(fwhm[0]), curve=kept)


@dataclass(frozen=True, slots=True, eq=False)
class WavelengthGrid:
    """The bands of a hyperspectral cube: centres and widths in nm."""

    name: str
    """What to call it in files and messages."""
    centres: FloatArray
    """(C,) centre wavelengths in nm, increasing."""
    fwhm: FloatArray
    """(C,) full widths at half maximum in nm."""

    def __post_init__(self) -> None:
        if self.centres.ndim != 1 or self.centres.size < 2:
            raise InputRefused(f"grid {self.name}: two or more wavelengths are needed")
        if self.centres.shape != self.fwhm.shape or not np.all(np.diff(self.centres) > 0):
            raise InputRefused(f"grid {self.name}: wavelengths must increase, one width each")

    def __len__(self) -> int:
        return int(self.centres.size)

    def matches(self, other: WavelengthGrid, *, tolerance: float = 0.05) -> bool:
        """Whether both hold the same centres within `tolerance` nm."""
        return len(self) == len(other) and bool(
            np.all(np.abs(self.centres - other.centres) <= tolerance)
        )

    def nearest(self, nm: float) -> int:
        """Index of the band nearest to `nm`."""
        return int(np.abs(self.centres - nm).argmin())

    def interpolation(self) -> FloatArray:
        """Matrix H (F, C), x(FINE_NM) = H x(grid) by linear interpolation, constant past the ends.

        A response r (F,) on FINE_NM acts on a cube as r H, exact for spectra that are linear
        between the grid's bands, which is what makes responses right on a coarse grid too. Each
        row is the mean over its 1 nm step: sampled at points instead, two or three steps fall
        between bands 2.2 nm apart, and a flat response comes out rippled. Read only.
        """
        return _interpolation(tuple(self.centres.tolist()))

    @classmethod
    def regular(cls, name: str, start: float, stop: float, count: int) -> WavelengthGrid:
        """`count` equally spaced bands from `start` to `stop` nm, as wide as their spacing."""
        centres = np.linspace(start, stop, count)
        return cls(name, centres, np.full(count, (stop - start) / (count - 1)))


@lru_cache(maxsize=8)
def _interpolation(centres: tuple[float, ...]) -> FloatArray:
    parts = 20
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * (FINE_NM[1] - FINE_NM[0])
    points = (FINE_NM[:, None] + offsets).ravel()
    columns = [np.interp(points, centres, row) for row in np.eye(len(centres))]
    matrix = np.stack(columns, axis=1).reshape(FINE_NM.size, parts, len(centres)).mean(1)
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A multispectral camera: its bands in the order in which the model is given reflectance."""

    name: str
    """Name for `--sensor` and for the outputs."""
    bands: tuple[Band, ...]
    """The bands, by increasing centre wavelength for the built-in sensors."""
    title: str = ""
    """The camera's full name."""
    note: str = ""
    """Where the numbers come from."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.bands) <= 64:
            raise InputRefused(f"sensor {self.name}: {len(self.bands)} bands, not 1-64")
        roles = self.roles
        if len(set(roles)) != len(roles):
            raise InputRefused(f"sensor {self.name}: a band role is given twice: {roles}")

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def roles(self) -> tuple[str, ...]:
        """The bands' roles in order."""
        return tuple(band.role for band in self.bands)

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The nominal responses (c, F) at wavelengths `nm`, each row summing to one."""
        return np.stack([band.response(nm) for band in self.bands])

    def srf(self, grid: WavelengthGrid) -> FloatArray:
        """The nominal SRF (c, C) on a cube's bands: each row sums to one and Y = srf @ X.

        Raises:
            InputRefused: 5 % or more of a band's response lies outside the grid.
        """
        response = self.response()
        margin = grid.fwhm[[0, -1]]
        inside = (grid.centres[0] - margin[0] <= FINE_NM) & (
            grid.centres[-1] + margin[1] >= FINE_NM
        )
        share = response[:, inside].sum(1)
        for band, covered in zip(self.bands, share, strict=True):
            if covered < 0.95:
                raise InputRefused(
                    f"band {band.role} of {self.name} ({band.centre:g} nm) has "
                    f"{1 - covered:.0%} of its response outside the output grid {grid.name} "
                    f"({grid.centres[0]:g}-{grid.centres[-1]:g} nm)",
                    remedy="leave it out of the sensor file, or use a model with a wider grid",
                )
        srf = response @ grid.interpolation()
        return np.asarray(srf / srf.sum(1, keepdims=True))

    def subset(self, roles: Sequence[str]) -> Sensor:
        """The same camera with only the bands `roles`, in that order."""
        by_role = {band.role: band for band in self.bands}
        return replace(self, bands=tuple(by_role[role] for role in roles))


def response_moments(
    response: FloatArray, nm: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centre (nm), FWHM (nm) and gain, each (c,), of responses (c, F) tabulated at `nm` (F,).

    The centre is the response-weighted mean wavelength, the FWHM the distance between the outermost
    crossings of half the maximum, the gain the sum over the axis.
    """
    weight = np.clip(response, 0, None)
    weight = weight / np.maximum(weight.sum(-1, keepdims=True), 1e-12)
    widths = np.array([_half_maximum_width(row, nm) for row in weight])
    return weight @ nm, widths, response.sum(-1)


def _half_maximum_width(row: FloatArray, nm: FloatArray) -> float:
    half = row.max() / 2
    above = np.flatnonzero(row >= half)
    first, last = int(above[0]), int(above[-1])
    left, right = nm[first], nm[last]
    if first > 0:
        left = np.interp(half, row[first - 1 : first + 1], nm[first - 1 : first + 1])
    if last < nm.size - 1:
        right = np.interp(half, row[last : last + 2][::-1], nm[last : last + 2][::-1])
    return float(right - left)


def nominal_spread(fwhm: FloatArray) -> FloatArray:
    """Prior standard deviations (..., 3) for bands of width `fwhm` nm (...,).

    A filter's centre is made to a tolerance that scales with its width, within 2-10 nm; widths
    vary by 18 % and gains by 8 % (calibration panels and sun sensors).
    """
    shift = np.clip(0.19 * fwhm, 2.0, 10.0)
    return np.stack([shift, np.full_like(shift, 0.18), np.full_like(shift, 0.08)], axis=-1)


def _sensor(
    name: str, title: str, note: str, *rows: tuple[str, float, float], shape: float = 4.0
) -> Sensor:
    bands = tuple(Band(role=r, centre=c, fwhm=w, shape=shape) for r, c, w in rows)
    return Sensor(name=name, title=title, note=note, bands=bands)


SENSORS: Final[dict[str, Sensor]] = {
    sensor.name: sensor
    for sensor in (
        _sensor(
            "p4m",
            "DJI Phantom 4 Multispectral",
            "DJI's data sheet; FWHM is twice its +- half width",
            ("blue", 450, 32),
            ("green", 560, 32),
            ("red", 650, 32),
            ("rededge", 730, 32),
            ("nir", 840, 52),
        ),
        _sensor(
            "m3m",
            "DJI Mavic 3 Multispectral",
            "DJI's data sheet; FWHM is twice its +- half width",
            ("green", 560, 32),
            ("red", 650, 32),
            ("rededge", 730, 32),
            ("nir", 860, 52),
        ),
        Sensor(
            name="rededge3",
            title="MicaSense RedEdge-3",
            note="summary of the measured curves; data sheet: 475, 560, 668, 717, 840 nm",
            bands=(
                Band(role="blue", centre=479.0, fwhm=23.0),
                Band(role="green", centre=558.0, fwhm=22.0, shape=5.0),
                Band(role="red", centre=670.5, fwhm=10.0),
                Band(role="rededge", centre=717.6, fwhm=11.0),
                Band(role="nir", centre=837.5, fwhm=49.0, shape=5.0),
            ),
        ),
        _sensor(
            "rededge-mx-dual",
            "MicaSense RedEdge-MX Dual (10 bands)",
            "MicaSense's data sheet",
            ("coastal", 444, 28),
            ("blue", 475, 32),
            ("green531", 531, 14),
            ("green", 560, 27),
            ("red650", 650, 16),
            ("red", 668, 14),
            ("rededge705", 705, 10),
            ("rededge", 717, 12),
            ("rededge740", 740, 18),
            ("nir", 842, 57),
        ),
        _sensor(
            "altum",
            "MicaSense Altum (without its thermal band)",
            "MicaSense's data sheet",
            ("blue", 475, 32),
            ("green", 560, 27),
            ("red", 668, 16),
            ("rededge", 717, 12),
            ("nir", 842, 57),
        ),
        _sensor(
            "sequoia",
            "Parrot Sequoia",
            "Parrot's data sheet",
            ("green", 550, 40),
            ("red", 660, 40),
            ("rededge", 735, 10),
            ("nir", 790, 40),
        ),
        _sensor(
            "sentinel2",
            "Sentinel-2A MSI, visible and near infrared",
            "summary of ESA's response functions; the bands beyond 1000 nm are left out",
            ("b1", 442.7, 21),
            ("b2", 492.4, 66),
            ("b3", 559.8, 36),
            ("b4", 664.6, 31),
            ("b5", 704.1, 15),
            ("b6", 740.5, 15),
            ("b7", 782.8, 20),
            ("b8", 832.8, 106),
            ("b8a", 864.7, 21),
            ("b9", 945.1, 20),
            shape=8.0,
        ),
        _sensor(
            "rgb",
            "A consumer RGB camera",
            "the mean of 28 measured cameras (Jiang et al. 2013), as Gaussians",
            ("blue", 465, 86),
            ("green", 533, 94),
            ("red", 604, 80),
            shape=2.0,
        ),
    )
}
"""The built-in sensors by name."""

HEADWALL_NANO: Final[WavelengthGrid] = WavelengthGrid(
    "headwall-nano", np.linspace(397.865, 1001.51, 270), np.full(270, 6.0)
)
"""The default output grid: Headwall Nano-Hyperspec, 270 bands 2.244 nm apart, about 6 nm wide."""

SENSOR_HELP: Final = "see the section on sensor files in docs/formats.md"


def load_sensor(name_or_path: str | Path) -> Sensor:
    """A built-in sensor by name, or a user's own from a .yaml, .yml or .csv file.

    YAML: `name`, and `bands`: a list of `{role, centre, fwhm[, shape]}` or
    `{role, wavelength_nm: [...], response: [...]}`.
    CSV: either columns `role,centre,fwhm[,shape]`, a row a band; or a first column `wavelength_nm`
    and one column of response per band, headed by its role.

    Raises:
        UsageError: no such sensor or file.
        InputRefused: the file does not hold a sensor.
    """
    text = str(name_or_path)
    if text.lower() in SENSORS:
        return SENSORS[text.lower()]
    path = Path(text)
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"unknown sensor {text!r}",
            remedy=f"use one of {', '.join(SENSORS)}, or a .yaml or .csv file of your own",
        )
    if not path.is_file():
        raise UsageError("no such sensor file", path=path)
    try:
        return readers[path.suffix.lower()](path)
    except InputRefused as err:
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
    except KeyError as err:
        raise InputRefused(f"not a sensor file (no {err})", path=path, remedy=SENSOR_HELP) from err
    except (OSError, csv.Error, TypeError, ValueError, AttributeError, RecursionError) as err:
        raise InputRefused(f"not a sensor file ({err})", path=path, remedy=SENSOR_HELP) from err


def _read_yaml(path: Path) -> Sensor:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as err:
        raise ValueError(" ".join(str(err).split())) from err
    if not isinstance(content, dict):
        raise TypeError("a mapping with the key 'bands' is needed")
    if unknown := set(content) - {"name", "title", "note", "bands"}:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    return Sensor(
        name=str(content.get("name", path.stem)),
        title=str(content.get("title", "")),
        note=str(content.get("note", "")),
        bands=tuple(_band_from_mapping(row) for row in content["bands"]),
    )


def _band_from_mapping(row: dict[str, object]) -> Band:
    role = str(row["role"]).strip().lower()
    curve = "response" in row
    known = {"role", "wavelength_nm", "response"} if curve else {"role", "centre", "fwhm", "shape"}
    if unknown := set(row) - known:
        raise ValueError(f"band {role}: unknown keys {sorted(unknown)}")
    if curve:
        nm, response = row["wavelength_nm"], row["response"]
        if not isinstance(nm, list) or not isinstance(response, list):
            raise ValueError(f"band {role}: wavelength_nm and response must be lists")
        return Band.from_curve(role, [float(v) for v in nm], [float(v) for v in response])
    numbers = {k: float(str(row[k])) for k in ("centre", "fwhm", "shape") if row.get(k) is not None}
    if not all(math.isfinite(v) for v in numbers.values()):
        raise ValueError(f"band {role}: {numbers} must be finite")
    return Band(
        role=role,
        centre=numbers["centre"],
        fwhm=numbers["fwhm"],
        shape=numbers.get("shape", 4.0),
    )


def _read_csv(path: Path) -> Sensor:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise ValueError("a header and a row below it are needed")
    header = [cell.strip().lower() for cell in rows[0]]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    body = [[cell.strip() for cell in row] for row in rows[1:]]
    if header[0] == "wavelength_nm":
        table = np.array(body, dtype=float)
        bands = tuple(
            Band.from_curve(role, table[:, 0].tolist(), table[:, i].tolist())
            for i, role in enumerate(header[1:], start=1)
        )
    else:
        named = [dict(zip(header, row, strict=True)) for row in body]
        bands = tuple(_band_from_mapping({k: v or None for k, v in row.items()}) for row in named)
    return Sensor(name=path.stem, bands=bands)
