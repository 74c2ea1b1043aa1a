"""Satellite products of a known scene: .SAFE trees, Landsat folders, and GeoTIFF stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine

from tests.helpers.rasters import UTM, write

SIDE_M = 300
"""Side of the scene in metres, and of the satellite images."""
ORIGIN = (500000.0, 3000000.0)
"""Left and top of the scene; a multiple of 20 m as in Sentinel-2's tiles."""
FIELD = slice(60, 220)
"""Rows and columns of the scene in metres that the camera's image shows."""
FIELD_TRANSFORM = Affine(1, 0, ORIGIN[0] + FIELD.start, 0, -1, ORIGIN[1] - FIELD.start)
SENTINEL_NAME = "S2A_MSIL2A_20220615T103631_N0400_R008_T32UNU_20220615T180411"
LANDSAT_NAME = "LC08_L2SP_195025_20220615_20220621_02_T1"
LEVELS = {"b2": 0.4, "b3": 0.7, "b4": 0.5, "b5": 1.0, "b6": 1.4, "b7": 1.6, "b8": 1.7, "b8a": 1.8}
"""Reflectance of Sentinel-2's bands over that of the scene."""
CAMERA_LEVELS = (0.4, 0.7, 0.5, 1.2, 1.7)
"""The same of the camera's bands."""
NATIVE = {"b2": 10, "b3": 10, "b4": 10, "b8": 10, "b5": 20, "b6": 20, "b7": 20, "b8a": 20}


def ground(seed: int = 0) -> np.ndarray:
    """A scene (y, x) of fields of 40 m with texture, 1 m a pixel, 0.05-0.35."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(0.1, 0.3, (8, 8)).repeat(40, 0).repeat(40, 1)[:SIDE_M, :SIDE_M]
    return fields + rng.uniform(-0.05, 0.05, fields.shape)


def seen_by(scene: np.ndarray, pixel: int, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The scene by a satellite: a Gaussian PSF of half a pixel, sampled at the pixels' middles.

    The satellite's image lies `shift` metres further down and right.
    """
    views = []
    for metres in shift:
        middles = np.arange(SIDE_M // pixel) * pixel + pixel / 2 - metres
        distance = (np.arange(SIDE_M) + 0.5 - middles[:, None]) / (pixel / 2)
        weights = np.exp(-0.5 * distance**2)
        views.append(weights / weights.sum(1, keepdims=True))
    return views[0] @ scene @ views[1].T


def camera_image(scene: np.ndarray, levels: Sequence[float] = CAMERA_LEVELS) -> np.ndarray:
    """The camera's image (c, y, x) of the field."""
    return np.stack([level * scene[FIELD, FIELD] for level in levels]).astype("f4")


def write_field(path: Path, image: np.ndarray, **options: Any) -> Path:
    """The camera's image as a GeoTIFF of a P4M flown on 2022-06-17, unless `tags` say else."""
    tags = {"sensor": "p4m", "acquisition_date": "2022-06-17"}
    return write(path, image, **{"tags": tags, "transform": FIELD_TRANSFORM} | options)


def place(pixel: float, *, x: float = ORIGIN[0], y: float = ORIGIN[1]) -> Affine:
    """The transform of an image of the scene."""
    return Affine(pixel, 0, x, 0, -pixel, y)


def write_jp2(path: Path, numbers: np.ndarray, pixel: int, **options: Any) -> None:
    """One band (y, x) as a lossless JP2 file with its place inside."""
    profile = {
        "driver": "JP2OpenJPEG",
        "count": 1,
        "height": numbers.shape[0],
        "width": numbers.shape[1],
        "dtype": numbers.dtype.name,
        "crs": UTM,
        "transform": place(pixel),
        "QUALITY": "100",
        "REVERSIBLE": "YES",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **profile | options) as file:
        file.write(numbers, 1)


def metadata(
    *,
    baseline: str = "04.00",
    spacecraft: str = "Sentinel-2A",
    level: str = "2A",
    added: int = -1000,
) -> str:
    """The XML of an L2A product, shortened."""
    values = "".join(f'<BOA_ADD_OFFSET band_id="{n}">{added}</BOA_ADD_OFFSET>' for n in range(13))
    offsets = f"<BOA_ADD_OFFSET_VALUES_LIST>{values}</BOA_ADD_OFFSET_VALUES_LIST>" if added else ""
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/x.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2022-06-15T10:36:31.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{SENTINEL_NAME}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <Datatake datatakeIdentifier="GS2A"><SPACECRAFT_NAME>{spacecraft}</SPACECRAFT_NAME></Datatake>
    </Product_Info>
    <Product_Image_Characteristics>
      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
      {offsets}
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write_safe(
    folder: Path,
    scene: np.ndarray,
    *,
    shift: tuple[float, float] = (0.0, 0.0),
    classes: np.ndarray | None = None,
    xml: str | None = None,
    levels: Mapping[str, float] = LEVELS,
    added: int = 1000,
) -> Path:
    """A .SAFE tree of the scene as ESA delivers it; `classes` (15, 15) are its SCL."""
    safe = folder / f"{SENTINEL_NAME}.SAFE"
    images = safe / "GRANULE" / "L2A_T32UNU_A036456_20220615T103948" / "IMG_DATA"
    for role, level in levels.items():
        native, name = NATIVE[role], role.upper() if role == "b8a" else f"B{role[1:]:0>2}"
        numbers = np.round(level * seen_by(scene, native, shift) * 10000 + added).astype("u2")
        file = images / f"R{native}m" / f"T32UNU_20220615T103631_{name}_{native}m.jp2"
        write_jp2(file, numbers, native)
    ground_class = np.full((SIDE_M // 20, SIDE_M // 20), 4, "u1") if classes is None else classes
    write_jp2(images / "R20m" / "T32UNU_20220615T103631_SCL_20m.jp2", ground_class, 20)
    (safe / "MTD_MSIL2A.xml").write_text(xml or metadata(), encoding="utf-8")
    return safe


def write_landsat(folder: Path, scene: np.ndarray, *, name: str = LANDSAT_NAME) -> Path:
    """A folder of Landsat 8 bands of the scene; `b1` to `b5` have the levels of `CAMERA_LEVELS`."""
    product = folder / name
    product.mkdir(parents=True)
    view = seen_by(scene, 30)
    for number, level in enumerate(CAMERA_LEVELS, start=1):
        numbers = np.round((level * view + 0.2) / 0.0000275).astype("u2")
        options = {"names": None, "transform": place(30), "nodata": 0}
        write(product / f"{name}_SR_B{number}.TIF", numbers[None], **options)
    quality = np.full((1, *view.shape), 21824, "u2")  # clear
    write(product / f"{name}_QA_PIXEL.TIF", quality, names=None, transform=place(30))
    return product


def write_stack(
    path: Path, scene: np.ndarray, *, added: int = 1000, pixel: int = 10, **options: Any
) -> Path:
    """A GeoTIFF of Sentinel-2's bands and SCL at 10 m, those of 20 m repeated."""
    bands = []
    for role, level in LEVELS.items():
        view = level * seen_by(scene, NATIVE[role])
        repeat = NATIVE[role] // pixel
        bands.append(view.repeat(repeat, 0).repeat(repeat, 1))
    numbers = np.round(np.stack(bands) * 10000 + added).astype("u2")
    numbers = np.concatenate([numbers, np.full_like(numbers[:1], 4)])
    names = (*(role.upper() for role in LEVELS), "SCL")
    return write(path, numbers, **{"names": names, "transform": place(pixel)} | options)
