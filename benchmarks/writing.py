"""Compare writing a cube in every format with GDAL writing the same numbers.

    python benchmarks/writing.py [--rank 16] [--size 768] [--runs 3] [--threads 2] [--json FILE]

`GDAL plain`: the same blocks and compression, no overviews, reading back or fsync. `GDAL same`:
with the overviews that we write, every block read back and compared by its CRC-32, and fsync, as
`gtiff` does. Ours: everything until the final name exists, from coefficients as the network gives
them, and with as many threads as in a run. Each run writes all of them in turn and the least time
counts, so that other load falls on all alike. The coefficients are smooth random ones of a smooth
basis with a tenth of noise. Then one band of 256 x 256 pixels is read through the xarray engine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine

from uavssr.io.hsi import CubeBasis
from uavssr.io.writers import (
    SUFFIXES,
    CubeTarget,
    Format,
    TileWriter,
    open_writer,
    quantise,
    sync,
)
from uavssr.io.writers.encoding import overview_levels
from uavssr.io.xarray_backend import UavssrBackend
from uavssr.model import SpectralBasis
from uavssr.reconstruction.devices import torch_threads
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.reconstruction.products import CubeRender, Render
from uavssr.sensors import HEADWALL_NANO, Float32Array
from uavssr.tiling import TileGrid, Window

TILE = 256
PLACE = Affine(0.1, 0, 500000, 0, -0.1, 3000000)
Tiles = list[tuple[Window, np.ndarray]]
Cost = dict[str, float]


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    basis = smooth_basis(options.rank)
    cube, maps = made(basis, options.size)
    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), basis, cube, maps, options)
    report = {"machine": platform.processor() or platform.machine(), "size": options.size}
    report |= {"threads": options.threads, "bands": len(basis.grid), "rank": basis.rank} | found
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def smooth_basis(rank: int) -> CubeBasis:
    """Cosines over the wavelengths, the fewer the waves the larger, as of measured spectra."""
    place = np.linspace(0, 1, len(HEADWALL_NANO))
    waves = [np.cos(np.pi * k * place) * 0.15 / (1 + k) for k in range(rank)]
    components = np.stack(waves, axis=1).astype("f4")
    mean = (0.3 + 0.2 * place).astype("f4")
    return CubeBasis(grid=HEADWALL_NANO, mean=mean, components=components)


def made(basis: CubeBasis, size: int) -> tuple[Tiles, Tiles]:
    """Tiles of counts and of coefficients."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 0.5, (basis.rank, size // 8 + 2, size // 8 + 2)).astype("f4")
    maps = coarse.repeat(8, 1).repeat(8, 2)[:, :size, :size]
    maps = maps + rng.normal(0, 0.05, maps.shape).astype("f4")
    counts, parts = [], []
    for tile in TileGrid(height=size, width=size, tile=TILE):
        part = np.ascontiguousarray(maps[:, tile.core.rows, tile.core.cols])
        parts.append((tile.core, part))
        counts.append((tile.core, quantise(basis.expand(part), np.ones(part.shape[1:], bool))))
    return counts, parts


def measured(
    folder: Path, basis: CubeBasis, counts: Tiles, maps: Tiles, options: argparse.Namespace
) -> dict[str, dict[str, dict[str, float]] | dict[str, float]]:
    """Least seconds and bytes of each way to write, and milliseconds to look at a band."""
    found: dict[str, list[Cost]] = {}
    for _ in range(options.runs):
        path = folder / "gdal.tif"
        found.setdefault("GDAL plain", []).append(by_gdal(path, counts, options, whole=False))
        found.setdefault("GDAL same", []).append(by_gdal(path, counts, options, whole=True))
        for form in SUFFIXES:
            path = folder / f"{form}{SUFFIXES[form][0]}"
            found.setdefault(form, []).append(ours(path, form, basis, maps, options))
    least = {
        name: {key: min(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    return {"writing": least, "reading_ms": looked(folder / "coefficients.tif", options.runs)}


def by_gdal(path: Path, tiles: Tiles, options: argparse.Namespace, *, whole: bool) -> Cost:
    """Cost of GDAL writing the tiles; `whole` adds overviews, fsync and reading back."""
    clock = Clock(path)
    with rasterio.open(
        path, "w", driver="GTiff", height=options.size, width=options.size,
        count=len(tiles[0][1]), dtype="uint16", nodata=65535, crs="EPSG:32650", transform=PLACE,
        tiled=True, blockxsize=TILE, blockysize=TILE, interleave="band", bigtiff="yes",
        compress="zstd", predictor=2, zstd_level=1, num_threads=options.threads,
    ) as file:  # fmt: skip
        for core, numbers in tiles:
            file.write(numbers, window=window_of(core))
        clock.written()
    if whole:
        finish_by_gdal(path, tiles, options)
    return clock.cost()


def finish_by_gdal(path: Path, tiles: Tiles, options: argparse.Namespace) -> None:
    """Add the overviews, make the file durable, and compare it with what was written."""
    settings = {"COMPRESS_OVERVIEW": "ZSTD", "PREDICTOR_OVERVIEW": "2", "ZSTD_LEVEL_OVERVIEW": "1"}
    blocks = {"GDAL_TIFF_OVR_BLOCKSIZE": str(TILE), "GDAL_NUM_THREADS": str(options.threads)}
    with rasterio.Env(**settings, **blocks):
        with rasterio.open(path, "r+") as file:
            file.build_overviews(overview_levels(options.size, options.size), Resampling.average)
        sync(path)
        with rasterio.open(path) as file:
            for core, numbers in tiles:
                back = file.read(window=window_of(core))
                if zlib.crc32(back.data) != zlib.crc32(numbers.data):
                    raise SystemExit(f"{path}: not as written")


def window_of(core: Window) -> rasterio.windows.Window:
    """The window as rasterio has it."""
    return rasterio.windows.Window(core.col, core.row, core.width, core.height)


def ours(
    path: Path, form: Format, basis: CubeBasis, tiles: Tiles, options: argparse.Namespace
) -> Cost:
    """Cost of one of our writers until the final name exists."""
    geotiff = form in ("gtiff", "cog", "coefficients")
    clock = Clock(path)
    render = rendered(basis)
    target = CubeTarget(
        path=path, format=form, height=options.size, width=options.size, grid=basis.grid,
        crs_wkt=CRS.from_epsg(32650).to_wkt(), transform=tuple(PLACE)[:6], basis=basis,
        creation_options={"NUM_THREADS": str(options.threads)} if geotiff else {},
    )  # fmt: skip
    threads = ThreadCounts(workers=1).writers
    with torch_threads(1), open_writer(target) as writer, ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda tile: put(writer, *tile, render), tiles))
        clock.written()
        writer.finish()
    return clock.cost()


def rendered(basis: CubeBasis) -> Render:
    """What makes counts of coefficients."""
    mean, components = (torch.from_numpy(each) for each in (basis.mean, basis.components))
    spread = torch.zeros_like(mean)
    found = SpectralBasis(grid=basis.grid, mean=mean, components=components, residual=spread)
    return CubeRender(basis=found, dtype="uint16")


def put(writer: TileWriter, window: Window, maps: Float32Array, render: Render) -> None:
    """One tile, as a run hands it over."""
    numbers = (
        maps if writer.takes == "coefficients" else render(maps, np.ones(maps.shape[1:], bool))
    )
    writer.write_quantised(window, numbers)


class Clock:
    """Seconds from now on, for an output that is removed first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for old in (path, path.with_suffix(".hdr")):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        os.sync()
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def written(self) -> None:
        """The last tile is taken."""
        self.write = time.perf_counter() - self.start

    def cost(self) -> Cost:
        """Seconds until the last tile was taken, in all, and of all threads; and bytes."""
        seconds, cpu = time.perf_counter() - self.start, time.process_time() - self.cpu
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        size = sum(each.stat().st_size for each in files if each.is_file())
        return {"write_s": self.write, "all_s": seconds, "cpu_s": cpu, "bytes": size}


def looked(path: Path, runs: int) -> dict[str, float]:
    """Milliseconds to read one band of 256 x 256 pixels of a file that was just opened."""
    found = {}
    for name, at in (("on a block", TILE), ("across blocks", TILE + 44)):
        times = []
        for _ in range(max(runs, 3)):
            with xr.open_dataset(path, engine=UavssrBackend) as cube:
                start = time.perf_counter()
                part = cube.reflectance.sel(wavelength=700, method="nearest")
                part[at : at + TILE, at : at + TILE].load()
                times.append(1000 * (time.perf_counter() - start))
        found[name] = min(times)
    return found


def show(report: dict) -> None:
    """Print the table."""
    size, pixels = report["size"], report["size"] ** 2
    print(f"{size} x {size} x {report['bands']} bands, {report['threads']} threads")
    print(f"{'':13}" + "".join(f"{each:>9}" for each in ("write s", "all s", "of GDAL")), end="")
    print("".join(f"{each:>9}" for each in ("CPU s", "of GDAL", "B/pixel")))
    base = report["writing"]["GDAL same"]
    for name, row in report["writing"].items():
        numbers = row["write_s"], row["all_s"], row["all_s"] / base["all_s"]
        numbers += row["cpu_s"], row["cpu_s"] / base["cpu_s"], row["bytes"] / pixels
        print(f"{name:13}" + "".join(f"{number:9.2f}" for number in numbers))
    for name, ms in report["reading_ms"].items():
        print(f"one band of 256 x 256 of the coefficients, {name}: {ms:.0f} ms")


if __name__ == "__main__":
    raise SystemExit(main())
