"""Faulty inputs of many kinds, and the programs that remedies in messages name."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import rasterio.shutil
from click.testing import CliRunner
from rasterio.control import GroundControlPoint
from rasterio.rio.main import main_group
from rasterio.transform import Affine

from tests.helpers.commands import Ran, Run
from tests.helpers.cubes import listed, smooth_cube, write_cube, write_envi
from tests.helpers.models import GRID, P4M, tiny_library, tiny_model, tiny_msi
from tests.helpers.rasters import TRANSFORM, write
from uavssr.sensors import WavelengthGrid

HEIGHT, WIDTH = 40, 48
TAGS = {"sensor": "p4m"}
BLANKS = {
    "EPSG:CODE": "EPSG:32650",
    "NAME": "p4m",
    "NUMBER": "1/10000",
    "ROLE,ROLE,...": ",".join(P4M.roles),
    ",".join(["ROLE"] * 5): ",".join(P4M.roles),
}
"""What a user fills in for the words in capitals."""


def write_inputs(folder: Path) -> None:
    """Images, cubes, tables and a model, each file with the fault that its name says."""
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    counts = np.round(image * 1e4).astype("u2")
    nm, cube = (listed("wavelength", GRID.centres), "wavelength units = nm"), smooth_cube(40, 48)
    tiny_model(folder / "tiny")
    tiny_library().save(folder / "lib.npz")
    write(folder / "field.tif", image, tags=TAGS)
    write(folder / "nocrs.tif", image, crs=None, tags=TAGS)
    write(folder / "counts.tif", counts, tags=TAGS)
    write(folder / "mixed.tif", counts, tags=TAGS, scales=[1e-4, 1e-4, 1e-4, 1e-4, 1])
    write(folder / "unnamed.tif", image, names=None, tags=TAGS)
    write(folder / "nosensor.tif", image)
    write(folder / "undescribed.tif", image, tags={"sensor_definition": "{"})
    finer = TRANSFORM @ Affine.scale(0.3)
    write(folder / "finer.tif", image, tags=TAGS, transform=finer)
    blue = WavelengthGrid.regular("blue", 420, 530, 30)
    write_cube(folder / "narrow.tif", np.full((30, HEIGHT, WIDTH), 0.2, "f4"), grid=blue)
    write(folder / "conflict.tif", image, wavelengths=[560, 450, 650, 730, 840], tags=TAGS)
    write(folder / "six.tif", np.concatenate([image, image[:1] * 0.5]), names=None)
    write(folder / "all.tif", counts, names=None, crs=None)
    write(folder / "sheared.tif", image, tags=TAGS, transform=TRANSFORM @ Affine.shear(10, 0))
    write(folder / "world.tif", image, tags=TAGS, transform=None)
    degrees = Affine(1e-6, 0, 117.0, 0, -1e-6, 30.0)
    write(folder / "degrees.tif", image, tags=TAGS, transform=degrees)
    corners = [(row, col) for row in (0, HEIGHT) for col in (0, WIDTH)]
    points = [GroundControlPoint(row, col, *(TRANSFORM * (col, row))) for row, col in corners]
    write(folder / "points.tif", image, tags=TAGS, transform=None, gcps=points)
    local = 'LOCAL_CS["Site",UNIT["metre",1]]'
    write_cube(folder / "local.tif", smooth_cube(HEIGHT, WIDTH), crs_wkt=local)
    (folder / "world.tfw").write_text("0.1\n0\n0\n-0.1\n500000\n3000000\n")
    content = (folder / "field.tif").read_bytes()
    (folder / "cut.tif").write_bytes(content[: len(content) // 2])
    rasterio.shutil.copy(folder / "field.tif", folder / "field.vrt", driver="VRT")
    for name, band in zip(("Blue", "Green", "Red", "RedEdge"), image, strict=False):
        write(folder / f"result_{name}.tif", band[None], names=None)
    shifted = TRANSFORM @ Affine.translation(1, 0)
    write(folder / "result_NIR.tif", image[4:], names=None, transform=shifted)
    write(folder / "even_NIR.tif", image[4:], names=None)
    write_envi(folder / "cube", cube, *nm)
    write_envi(folder / "cube_counts", np.round(cube * 1e4).astype("u2"), *nm)
    spectra = tiny_library(seed=3).spectra[:20] * 100
    rows = [",".join(f"{value:.3f}" for value in row) for row in spectra]
    header = ",".join(f"{each:g}" for each in GRID.centres)
    (folder / "percent.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "beyond.csv").write_text("centre,fwhm\n1040,20\n")
    panels = ["x,y,reflectance"]
    for row, value in ((3, 10.0), (9, 25.0), (20, 40.0)):
        x, y = TRANSFORM * (row + 0.5, row + 0.5)
        panels.append(f"{x},{y},{value}")
    (folder / "panels.csv").write_text("\n".join(panels) + "\n")


def filled_in(command: str) -> str:
    """A printed command with its words in capitals filled in."""
    for blank, value in BLANKS.items():
        command = re.sub(rf"(?<![\w:]){re.escape(blank)}(?![\w:])", value, command)
    return command


def run_steps(run: Run, command: str) -> Ran:
    """Run commands joined by `&&` as a shell would: of uavssr, rasterio, GDAL and the system."""
    ran = Ran(0, "", "")
    for step in command.split(" && "):
        name, *arguments = shlex.split(step)
        match name:
            case "rio":
                result = CliRunner().invoke(main_group, arguments)
                assert result.exit_code == 0, (step, result.output, result.exception)
            case "gdal_translate":  # GDAL's tools are not in rasterio; this is what it calls
                source, target = arguments
                rasterio.shutil.copy(source, target, driver="GTiff")
            case "mv":
                shutil.move(*arguments)
            case "cp":
                shutil.copy(*arguments)
            case "mkdir":
                Path(arguments[0]).mkdir()
            case _:
                ran = run(*(arguments if name == "uavssr" else [name, *arguments]))
                assert ran.code == 0, (step, ran)
    return ran
