"""Real pairs of a ten-band drone camera and a field spectrometer: spectra from five of the bands.

    python benchmarks/wheat.py LIBRARY.npz PAIRS.npz SRF.csv

LIBRARY is a training library (scripts/build_library.py); its wheat, which is these very spectra, is
left out. PAIRS holds `ms` (n, 10), `hs` (n, F), `wavelength_nm`, `stage`; SRF the nominal curves of
the camera. One growth stage after the other is held out; prior and regressions are trained on the
others. The network's trained stages are not used, since they were trained on these spectra. Prints
Markdown.
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
"""Bands of the camera that are used."""
GRID = HEADWALL_NANO
RIDGE = "ridge on the other stages' pairs"


def camera(path: Path, names: tuple[str, ...] | None = None) -> Sensor:
    """The camera with the nominal curves of a CSV file, with all bands or those of `names`."""
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
    library = load_library(options.library, GRID)
    without_wheat = _select(library, library.source != "wheat")
    errors: dict[str, list[list[float]]] = {}
    for name in sorted(set(stage.tolist())):
        held_out = stage == name
        rows = _stage_errors(without_wheat, options.srf, seen, spectra, held_out)
        for estimator, row in rows.items():
            errors.setdefault(estimator, []).append(row)
    _print_table(errors)
    return 0


def _stage_errors(
    library: SpectralLibrary, srf: Path, seen: np.ndarray, spectra: np.ndarray, held_out: np.ndarray
) -> dict[str, list[float]]:
    """RMSE, SAM and the RMSE of the other five bands, by estimator, of the stage held out."""
    every = camera(srf)
    given = [k for k, band in enumerate(every.bands) if band.role in GIVEN]
    rest = [k for k in range(len(every)) if k not in given]
    others = SpectralLibrary(
        spectra=spectra[~held_out],
        kind=np.full((~held_out).sum(), "canopy"),
        source=np.full((~held_out).sum(), "wheat"),
        grid=GRID,
    )
    training = concatenate([library, others])
    estimates = _estimates(training, camera(srf, GIVEN), seen[:, given], spectra, held_out)
    band_ridge = regress(_pixels(seen[~held_out][:, given]), _pixels(seen[~held_out][:, rest]))
    truth, true_bands = spectra[held_out].T, seen[held_out][:, rest].T
    nominal = every.srf(GRID)[rest]
    rows = {}
    for name, estimate in estimates.items():
        bands = band_ridge(seen[held_out][:, given].T) if name == RIDGE else nominal @ estimate
        rows[name] = [rmse(estimate, truth), sam(estimate, truth), rmse(bands, true_bands)]
    return rows


def _print_table(errors: dict[str, list[list[float]]]) -> None:
    print("| estimator | RMSE 398-1002 nm | SAM deg | RMSE of the other five bands |")
    print("|---|---|---|---|")
    for name, rows in errors.items():
        mean, deviation = np.mean(rows, 0), np.std(rows, 0)
        cells = [f"{m:.4f} +- {d:.4f}" for m, d in zip(mean, deviation, strict=True)]
        cells[1] = f"{mean[1]:.2f} +- {deviation[1]:.2f}"
        print(f"| {name} | " + " | ".join(cells) + " |")


def _pixels(values: np.ndarray) -> np.ndarray:
    """Rows (n, m) as images of one pixel (n, m, 1, 1)."""
    return values[:, :, None, None]


def _select(library: SpectralLibrary, chosen: np.ndarray) -> SpectralLibrary:
    return SpectralLibrary(
        spectra=library.spectra[chosen],
        kind=library.kind[chosen],
        source=library.source[chosen],
        grid=library.grid,
    )


@torch.no_grad()
def _estimates(
    library: SpectralLibrary,
    sensor: Sensor,
    seen: np.ndarray,
    spectra: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, np.ndarray]:
    """Spectra (C, n) of the stage held out, by estimator and its knowledge of the camera."""
    sizes = PGUNetConfig(bands=len(GRID), components=48)
    config = TrainingConfig(prior_scenes=100)
    network = initial_network(TrainingData.of(library), sizes, config).eval()
    family = ResponseFamily.of(sensor, GRID)
    image = torch.from_numpy(seen[held_out].T[None, :, None].astype(np.float32))
    pairs = [torch.tensor(part[~held_out], dtype=torch.float32) for part in (seen, spectra)]
    calibrated = calibrate(family, spectra[~held_out], seen[~held_out], basis=network.basis).stf
    stfs = {
        "closed form, data sheet": Stf.of(family, family.prior, torch.zeros_like(family.spread)),
        "closed form, blind": network(
            image, Stf.from_prior(family), estimate_stf=True, stages=0
        ).stf,
        "closed form, calibrated on the other stages' pairs": calibrated,
    }
    pair_ridge = regress(_pixels(seen[~held_out]), _pixels(spectra[~held_out]))
    estimates = {
        RIDGE: pair_ridge(seen[held_out].T),
        "ridge, random cameras": fit_ridge(library, sensor, seed=0)(seen[held_out].T),
    }
    for name, stf in stfs.items():
        result = network(image, stf, estimate_stf=False, stages=0)
        estimates[name] = network.basis.expand(result.coefficients)[0, :, 0].numpy()
    correction = network.fit_correction(calibrated, *pairs, stages=0)
    result = network(image, calibrated, estimate_stf=False, stages=0, correction=correction)
    corrected = correction.basis.expand(result.coefficients)[0, :, 0].numpy()
    estimates["the same, corrected with these pairs"] = corrected
    return estimates


if __name__ == "__main__":
    raise SystemExit(main())
