"""Write airborne .npz cubes as GeoTIFFs on the Headwall grid, with a manifest to train on.

    python scripts/export_cubes.py DATA_DIR LIBRARY.npz OUT_DIR --exclude neon_2,...

DATA_DIR holds `vnir/*.npz` with `vnir/meta.json`. OUT_DIR gets a cube for each scene that is not
excluded, the library beside it, and pairs.csv, which `uavssr train --pairs` takes. Radiance is
corrected in-scene, missing bands are completed from the library (`uavssr.data`). The
scenes' places are not known: all lie at the same made-up coordinates, 100 km apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from pyproj import CRS

from uavssr.data import DISTRUSTED_NM, load_airborne_cube
from uavssr.io.writers import CubeTarget, open_writer
from uavssr.sensors import HEADWALL_NANO
from uavssr.spectra import SubspaceCompletion, load_library
from uavssr.tiling import Window

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.spectra_sources.measured import ATMOSPHERE_NM

FLIGHTS = {
    **dict.fromkeys(["abu_airport_1", "abu_airport_2", "abu_airport_3"], "abu-a"),
    **dict.fromkeys(["abu_urban_4", "abu_urban_5"], "abu-a"),
    **dict.fromkeys(["abu_urban_1", "abu_urban_2"], "abu-u"),
}
"""Scenes of one flight; the others are flights of their own."""


def main() -> int:
    """Write the cubes and the manifest; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("library", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--exclude", default="", help="cubes to keep out, comma separated")
    parser.add_argument("--share", type=float, default=0.5, help="of the weight that cubes get")
    options = parser.parse_args()
    folder = options.data_dir / "vnir"
    excluded = {name for name in options.exclude.split(",") if name}
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    names = sorted(set(meta) - excluded)
    if excluded - set(meta):
        parser.error(f"no cubes named {sorted(excluded - set(meta))}")
    options.out_dir.mkdir(parents=True, exist_ok=True)
    library = load_library(options.library, HEADWALL_NANO)
    measured = library.spectra[library.source != "synthetic"]
    completion = SubspaceCompletion.fit(measured, rank=12)
    shutil.copyfile(options.library, options.out_dir / "library.npz")
    weight = options.share / (1 - options.share) / len(names)
    lines = ["hsi,kind,split,group,weight", "library.npz,spectra,,,1"]
    for place, name in enumerate(names):
        cube = load_airborne_cube(
            folder / f"{name}.npz",
            HEADWALL_NANO,
            completion=completion,
            distrusted=(*DISTRUSTED_NM.get(name, ()), *ATMOSPHERE_NM),
        )
        _write(options.out_dir / f"{name}.tif", cube, place)
        lines.append(f"{name}.tif,cube,train,{FLIGHTS.get(name, name)},{weight:.6g}")
    (options.out_dir / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(names)} cubes and {len(library)} spectra in {options.out_dir}")
    return 0


def _write(path: Path, cube: np.ndarray, place: int) -> None:
    _, height, width = cube.shape
    target = CubeTarget(
        path=path,
        height=height,
        width=width,
        grid=HEADWALL_NANO,
        crs_wkt=CRS.from_epsg(32631).to_wkt(),
        transform=(1.0, 0.0, 500_000.0, 0.0, -1.0, 100_000.0 * (place + 1)),
        overwrite=True,
    )
    with open_writer(target) as writer:
        writer.write(Window(0, 0, height, width), cube, np.ones((height, width), bool))
        writer.finish()


if __name__ == "__main__":
    raise SystemExit(main())
