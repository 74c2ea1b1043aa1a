"""Write the CAVE scenes (31 bands, 400-700 nm) as GeoTIFF cubes, with a manifest to train on.

    python scripts/export_cave.py DATA_DIR OUT_DIR --exclude paints,...

DATA_DIR holds `cave/*.npz` (Yasuma et al. 2010, research use). The cubes lie at made-up places.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pyproj import CRS

from uavssr.io.writers import CubeTarget, open_writer
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import Window


def main() -> int:
    """Write the cubes and the manifest; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--exclude", default="", help="scenes to keep out, comma separated")
    options = parser.parse_args()
    excluded = {name for name in options.exclude.split(",") if name}
    paths = sorted((options.data_dir / "cave").glob("*.npz"))
    unknown = excluded - {path.stem for path in paths}
    if unknown:
        parser.error(f"no scenes named {sorted(unknown)}")
    options.out_dir.mkdir(parents=True, exist_ok=True)
    lines = ["hsi,kind,split,group"]
    for place, path in enumerate(path for path in paths if path.stem not in excluded):
        _write(options.out_dir / f"{path.stem}.tif", path, place)
        lines.append(f"{path.stem}.tif,cube,train,{path.stem}")
    (options.out_dir / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} cubes in {options.out_dir}")
    return 0


def _write(path: Path, source: Path, place: int) -> None:
    with np.load(source, allow_pickle=False) as file:
        cube = (file["cube"] * file["scale"]).transpose(2, 0, 1).astype(np.float32)
        nm = file["wavelength_nm"].astype(float)
    height, width = cube.shape[1:]
    target = CubeTarget(
        path=path,
        height=height,
        width=width,
        grid=WavelengthGrid("cave", nm, np.full(nm.size, 10.0)),
        crs_wkt=CRS.from_epsg(32631).to_wkt(),
        transform=(1.0, 0.0, 500_000.0, 0.0, -1.0, 10_000.0 * (place + 1)),
        overwrite=True,
    )
    with open_writer(target) as writer:
        writer.write(Window(0, 0, height, width), cube, np.ones((height, width), bool))
        writer.finish()


if __name__ == "__main__":
    raise SystemExit(main())
