"""The remedies of docs/errors.md, run word for word as the program prints them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.commands import Run
from tests.helpers.places import REPO
from tests.helpers.remedies import filled_in, run_steps, write_inputs
from uavssr import cli
from uavssr.io.writers.geotiff import GeoTiffWriter


@dataclass(frozen=True)
class Remedy:
    """A refusal of docs/errors.md, and its remedy."""

    fact: str
    """The start of the row's first cell."""
    wrong: str
    """The command that is refused; the words of `SHORT` are spelled out."""
    says: str
    """Pattern of the remedy in the message; its groups are parts of `right`."""
    right: str
    """The command that follows the remedy, with {1} for the first group."""
    before: str = ""
    """Commands that prepare the refusal."""


FAST = "--model in/tiny --tile 32"
SIZES = "--components 3 --stages 1 --width 8 --rank 6 --set network.stf_width=8"
STEPS = (
    "--steps 1 --set training.size=8 --set training.batch=1 --set training.prior_scenes=2 "
    "--set training.bags=0 --set training.validate=0"
)
ARCH_STEPS = "--steps 1 --set training.size=8 --set training.batch=1 --sensor p4m"
SHORT = {
    "DRY": f"reconstruct in/field.tif -o out.tif {FAST} --dry-run",
    "WRITE": f"reconstruct in/field.tif -o out.tif {FAST} -q",
    "EXPAND": "expand in/coef.tif -o e.tif -q",
    "COEF": f"reconstruct in/field.tif -o coef.tif --format coefficients {FAST} -q",
    "EST": "estimate-stf in/field.tif --model in/tiny -q",
    "TRAIN": f"train --spectra in/lib.npz -q --out run {SIZES} {STEPS}",
    "CONVERT": "convert in/field.tif --model in/tiny -o v.tif -q",
    "COMMAND": "(uavssr reconstruct .*)$",
}
RUN = (
    # --- 2: usage
    Remedy(
        "`qgis`: the project lies outside",
        "qgis in -o out.qgs",
        r"write it to (\S+)$",
        "qgis {1}",
    ),
    Remedy(
        "unknown sensor",
        "inspect in/field.tif --sensor p5m",
        r"use one of (\w+),",
        "inspect in/field.tif --sensor {1}",
    ),
    Remedy(
        "`--tile-stf off` with",
        "DRY --tile-stf off --stf-scope tile",
        "(choose one)",
        "DRY",
    ),
    Remedy(
        "a formula that is none",
        "index in/field.tif --formula open -o i.tif --model in/tiny",
        r"write it like (\(R800.*\))",
        "index in/field.tif --formula '{1}' -o i.tif --model in/tiny",
    ),
    Remedy(
        "`report`: `--plots` and",
        "report in/field.tif -o r.html --model in/tiny --plots in/none.csv --zones in/none.gpkg",
        "leave one of them out",
        "report in/field.tif -o r.html --model in/tiny",
    ),
    Remedy(
        "`report --plots`",
        "report in/field.tif -o r2.html --model in/tiny --plots in/percent.csv",
        "the .csv that uavssr plots wrote",
        "report in/field.tif -o r2.html --model in/tiny",
    ),
    Remedy(
        "no index of that name",
        "index in/field.tif NDVY -o i.tif --model in/tiny",
        "(uavssr index --list)",
        "{1}",
    ),
    Remedy(
        "`index`: no input",
        "index in/field.tif NDVI --model in/tiny",
        "such as (--out map.tif)",
        "index in/field.tif NDVI --model in/tiny {1}",
    ),
    Remedy(
        "`index`, `plots`: the camera's cube",
        "index in/field.tif PRI -o i.tif",
        "add (--even-so)",
        "index in/field.tif PRI -o i.tif {1}",
    ),
    Remedy(
        "`convert`: both",
        "CONVERT --to m3m --resolution 1 --grid in/field.tif",
        "choose one",
        "CONVERT --to m3m --resolution 1",
    ),
    Remedy(
        "`convert`: both",
        "CONVERT --to m3m --resolution 0.01",
        r"leave it out, or give (\S+) or more",
        "CONVERT --to m3m --resolution {1}",
    ),
    Remedy(
        "no such sensor file",
        "inspect in/field.tif --sensor gone.yaml",
        "(uavssr sensors)",
        "{1}",
    ),
    Remedy(
        "`sensors rank`: `--count`",
        "sensors rank --candidates p4m --compare p4m --count 9 --model in/tiny",
        r"give 1 to (\d+)",
        "sensors rank --candidates p4m --compare p4m --count {1} --model in/tiny",
    ),
    Remedy(
        "`sensors rank`: a candidate",
        "sensors rank --candidates in/beyond.csv --compare p4m --count 1 --model in/tiny",
        "give other candidates",
        "sensors rank --candidates p4m --compare p4m --count 1 --model in/tiny",
    ),
    Remedy("an output whose suffix", "DRY -o out.1", r"use one of (\S+)", "DRY -o out{1}"),
    Remedy("an output whose suffix", "DRY --quicklook q.jpg", r"name it (\S+)", "DRY"),
    Remedy("`--wavelengths`", "DRY --wavelengths none", r"as in (\S+) or", "DRY --wavelengths {1}"),
    Remedy(
        "`--wavelengths`",
        "DRY --wavelengths 2000",
        r"from (\S+) to (\S+) nm",
        "DRY --wavelengths {1}-{2}",
    ),
    Remedy(
        "`--wavelengths`",
        "DRY --wavelengths 550",
        r"two or more of ([\d.]+),...,([\d.]+) nm",
        "DRY --wavelengths {1},{2}",
    ),
    Remedy(
        "`expand`: `--format coefficients`",
        "EXPAND --format coefficients",
        "use another --format",
        "EXPAND --format gtiff",
    ),
    Remedy(
        "`expand`: `--format coefficients`",
        "EXPAND --dtype uint8",
        r"must be (\w+) or",
        "EXPAND --dtype {1}",
    ),
    Remedy("`--co` with", "DRY -o out.dat --co COMPRESS=LZW", "leave out --co", "DRY -o out.dat"),
    Remedy(
        "a scale given for",
        "evaluate in/coef.tif in/coef.tif --pred-scale 1/10000 -q",
        "coefficients have no scale",
        "evaluate in/coef.tif in/coef.tif -q",
    ),
    Remedy(
        "a name in `--bands`",
        "inspect in/field.tif --bands blue,green,purple",
        r"its bands are (\w+), (\w+), (\w+), (\w+), (\w+);",
        "inspect in/field.tif --bands {1},{2},{3},{4},{5}",
    ),
    Remedy(
        "`--bidx` has a number",
        "inspect in/field.tif --bidx 0,1,2,3,4",
        "from 1, each once",
        "inspect in/field.tif --bidx 1,2,3,4,5",
    ),
    Remedy(
        "`--stf` without",
        "evaluate in/cube in/cube --stf in/cube.stf.nc -q",
        "give both",
        "evaluate in/cube in/cube --stf in/cube.stf.nc --true-stf in/cube.stf.nc -q",
    ),
    Remedy(
        "`simulate`: a negative seed",
        "simulate in/cube --sensor p4m -o s.tif --misregistration 3 -q",
        r"must be 0 to (\d) pixels",
        "simulate in/cube --sensor p4m -o s.tif --misregistration {1} -q",
    ),
    Remedy(
        "`--stf-only` without", "DRY --stf-only", "give both", "DRY --stf-only --stf in/cube.stf.nc"
    ),
    Remedy(
        "`--reference-scale` without",
        "EST --reference-scale 1/100",
        "give both",
        "EST --reference-scale 1/100 --reference in/panels.csv",
    ),
    Remedy("a creation option", "DRY --co COMPRESS=JPEG", r"use (\w+),", "DRY --co COMPRESS={1}"),
    Remedy(
        "a creation option",
        "DRY --co BLOCKXSIZE=512",
        r"use (\w+), (COMPRESS),",
        "DRY --co {2}=ZSTD",
    ),
    Remedy("`--tile`, `--overlap`", "DRY --tile 100", r"multiple of (\d+)", "DRY --tile {1}"),
    Remedy("`--tile`, `--overlap`", "DRY --overlap 64", r"must be 0-(\d+)", "DRY --overlap {1}"),
    Remedy("`--tile`, `--overlap`", "DRY --stages 7", r"must be 0-(\d)", "DRY --stages {1}"),
    Remedy(
        "`--tile`, `--overlap`",
        "DRY --stf-scope pixel",
        r"must be scene or (\w+)",
        "DRY --stf-scope {1}",
    ),
    Remedy(
        "`--mem-limit` is not a size",
        "DRY --mem-limit lots",
        r"such as (\w+),",
        "DRY --mem-limit {1}",
    ),
    Remedy("`--dry-run` with", "DRY --cluster local:1", "leave out --cluster, or --dry-run", "DRY"),
    Remedy("`train`: neither", "train --out run", "--pairs or from --spectra", "TRAIN"),
    Remedy(
        "`train`: neither",
        f"train --spectra in/lib.npz -q {SIZES} {STEPS}",
        r"pass (--set out)=VALUE",
        f"train --spectra in/lib.npz -q {SIZES} {STEPS} {{1}}=run",
    ),
    Remedy(
        "`config show`: no such command",
        "config show rekonstruct",
        "known are (reconstruct),",
        "config show {1}",
    ),
    Remedy(
        "`train`: an unknown setting",
        "TRAIN --set training.stepz=2",
        r"did you mean (\S+)\?",
        "TRAIN --set {1}=2",
    ),
    Remedy(
        "`train`: a value",
        "TRAIN --set training.steps=-4",
        r"must be greater than (\d)",
        "TRAIN --set training.steps={1}1",
    ),
    Remedy(
        "`train`: sizes of the network",
        f"train --spectra in/lib.npz -q -o run --init in/tiny {STEPS} --rank 6",
        "leave out the sizes",
        f"train --spectra in/lib.npz -q -o run --init in/tiny {STEPS}",
    ),
    Remedy("`train`: a checkpoint", "TRAIN --seed 9", r"another --out", "TRAIN -o b", "TRAIN"),
    Remedy(
        "`train`: an unknown `--arch`",
        f"train --spectra in/lib.npz -q -o run {ARCH_STEPS} --arch mst",
        r"use one of pgunet, .*(mst\+\+),",
        f"train --spectra in/lib.npz -q -o run {ARCH_STEPS} --arch '{{1}}'",
    ),
    Remedy(
        "`train --arch`: a device",
        f"train --spectra in/lib.npz -q -o run {ARCH_STEPS} --arch mst++ --device cuda",
        "leave out --device",
        f"train --spectra in/lib.npz -q -o run {ARCH_STEPS} --arch mst++",
    ),
    # --- 3: input
    Remedy("a directory", "inspect in", "give the path of a local GeoTIFF", "inspect in/field.tif"),
    Remedy(
        "not a TIFF",
        "inspect in/field.vrt",
        r"(gdal_translate \S+ (\S+))$",
        "{1} && inspect {2}",
    ),
    Remedy(
        "truncated", "inspect in/cut.tif", "copy or export the file again", "inspect in/field.tif"
    ),
    Remedy(
        "its header claims",
        "inspect in/field.tif --max-pixels 100",
        r"(--max-pixels \d+)",
        "inspect in/field.tif {1}",
    ),
    Remedy(
        "an ENVI header was given",
        "inspect in/cube.hdr",
        "give the data file beside it",
        "evaluate in/cube in/cube -q",
    ),
    Remedy("no CRS", "inspect in/nocrs.tif", "COMMAND", "{1}"),
    Remedy(
        "ground control points",
        "inspect in/points.tif",
        r"(rio warp \S+ (\S+) --dst-crs \S+); .* with (--bands)",
        "{1} && inspect {2} {3} ROLE,ROLE,... --sensor NAME",
    ),
    Remedy(
        "degrees in a projected CRS",
        "inspect d.tif",
        r"(rio edit-info --crs \S+ \S+)",
        "{1} && inspect d.tif",
        "cp in/degrees.tif d.tif",
    ),
    Remedy(
        "georeferencing only",
        "inspect w.tif",
        r"(rio edit-info \S+ \S+ --transform like (\S+))$",
        "{1} && inspect {2}",
        "cp in/world.tif w.tif && cp in/world.tfw w.tfw",
    ),
    Remedy(
        "one of two rasters",
        "EST --reference l.tif",
        "(rio edit-info --crs EPSG:CODE) FILE",
        "{1} l.tif && EST --reference l.tif",
        "cp in/local.tif l.tif",
    ),
    Remedy(
        "single-band files differ",
        "inspect in/result_Blue.tif in/result_Green.tif in/result_Red.tif in/result_RedEdge.tif "
        "in/result_NIR.tif --sensor p4m",
        r"(rio warp \S+ (\S+) --like \S+)",
        "{1} && inspect in/result_Blue.tif in/result_Green.tif in/result_Red.tif "
        "in/result_RedEdge.tif {2} --sensor p4m",
    ),
    Remedy("a band's role is unknown", "inspect in/unnamed.tif", "COMMAND", "{1}"),
    Remedy("two pieces of evidence", "inspect in/conflict.tif", "COMMAND", "{1}"),
    Remedy(
        "fewer or more roles",
        "inspect in/six.tif --sensor p4m --bands blue,green,red,rededge,nir",
        "with '(skip)' for",
        "inspect in/six.tif --sensor p4m --bands blue,green,red,rededge,nir,{1}",
    ),
    Remedy("the file does not name the camera", "inspect in/nosensor.tif", "COMMAND", "{1}"),
    Remedy(
        "more than 16 bands",
        "inspect in/cube",
        r"uavssr (evaluate) and simulate",
        "{1} in/cube in/cube -q",
    ),
    Remedy(
        "files of a set whose tags",
        "inspect a_Blue.tif in/result_Green.tif in/result_Red.tif a_RedEdge.tif in/even_NIR.tif",
        "COMMAND",
        "{1}",
        "cp in/result_Blue.tif a_Blue.tif && rio edit-info --tag sensor=p4m a_Blue.tif && "
        "cp in/result_RedEdge.tif a_RedEdge.tif && rio edit-info --tag sensor=altum a_RedEdge.tif",
    ),
    Remedy("the scale is ambiguous", "inspect in/counts.tif", "COMMAND", "{1}"),
    Remedy("the scale is ambiguous", "inspect in/all.tif", "COMMAND", "{1}"),
    Remedy("bands of different scales", "inspect in/mixed.tif", "COMMAND", "{1}"),
    Remedy(
        "a band without a wavelength",
        "evaluate in/field.tif in/cube -q",
        "a wavelength for each band, such as one with an ENVI header",
        "evaluate in/cube in/cube -q",
    ),
    Remedy(
        "the scale of the numbers is unknown",
        "evaluate in/cube_counts in/cube -q",
        r"such as (1/\d+), by --scale, --reference-scale, (--pred-scale)",
        "evaluate in/cube_counts in/cube -q {2} {1}",
    ),
    Remedy(
        "`expand`: a file without coefficients",
        "expand in/cube -o e.tif",
        "uavssr reconstruct --format coefficients",
        "COEF && expand coef.tif -o e.tif -q",
    ),
    Remedy(
        "half or more of the rows",
        "EST --reference in/panels.csv",
        r"(--reference-scale \S+)",
        "EST --reference in/panels.csv {1}",
    ),
    Remedy(
        "half or more of the spectra",
        "adapt in/percent.csv -o own --model in/tiny",
        r"(--scale \S+)",
        "adapt in/percent.csv -o own --model in/tiny {1}",
    ),
    Remedy(
        "`--out` holds a model",
        "adapt in/lib.npz -o own --model in/tiny",
        r"pass (--overwrite)",
        "adapt in/lib.npz -o own --model in/tiny {1}",
        "adapt in/lib.npz -o own --model in/tiny",
    ),
    Remedy(
        "the wavelengths cover no band",
        "convert in/narrow.tif --to m3m -o v.tif -q",
        "choose another camera with --to",
        "convert in/narrow.tif --to landsat9 -o v.tif -q",
    ),
    Remedy(
        "`--uncertainty` for spectra",
        "convert in/narrow.tif --to landsat9 -o v.tif --uncertainty u.tif -q",
        "leave out --uncertainty",
        "convert in/narrow.tif --to landsat9 -o v.tif -q",
    ),
    Remedy(
        "`--grid`: a raster",
        "CONVERT --to m3m --grid in/finer.tif",
        "leave out --grid",
        "CONVERT --to m3m",
    ),
    Remedy(
        "valid pixels cover",
        "CONVERT --to m3m --resolution 1000",
        "give smaller cells",
        "CONVERT --to m3m --resolution 1",
    ),
    Remedy(
        "`--as`: the camera",
        "index in/field.tif --formula 'B / G' --as m3m -o i.tif --model in/tiny",
        "another camera in --as",
        "index in/field.tif --formula 'B / G' --as p4m -o i.tif --model in/tiny",
    ),
    Remedy(
        "an image's tag `sensor_definition`",
        "inspect in/undescribed.tif",
        "name the camera with (--sensor)",
        "inspect in/undescribed.tif {1} NAME",
    ),
    # --- 4: model
    Remedy("no such model", "DRY --model nosuch", r"released models: ([\w-]+)", "DRY --model {1}"),
    Remedy(
        "a file instead of a folder",
        "DRY --model in/field.tif",
        r"released models: ([\w-]+)",
        "DRY --model {1}",
    ),
    # --- 5: output and resources
    Remedy(
        "a file of an output's name exists", "EXPAND", r"pass (--overwrite)", "EXPAND {1}", "EXPAND"
    ),
    Remedy(
        "the output is an input", "DRY -o in/field.tif", r"another name with (-o)", "DRY {1} b.tif"
    ),
    Remedy(
        "the folder does not exist",
        "DRY -o gone/o.tif",
        "create",
        "mkdir gone && DRY -o gone/o.tif",
    ),
    Remedy("an unfinished run", "WRITE", "(--resume)", "WRITE {1}", "STOP"),
    Remedy("an unfinished run", "WRITE", "(--overwrite)", "WRITE {1}", "STOP"),
    Remedy(
        "the run to resume",
        "WRITE --resume --stages 1",
        "(--overwrite)",
        "WRITE {1} --stages 1",
        "STOP",
    ),
    Remedy(
        "the name of the journal",
        "WRITE",
        r"(mv \S+ \S+)",
        "{1} && WRITE",
        "mkdir .out.tif.uavssr && cp in/field.tif .out.tif.uavssr/mine.tif",
    ),
    Remedy(
        "`--mem-limit` is too low",
        "DRY --mem-limit 100MB",
        r"or --mem-limit (\d+MB)",
        "DRY --mem-limit {1}",
    ),
    Remedy(
        "a geotransform that an ENVI header",
        f"reconstruct in/sheared.tif -o out.dat {FAST} -q",
        "(--format gtiff)",
        f"reconstruct in/sheared.tif -o out.tif {{1}} {FAST} -q",
    ),
)
"""Remedies that can be run here."""

FETCH = "the user fetches, exports or converts a file with another program"
EDIT = "the user corrects a file of the field; no command could know how"
OTHER = "the user gives another file or another name"
MACHINE = "the state of the machine: space, memory, locks, other runs; tests/reliability/"
CLUSTER = "needs a cluster; tests/reconstruction/test_cluster.py"
MANIFEST = "the user corrects the manifest or its files; tests/data/"
SATELLITE = "refused in tests/cli/test_cli_satellite.py, whose other runs give the option"
SETTINGS = "the user corrects a settings file or a variable; tests/cli/test_settings.py"
BENCHMARK = "the user fetches data or corrects a list; tests/benchmark/, tests/io/test_pictures.py"
BATCH = "the user corrects the manifest or a name; tests/cli/test_cli_batch.py"
BY_HAND = {
    "`benchmark pairs`": "tests/benchmark/test_pairs.py, tests/benchmark/test_raster_pairs.py",
    "`benchmark`: methods that need": "tests/benchmark/test_pairs.py",
    "`benchmark`: no scene of CAVE": BENCHMARK,
    "`benchmark`: a folder of PNG files": BENCHMARK,
    "`benchmark`: `vnir` lacks": BENCHMARK,
    "`benchmark`: `meta.json` does not say": BENCHMARK,
    "`benchmark`: a cube without": BENCHMARK,
    "`benchmark`: no training scene covers": BENCHMARK,
    "`benchmark`: no table of measured": BENCHMARK,
    "`benchmark`: no MATLAB 7.3": BENCHMARK,
    "`benchmark`: no list of scenes": BENCHMARK,
    "`benchmark`: no PNG or JPEG": BENCHMARK,
    "`benchmark`: a scene that is dark": BENCHMARK,
    "`benchmark`: scenes are in the lists": BENCHMARK,
    "`qgis`: the folder holds no result": OTHER,
    "`convert`: the sums over all cells": "such cells take 2 GB; tests/analysis/test_conversion.py",
    "a file of standard errors in place": OTHER,
    "an archive (`.zip`": FETCH,
    "a folder without a satellite product": OTHER,
    "a product of level 1": FETCH,
    "Landsat of another collection": FETCH,
    "a band, the scene classes": FETCH,
    "metadata that are no XML": FETCH,
    "another satellite than": SATELLITE,
    "a satellite whose curves": FETCH,
    "a GeoTIFF that names none": SATELLITE,
    "a GeoTIFF that states no scale": SATELLITE,
    "a GeoTIFF that states no day": SATELLITE,
    "a rotated satellite image": FETCH,
    "no tag states the day of the flight": SATELLITE,
    "a day too far from the flight": SATELLITE,
    "two images with different": OTHER,
    "other ground than the image": OTHER,
    "no cell wholly inside": OTHER,
    "no cell that can be used": OTHER,
    "the image's pixels are not much": OTHER,
    "`--reference-error` outside": SATELLITE,
    "options that the metadata answer": SATELLITE,
    "`simulate`: wavelengths more": OTHER,
    "`--cluster` that is not": CLUSTER,
    "`--scheduler`: neither": CLUSTER,
    "a settings file (`--config`)": SETTINGS,
    "a value out of a settings file": SETTINGS,
    "`batch`: one file is": BATCH,
    "`batch`: a manifest beside": BATCH,
    "an unknown column; a cell that": BATCH,
    "`batch`: fields failed": BATCH,
    "`batch`: `--status` names": BATCH,
    "`train`: `training.shards`": "needs several processes; tests/training/test_distributed.py",
    "`train`: TensorBoard": "installs a package",
    "a URL, a": FETCH,
    "one block is too large": "such a file takes 256 MB; the command is that of other formats",
    "more than 512 bands": FETCH,
    "complex numbers": FETCH,
    "two ENVI headers": OTHER,
    "the path holds a control character": OTHER,
    "the file, or its ENVI header, changed": MACHINE,
    "the file was moved": MACHINE,
    "more than 64 MB": EDIT,
    "more than 2 MB": EDIT,
    "a list of bad bands": EDIT,
    "no geotransform": FETCH,
    "no valid pixel": EDIT,
    "uint16 numbers that may be raw counts": FETCH,
    "a band has one number": "run by tests/io/msi/test_band_checks.py",
    "a table with a column of wavelengths": "run by tests/spectra/test_field_table.py",
    "an image or cube whose description": FETCH,
    "PRED shows none of the ground": FETCH,
    "a dataset without `reflectance`": "run by tests/api/test_open_cube.py",
    "an array without CRS": "run by tests/api/test_open_cube.py",
    "a file of `uncertainty`": "run by tests/api/test_open_cube.py",
    "options for an image that is open": "run by tests/api/test_answers.py",
    "no band near a wavelength": "run by tests/api/test_open_cube.py",
    "PRED and REF share no range": FETCH,
    "no pixel is valid in both": EDIT,
    "the basis in the tags": FETCH,
    "a Zarr store": FETCH,
    "two STF files": OTHER,
    "the cube does not cover": OTHER,
    "no data file, or several": OTHER,
    "no column of a band": EDIT,
    "the arrays of an `.npz`": EDIT,
    "a row names no flight": EDIT,
    "`ms_centre_nm` is more than": OTHER,
    "a table of several flights": EDIT,
    "`evaluate`: no reference": OTHER,
    "`--same-camera`: one image": OTHER,
    "`camera fit`: neither": OTHER,
    "columns that are missing": EDIT,
    "wavelengths that do not increase": EDIT,
    "a cell that is not a number": EDIT,
    "no place can be used": EDIT,
    "a radius that covers": EDIT,
    "a cube that covers no block": EDIT,
    "its wavelengths cover no band": OTHER,
    "a table without a column": EDIT,
    "wavelengths more than 20 nm apart": OTHER,
    "a mean reflectance close to 0": "a cure of the scale that no test input reaches",
    "fewer than five different spectra": EDIT,
    "spectra that lack more than 60 nm": OTHER,
    "a cube or library": OTHER,
    "a model adapted so often": OTHER,
    "not UTF-8 text": MANIFEST,
    "a path that leaves": MANIFEST,
    "a cell with a wrong value": MANIFEST,
    "the same files in two rows": MANIFEST,
    "any refusal of an image": MANIFEST,
    "a cube that ends": MANIFEST,
    "image and cube do not overlap": MANIFEST,
    "a cube shifted": MANIFEST,
    "a shift that varies": MANIFEST,
    "a cube's pixel": MANIFEST,
    "a band whose mean is not": MANIFEST,
    "image and cube show different ground": MANIFEST,
    "a row of a manifest without": MANIFEST,
    "a table of plots without": MANIFEST,
    "the same of a table of plots": MANIFEST,
    "no patch that is valid": MANIFEST,
    "training patches on": MANIFEST,
    "a group with rows": MANIFEST,
    "nothing is left": MANIFEST,
    "all checkpoints": MACHINE,
    "not a sensor file": EDIT,
    "a centre outside": EDIT,
    "a band has 5 % or more": EDIT,
    "a role given twice": EDIT,
    "a key given twice": EDIT,
    "a curve that is zero": EDIT,
    "`index` with `--stf-scope tile`": "Python only; tests/analysis/test_index_maps.py",
    "`compare`: none or several": "tests/analysis/test_change.py",
    "A and B do not overlap": "tests/analysis/test_change.py",
    "`sample`: a number of cubes": "tests/analysis/test_samples.py",
    "a cube whose standard errors are not known": "tests/analysis/test_samples.py",
    "`plots`: `--wavelengths` without": "tests/analysis/test_zones.py",
    "`plots`: `pyogrio`": "installs a package; the column: tests/analysis/test_zones.py",
    "`index`: a cube of other weights": "run by tests/analysis/test_index_maps.py",
    "no vector file": EDIT,
    "a map of classes with": "commands of GDAL's own; the facts: tests/io/zones",
    "a map of classes far finer": "a command of GDAL's own",
    "no column names the classes": "the option: tests/io/zones",
    "no valid pixel has a class": EDIT,
    "fewer than two classes": EDIT,
    "`--zones` beside panels": "leave it out: tests/cli/test_cli_land_cover.py",
    "`--zones auto` for a camera": "the same command with a file: tests/cli/test_cli_land_cover.py",
    "`--zone-field` without": "leave it out: tests/cli/test_cli_land_cover.py",
    "`--zones` with `--same-camera`": "leave it out: tests/cli/test_cli_land_cover.py",
    "no column identifies the zones": EDIT,
    "an empty or invalid polygon": EDIT,
    "no zone lies in the image": EDIT,
    "an index's wavelength or band": "Python only; tests/indices/test_terms.py",
    "a trust table": FETCH,
    "a network of another kind": "run by tests/training/test_baseline_run.py",
    "the SHA-256 differs": FETCH,
    "a key, shape or type": FETCH,
    "a format of another version": "installs a package",
    "the folder was moved": MACHINE,
    "the name is too long": OTHER,
    "the system refused to read": MACHINE,
    "a file has appeared": MACHINE,
    "too little free space": MACHINE,
    "the disk filled up": MACHINE,
    "the record of the run": MACHINE,
    "the unfinished run was begun": "needs uavssr 0.1.0; tests/io/writers/test_journal.py",
    "another run is writing": MACHINE,
    "the file system does not": MACHINE,
    "the output is an existing folder": OTHER,
    "the output's ENVI header": OTHER,
    "out of memory": MACHINE,
    "a cluster": CLUSTER,
    "`train`: patches need": MACHINE,
    "`train`: another run": MACHINE,
    "many pixels are unlike": "run by tests/cli/test_verdict.py",
    "many pixels are saturated": "run by tests/cli/test_verdict.py",
    "the network gave NaN": MACHINE,
    "tiles failed": MACHINE,
    "a tile whose workers": MACHINE,
    "the loss became NaN": MACHINE,
}
"""Remedies that no test can run, by the start of their rows, with the reason."""


def rows() -> Iterator[tuple[int, str]]:
    """Exit code and first cell of each row of docs/errors.md that has a remedy."""
    text = (REPO / "docs" / "errors.md").read_text(encoding="utf-8")
    code = 0
    for line in text.splitlines():
        if heading := re.match(r"## (\d+):", line):
            code = int(heading[1])
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if code and line.startswith("| ") and len(cells) == 2 and cells[0] != "fact":
            yield code, cells[0]


def codes(fact: str) -> set[int]:
    """Exit codes that docs/errors.md gives a refusal, also by name in its row."""
    named = {int(n) for _, row in rows() for n in re.findall(r"exit code (\d)", row)}
    return {code for code, row in rows() if row.startswith(fact)} | named


def test_every_refusal_of_the_docs_has_its_remedy_run() -> None:
    """Or stands in the list of those that only a person can follow."""
    starts = [*(remedy.fact for remedy in RUN), *BY_HAND]
    missing = [row for _, row in rows() if not any(row.startswith(start) for start in starts)]
    assert missing == [], "add them to RUN, or with the reason to BY_HAND"
    stale = [start for start in starts if not any(row.startswith(start) for _, row in rows())]
    assert stale == []
    assert not {remedy.fact for remedy in RUN} & set(BY_HAND)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `in` with faulty files, and what a run makes of a good one."""
    folder = tmp_path_factory.mktemp("remedies")
    (folder / "in").mkdir()
    write_inputs(folder / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["reconstruct", "in/field.tif", *FAST.split(), "-q", "-o"]
        assert cli.main([*arguments, "in/cube.tif"]) == 0
        assert cli.main([*arguments, "in/coef.tif", "--format", "coefficients"]) == 0
    return folder / "in"


def spelled(command: str) -> str:
    """A command with its short words spelled out, and filled in as a user would."""
    for short, words in SHORT.items():
        command = re.sub(rf"\b{short}\b", lambda _, words=words: words, command)
    return filled_in(command)


def stopped(run: Run) -> None:
    """Leave an unfinished run of `WRITE` behind."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeoTiffWriter, "finish", interrupted)
        assert run(*shlex.split(SHORT["WRITE"])).code == 130


def fast(command: str) -> str:
    """The command that a message prints for a reconstruction, as a trial with a tiny model."""
    steps = command.split(" && ")
    is_full = [step.startswith("uavssr reconstruct ") for step in steps]
    return " && ".join(
        f"{step} {FAST} --dry-run" if full else step
        for step, full in zip(steps, is_full, strict=True)
    )


@pytest.mark.parametrize("remedy", RUN, ids=[f"{r.fact}: {r.wrong}"[:60] for r in RUN])
def test_remedy_works_word_for_word(
    tmp_path: Path, inputs: Path, run: Run, monkeypatch: pytest.MonkeyPatch, remedy: Remedy
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").symlink_to(inputs)
    if remedy.before == "STOP":
        stopped(run)
    elif remedy.before:
        run_steps(run, spelled(remedy.before))
    refused = run(*shlex.split(spelled(remedy.wrong)))
    said = refused.out + refused.err
    assert refused.code in codes(remedy.fact), said
    found = re.search(SHORT.get(remedy.says, remedy.says), said, re.MULTILINE)
    assert found, said
    right = remedy.right.format(found[0], *found.groups())
    run_steps(run, fast(spelled(right)))
