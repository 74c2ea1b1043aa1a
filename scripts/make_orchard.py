"""Make examples/orchard.tif, a crop of a real flight over vines, a track and rows of young trees.

    python scripts/make_orchard.py rededge3_orchard.tif [OUT_DIR]

The image is a capture of a MicaSense RedEdge-3, whose five bands were aligned and made reflectance
with the tutorials of micasense/imageprocessing (MIT, examples/orchard.LICENSE). Here it is cut,
each 2 x 2 pixels are averaged, and numbers are rounded to 0.0001 of reflectance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

CROP: Final = Window(404, 240, 784, 656)
"""Columns and rows of the image."""
FACTOR: Final = 2
"""Side in pixels of what becomes one pixel."""
FULL_SCALE: Final = 32768
"""Number for a reflectance of 1 in the image."""
STEPS: Final = 10000
"""Number for a reflectance of 1 in the crop."""
SOURCE: Final = "MicaSense RedEdge-3, California, 2017-10-19; github.com/micasense/imageprocessing"


def main() -> int:
    """Cut the image; returns the exit code."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "examples")
    if not source.is_file():
        print(f"skipped: not here: {source}")
        return 0
    with rasterio.open(source) as image:
        seen = image.read(window=CROP)
        names, crs, transform = image.descriptions, image.crs, image.window_transform(CROP)
    bands, height, width = len(seen), CROP.height // FACTOR, CROP.width // FACTOR
    blocks = seen.reshape(bands, height, FACTOR, width, FACTOR)
    numbers = np.rint(blocks.mean((2, 4)) / FULL_SCALE * STEPS).astype(np.uint16)
    numbers[(blocks == 0).any((2, 4))] = 0
    with rasterio.open(
        folder / "orchard.tif",
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=bands,
        dtype="uint16",
        nodata=0,
        crs=crs,
        transform=transform @ Affine.scale(FACTOR),
        compress="deflate",
        predictor=2,
        zlevel=9,
        tiled=True,
        interleave="band",
    ) as out:
        out.write(numbers)
        out.descriptions = names
        out.scales, out.offsets = (1 / STEPS,) * bands, (0.0,) * bands
        out.update_tags(sensor="rededge3", source=SOURCE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
