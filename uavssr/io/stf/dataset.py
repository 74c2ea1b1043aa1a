"""The STF as a labelled dataset in CF conventions: estimates for the scene and for every tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from uavssr.sensors import BoolArray, FloatArray, NumberArray, Sensor, WavelengthGrid
from uavssr.tiling import Window

if TYPE_CHECKING:
    import xarray as xr


class LabelledArray(NamedTuple):
    """An array with what xarray and netCDF add to it."""

    dims: tuple[str, ...]
    """Names of the dimensions."""
    values: NumberArray
    """The numbers, or the names of bands."""
    attrs: dict[str, str]
    """CF attributes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StfArrays:
    """The STF product as labelled arrays, which files are written from without loading xarray."""

    variables: dict[str, LabelledArray]
    """Arrays by the names of docs/formats.md."""
    coordinates: dict[str, LabelledArray]
    """`band`, `wavelength` in nm, and `spatial_ref`."""
    attrs: dict[str, str]
    """Provenance."""

    @classmethod
    def of(cls, ds: xr.Dataset) -> StfArrays:
        """The arrays of an STF dataset."""
        arrays = {
            str(name): LabelledArray(tuple(map(str, v.dims)), v.to_numpy(), dict(v.attrs))
            for name, v in ds.variables.items()
        }
        coordinates = {str(name): arrays.pop(str(name)) for name in ds.coords}
        return cls(variables=arrays, coordinates=coordinates, attrs=dict(ds.attrs))

    def dataset(self) -> xr.Dataset:
        """The same as a labelled dataset."""
        import xarray as xr

        return xr.Dataset(self.variables, coords=self.coordinates, attrs=self.attrs)

    @property
    def arrays(self) -> dict[str, LabelledArray]:
        """Variables and coordinates."""
        return self.variables | self.coordinates

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each dimension."""
        arrays = self.arrays.values()
        return {dim: n for a in arrays for dim, n in zip(a.dims, a.values.shape, strict=True)}

    def without_curves(self) -> StfArrays:
        """The same without the arrays over wavelengths, a twentieth of it: what a map shows."""
        few = {k: a for k, a in self.variables.items() if "wavelength" not in a.dims}
        return replace(self, variables=few)


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
    "common_gain_se": Quantity((), "1", "part of it: log of a factor that all bands share"),
    "condition": Quantity((), "1", "condition number of the scene's moments, capped at 1e12"),
    "span_share": Quantity(("band",), "1", "share of the STF's energy inside the spectral basis"),
    "prior_driven": Quantity(("band",), "", "known hardly better than from the data sheet"),
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

NOMINAL: Final = Quantity(
    ("band", "wavelength"), "1", "nominal spectral response function, rows sum to one"
)
TILE_WINDOW: Final = Quantity(
    ("tile", "window_edge"), "1", "first row, first column, height and width in pixels"
)
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
    prior_driven: BoolArray
    """(c,) True where the image reveals next to nothing of the band."""
    residual: FloatArray
    """(c,) RMS of stf @ cube - MSI in reflectance."""
    valid_fraction: float
    """Share of the scope's pixels that hold data, 0..1."""
    common_gain_se: float = 0.0
    """Standard error of the logarithm of a factor that all bands share, a part of `gain_se`."""

    def __post_init__(self) -> None:
        if np.ndim(self.stf) != 2:
            raise ValueError(f"stf must be (band, wavelength), got shape {np.shape(self.stf)}")
        sizes = dict(zip(("band", "wavelength"), self.stf.shape, strict=True))
        for name, quantity in QUANTITIES.items():
            got, expected = np.shape(getattr(self, name)), tuple(sizes[d] for d in quantity.dims)
            if got != expected:
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

    def thinned(self) -> ReferencePixels:
        """At most `MAX_REFERENCES` of the pixels, evenly spaced."""
        count = len(self.msi)
        chosen = np.linspace(0, count - 1, min(count, MAX_REFERENCES)).round().astype(int)
        return replace(self, spectra=self.spectra[chosen], msi=self.msi[chosen])


def with_reference_pixels(ds: xr.Dataset, references: ReferencePixels) -> xr.Dataset:
    """The same dataset with reference pixels in it."""
    values = {"reference_hsi": references.spectra, "reference_msi": references.msi}
    return ds.assign(
        {name: _labelled(values[name].astype(np.float32), q) for name, q in REFERENCES.items()}
    )


def reference_pixels_of(ds: xr.Dataset) -> ReferencePixels | None:
    """The reference pixels of a dataset; None where it holds none."""
    if not ds.sizes.get("reference"):
        return None
    return ReferencePixels(
        spectra=ds["reference_hsi"].to_numpy(),
        msi=ds["reference_msi"].to_numpy(),
        image=str(ds.attrs.get("uavssr_input", "")),
    )


def stf_arrays(
    *,
    sensor: Sensor,
    grid: WavelengthGrid,
    nominal: FloatArray,
    scene: StfEstimate,
    tiles: Sequence[tuple[Window, StfEstimate]] = (),
    crs_wkt: str,
    transform: Sequence[float],
    attrs: Mapping[str, str] | None = None,
) -> StfArrays:
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
    windows = np.array([(w.row, w.col, w.height, w.width) for w, _ in tiles], np.int64)
    windows = windows.reshape(-1, 4)
    shape = scene.stf.shape
    variables = _estimate_variables("scene_", [scene], shape)
    variables |= _estimate_variables("", [estimate for _, estimate in tiles], shape)
    variables["nominal_stf"] = _labelled(np.asarray(nominal, float), NOMINAL)
    variables["tile_window"] = _labelled(windows, TILE_WINDOW)
    coordinates = _coordinates(sensor, grid, crs_wkt, transform)
    outlines = tile_outlines(windows, coordinates["spatial_ref"].attrs["GeoTransform"])
    bounds = np.concatenate([outlines.min(1), outlines.max(1)], axis=1)
    about = {"long_name": "xmin, ymin, xmax, ymax in the CRS", "grid_mapping": "spatial_ref"}
    variables["tile_bounds"] = LabelledArray(("tile", "bounds_edge"), bounds, about)
    return StfArrays(
        variables=variables,
        coordinates=coordinates,
        attrs={"Conventions": "CF-1.11", "sensor": sensor.name, **(attrs or {})},
    )


def _estimate_variables(
    prefix: str, estimates: Sequence[StfEstimate], shape: tuple[int, ...]
) -> dict[str, LabelledArray]:
    """A variable for each field: of the scene where there is a prefix, else of all tiles.

    A tile's arrays are float32, as the network gives them, because there may be very many tiles.
    """
    variables: dict[str, LabelledArray] = {}
    for name, quantity in QUANTITIES.items():
        exact = prefix or not quantity.dims
        dtype = bool if name == "prior_driven" else np.float64 if exact else np.float32
        values = np.array([getattr(estimate, name) for estimate in estimates], dtype)
        dims = quantity.dims if prefix else ("tile", *quantity.dims)
        # a file without tiles needs the shape of none of them
        values = values[0] if prefix else values.reshape(-1, *shape[: len(quantity.dims)])
        variables[prefix + name] = _labelled(values, quantity._replace(dims=dims))
    return variables


def _labelled(values: NumberArray, quantity: Quantity) -> LabelledArray:
    attrs = {"units": quantity.units} if quantity.units else {}
    return LabelledArray(quantity.dims, values, attrs | {"long_name": quantity.long_name})


def _coordinates(
    sensor: Sensor, grid: WavelengthGrid, crs_wkt: str, transform: Sequence[float]
) -> dict[str, LabelledArray]:
    a, b, c, d, e, f = map(float, transform)
    georeference = {"crs_wkt": crs_wkt, "spatial_ref": crs_wkt} if crs_wkt else {}
    georeference["GeoTransform"] = " ".join(repr(v) for v in (c, a, b, f, d, e))
    axis = {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}
    return {
        "band": LabelledArray(("band",), np.array(sensor.roles), {"long_name": "camera band"}),
        "wavelength": LabelledArray(("wavelength",), np.asarray(grid.centres, float), axis),
        "spatial_ref": LabelledArray((), np.array(0, np.int32), georeference),
    }


def tile_outlines(windows: NumberArray, geotransform: str) -> FloatArray:
    """Map coordinates (n, 5, 2) of the closed outlines of tiles.

    Args:
        windows: (n, 4), the values of `tile_window`.
        geotransform: GDAL's six numbers, as in the attribute of `spatial_ref`.
    """
    row, col, height, width = windows.astype(float).T
    c, a, b, f, d, e = map(float, geotransform.split())
    rows = np.stack([row, row, row + height, row + height, row], axis=1)
    cols = np.stack([col, col + width, col + width, col, col], axis=1)
    return np.stack([a * cols + b * rows + c, d * cols + e * rows + f], axis=2)


def scene_estimate(ds: xr.Dataset) -> StfEstimate:
    """The estimate for the whole scene."""
    return estimate_of({name: ds["scene_" + name].to_numpy() for name in QUANTITIES})


def estimate_of(values: Mapping[str, NumberArray]) -> StfEstimate:
    """The estimate whose fields are among these arrays, by name."""
    fields = {name: values[name] for name in QUANTITIES}
    scalar = {name: float(v) for name, v in fields.items() if not QUANTITIES[name].dims}
    flags = {"prior_driven": values["prior_driven"].astype(bool)}
    return StfEstimate(**(fields | scalar | flags))  # type: ignore[arg-type]
