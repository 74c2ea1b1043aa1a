"""Real pairs of a ten-band drone camera and a field spectrometer: spectra from five of the bands.

    python benchmarks/wheat.py LIBRARY.npz PAIRS.npz SRF.csv

LIBRARY is a training library (scripts/build_library.py), on which ridge is trained; it holds none
of these spectra, and neither do the released weights. PAIRS holds `ms` (n, 10), `hs` (n, F),
`wavelength_nm`, `stage`; SRF the nominal curves of the camera. One growth stage after the other is
held out; the pairs of the others are known. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from uavssr.calibration import calibrate
from uavssr.evaluation import blind_plot_stf, fit_ridge, regress, rmse, sam
from uavssr.model import PGUNet, ResponseFamily, Stf, load_model
from uavssr.sensors import HEADWALL_NANO, Band, Sensor
from uavssr.spectra import SpectralLibrary, load_library, resample

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
    library, model = load_library(options.library, GRID), load_model("p4m-nano")
    print(f"Model {model.name} ({model.sha256[:12]}), seed {options.seed}.\n")
    errors: dict[str, list[list[float]]] = {}
    for name in sorted(set(stage.tolist())):
        held_out = stage == name
        rows = _stage_errors(model.network, library, options.srf, (seen, spectra), held_out)
        for estimator, row in rows.items():
            errors.setdefault(estimator, []).append(row)
    _print_table(errors)
    return 0


def _stage_errors(
    network: PGUNet,
    library: SpectralLibrary,
    srf: Path,
    pairs: tuple[np.ndarray, np.ndarray],
    held_out: np.ndarray,
) -> dict[str, list[float]]:
    """RMSE, SAM and the RMSE of the other five bands, by estimator, of the stage held out."""
    seen, spectra = pairs
    every = camera(srf)
    given = [k for k, band in enumerate(every.bands) if band.role in GIVEN]
    rest = [k for k in range(len(every)) if k not in given]
    five = seen[:, given]
    estimates = _estimates(network, camera(srf, GIVEN), five, spectra, held_out)
    estimates["ridge, random cameras"] = fit_ridge(library, camera(srf, GIVEN), seed=0)(
        five[held_out].T
    )
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


@torch.no_grad()
def _estimates(
    network: PGUNet,
    sensor: Sensor,
    seen: np.ndarray,
    spectra: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, np.ndarray]:
    """Spectra (C, n) of the stage held out, by estimator and its knowledge of the camera."""
    family = ResponseFamily.of(sensor, GRID)
    plots = torch.tensor(seen[held_out], dtype=torch.float32)
    pairs = [torch.tensor(part[~held_out], dtype=torch.float32) for part in (seen, spectra)]
    calibrated = calibrate(family, spectra[~held_out], seen[~held_out], basis=network.basis).stf
    correction = network.fit_correction(calibrated, *pairs)
    pair_ridge = regress(_pixels(seen[~held_out]), _pixels(spectra[~held_out]))
    estimates = {RIDGE: pair_ridge(seen[held_out].T)}
    for name, stf, corrected in (
        ("data sheet", Stf.of(family, family.prior, torch.zeros_like(family.spread)), None),
        ("blind", blind_plot_stf(network, sensor, seen[held_out]), None),
        ("calibrated on the other stages' pairs", calibrated, None),
        ("the same, corrected with these pairs", calibrated, correction),
    ):
        basis = network.basis if corrected is None else corrected.basis
        ground = network.reconstruct_ground(plots, stf, correction=corrected)
        estimates[name] = basis.expand(ground.mT[..., None])[..., 0].numpy()
    return estimates


if __name__ == "__main__":
    raise SystemExit(main())
