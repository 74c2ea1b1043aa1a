"""Paired calibration on simulated scenes: the gain from the detailed instrument and the patterns.

    python benchmarks/calibration.py [--scenes 8] [--seed 0] [--json FILE]

Scenes are made by the project's simulators from spectra that its models give (PROSAIL, waters,
paints; `pip install prosail scipy`), each seen by a camera of its own near the P4
Multispectral's data sheet: shift, width, gain, edges, and a leak in half of the bands, drawn as in
training. Image and cube are means over parts of pixels, so that shifts and blur act as on the
ground. Cubes and images go through files, as for `estimate-stf --reference`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter
from torch import Tensor

from uavssr.calibration import Fitting, Instrument, open_reference, shift_image
from uavssr.data import draw_cameras, simulate_scene
from uavssr.io.msi import open_msi
from uavssr.io.raster import Place
from uavssr.io.writers import CubeTarget, ImageTarget, open_writer, write_image
from uavssr.model import PARAMETERS, SHIFT, ResponseFamily
from uavssr.sensors import SENSORS, WavelengthGrid
from uavssr.spectra import SpectralLibrary
from uavssr.tiling import Window

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.spectra_sources.synthetic import manmade_spectra, water_spectra

Array = npt.NDArray[np.float32]

CAMERA: Final = SENSORS["p4m"]
GRID: Final = WavelengthGrid.regular("5 nm", 400, 1000, 121)
FAMILY: Final = ResponseFamily.of(CAMERA, GRID)
SIDE, FINER = 96, 4
"""Pixels along a side of image and cube, and parts of a pixel along its side."""
UTM: Final = Place(
    path=Path("field.tif"),
    height=SIDE,
    width=SIDE,
    crs_wkt=CRS.from_epsg(32650).to_wkt(),
    crs_name="EPSG:32650",
    unit="metre",
    transform=(0.1, 0.0, 500000.0, 0.0, -0.1, 3000000.0),
)
"""Where image and cube lie."""
NOISES: Final = ((50, 35.0), (200, 45.0))
"""Known pixels, and the image's signal-to-noise ratio in dB."""
REGISTERED_DB: Final = 40.0
"""The same ratio in the tests of registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Misregistration of an image against its cube, in pixels."""

    name: str
    """Name in the table."""
    shift: float = 0.0
    """Of all bands alike, in a random direction."""
    scatter: float = 0.0
    """Standard deviation of each band's own shift, down and right."""
    blur: float = 0.0
    """Standard deviation of the Gaussian by which the image is blurred more."""


FLAWS: Final = (
    Flaw(name="all in place"),
    Flaw(name="the cube shifted by 0.3 pixels", shift=0.3),
    Flaw(name="bands misregistered by 0.2 pixels", scatter=0.2),
    Flaw(name="the image blurred by 0.7 pixels", blur=0.7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeParameters(Instrument):
    """An instrument of shift, stretch and gain alone, as blind estimation has it."""

    @property
    def count(self) -> int:
        """P, parameters of a band."""
        return PARAMETERS

    def rows(self, z: Tensor) -> Tensor:
        """R (c, C) of parameters z (c, 3)."""
        return self.family.rows(self.theta(z)[None])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A scene in parts of pixels, and the camera over it."""

    cube: Array
    """(C, y, x) means over pixels."""
    fine: Array
    """(c, y, x) the image of the parts of pixels, without noise."""
    rows: Array
    """(c, C) true STF."""
    shift: Array
    """(c,) shift of the camera against its data sheet, nm."""

    @classmethod
    def draw(cls, library: SpectralLibrary, rng: np.random.Generator) -> Ground:
        """A scene and a camera."""
        parts = simulate_scene(library, rng, SIDE * FINER, SIDE * FINER)
        camera = draw_cameras(rng, [CAMERA], GRID)
        return cls(
            cube=_means(parts),
            fine=np.tensordot(camera.rows[0], parts, 1),
            rows=camera.rows[0],
            shift=camera.theta[0, :, SHIFT],
        )

    def image(self, flaw: Flaw, snr_db: float, rng: np.random.Generator) -> Array:
        """The image (c, y, x) with white noise."""
        angle = rng.uniform(0, 2 * np.pi)
        common = flaw.shift * np.array([np.sin(angle), np.cos(angle)])
        places = FINER * (common + flaw.scatter * rng.normal(size=(len(self.fine), 2)))
        placed = np.concatenate(
            [
                shift_image(shift_image(band[None], down, 1), right, 2)
                for band, (down, right) in zip(self.fine, places, strict=True)
            ]
        )
        placed = np.where(np.isfinite(placed), placed, self.fine)
        clean = _means(gaussian_filter(placed, (0, FINER * flaw.blur, FINER * flaw.blur)))
        rms = np.sqrt(np.square(clean).mean((1, 2), keepdims=True))
        noise = rms * 10 ** (-snr_db / 20) * rng.normal(size=clean.shape)
        return np.asarray(clean + noise, np.float32)


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, library = time.perf_counter(), made_library(options.seed)
    explained, placed = [], []
    for number in range(options.scenes):
        ground = Ground.draw(library, np.random.default_rng([options.seed, number]))
        explained.append(list(known_pixels(ground, [options.seed, number, 1])))
        placed.append(list(registrations(ground, [options.seed, number, 2])))
    report = {
        "instrument": np.mean(explained, 0).tolist(),
        "registration": np.sqrt(np.mean(placed, 0)).tolist(),
    }
    show(report, scenes=options.scenes)
    print(f"\n{time.perf_counter() - start:.0f} seconds")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def made_library(seed: int) -> SpectralLibrary:
    """Spectra of models alone, on the 5 nm grid; needs the package `prosail`."""
    from scripts.spectra_sources.vegetation import leaf_spectra, prosail_spectra, soil_spectra

    rng = np.random.default_rng([seed, 99])
    parts = {
        "canopy": prosail_spectra(150, rng, GRID),
        "leaf": leaf_spectra(30, rng, GRID),
        "soil": soil_spectra(rng.uniform(0.3, 1.6, 60), rng.random(60), GRID),
        "manmade": manmade_spectra(100, rng, GRID),
        "water": water_spectra(30, rng, GRID),
    }
    kinds = np.concatenate([np.full(len(rows), kind) for kind, rows in parts.items()])
    spectra = np.concatenate(list(parts.values())).clip(0, 1)
    return SpectralLibrary(spectra=spectra, kind=kinds, source=kinds, grid=GRID)


def known_pixels(ground: Ground, seed: Sequence[int]) -> Iterator[tuple[float, float]]:
    """Relative error of the predicted image of held-out pixels, for each of `NOISES`.

    With the whole instrument, and with three parameters alone.
    """
    flat = ground.cube.reshape(len(GRID), -1)
    for count, snr_db in NOISES:
        rng = np.random.default_rng([*seed, count])
        seen = ground.image(FLAWS[0], snr_db, rng).reshape(len(CAMERA), -1)
        order = rng.permutation(flat.shape[1])
        known, unseen = order[:count], flat[:, order[count:]]
        clean = ground.rows @ unseen
        errors = []
        for kind in (Instrument, ThreeParameters):
            instrument = kind.of(FAMILY)
            rows = instrument.rows(fitted(instrument, flat[:, known].T, seen[:, known].T))
            error = np.sqrt(np.square(rows.numpy() @ unseen - clean).mean(1))
            errors.append(float((error / np.sqrt(np.square(clean).mean(1))).mean()))
        yield errors[0], errors[1]


def registrations(ground: Ground, seed: Sequence[int]) -> Iterator[tuple[float, float, float]]:
    """Mean square error of centres, nm^2, for each of `FLAWS`.

    From 500 unregistered pixels, from all of them, and by `estimate-stf --reference`.
    """
    instrument = Instrument.of(FAMILY)
    known = ground.cube.reshape(len(GRID), -1).T
    for number, flaw in enumerate(FLAWS):
        rng = np.random.default_rng([*seed, number])
        image = ground.image(flaw, REGISTERED_DB, rng)
        seen = image.reshape(len(CAMERA), -1).T
        some = rng.choice(len(known), 500, replace=False)
        with tempfile.TemporaryDirectory() as folder:
            product = from_files(instrument, Path(folder), image, ground.cube)
        fits = (
            fitted(instrument, known[some], seen[some]),
            fitted(instrument, known, seen),
            product,
        )
        errors = (instrument.theta(z)[:, SHIFT].numpy() - ground.shift for z in fits)
        some_error, all_error, own = (float(np.square(error).mean()) for error in errors)
        yield some_error, all_error, own


def fitted(
    instrument: Instrument,
    spectra: npt.ArrayLike,
    msi: npt.ArrayLike,
    patterns: Array | None = None,
) -> Tensor:
    """Parameters z (c, P) from reference spectra (k, C) and their image (k, c)."""
    seen = torch.as_tensor(np.array(msi, float))
    errors = np.zeros((*seen.shape, 0)) if patterns is None else np.array(patterns, float)
    fitting = Fitting(
        instrument=instrument,
        spectra=torch.as_tensor(np.array(spectra, float)),
        msi=seen,
        patterns=torch.as_tensor(errors),
        used=torch.ones(seen.shape[1], dtype=torch.bool),
    )
    return fitting.run().z


def from_files(instrument: Instrument, folder: Path, image: Array, cube: Array) -> Tensor:
    """The same from an image and a cube on disk, registered, with the patterns fitted."""
    whole, valid = Window(0, 0, SIDE, SIDE), np.ones((SIDE, SIDE), bool)
    raster = {"height": SIDE, "width": SIDE, "crs_wkt": UTM.crs_wkt, "transform": UTM.transform}
    raster |= {"dtype": "float32"}
    target = ImageTarget(path=folder / "field.tif", sensor=CAMERA, **raster)
    field = write_image(target, [(whole, image, valid)])
    with open_writer(CubeTarget(path=folder / "cube.tif", grid=GRID, **raster)) as writer:
        writer.write(whole, cube, valid)
        path = writer.finish()
    reference = open_reference(path, open_msi(field))
    return fitted(instrument, reference.spectra, reference.msi, reference.patterns)


def show(report: dict[str, list[list[float]]], *, scenes: int) -> None:
    """The tables as Markdown."""
    print(f"{scenes} scenes of {SIDE} x {SIDE} pixels, a random camera each ({CAMERA.name}).\n")
    print("| known pixels | error in what the camera sees of others | three parameters alone |")
    print("|---|---|---|")
    for (count, snr_db), (whole, three) in zip(NOISES, report["instrument"], strict=True):
        print(f"| {count} at {snr_db:g} dB | {whole:.2%} | {three:.2%} |")
    print("\n| centres, RMS nm | 500 pixels as they lie | all as they lie | as calibrated |")
    print("|---|---|---|---|")
    for flaw, row in zip(FLAWS, report["registration"], strict=True):
        print(f"| {flaw.name} | {' | '.join(f'{error:.2f}' for error in row)} |")


def _means(fine: Array) -> Array:
    """Means over the parts of pixels (., y, x)."""
    parts = fine.reshape(len(fine), SIDE, FINER, SIDE, FINER)
    return np.asarray(parts.mean((2, 4)), np.float32)


if __name__ == "__main__":
    raise SystemExit(main())
