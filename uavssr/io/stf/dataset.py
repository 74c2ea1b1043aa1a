"""The STF as a labelled dataset in CF conventions: estimates for the scene and for every tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.sensors import FloatArray, Sensor, WavelengthGrid
from uavssr.tiling import Window

if TYPE_CHECKING:
    import xarray as xr


class Quantity(NamedTuple):
    """How one field of an `StfEstimate` is stored."""

    dims: tuple[str, ...]
    """Dimensions of the scene's variable; a tile's has `tile` in front."""
    units: str
    """CF units, empty for flags."""
    long_name: str
    """Label of a plot's axis."""


QUANTITIES: Final[dict[str, Quantity]] = {
    "stf": Quantity(("band", "wavelength"), "1", "spectral transformation function"),
    "stf_se": Quantity(("band", "wavelength"), "1", "standard error of the STF"),
    "centre": Quantity(("band",), "nm", "nominal centre plus the estimated shift"),
    "fwhm": Quantity(("band",), "nm", "full width at half maximum"),
    "gain": Quantity(("band",), "1", "sum of the STF over wavelength"),
    "centre_se": Quantity(("band",), "nm", "standard error of the centre"),
    "fwhm_se": Quantity(("band",), "nm", "standard error of the width"),
    "gain_se": Quantity(("band",), "1", "standard error of the gain"),
    "condition": Quantity((), "1", "condition number of the scene's moments, capped at 1e12"),
    "span_share": Quantity(("band",), "1", "share of the STF's energy inside the spectral basis"),
    "prior_driven": Quantity(("band",), "", "decided by the prior, not by the image"),
    "residual": Quantity(("band",), "1", "RMS difference of STF times cube and MSI, reflectance"),
    "valid_fraction": Quantity((), "1", "share of pixels with data"),
}
"""The fields of `StfEstimate`; the scene's variables have the prefix `scene_`."""

REFERENCES: Final[dict[str, Quantity]] = {
    "reference_hsi": Quantity(("reference", "wavelength"), "1", "reference spectra"),
    "reference_msi": Quantity(("reference", "band"), "1", "image at the reference pixels"),
}
"""Further variables of an STF that was calibrated with references: see `ReferencePixels`."""
MAX_REFERENCES: Final = 200
"""Reference pixels that a file holds at most; more would hardly improve a correction."""

MAY_BE_INFINITE: Final = {"condition"}
"""Variables with infinite values: a simulated, true STF has no condition number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StfEstimate:
    """The STF of one scope, the scene or a tile: c camera bands on a grid of C wavelengths."""

    stf: FloatArray
    """(c, C): MSI = stf @ cube, both in reflectance."""
    stf_se: FloatArray
    """(c, C) standard error of every element."""
    centre: FloatArray
    """(c,) nominal centre plus the estimated shift in nm."""
    fwhm: FloatArray
    """(c,) full width at half maximum in nm."""
    gain: FloatArray
    """(c,) sum of each row of the STF; 1 where camera and cube agree in radiometry."""
    centre_se: FloatArray
    """(c,) standard error in nm."""
    fwhm_se: FloatArray
    """(c,) standard error in nm."""
    gain_se: FloatArray
    """(c,) standard error."""
    condition: float
    """Condition number of the scene's second moments; capped at 1e12, where they are singular."""
    span_share: FloatArray
    """(c,) share of the STF's energy inside the spectral basis; the rest is the prior's alone."""
    prior_driven: npt.NDArray[np.bool_]
    """(c,) True where the image reveals next to nothing of the band."""
    residual: FloatArray
    """(c,) RMS of stf @ cube - MSI in reflectance."""
    valid_fraction: float
    """Share of the scope's pixels that hold data, 0..1."""

    def __post_init__(self) -> None:
        if np.ndim(self.stf) != 2:
            raise ValueError(f"stf must be (band, wavelength), got shape {np.shape(self.stf)}")
        sizes = dict(zip(("band", "wavelength"), self.stf.shape, strict=True))
        for name, quantity in QUANTITIES.items():
            expected = tuple(sizes[dim] for dim in quantity.dims)
            if np.shape(getattr(self, name)) != expected:
                got = np.shape(getattr(self, name))
                raise ValueError(f"{name} must have shape {expected}, got {got}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferencePixels:
    """k pixels with reference spectra, with which a cube of the same image can be corrected."""

    spectra: FloatArray
    """(k, C) reflectance on the cube's wavelengths."""
    msi: FloatArray
    """(k, c) reflectance that the camera measured there."""
    image: str = ""
    """Name of the image, as outputs record it; empty where it is not known."""

    def thinned(self, most: int = MAX_REFERENCES) -> ReferencePixels:
        """At most so many of the pixels, evenly spaced."""
        count = len(self.msi)
        chosen = np.linspace(0, count - 1, min(count, most)).round().astype(int)
        return replace(self, spectra=self.spectra[chosen], msi=self.msi[chosen])


def with_reference_pixels(ds: xr.Dataset, references: ReferencePixels) -> xr.Dataset:
    """The same dataset with reference pixels in it."""
    values = {"reference_hsi": references.spectra, "reference_msi": references.msi}
    variables = {
        name: (
            q.dims,
            values[name].astype(np.float32),
            {"units": q.units, "long_name": q.long_name},
        )
        for name, q in REFERENCES.items()
    }
    return ds.assign(variables)


def reference_pixels_of(ds: xr.Dataset) -> ReferencePixels | None:
    """The reference pixels of a dataset; None where it holds none."""
    if not ds.sizes.get("reference"):
        return None
    return ReferencePixels(
        spectra=ds["reference_hsi"].to_numpy(),
        msi=ds["reference_msi"].to_numpy(),
        image=str(ds.attrs.get("uavssr_input", "")),
    )


def stf_dataset(
    *,
    sensor: Sensor,
    grid: WavelengthGrid,
    nominal: FloatArray,
    scene: StfEstimate,
    tiles: Sequence[tuple[Window, StfEstimate]] = (),
    crs_wkt: str,
    transform: Sequence[float],
    attrs: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """The STF product in CF conventions, with the names of docs/formats.md.

    Args:
        sensor: the camera whose bands are the rows.
        grid: the cube's wavelengths, the columns.
        nominal: (c, C) the nominal SRF on the grid.
        scene: the estimate for the whole scene.
        tiles: each tile's window in the scene and its estimate; none is fine.
        crs_wkt: coordinate reference system of the scene, empty if there is none.
        transform: (a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f.
        attrs: provenance.
    """
    import xarray as xr

    windows = np.array([(w.row, w.col, w.height, w.width) for w, _ in tiles], np.int64)
    windows = windows.reshape(-1, 4)
    shape = scene.stf.shape
    variables = _estimate_variables("scene_", [scene], shape)
    variables |= _estimate_variables("", [estimate for _, estimate in tiles], shape)
    variables["nominal_stf"] = (
        ("band", "wavelength"),
        np.asarray(nominal, float),
        {"units": "1", "long_name": "nominal spectral response function, rows sum to one"},
    )
    variables["tile_window"] = (
        ("tile", "window_edge"),
        windows,
        {"units": "1", "long_name": "first row, first column, height and width in pixels"},
    )
    variables["tile_bounds"] = (
        ("tile", "bounds_edge"),
        _bounds(corners(windows, transform)),
        {"long_name": "xmin, ymin, xmax, ymax in the CRS", "grid_mapping": "spatial_ref"},
    )
    return xr.Dataset(
        variables,
        coords=_coordinates(sensor, grid, crs_wkt, transform),
        attrs={"Conventions": "CF-1.11", "sensor": sensor.name, **(attrs or {})},
    )


_Variables = dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic], dict[str, str]]]


def _estimate_variables(
    prefix: str, estimates: Sequence[StfEstimate], shape: tuple[int, ...]
) -> _Variables:
    """A variable for each field: of the scene where there is a prefix, else of all tiles.

    A tile's arrays are float32, as the network gives them, because there may be very many tiles.
    """
    variables: _Variables = {}
    for name, quantity in QUANTITIES.items():
        exact = prefix or not quantity.dims
        dtype = bool if name == "prior_driven" else np.float64 if exact else np.float32
        values = np.array([getattr(estimate, name) for estimate in estimates], dtype)
        dims = quantity.dims if prefix else ("tile", *quantity.dims)
        # a file without tiles needs the shape of none of them
        values = values[0] if prefix else values.reshape(-1, *shape[: len(quantity.dims)])
        attrs = {"units": quantity.units} if quantity.units else {}
        variables[prefix + name] = (dims, values, attrs | {"long_name": quantity.long_name})
    return variables


def _coordinates(
    sensor: Sensor, grid: WavelengthGrid, crs_wkt: str, transform: Sequence[float]
) -> _Variables:
    a, b, c, d, e, f = (float(v) for v in tuple(transform)[:6])
    georeference = {"crs_wkt": crs_wkt, "spatial_ref": crs_wkt} if crs_wkt else {}
    georeference["GeoTransform"] = " ".join(repr(v) for v in (c, a, b, f, d, e))
    axis = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
    return {
        "band": (("band",), np.array(sensor.roles), {"long_name": "camera band"}),
        "wavelength": (("wavelength",), np.asarray(grid.centres, float), axis),
        "spatial_ref": ((), np.array(0, np.int32), georeference),
    }


def corners(windows: npt.NDArray[np.int64], transform: Sequence[float]) -> FloatArray:
    """Map coordinates (n, 5, 2) of the closed outlines of n windows (row, col, height, width)."""
    row, col, height, width = np.asarray(windows, float).reshape(-1, 4).T
    a, b, c, d, e, f = (float(v) for v in tuple(transform)[:6])
    rows = np.stack([row, row, row + height, row + height, row], axis=1)
    cols = np.stack([col, col + width, col + width, col, col], axis=1)
    return np.stack([a * cols + b * rows + c, d * cols + e * rows + f], axis=2)


def _bounds(outlines: FloatArray) -> FloatArray:
    return np.concatenate([outlines.min(1), outlines.max(1)], axis=1)


def affine(ds: xr.Dataset) -> tuple[float, ...]:
    """The scene's geotransform (a, b, c, d, e, f), as given to `stf_dataset`."""
    c, a, b, f, d, e = (float(v) for v in ds["spatial_ref"].attrs["GeoTransform"].split())
    return a, b, c, d, e, f


def scene_estimate(ds: xr.Dataset) -> StfEstimate:
    """The estimate for the whole scene."""
    return estimate_of({name: ds["scene_" + name].to_numpy() for name in QUANTITIES})


def tile_estimates(ds: xr.Dataset) -> list[tuple[Window, StfEstimate]]:
    """Each tile's window in the scene and its estimate; empty for an STF of the scene alone."""
    if "tile" not in ds.sizes:
        return []
    stacks = {name: ds[name].to_numpy() for name in QUANTITIES}
    windows = ds["tile_window"].to_numpy().tolist()
    return [
        (Window(*window), estimate_of({name: stack[index] for name, stack in stacks.items()}))
        for index, window in enumerate(windows)
    ]


def estimate_of(values: Mapping[str, npt.NDArray[np.generic]]) -> StfEstimate:
    """The estimate whose fields are among these arrays, by name."""
    fields = {name: values[name] for name in QUANTITIES}
    scalar = {name: float(v) for name, v in fields.items() if not QUANTITIES[name].dims}
    flags = {"prior_driven": values["prior_driven"].astype(bool)}
    return StfEstimate(**(fields | scalar | flags))  # type: ignore[arg-type]
