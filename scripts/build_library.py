"""Build a spectral library (.npz) from measured spectra, airborne cubes and models.

    python scripts/build_library.py DATA_DIR OUT.npz --prosail 6000 --seed 0 --exclude neon_2,...

DATA_DIR holds `speclib/*.npz` and `vnir/*.npz` with `vnir/meta.json`. Cubes for validation are kept
out by name with --exclude; `uavssr.data.load_airborne_cube` reads them. Bands in which an
atmosphere leaves traces are completed from ground spectra (`spectra_sources.measured`). The
licences of the sources differ: the library is for training here, not for passing on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from uavssr.data import DISTRUSTED_NM, read_airborne_cube
from uavssr.errors import InputRefused
from uavssr.sensors import HEADWALL_NANO, BoolArray, Float32Array, FloatArray, WavelengthGrid
from uavssr.spectra import (
    SpectralLibrary,
    StrArray,
    SubspaceCompletion,
    concatenate,
    resample,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.spectra_sources.measured import (
    ATMOSPHERE_NM,
    GROUND_SOURCES,
    MINERAL_SHARE,
    REMOTE_SOURCES,
    MeasuredSource,
    read_source,
)
from scripts.spectra_sources.synthetic import manmade_spectra, water_spectra
from scripts.spectra_sources.vegetation import leaf_spectra, prosail_spectra, soil_spectra

GRID = HEADWALL_NANO
END_NM = 12.0
"""How far past its ends a measured spectrum is trusted to go on; the rest is completed."""


def main() -> int:
    """Read the arguments, build the library, save it and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prosail", type=int, default=6000, help="number of canopies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pixels", type=int, default=600, help="pixels from each cube")
    parser.add_argument("--exclude", default="", help="cubes to keep out, comma separated")
    options = parser.parse_args()
    excluded = {name for name in options.exclude.split(",") if name}
    rng = np.random.default_rng(options.seed)
    speclib = options.data_dir / "speclib"
    full = [*_models(options.prosail, rng), _ecostress(speclib, rng)]
    completion = SubspaceCompletion.fit(_natural(full), rank=12)
    full += [_measured(speclib, source, completion, rng) for source in GROUND_SOURCES]
    completion = SubspaceCompletion.fit(_natural(full), rank=12)
    remote = [_measured(speclib, source, completion, rng) for source in REMOTE_SOURCES]
    cubes = _cubes(options.data_dir / "vnir", excluded, options.pixels, completion, rng)
    library = concatenate([*full, *remote, *cubes])
    library.save(options.out)
    _report(library, options.out)
    return 0


def _models(canopies: int, rng: np.random.Generator) -> list[SpectralLibrary]:
    dry, bright = rng.random(300), rng.uniform(0.25, 1.7, 300)
    return [
        _library(prosail_spectra(canopies, rng, GRID), "canopy", "prosail"),
        _library(leaf_spectra(max(canopies // 6, 50), rng, GRID), "leaf", "prospect"),
        _library(soil_spectra(bright, dry, GRID), "soil", "prosail-soil"),
        _library(water_spectra(900, rng, GRID), "water", "bio-optical"),
        _library(manmade_spectra(1500, rng, GRID), "manmade", "synthetic"),
    ]


def _natural(parts: list[SpectralLibrary]) -> Float32Array:
    """Spectra (n, C) of models and measurements, without the synthetic materials."""
    return concatenate([part for part in parts if part.source[0] != "synthetic"]).spectra


def _ecostress(folder: Path, rng: np.random.Generator) -> SpectralLibrary:
    with np.load(folder / "ecostress_vnir.npz", allow_pickle=False) as file:
        spectra, nm = file["spectra"], file["wavelength_nm"]
    spectra = resample(spectra[(spectra >= 0).all(1)], nm, GRID)
    kinds = np.where(has_red_edge(spectra, GRID), "leaf", "mineral")
    taken = (kinds == "leaf") | (rng.random(len(kinds)) < MINERAL_SHARE)
    return _library(spectra[taken], kinds[taken], "ecostress")


def _measured(
    folder: Path,
    source: MeasuredSource,
    completion: SubspaceCompletion,
    rng: np.random.Generator,
) -> SpectralLibrary:
    spectra, nm, kinds = read_source(folder, source, rng)
    distrusted = (*source.distrusted, *(ATMOSPHERE_NM if source.remote else ()))
    spectra = complete(spectra, nm, completion, distrusted)
    if source.remote:
        kinds = np.where(kinds == "manmade", kinds, kind_of_pixels(spectra, "other"))
    return _library(spectra, kinds, source.file)


def _cubes(
    folder: Path,
    excluded: set[str],
    pixels: int,
    completion: SubspaceCompletion,
    rng: np.random.Generator,
) -> list[SpectralLibrary]:
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    unknown = excluded - set(meta)
    if unknown:
        raise InputRefused(f"no cubes named {sorted(unknown)}", path=folder)
    parts = []
    for name in sorted(set(meta) - excluded):
        cube, nm = read_airborne_cube(folder / f"{name}.npz")
        flat = cube.reshape(-1, nm.size)
        flat = flat[rng.choice(len(flat), min(pixels, len(flat)), replace=False)]
        distrusted = (*DISTRUSTED_NM.get(name, ()), *ATMOSPHERE_NM)
        spectra = complete(flat, nm, completion, distrusted)
        built = "airport" in name or "urban" in name or "houston" in name
        kinds = kind_of_pixels(spectra, "manmade" if built else "other")
        parts.append(_library(spectra, kinds, name))
    return parts


def complete(
    spectra: Float32Array,
    nm: FloatArray,
    completion: SubspaceCompletion,
    distrusted: tuple[tuple[float, float], ...] = (),
) -> Float32Array:
    """Spectra (n, F) at `nm` on the grid, with missing and distrusted bands regressed."""
    known = (GRID.centres > nm[0] - END_NM) & (GRID.centres < nm[-1] + END_NM)
    values = np.zeros((len(spectra), len(GRID)), np.float32)
    covered = WavelengthGrid("covered", GRID.centres[known], GRID.fwhm[known])
    values[:, known] = resample(spectra, nm, covered)
    for low, high in distrusted:
        known &= ~((GRID.centres > low) & (GRID.centres < high))
    return values if known.all() else completion.fill(values, known)


def has_red_edge(spectra: Float32Array, grid: WavelengthGrid) -> BoolArray:
    """Which spectra (n, C) rise between 690 and 745 nm as chlorophyll does, and rust does not."""
    at = {nm: spectra[:, grid.nearest(nm)] for nm in (600, 670, 690, 745, 800)}
    steep = (at[745] - at[690]) > 0.55 * (at[800] - np.minimum(at[600], at[670]))
    return np.asarray(steep & (at[800] > 1.5 * at[670]) & (at[800] > 0.05))


def kind_of_pixels(spectra: Float32Array, default: str) -> StrArray:
    """Kind (n,) of airborne pixels: canopy by the red edge, water if dark in the infrared."""
    infrared = spectra[:, GRID.nearest(860)]
    dark = (infrared < 0.06) & (infrared < 0.9 * spectra[:, GRID.nearest(560)])
    return np.where(has_red_edge(spectra, GRID), "canopy", np.where(dark, "water", default))


def _library(spectra: Float32Array, kind: object, source: str) -> SpectralLibrary:
    """Drop what is above 1.3 or wholly dark, clip noise below zero, label the rest."""
    kept = np.isfinite(spectra).all(1) & (spectra.max(1) < 1.3) & (spectra.min(1) > -0.05)
    kept &= spectra.mean(1) > 0.002
    kinds = np.broadcast_to(np.asarray(kind, np.str_), kept.shape)[kept]
    values = np.clip(spectra[kept], 0, None).astype(np.float32)
    return SpectralLibrary(
        spectra=values, kind=kinds, source=np.full(len(values), source), grid=GRID
    )


def _report(library: SpectralLibrary, path: Path) -> None:
    print(f"{path}: {len(library)} spectra, {path.stat().st_size / 1e6:.1f} MB")
    print("kinds:", library.counts())
    for source in sorted(set(library.source.tolist())):
        chosen = library.kind[library.source == source]
        names, numbers = np.unique(chosen, return_counts=True)
        print(f"  {source}:", dict(zip(names.tolist(), numbers.tolist(), strict=True)))


if __name__ == "__main__":
    sys.exit(main())
