"""Lazy datasets and written files hold the same cube, and failures leave no output."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pyogrio
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr
from rasterio._env import get_gdal_config
from rasterio.crs import CRS

import uavssr
from tests.helpers.fakes import FakeSource, failing_at, irregular_mask
from tests.helpers.models import GRID, P4M, tiny_msi, tiny_network
from tests.helpers.rasters import TRANSFORM, write
from uavssr import OutputOptions, ReconstructionOptions, open_msi, plan_reconstruction
from uavssr.errors import IncompleteRun, InputRefused, OutputError, UsageError
from uavssr.io.hsi.coefficient_file import open_coefficients
from uavssr.io.msi.source import MsiSource
from uavssr.io.stf import ReferencePixels, with_reference_pixels, write_stf
from uavssr.io.writers.encoding import SCALE
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.model.weights import Model
from uavssr.reconstruction import devices
from uavssr.reconstruction.api import PlannedReconstruction
from uavssr.reconstruction.expand import expand
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.output_files import Outputs
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import CubeRender
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.sensors import SENSORS
from uavssr.tiling import Window

HEIGHT, WIDTH, TILE = 70, 90, 32
TILES = 9
SCOPES = pytest.mark.parametrize("scope", ["scene", "tile"])


def fake(**changes: object) -> FakeSource:
    """A simulated scene with an irregular hole that empties the first tile."""
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    mask[:TILE, :TILE] = False
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    return FakeSource(**({"image": image, "sensor": P4M, "mask": mask} | changes))


def field(path: Path, **options: object) -> MsiSource:
    """The same scene as a file of float32 reflectance."""
    source = fake()
    image = np.where(source.mask, source.image, np.float32(np.nan))
    return open_msi(write(path, image, **options), sensor="p4m")


def plan_of(
    source: FakeSource | MsiSource, model: Model, **options: object
) -> PlannedReconstruction:
    return plan_reconstruction(
        source, ReconstructionOptions(**{"model": model, "tile": TILE, "workers": 2} | options)
    )


def with_source(plan: PlannedReconstruction, source: FakeSource) -> PlannedReconstruction:
    """The same plan and scene's STF, with another source of the tiles' pixels."""
    return planned(replace(plan.plan, source=source), plan.scene)


def planned(plan: Plan, scene: FittedScene) -> PlannedReconstruction:
    """A plan with the STF of another plan's scene."""
    reconstruction = PlannedReconstruction(plan)
    reconstruction.scene = replace(scene, plan=plan)
    return reconstruction


def read(path: Path) -> np.ndarray:
    """The cube (C, y, x) in reflectance, NaN where nodata."""
    with rasterio.open(path) as file:
        stored = file.read(masked=True).astype("f4").filled(np.nan)
        return stored * np.float32(file.scales[0])


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- lazily --------------------------------------------------------------------------------------


def test_dataset_has_a_chunk_per_tile(model: Model) -> None:
    found = plan_of(fake(), model).dataset()
    assert isinstance(found, xr.Dataset)
    cube = found["reflectance"]
    assert cube.chunks == ((len(GRID),), (32, 32, 6), (32, 32, 26))
    assert cube.dtype == np.float32
    assert "tile" not in found.dims
    assert np.allclose(found["wavelength"], GRID.centres)


def test_only_the_tiles_of_a_window_are_computed(model: Model) -> None:
    """Promise P6: a plan reads a sample, a window its own tiles and their halos."""
    source = fake()
    cube = plan_of(source, model).dataset()["reflectance"]
    del source.reads[:]
    cube[:, 40:60, 40:60].compute(scheduler="synchronous")
    halo = model.network.halo()
    first = 32 - halo
    assert source.reads == [Window(first, first, HEIGHT - first, 32 + 2 * halo)]  # to the bottom
    del source.reads[:]
    cube[5, 60:66, 60:68].compute(scheduler="synchronous")
    assert len(source.reads) == 4


@SCOPES
def test_dataset_and_file_hold_the_same_cube(tmp_path: Path, model: Model, scope: str) -> None:
    """Promises P5, P1: within half a count; invalid pixels and no others are nodata."""
    source = field(tmp_path / "in.tif")
    lazy = plan_of(source, model, stf_scope=scope).dataset()["reflectance"].to_numpy()
    plan = plan_of(source, model, stf_scope=scope)
    rounded = read(plan.write(tmp_path / "a.tif").cube)
    exact = read(plan.write(OutputOptions(cube=tmp_path / "b.tif", dtype="float32")).cube)
    valid = fake().mask
    for cube in (lazy, rounded, exact):
        assert np.array_equal(np.isfinite(cube), np.broadcast_to(valid, cube.shape))
    assert np.abs(exact - lazy)[:, valid].max() <= 1e-6
    assert np.abs(rounded - np.clip(lazy, 0, None))[:, valid].max() <= SCALE / 2 + 1e-6
    assert lazy[:, valid].std() > 0.05


@SCOPES
@pytest.mark.parametrize("wild", [1e3, -1e3, 1e30, np.inf, 5.5, -999.0])
def test_wild_pixel_changes_no_other(tmp_path: Path, model: Model, scope: str, wild: float) -> None:
    """Promise P5: cube and STFs are those of the scene without that pixel, to the last bit."""
    source = fake()
    cubes = []
    for name, value in (("wild.tif", wild), ("masked.tif", np.nan)):
        image = np.where(source.mask, source.image, np.float32(np.nan))
        image[3, 40, 50] = image[0, 41, 70] = value
        opened = open_msi(write(tmp_path / name, image), sensor="p4m")
        cubes.append(plan_of(opened, model, stf_scope=scope).dataset())
    one, other = (cube["reflectance"].to_numpy() for cube in cubes)
    np.testing.assert_array_equal(one, other)
    assert np.isnan(one[:, 40, 50]).all()
    assert np.isfinite(one[:, 40, 51]).all()


def test_scopes_differ_in_the_cube_and_not_in_the_stfs(tmp_path: Path, model: Model) -> None:
    source = fake()
    plans = [plan_of(source, model, stf_scope=scope) for scope in ("scene", "tile")]
    one, many = (plan.dataset()["reflectance"].to_numpy() for plan in plans)
    assert np.nanmax(np.abs(one - many)) > 1e-3
    outputs = [plan.write(tmp_path / f"{i}.tif") for i, plan in enumerate(plans)]
    one_stf, many_stf = (xr.load_dataset(each.stf, engine="h5netcdf") for each in outputs)
    same = [name for name in one_stf if name != "residual"]  # each is of its own cube
    assert one_stf[same].drop_attrs().identical(many_stf[same].drop_attrs())
    assert not np.array_equal(one_stf["residual"], many_stf["residual"])


def test_rioxarray_sees_the_place_of_the_lazy_cube(tmp_path: Path, model: Model) -> None:
    cube = plan_of(field(tmp_path / "in.tif"), model).dataset()["reflectance"]
    assert rioxarray.__version__
    assert cube.rio.crs == CRS.from_epsg(32650)
    assert cube.rio.transform() == TRANSFORM
    assert cube.rio.bounds() == pytest.approx((500000.0, 3000000 - 7.0, 500009.0, 3000000.0))


def test_public_functions_do_what_the_plan_does(model: Model) -> None:
    source = fake()
    plan = plan_of(source, model)
    lazy = uavssr.reconstruct(source, ReconstructionOptions(model=model, tile=TILE))
    assert np.array_equal(lazy["scene_stf"], plan.dataset()["scene_stf"])
    block = {"y": slice(0, 40), "x": slice(30, 70)}
    expected = plan.dataset()["reflectance"].isel(block).to_numpy()
    assert np.array_equal(lazy["reflectance"].isel(block), expected, equal_nan=True)
    alone = uavssr.estimate_stf(source, ReconstructionOptions(model=model, tile=TILE))
    assert alone.sizes["tile"] == TILES - 1  # one tile is empty
    assert np.array_equal(alone["scene_centre"], plan.scene.stf.estimate.centre)


# --- files ---------------------------------------------------------------------------------------


def test_three_files_are_written_and_read_by_others(tmp_path: Path, model: Model) -> None:
    """Promise P7, row 17: provenance in the cube and in the STF; empty tiles have no STF."""
    source = field(tmp_path / "in.tif")
    seen: list[tuple[str, int, int]] = []
    outputs = plan_of(source, model).write(
        tmp_path / "hsi.v1.tif", progress=lambda *args: seen.append(args)
    )
    assert listed(tmp_path) == {
        "in.tif",
        "hsi.v1.tif",
        "hsi.v1.qml",
        "hsi.v1.stf.nc",
        "hsi.v1.tiles.gpkg",
    }
    assert listed(tmp_path) == {"in.tif", "hsi.v1.qml"} | {path.name for path in outputs}
    assert sum(done for _, done, _ in seen) == HEIGHT * WIDTH
    assert {(what, total) for what, _, total in seen} == {("writing the cube", HEIGHT * WIDTH)}
    with rasterio.open(outputs.cube) as file:
        tags = file.tags()
        assert (file.count, file.height, file.width) == (len(GRID), HEIGHT, WIDTH)
        assert file.crs == CRS.from_epsg(32650)
        assert file.transform == TRANSFORM
    found = xr.load_dataset(outputs.stf, engine="h5netcdf")
    size = (tmp_path / "in.tif").stat().st_size
    for given in (tags, found.attrs):
        assert given["uavssr_version"] == uavssr.__version__
        assert given["uavssr_model"] == "tiny"
        assert given["uavssr_model_sha256"] == model.sha256
        assert given["uavssr_sensor"] == "p4m"
        assert given["uavssr_input"] == f"in.tif ({size} bytes)"
        assert (given["uavssr_tile"], given["uavssr_stages"]) == ("32", "2")
        assert given["uavssr_stf_scope"] == "scene"
    assert found.sizes["tile"] == TILES - 1
    assert [0, 0, 32, 32] not in found["tile_window"].to_numpy().tolist()
    assert pyogrio.read_info(outputs.tiles)["features"] == TILES - 1
    assert CRS.from_user_input(pyogrio.read_info(outputs.tiles)["crs"]) == CRS.from_epsg(32650)


def test_number_of_workers_does_not_change_the_cube(tmp_path: Path, model: Model) -> None:
    """Promise P2: to the last digit, so that a run may be resumed with more or fewer."""
    known = plan_of(fake(), model).scene
    one, three = (
        read(
            plan.write(
                OutputOptions(cube=tmp_path / f"{plan.plan.threads.workers}.tif", dtype="float32")
            ).cube
        )
        for plan in (planned(plan_of(fake(), model, workers=n).plan, known) for n in (1, 3))
    )
    assert np.array_equal(one, three, equal_nan=True)


def test_rotated_scene_keeps_its_place(tmp_path: Path, model: Model) -> None:
    """Row 13."""
    rotated = (0.1, 0.02, 500000.0, 0.02, -0.1, 3000000.0)
    plan = plan_of(fake(transform=rotated), model)
    with rasterio.open(plan.write(tmp_path / "r.tif").cube) as file:
        assert tuple(file.transform)[:6] == rotated
    assert "x" not in plan.dataset().coords


@SCOPES
def test_no_more_tiles_in_flight_than_workers(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """Promise P6: a tile's cube is gone when it is written, whatever the number of tiles."""
    alive: weakref.WeakSet[object] = weakref.WeakSet()
    most = []
    lock = threading.Lock()
    real = CubeRender.__call__

    class Cube(np.ndarray):
        """An array that can be counted: plain ones cannot be hashed."""

        def __hash__(self) -> int:
            return id(self)

    def counted(self: CubeRender, coefficients: np.ndarray, valid: np.ndarray) -> np.ndarray:
        cube = real(self, coefficients, valid).view(Cube)
        with lock:
            alive.add(cube)
            most.append(len(alive))
        return cube

    monkeypatch.setattr(CubeRender, "__call__", counted)
    plan = plan_of(fake(), model, tile=16, stf_scope=scope, workers=2)
    plan.write(tmp_path / "c.tif")
    assert len(most) > 20
    assert max(most) <= plan.plan.threads.writers


def test_real_file_may_not_change_during_the_run(tmp_path: Path, model: Model) -> None:
    """Row 20."""
    source = field(tmp_path / "in.tif")
    plan = plan_of(source, model, workers=1)

    def touch(*_: object) -> None:
        (tmp_path / "in.tif").touch()

    with pytest.raises(InputRefused, match="changed"):
        plan.write(tmp_path / "c.tif", progress=touch)
    assert listed(tmp_path) == {"in.tif"}  # no journal either: nothing could go on with it


# --- failures ------------------------------------------------------------------------------------


def crash(_: Window) -> None:
    raise RuntimeError("a bug in a worker")


@pytest.mark.parametrize(
    ("scope", "number"),
    [("scene", 1), ("scene", 5), ("scene", TILES), ("tile", 1), ("tile", TILES), ("tile", 20)],
)
def test_source_that_fails_leaves_no_output(
    tmp_path: Path, model: Model, scope: str, number: int
) -> None:
    """Promises P1, P2: whichever tile it is, and in either pass; finished tiles are stored."""
    source = fake()
    plan = plan_of(source, model, stf_scope=scope, workers=1)
    broken = replace(source, before_read=failing_at(number))
    with pytest.raises(InputRefused, match="cannot be decoded"):
        with_source(plan, broken).write(tmp_path / "c.tif")
    assert listed(tmp_path) <= {".c.tif.uavssr"}
    mended = plan.write(OutputOptions(cube=tmp_path / "c.tif", resume=True))
    assert np.array_equal(
        read(mended.cube), read(plan.write(tmp_path / "whole.tif").cube), equal_nan=True
    )


def test_failure_keeps_what_stood_there(tmp_path: Path, model: Model) -> None:
    """Rows 24, 26, 31: an old output outlives a run that was to replace it."""
    source = fake()
    old = plan_of(source, model).write(tmp_path / "c.tif")
    before = {path: path.read_bytes() for path in old}
    broken = replace(source, before_read=crash)
    plan = with_source(plan_of(source, model), broken)
    with pytest.raises(OutputError, match="exists"):
        plan.write(tmp_path / "c.tif")
    with pytest.raises(
        IncompleteRun, match=r"tile 0 failed: RuntimeError.*bug in a worker.*report"
    ):
        plan.write(OutputOptions(cube=tmp_path / "c.tif", overwrite=True))
    assert {path: path.read_bytes() for path in old} == before
    assert len(listed(tmp_path)) == 4


@SCOPES
def test_nan_in_one_tile_is_named_and_the_others_are_stored(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """Row 32: once the network behaves, one tile is left to do."""
    plan = plan_of(fake(), model, stf_scope=scope)
    real = TileEngine._check

    def poisoned(coefficients: torch.Tensor, tile: object) -> None:
        if tile.index == 5:
            coefficients[..., 0, 0] = float("nan")
        real(coefficients, tile)

    with monkeypatch.context() as patch:
        patch.setattr(TileEngine, "_check", staticmethod(poisoned))
        with pytest.raises(IncompleteRun, match=r"tile 5 \(row 32, column 64\)") as caught:
            plan.write(tmp_path / "c.tif")
    assert caught.value.exit_code == 6
    stored = {"scene": "8 of 9 tiles are kept, go on with --resume", "tile": ""}[scope]
    assert stored in str(caught.value)
    assert listed(tmp_path) == {".c.tif.uavssr"}
    whole = plan.write(tmp_path / "w.tif")
    assert np.array_equal(
        read(plan.write(OutputOptions(cube=tmp_path / "c.tif", resume=True)).cube),
        read(whole.cube),
        equal_nan=True,
    )


def test_cube_that_fails_its_read_back_does_not_appear(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 25, promise P1."""
    plan = plan_of(fake(), model)
    with monkeypatch.context() as patch:
        patch.setattr(GeoTiffWriter, "_wrong_header", lambda *_: "size")
        with pytest.raises(OutputError, match=r"size not as written.* 9 of 9 tiles are kept"):
            plan.write(tmp_path / "c.tif")
    assert listed(tmp_path) == {".c.tif.uavssr"}
    plan.write(OutputOptions(cube=tmp_path / "c.tif", resume=True))


def test_interrupt_while_the_file_is_created_leaves_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 23, promise P1: `with` does not clean up after an __enter__ that failed."""
    plan = plan_of(fake(), model)
    real = rasterio.open

    def interrupted(*args: object, **options: object) -> None:
        real(*args, **options).close()
        raise KeyboardInterrupt

    monkeypatch.setattr("uavssr.io.writers.geotiff.rasterio.open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan.write(tmp_path / "c.tif")
    assert listed(tmp_path) == set()


@pytest.mark.parametrize("name", ["c.tif", "c.stf.nc", "c.tiles.gpkg"])
def test_every_output_is_checked_before_the_first_tile(
    tmp_path: Path, model: Model, name: str
) -> None:
    """Row 26."""
    source = fake()
    plan = plan_of(source, model)
    del source.reads[:]
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(OutputError, match=f"{name}: exists; pass --overwrite"):
        plan.write(tmp_path / "c.tif")
    assert source.reads == []
    assert (tmp_path / name).read_bytes() == b"old"


def test_input_is_never_an_output(tmp_path: Path, model: Model) -> None:
    """Row 26: by any of the three names, through links too."""
    source = field(tmp_path / "in.tif")
    before = (tmp_path / "in.tif").read_bytes()
    plan = plan_of(source, model)
    (tmp_path / "hard.tif").hardlink_to(tmp_path / "in.tif")
    (tmp_path / "soft.tif").symlink_to("in.tif")
    (tmp_path / "c.stf.nc").hardlink_to(tmp_path / "in.tif")
    for name in ("in.tif", "hard.tif", "soft.tif", "c.tif"):
        with pytest.raises(OutputError, match="is the input"):
            plan.write(OutputOptions(cube=tmp_path / name, overwrite=True))
    assert (tmp_path / "in.tif").read_bytes() == before


# --- an STF held fixed ---------------------------------------------------------------------------


def test_stf_of_a_run_gives_that_runs_cube(tmp_path: Path, model: Model) -> None:
    source = fake()
    first = plan_of(source, model).write(tmp_path / "a.tif")
    plan = plan_of(source, model, stf=first.stf)
    second = plan.write(tmp_path / "b.tif")
    assert np.nanmax(np.abs(read(first.cube) - read(second.cube))) <= SCALE + 1e-6
    one, two = (xr.load_dataset(each.stf, engine="h5netcdf") for each in (first, second))
    for name in ("scene_stf", "scene_centre", "scene_centre_se"):
        assert np.array_equal(one[name], two[name]), name
    brighter = replace(source, image=source.image * np.float32(1.2))
    other = plan_of(brighter, model).write(tmp_path / "o.tif")
    held = plan_of(source, model, stf=other.stf).write(tmp_path / "h.tif")
    assert np.nanmax(np.abs(read(first.cube) - read(held.cube))) > 0.005


@pytest.fixture
def calibrated(tmp_path: Path, model: Model) -> Path:
    """An STF with reference spectra: 1 in 97 valid pixels, with an absorption at 940 nm added."""
    first = plan_of(fake(), model).write(tmp_path / "first.tif")
    source = fake()
    seen = source.image[:, source.mask][:, ::97].T.astype(float)
    nearest = read(first.cube)[:, source.mask][:, ::97].T.astype(float)
    dip = np.where(np.abs(GRID.centres - 940) < 30, 0.6, 1.0)
    references = ReferencePixels(spectra=nearest * dip, msi=seen).thinned()
    blind = xr.load_dataset(first.stf, engine="h5netcdf")
    return write_stf(with_reference_pixels(blind, references), tmp_path / "calibrated.stf.nc")


def test_cube_is_corrected_with_reference_spectra(
    tmp_path: Path, model: Model, calibrated: Path
) -> None:
    """Written, lazy, expanded or pickled: the same cube. With stf_only it is not corrected."""
    source, found = field(tmp_path / "field.tif"), {}
    for name, only in (("with", False), ("without", True)):
        plan = plan_of(source, model, stf=calibrated, stf_only=only)
        out = plan.write(
            OutputOptions(
                cube=tmp_path / f"{name}.tif",
                dtype="float32",
                uncertainty=tmp_path / f"{name}-sigma.tif",
            )
        )
        found[name] = read(out.cube)
        lazy = plan.dataset(uncertainty=True)
        assert np.allclose(lazy["reflectance"], found[name], atol=1e-6, equal_nan=True)
        sigma = read(tmp_path / f"{name}-sigma.tif")
        assert np.allclose(lazy["reflectance_se"], sigma, atol=1e-4, equal_nan=True)
        again = pickle.loads(pickle.dumps(plan.scene.engine()))  # noqa: S301 - our own
        index = TILES // 2
        maps = (each.record(index).maps["coefficients"] for each in (plan.scene.engine(), again))
        assert np.array_equal(*maps)
        plan.write(OutputOptions(cube=tmp_path / f"{name}-coefficients.tif", format="coefficients"))
        expanded = expand(
            open_coefficients(tmp_path / f"{name}-coefficients.tif"),
            OutputOptions(cube=tmp_path / f"{name}-x.tif", dtype="float32"),
        )
        assert np.array_equal(read(expanded), found[name], equal_nan=True)
    middle, edge = (int(np.abs(GRID.centres - nm).argmin()) for nm in (940, 560))
    change = np.nanmean(found["with"] / found["without"], axis=(1, 2))
    assert change[middle] == pytest.approx(0.6, abs=0.08)
    assert change[edge] == pytest.approx(1, abs=0.05)


def test_corrected_run_is_not_continued_without_its_references(
    tmp_path: Path, model: Model, calibrated: Path
) -> None:
    source = fake()
    plan = plan_of(source, model, stf=calibrated, workers=1)
    broken = replace(source, before_read=failing_at(6))  # two reads of the sample, some tiles
    with pytest.raises(InputRefused, match="cannot be decoded"):
        with_source(plan, broken).write(tmp_path / "a.tif")
    other = plan_of(source, model, stf=calibrated, stf_only=True)
    with pytest.raises(OutputError, match="--stf-only"):
        other.write(OutputOptions(cube=tmp_path / "a.tif", resume=True))
    resumed = read(plan.write(OutputOptions(cube=tmp_path / "a.tif", resume=True)).cube)
    assert np.array_equal(resumed, read(plan.write(tmp_path / "b.tif").cube), equal_nan=True)


def test_stf_of_another_camera_or_grid_is_refused(tmp_path: Path, model: Model) -> None:
    """Also of one whose bands bear the same names."""
    for other in ("rededge3", "sequoia"):
        camera = SENSORS[other]
        image = tiny_msi(camera, 40, 40)[0].numpy()
        source = FakeSource(image=image, sensor=camera, mask=np.ones((40, 40), bool))
        path = plan_of(source, model).write(tmp_path / f"{other}.tif").stf
        with pytest.raises(InputRefused, match=f"{other}.stf.nc: "):
            plan_of(fake(), model, stf=path)
    good = plan_of(fake(), model).write(tmp_path / "a.tif").stf
    found = xr.load_dataset(good, engine="h5netcdf")
    shifted = found.assign_coords(wavelength=found["wavelength"] + 1)
    shifted.to_netcdf(tmp_path / "shifted.stf.nc", engine="h5netcdf")
    with pytest.raises(InputRefused, match="variable wavelength holds 401"):
        plan_of(fake(), model, stf=tmp_path / "shifted.stf.nc")


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"tile": 100}, "--tile must be a multiple of 256, or of 16 below that, got 100"),
        ({"tile": 300}, "--tile must be a multiple of 256"),
        ({"tile": 0}, "--tile must be a multiple of 256"),
        ({"tile": -16}, "--tile must be a multiple of 256"),
        ({"overlap": 33}, "--overlap must be 0-32"),
        ({"workers": 0}, "--workers must be positive, got 0"),
        ({"stages": 3}, "stages must be 0-2 for this model, got 3"),
        ({"stages": -1}, "stages must be 0-2 for this model, got -1"),
        ({"stf_scope": "pixel"}, "--stf-scope must be scene or tile, got 'pixel'"),
        ({"stf": "a.stf.nc", "stf_scope": "tile"}, "--stf holds one STF fixed"),
        ({"device": "tpu"}, "unknown device|unsupported device"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    model: Model, options: dict[str, object], fact: str
) -> None:
    source = fake()
    with pytest.raises(UsageError, match=fact) as caught:
        plan_of(source, model, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_any_number_of_stages_up_to_the_models_runs(
    tmp_path: Path, model: Model, stages: int
) -> None:
    """Row 19: the halo follows the number of stages."""
    plan = plan_of(fake(), model, stages=stages)
    assert plan.plan.tiles.halo == 4 * stages
    outputs = plan.write(tmp_path / "c.tif")
    with rasterio.open(outputs.cube) as file:
        assert file.tags()["uavssr_stages"] == str(stages)
    whole = plan_of(fake(), model, stages=stages, tile=256, stf=outputs.stf)
    cube = whole.dataset()["reflectance"].to_numpy()
    assert np.nanmax(np.abs(read(outputs.cube) - np.clip(cube, 0, None))) <= SCALE / 2 + 2e-5


def test_default_overlap_suits_every_tile_that_is_allowed(model: Model) -> None:
    """`--tile 16` alone must not be refused for an overlap that nobody gave."""
    assert plan_of(fake(), model, tile=16).plan.overlap <= 16


def test_outputs_lie_beside_the_cube() -> None:
    found = Outputs.beside(Path("a.b/field 1.tif"))
    assert list(found) == [Path(f"a.b/field 1.{end}") for end in ("tif", "stf.nc", "tiles.gpkg")]


def test_loaded_model_is_not_changed_by_a_run(model: Model) -> None:
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    plan_of(fake(), model).dataset()["reflectance"][:, :5, 40:45].compute()
    after = model.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert set(after) == set(tiny_network().state_dict())


# --- the caller's process ------------------------------------------------------------------------


def torch_threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A caller's process with three threads, as if no test around this one had limited them."""
    monkeypatch.setattr(devices, "_CALLERS_COUNT", [])
    monkeypatch.setattr(devices, "_THREAD", threading.local())
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_lazy_tiles_take_one_thread_each_and_give_the_others_back(
    model: Model, three_threads: None
) -> None:
    seen: list[int] = []
    source = fake(before_read=lambda _: seen.append(torch.get_num_threads()))
    cube = plan_of(source, model).dataset()["reflectance"]
    seen.clear()
    with ThreadPoolExecutor(4) as pool, dask.config.set(pool=pool):
        cube.compute()
        after = set(pool.map(lambda _: torch.get_num_threads(), range(40)))
    assert set(seen) == {1}
    assert after == {torch.get_num_threads(), torch_threads_of_a_new_thread()} == {3}


def test_writing_leaves_the_callers_process_as_it_was(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, three_threads: None
) -> None:
    """Only the command line may tell the allocator and GDAL what to do."""
    monkeypatch.setattr(devices, "_keep_freed_memory", pytest.fail)
    cache = get_gdal_config("GDAL_CACHEMAX")
    plan_of(fake(), model).write(tmp_path / "c.tif")
    assert get_gdal_config("GDAL_CACHEMAX") == cache
    assert torch.get_num_threads() == torch_threads_of_a_new_thread() == 3
