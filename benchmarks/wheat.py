"""Real pairs of a ten-band drone camera and a field spectrometer: five bands in, the rest out.

    python benchmarks/wheat.py LIBRARY.npz PAIRS.npz SRF.csv

LIBRARY is a training library (scripts/build_library.py); its wheat is left out here, since it is
these very spectra. PAIRS holds `ms` (n, 10), `hs` (n, F), `wavelength_nm`, `stage`; SRF the
camera's nominal curves. One growth stage after the other is kept out: prior and regressions learn
from the others. Prints Markdown. The network's learned stages are not run: they saw these spectra.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from uavssr.calibration import calibrate
from uavssr.data import TrainingData
from uavssr.evaluation import fit_ridge, regress, rmse, sam
from uavssr.model import PGUNetConfig, ResponseFamily, Stf
from uavssr.sensors import HEADWALL_NANO, Band, Sensor
from uavssr.spectra import SpectralLibrary, concatenate, load_library, resample
from uavssr.training import TrainingConfig, initial_network

GIVEN = ("b2", "g2", "r1", "re2", "nir")
GRID = HEADWALL_NANO


def camera(path: Path, names: tuple[str, ...] | None = None) -> Sensor:
    """The nominal curves of a CSV file, of all bands or of those named."""
    header = path.read_text("utf-8").splitlines()[0].lower().split(",")[1:]
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    columns = zip(header, table[:, 1:].T, strict=True)
    bands = [Band.from_curve(name, table[:, 0], curve) for name, curve in columns]
    chosen = [b for b in bands if names is None or b.role in names]
    return Sensor(name="wheat-uav", bands=tuple(chosen))


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("srf", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    missing = [str(p) for p in (options.library, options.pairs, options.srf) if not p.is_file()]
    if missing:
        print(f"skipped: not here: {', '.join(missing)}")
        return 0
    with np.load(options.pairs, allow_pickle=False) as file:
        seen, stage = file["ms"], file["stage"]
        spectra = resample(file["hs"], file["wavelength_nm"], GRID)
    every = camera(options.srf)
    given = [k for k, band in enumerate(every.bands) if band.role in GIVEN]
    rest = [k for k in range(len(every)) if k not in given]
    library = load_library(options.library, GRID)
    without = _only(library, library.source != "wheat")
    found: dict[str, list[list[float]]] = {}
    for left in sorted(set(stage.tolist())):
        out = stage == left
        known = SpectralLibrary(
            spectra=spectra[~out],
            kind=np.full((~out).sum(), "canopy"),
            source=np.full((~out).sum(), "wheat"),
            grid=GRID,
        )
        learned = concatenate([without, known])
        estimates = _estimates(learned, camera(options.srf, GIVEN), seen[:, given], spectra, out)
        mapped = regress(_pixels(seen[~out][:, given]), _pixels(seen[~out][:, rest]))
        truth, other = spectra[out].T, seen[out][:, rest].T
        nominal = every.srf(GRID)[rest]
        for name, estimate in estimates.items():
            bands = mapped(seen[out][:, given].T) if name == RIDGE else nominal @ estimate
            errors = [rmse(estimate, truth), sam(estimate, truth), rmse(bands, other)]
            found.setdefault(name, []).append(errors)
    print("| estimator | RMSE 398-1002 nm | SAM deg | RMSE of the other five bands |")
    print("|---|---|---|---|")
    for name, rows in found.items():
        mean, deviation = np.mean(rows, 0), np.std(rows, 0)
        cells = [f"{m:.4f} +- {d:.4f}" for m, d in zip(mean, deviation, strict=True)]
        cells[1] = f"{mean[1]:.2f} +- {deviation[1]:.2f}"
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


RIDGE = "ridge on the other stages' pairs"


def _pixels(values: np.ndarray) -> np.ndarray:
    """Rows (n, m) as images of one pixel (n, m, 1, 1)."""
    return values[:, :, None, None]


def _only(library: SpectralLibrary, kept: np.ndarray) -> SpectralLibrary:
    return SpectralLibrary(
        spectra=library.spectra[kept],
        kind=library.kind[kept],
        source=library.source[kept],
        grid=library.grid,
    )


@torch.no_grad()
def _estimates(
    library: SpectralLibrary, sensor: Sensor, seen: np.ndarray, spectra: np.ndarray, out: np.ndarray
) -> dict[str, np.ndarray]:
    """Spectra (C, n) of the stage left out, by what was known of the camera."""
    config = TrainingConfig(prior_scenes=100)
    network = initial_network(
        TrainingData.of(library), PGUNetConfig(bands=len(GRID), components=48), config
    ).eval()
    family = ResponseFamily.of(sensor, GRID)
    image = torch.from_numpy(seen[out].T[None, :, None].astype(np.float32))
    sure = torch.zeros_like(family.spread)
    calibrated = calibrate(family, spectra[~out], seen[~out], basis=network.basis).stf
    blind = network(image, Stf.from_prior(family), estimate_stf=True, stages=0).stf
    result = {
        RIDGE: regress(_pixels(seen[~out]), _pixels(spectra[~out]))(seen[out].T),
        "ridge, random cameras": fit_ridge(library, sensor, seed=0)(seen[out].T),
    }
    held = {
        "closed form, data sheet": Stf.of(family, family.prior, sure),
        "closed form, blind": blind,
        "closed form, calibrated on the other stages' pairs": calibrated,
    }
    for name, stf in held.items():
        found = network(image, stf, estimate_stf=False, stages=0).coefficients
        result[name] = network.basis.expand(found)[0, :, 0].numpy()
    ground = (torch.tensor(each[~out], dtype=torch.float32) for each in (seen, spectra))
    correction = network.fit_correction(calibrated, *ground, stages=0)
    found = network(
        image, calibrated, estimate_stf=False, stages=0, correction=correction
    ).coefficients
    result["the same, and learns from them"] = correction.basis.expand(found)[0, :, 0].numpy()
    return result


if __name__ == "__main__":
    raise SystemExit(main())
