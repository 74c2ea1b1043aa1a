"""Tables of plots that a random camera saw on several flights, written as npz or CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.data.random_cameras import draw_cameras
from uavssr.sensors import FloatArray

FLIGHTS = ("june", "july", "august")


def seen_plots(*, count: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a table: each flight's image is darker than the ground by its own factor."""
    rng = np.random.default_rng(seed)
    camera = draw_cameras(rng, [P4M], GRID)
    library = tiny_library().spectra.astype(float)
    spectra = library[rng.choice(len(library), len(FLIGHTS) * count)]
    flight = np.repeat(FLIGHTS, count)
    gains = np.exp(-0.3 + 0.1 * rng.normal(size=len(FLIGHTS))).repeat(count)
    msi = spectra @ camera.rows[0].T * gains[:, None]
    noisy: FloatArray = msi * (1 + 0.01 * rng.normal(size=msi.shape))
    return {"ms": noisy, "hs": spectra, "wavelength_nm": GRID.centres, "flight": flight}


def write_npz(path: Path, plots: dict[str, np.ndarray]) -> Path:
    np.savez(path, **plots)  # type: ignore[arg-type]
    return path


def write_csv(path: Path, plots: dict[str, np.ndarray]) -> Path:
    """The same as CSV, with the bands in front and in reverse order."""
    names = [*P4M.roles[::-1], *(f"{nm:.3f}" for nm in plots["wavelength_nm"])]
    lines = [",".join(["date", *names])]
    for flight, ms, hs in zip(plots["flight"], plots["ms"], plots["hs"], strict=True):
        lines.append(",".join([str(flight), *(f"{value:.6f}" for value in (*ms[::-1], *hs))]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
