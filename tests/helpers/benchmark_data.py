"""Generated scenes and cameras in the folders of the protocols `cave` and `vnir`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from uavssr.benchmark.cave import CAVE_TEST_SCENES
from uavssr.benchmark.cave_scenes import CAVE_GRID
from uavssr.benchmark.measured_cameras import CAMERA_TABLE
from uavssr.benchmark.vnir import VNIR_TEST_SCENES

NAMES = ("Canon A", "Canon B", "Nikon D700", "Nikon E", "Olympus F")


def write_table(path: Path) -> None:
    """Five cameras whose Gaussian curves differ by some nm; red first, as in the real table."""
    nm = np.arange(400, 721, 10)
    lines = ["400nm-720nm, step 10nm", "-----", ""]
    for number, name in enumerate(NAMES):
        lines.append(name)
        for centre, width in ((600, 70), (530, 85), (465, 80)):
            shape = (nm - centre - 2.0 * number) / width
            lines.append("\t".join(f"{value:.6g}" for value in np.exp2(-4 * shape**2)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_scene(path: Path, nm: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, slope = rng.uniform(500, 2500, (2, 12, 11, 1))
    cube = (base + slope * np.linspace(0, 1, nm.size)).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, cube=cube, wavelength_nm=nm, scale=np.float32(1e-4))


def write_benchmark_data(folder: Path) -> None:
    """Nine scenes of CAVE and four airborne ones, of 12 x 11 pixels, and five cameras."""
    write_table(folder / "srf" / CAMERA_TABLE)
    for number, name in enumerate([*CAVE_TEST_SCENES, "beads", "cloth", "egypt"]):
        write_scene(folder / "cave" / f"{name}.npz", CAVE_GRID.centres, number)
    for number, name in enumerate([*VNIR_TEST_SCENES, "field", "samson"]):
        end = 890.0 if name == "samson" else 1000.0
        write_scene(folder / "vnir" / f"{name}.npz", np.arange(400.0, end + 1, 10), 20 + number)
    kinds = {path.stem: {"kind": "reflectance"} for path in (folder / "vnir").glob("*.npz")}
    (folder / "vnir" / "meta.json").write_text(json.dumps(kinds))
