"""Every kind of file that is opened: a sound one, and how it is read, for scripts/fuzz.py."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.helpers.cubes import listed, smooth_cube, write_cube, write_envi
from tests.helpers.faults import scene
from tests.helpers.flips import IDENTITY, SETTINGS
from tests.helpers.models import GRID, tiny_library, tiny_model
from tests.io.hsi.test_coefficients import holed, maps
from tests.io.hsi.test_coefficients import write as write_coefficients
from tests.io.stf.test_files import GRID as STF_GRID
from tests.io.stf.test_files import SENSOR, dataset
from uavssr.data.manifest import read_manifest
from uavssr.io.hsi import open_coefficients, open_cube_source
from uavssr.io.msi import open_msi
from uavssr.io.settings import read_settings
from uavssr.io.stf import read_stf, write_stf
from uavssr.io.writers.journal import Journal, journal_path
from uavssr.io.writers.tile_record import TileRecord
from uavssr.model import load_model
from uavssr.sensors import load_sensor, select_wavelengths
from uavssr.spectra import load_library
from uavssr.spectra.field_table import read_field_table, read_spectra_table
from uavssr.tiling import Window
from uavssr.training.checkpoints import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from uavssr.training.config import RunConfig


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file."""

    path: Path
    """The file that is changed."""
    read: Callable[[], object]
    """What reads it, whole."""


NM = ",".join(f"{nm:g}" for nm in GRID.centres)
ROW = ",".join(["0.25"] * len(GRID))
SENSOR_YAML = """name: own
bands:
  - {role: green, centre: 560, fwhm: 32, shape: 4}
  - {role: red, centre: 650, fwhm: 3.2e1}
  - role: nir
    wavelength_nm: &nm [820, 840, 860]
    response: [0.1, 1.0, 0.1]
  - {role: rededge, wavelength_nm: *nm, response: [0, 1, 0]}
"""
CONFIG = """training: {steps: 10, learning_rate: 1e-3, size: 16}
data: {max_shift: 2.0}
out: run
spectra: x.npz
"""
TEXTS = {
    "sensor.yaml": SENSOR_YAML,
    "sensor.csv": "role,centre,fwhm,shape\nred,650,16,4\nnir,840,26,\n",
    "curves.csv": "wavelength_nm,red,nir\n640,0,0\n650,1,0\n660,0,0\n830,0,0\n840,0,1\n850,0,0\n",
    "config.yaml": CONFIG,
    "pairs.csv": 'msi,hsi,split,bands,weight\nin.tif,c.tif,train,"blue,green",2\n,c.tif,val,,\n',
    "places.csv": f"name,x,y,radius,{NM}\na,500001,2999999,0.3,{ROW}\nb,500002,2999998,0,{ROW}\n",
    "panels.csv": "lon,lat,reflectance\n117,27,0.5\n117,27.1,0.05\n",
    "spectra.csv": f"name,{NM}\na,{ROW}\nb,{ROW}\n",
    "nm.txt": "nm\n450\n550.5\n670 # red\n840\n",
}


def make_kinds(folder: Path) -> dict[str, Kind]:
    """A sound file of each kind in `folder`."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    at = {name: folder / name for name in TEXTS}
    config = at["config.yaml"]
    write_cube(folder / "c.tif", smooth_cube(16, 18))
    return {
        "sensor.yaml": Kind(at["sensor.yaml"], lambda: load_sensor(at["sensor.yaml"])),
        "sensor.csv": Kind(at["sensor.csv"], lambda: load_sensor(at["sensor.csv"])),
        "curves.csv": Kind(at["curves.csv"], lambda: load_sensor(at["curves.csv"])),
        "config": Kind(config, lambda: read_settings(RunConfig, config, {}, [])),
        "manifest": Kind(at["pairs.csv"], lambda: read_manifest(at["pairs.csv"])),
        "places": Kind(at["places.csv"], lambda: read_field_table(at["places.csv"])),
        "panels": Kind(at["panels.csv"], lambda: read_field_table(at["panels.csv"])),
        "spectra": Kind(at["spectra.csv"], lambda: read_spectra_table(at["spectra.csv"])),
        "wavelengths": Kind(at["nm.txt"], lambda: select_wavelengths(GRID, str(at["nm.txt"]))),
        **_images(folder),
        **_cubes(folder),
        **_models(folder),
        **_journals(folder),
    }


def _images(folder: Path) -> dict[str, Kind]:
    """Images with every codec, and the files beside one."""

    def reader(path: Path) -> Callable[[], object]:
        def read() -> object:
            image = open_msi(path)
            return image.read(Window(0, 0, image.height, image.width))

        return read

    kinds = {}
    for codec in (None, "lzw", "deflate", "zstd", "lerc"):
        path = scene(folder / f"{codec}.tif", compress=codec)
        kinds[f"image, {codec or 'plain'}"] = Kind(path, reader(path))
    path = scene(folder / "in.tif")
    for suffix, text in ((".aux.xml", "<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>"),):
        (beside := Path(f"{path}{suffix}")).write_text(text)
        kinds[f"image, {suffix}"] = Kind(beside, reader(path))
    return kinds


def _cubes(folder: Path) -> dict[str, Kind]:
    cube, wavelengths = smooth_cube(16, 18), listed("wavelength", GRID.centres)
    envi = write_envi(folder / "e.img", cube, wavelengths, "wavelength units = nm")
    store = write_cube(folder / "z.zarr", cube, format="zarr")
    coefficients = write_coefficients(folder / "k.tif", maps(32, 40), holed(32, 40))
    library, stf = folder / "lib.npz", write_stf(dataset(), folder / "s.stf.nc")
    tiny_library().save(library)

    def opened(path: Path) -> Callable[[], object]:
        def read() -> object:
            cube = open_cube_source(path)
            return cube.read(Window(0, 0, cube.height, cube.width))

        return read

    def coefficients_read() -> object:
        source = open_coefficients(coefficients)
        return source.read(Window(0, 0, 32, 40))

    inside = (".zgroup", ".zattrs", "reflectance/.zarray", "reflectance/.zattrs")
    inside += ("reflectance/0/0/0", "wavelength/.zarray", "wavelength/0", "spatial_ref/.zattrs")
    return {
        "cube": Kind(folder / "c.tif", opened(folder / "c.tif")),
        "ENVI": Kind(envi, opened(envi)),
        "ENVI header": Kind(Path(f"{envi}.hdr"), opened(envi)),
        "coefficients": Kind(coefficients, coefficients_read),
        "library": Kind(library, lambda: load_library(library, GRID)),
        "STF": Kind(stf, lambda: read_stf(stf, sensor=SENSOR, grid=STF_GRID)),
        **{f"Zarr {name}": Kind(store / name, opened(store)) for name in inside},
    }


def _models(folder: Path) -> dict[str, Kind]:
    model, training = tiny_model(folder / "tiny"), folder / "run"
    signed = shutil.copytree(model, folder / "signed")
    training.mkdir()
    content = {"settings": SETTINGS, "step": 1, "model": {"w": torch.ones(50)}}
    write_checkpoint(training, content)

    def resigned() -> object:
        """The weights with their own digest, so that what is inside is read."""
        config = json.loads((signed / "config.json").read_text())
        config["sha256"] = hashlib.sha256((signed / "model.safetensors").read_bytes()).hexdigest()
        (signed / "config.json").write_text(json.dumps(config))
        return load_model(signed)

    return {
        "config.json": Kind(model / "config.json", lambda: load_model(model)),
        "weights": Kind(signed / "model.safetensors", resigned),
        "checkpoint": Kind(training / CHECKPOINT_FILE, lambda: read_checkpoint(training, SETTINGS)),
    }


def _journals(folder: Path) -> dict[str, Kind]:
    out = folder / "out.tif"
    record = TileRecord(
        index=0,
        valid=np.ones((8, 8), bool),
        maps={"coefficients": np.ones((3, 8, 8), "f4")},
        stf={"stf": np.ones((5, 40), "f4")},
    )
    with Journal(out) as journal:
        journal.begin(IDENTITY, {"stf": np.linspace(0, 1, 7)})
        journal.store("tile", record)
    place = journal_path(out)
    (place / "publishing").write_text(json.dumps({str(out): [[1, 2, 3]]}))

    def resumed() -> object:
        with Journal(out, resume=True) as journal:
            return journal.load("tile", 0), journal.load("tile", 0, maps=False)

    names = ("run.json", "tile-0000000.npz", "publishing", "uavssr-journal")
    return {f"journal {name}": Kind(place / name, resumed) for name in names}
