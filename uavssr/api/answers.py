"""Indices as a dataset, and indices over plots as a table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
import xarray as xr

from uavssr.api.inputs import Spectra, SpectraKeywords, spectra_of
from uavssr.errors import UsageError
from uavssr.io.raster import coordinates
from uavssr.sensors import Sensor, load_sensor

if TYPE_CHECKING:
    import pandas as pd

    from uavssr.analysis import IndexRequest, SpectralSource
    from uavssr.io.msi import MsiSource


def index(
    data: Spectra,
    names: str | Sequence[str] = (),
    *,
    formula: str | Sequence[str] = (),
    as_camera: str | Path | Sensor | None = None,
    even_so: bool = False,
    **keywords: Unpack[SpectraKeywords],
) -> xr.Dataset:
    """Spectral indices of an image or a cube, each with its standard error; computed by tiles.

    Args:
        data: an image or a cube: a path, what `open_msi` returns, a dataset or an array.
        names: indices of `uavssr index --list`, such as "NDVI".
        formula: formulas of your own, such as "(R800 - R670) / (R800 + R670)".
        as_camera: evaluate indices of broad bands as this camera would: "sentinel2a" ...
        even_so: also compute indices that a cube of the camera does not carry.
        keywords: `sensor`, `bands`, `scale` ... as of `open_msi`; `model`, `stf`, `device`,
            `workers` as of the command line.

    Returns:
        A variable (y, x) float32 for each index, NaN where it is undefined, and `<name>_se`, its
        standard error, where the errors of the spectra are known.

    Raises:
        UsageError: no such index, or a cube of the camera does not carry it.
        InputRefused: the input is refused, or the bands of an index lie outside it.

    Examples:
        >>> import uavssr, xarray
        >>> field = xarray.open_dataset("examples/field.tif", engine="rasterio").band_data
        >>> maps = uavssr.index(field.isel(y=slice(0, 64), x=slice(100, 164)), ["NDVI", "REIP"])
        >>> sorted(maps.data_vars)
        ['NDVI', 'NDVI_se', 'REIP', 'REIP_se']
        >>> maps.NDVI.shape
        (64, 64)
    """
    from uavssr.analysis import IndexEvaluation, index_tiles

    source, requests = _opened(data, names, formula, even_so=even_so, keywords=keywords)
    camera = None if as_camera is None else _sensor(as_camera)
    evaluation = IndexEvaluation.of(requests, source.grid, source.errors, camera=camera)
    layers, size = evaluation.layers, {"height": source.height, "width": source.width}
    maps = np.full((len(layers), source.height, source.width), np.nan, np.float32)
    for window, stack in index_tiles(source, evaluation):
        maps[:, window.rows, window.cols] = stack
    _warn_of_odd(source)
    dataset = xr.Dataset(
        coords=coordinates(source.crs_wkt, source.transform, **size), attrs=source.tags
    )
    for layer, values in zip(layers, maps, strict=True):
        about = {"long_name": layer.name, "formula": layer.formula, "grid_mapping": "spatial_ref"}
        name = layer.name.removesuffix(" standard error").replace(" ", "_")
        dataset[f"{name}_se" if layer.is_error else name] = ("y", "x"), values, about
    return dataset


def plots(
    data: Spectra,
    zones: str | Path,
    names: str | Sequence[str] = (),
    *,
    formula: str | Sequence[str] = (),
    id_column: str | None = None,
    buffer: float = 0.0,
    even_so: bool = False,
    **keywords: Unpack[SpectraKeywords],
) -> pd.DataFrame:
    """Indices over plots, with standard errors of values and for comparing plots of one image.

    Args:
        data: an image or a cube, as of `index`.
        zones: polygons: a GeoPackage, GeoJSON or Shapefile, in any CRS.
        names: indices of `uavssr index --list`.
        formula: formulas of your own.
        id_column: column that identifies plots; by default id, plot, name ...
        buffer: metres by which plots grow; -0.5 leaves out their borders.
        even_so: also compute indices that a cube of the camera does not carry.
        keywords: as of `index`.

    Returns:
        A row for each plot: zone, pixels, valid, outlier, and for each index `NDVI_mean`,
        `_median`, `_deviation`, `_value_se` and `_compare_se`; NaN where a number is unknown. Plots
        outside the image are left out, with a `UserWarning`.

    Raises:
        UsageError: no such index or column, or the extra `plots` is not installed.
        InputRefused: a file is refused, or no plot lies in the image.

    Examples:
        >>> import json, pathlib, uavssr
        >>> corners = [[504212, 4062478], [504218, 4062478], [504218, 4062472], [504212, 4062472]]
        >>> outline = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
        >>> feature = {"type": "Feature", "properties": {"id": "north"}, "geometry": outline}
        >>> crs = {"type": "name", "properties": {"name": "EPSG:32650"}}
        >>> content = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
        >>> _ = pathlib.Path("plots.geojson").write_text(json.dumps(content))
        >>> table = uavssr.plots("hsi.tif", "plots.geojson", "NDVI")
        >>> list(table.columns)[:6]
        ['zone', 'pixels', 'valid', 'outlier', 'NDVI_mean', 'NDVI_median']
    """
    import pandas as pd

    from uavssr.analysis import (
        outside_notice,
        read_zones,
        zone_columns,
        zone_records,
        zone_statistics,
    )

    source, requests = _opened(data, names, formula, even_so=even_so, keywords=keywords)
    outlines = read_zones(Path(zones), source, id_column=id_column, buffer=buffer)
    if outlines.outside:
        count = len(outlines.outside) + len(outlines.zones)
        text = outside_notice(outlines.outside, count, "the image")
        warnings.warn(text, UserWarning, stacklevel=2)
    rows = zone_statistics(source, outlines.zones, requests)
    _warn_of_odd(source)
    return pd.DataFrame.from_records(zone_records(rows), columns=zone_columns(rows))


def convert(
    data: Spectra,
    to: str | Path | Sensor,
    out: str | Path,
    *,
    uncertainty: str | Path | None = None,
    resolution: float | None = None,
    grid: str | Path | None = None,
    dtype: Literal["uint16", "float32"] = "uint16",
    overwrite: bool = False,
    **keywords: Unpack[SpectraKeywords],
) -> MsiSource:
    """Write the image that another camera would have taken, and open it.

    Args:
        data: an image or a cube, as of `index`.
        to: the other camera: a name, a sensor file, or a sensor.
        out: the image to write, a .tif.
        uncertainty: also write the standard errors to this .tif.
        resolution: average over pixels of this size, in metres.
        grid: average over the pixels of this raster.
        dtype: uint16 (reflectance x 10000) or float32.
        overwrite: whether to replace existing outputs.
        keywords: as of `index`.

    Raises:
        UsageError: two grids are named.
        InputRefused: the input is refused, or covers no band of the camera.
        OutputError: an output exists or cannot be written.

    Examples:
        >>> import uavssr
        >>> image = uavssr.convert("hsi.tif", "sentinel2a", "as_sentinel2.tif")
        >>> image.sensor.name, image.sensor.roles[:3]
        ('sentinel2a', ('b2', 'b3', 'b4'))
    """
    from uavssr.analysis import AveragingGrid, ImageConversion
    from uavssr.io.msi import open_msi

    if resolution is not None and grid is not None:
        raise UsageError("resolution and grid name two grids", remedy="choose one")
    source = spectra_of(data, **keywords)
    cells = None
    if resolution is not None:
        cells = AveragingGrid.of_resolution(source, resolution)
    elif grid is not None:
        cells = AveragingGrid.like(source, Path(grid))
    planned = ImageConversion.of(
        source,
        _sensor(to),
        Path(out),
        uncertainty=None if uncertainty is None else Path(uncertainty),
        cells=cells,
        dtype=dtype,
    )
    planned.write(overwrite=overwrite)
    _warn_of_odd(source)
    return open_msi(out)


def _sensor(named: str | Path | Sensor) -> Sensor:
    return named if isinstance(named, Sensor) else load_sensor(named)


def _opened(
    data: Spectra,
    names: str | Sequence[str],
    formula: str | Sequence[str],
    *,
    even_so: bool,
    keywords: SpectraKeywords,
) -> tuple[SpectralSource, list[IndexRequest]]:
    """The spectra and the indices, which a cube of the camera carries."""
    from uavssr.analysis import IndexRequest, refuse_uncarried

    requests = IndexRequest.of(_listed(names), _listed(formula))
    source = spectra_of(data, **keywords)
    if not even_so:
        refuse_uncarried(requests, source, keywords.get("sensor"), keywords.get("model"))
    return source, requests


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _warn_of_odd(source: SpectralSource) -> None:
    """Give what the verdict on a reconstruction finds odd as warnings."""
    verdict = source.verdict()
    for text in () if verdict is None else verdict.odd:
        warnings.warn(text, UserWarning, stacklevel=3)
