"""Patches on disk and what is drawn from them: a function of the seeds, and true to the files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.grounds import SIDE, write_field_cube, write_image
from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.data import patches as patches_module
from uavssr.data.batches import Batch, observe_batch
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig, open_sources
from uavssr.data.patches import PatchRequest, prepare_patches
from uavssr.data.random_cameras import MAX_BAND_SHIFT
from uavssr.data.scenes import simulate_batch
from uavssr.data.training_data import TrainingData, load_data
from uavssr.errors import InputRefused, OutputError
from uavssr.io.manifests import ManifestRefused
from uavssr.sensors import Band, Sensor
from uavssr.tiling import Window

SIZE = 8
TEXT = "msi,hsi,kind,sensor,weight\nmsi.tif,cube,,p4m,2\n,other,,,1\n,lib.npz,spectra,,1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif")
    write_field_cube(folder / "cube", shift=(0.07, -0.05))
    write_field_cube(folder / "other", east=600000.0)
    tiny_library().save(folder / "lib.npz")
    return folder


def load(folder: Path, out: Path, text: str = TEXT, **options: object) -> TrainingData:
    path = folder / "pairs.csv"
    path.write_text(text)
    settings = {"size": SIZE, "seed": 0} | {
        key: options.pop(key) for key in ("size", "seed", "grid") if key in options
    }
    return load_data(out, read_manifest(path), DataConfig(**options), **settings)


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return load(folder, tmp_path_factory.mktemp("run"))


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.msi, other.msi) and torch.equal(one.hsi, other.hsi)


def draw(data: TrainingData, step: int, *, seed: int = 0, shard: int = 0, count: int = 3) -> Batch:
    return data.draw(seed=seed, step=step, shard=shard, count=count, size=SIZE)


# --- patches --------------------------------------------------------------------------------------


def test_patches_are_what_the_files_hold_there(folder: Path, data: TrainingData) -> None:
    path = folder / "check.csv"
    path.write_text(TEXT)
    _, scenes = open_sources(read_manifest(path), DataConfig())
    for field, scene in zip(data.splits, scenes, strict=True):
        kept = field.patches
        assert kept.side == SIZE + 2 * MAX_BAND_SHIFT
        for index in (0, len(kept.windows) // 2, len(kept.windows) - 1):
            msi, hsi, valid = scene.read(kept.windows[index], data.grid)
            assert valid.all()
            np.testing.assert_allclose(kept.cubes(np.array([index]))[0], hsi, rtol=1e-3, atol=1e-5)
            if msi is not None:
                found = kept.images(np.array([index]))[0]
                np.testing.assert_allclose(found, msi, rtol=1e-3, atol=1e-5)
    pair, cube = data.splits
    assert pair.patches.has_image
    assert not cube.patches.has_image
    with pytest.raises(ValueError, match="has no image"):
        cube.patches.images(np.array([0]))


def test_patches_do_not_overlap_and_are_valid(folder: Path, tmp_path: Path) -> None:
    write_image(folder / "holed.tif", invalid=(slice(30, 50), slice(60, 90)))
    found = load(folder, tmp_path, "msi,hsi,sensor\nholed.tif,cube,p4m\n")
    (field,) = found.splits
    seen = np.zeros((SIDE, SIDE), int)
    for window in field.patches.windows:
        seen[window.rows, window.cols] += 1
    assert seen.max() == 1
    assert seen[30:50, 60:90].max() == 0
    assert seen.mean() > 0.7
    every = np.arange(len(field.patches.windows))
    assert np.isfinite(field.patches.cubes(every)).all()
    assert np.isfinite(field.patches.images(every)).all()


def test_no_more_patches_than_asked_are_kept_shared_among_rows(
    folder: Path, tmp_path: Path
) -> None:
    found = load(folder, tmp_path, patches=20, share=0)
    assert [len(field.patches.windows) for field in found.splits] == [10, 10]
    rows = [window.row for window in found.splits[0].patches.windows]
    assert len(set(rows)) > 3  # from all over the scene


def test_a_second_run_reads_no_raster(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder, tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("rasters were opened again")

    monkeypatch.setattr(patches_module, "open_sources", never)
    second = load(folder, tmp_path)
    assert second.digest == first.digest
    assert second.splits[0].patches.sensor == P4M
    assert second.facts == first.facts
    assert same(draw(first, 5), draw(second, 5))
    for change in ({"patches": 30}, {"max_shift": 1.5}, {"size": 12}, {"seed": 1}):
        with pytest.raises(AssertionError, match="opened again"):
            load(folder, tmp_path, **change)
    assert load(folder, tmp_path, share=0.4).digest != first.digest  # the same patches


def test_changed_files_and_damaged_patches_are_read_again(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    write_field_cube(mine / "cube")
    text = "hsi\ncube\n"
    first = load(mine, tmp_path / "run", text)
    before = first.splits[0].patches.cubes(np.array([0]))
    store = tmp_path / "run" / "patches" / "0.hsi"
    store.write_bytes(store.read_bytes()[:-1])
    again = load(mine, tmp_path / "run", text)
    np.testing.assert_array_equal(again.splits[0].patches.cubes(np.array([0])), before)
    (tmp_path / "run" / "patches" / "index.json").write_text("{")
    assert load(mine, tmp_path / "run", text).digest == first.digest
    write_field_cube(mine / "cube", seed=1)
    os.utime(mine / "cube", (1, 1))
    changed = load(mine, tmp_path / "run", text)
    assert changed.digest != first.digest


def test_a_killed_preparation_leaves_nothing_that_is_taken_for_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(patches_module, "_facts", killed)
        with pytest.raises(KeyboardInterrupt):
            load(folder, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(load(folder, tmp_path).splits) == 2


def test_a_full_disk_is_reported_before_reading(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = patches_module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(patches_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"patches need up to .* MB, and 0 MB are free"):
        load(folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_an_output_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(patches_module, "_write", full)
    with pytest.raises(OutputError, match=r"could not be written \(No space left"):
        load(folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scene_without_a_whole_patch_is_refused_with_its_line(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ManifestRefused) as caught:
        load(folder, tmp_path, size=SIDE)
    assert [each.line for each in caught.value.problems] == [2, 3]
    assert "no square of 148 x 148 pixels is valid" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_measured_curve_survives_the_index(folder: Path, tmp_path: Path) -> None:
    curve = Band.from_curve("green", [500, 540, 560, 600], [0, 0.5, 1, 0])
    sensor = Sensor(name="mine", bands=(curve, Band(role="red", centre=650, fwhm=30)))
    path = folder / "curve.csv"
    path.write_text("hsi\ncube\n")
    manifest = read_manifest(path)
    manifest = replace(manifest, rows=(replace(manifest.rows[0], sensor=sensor),))
    request = PatchRequest(manifest=manifest, config=DataConfig(), side=12, seed=0)
    for _ in range(2):  # built, then loaded
        _, (patches,) = prepare_patches(tmp_path, request)
        assert patches.sensor == sensor
    json.loads((tmp_path / "patches" / "index.json").read_text())


# --- what is drawn --------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_seed_step_and_shard(data: TrainingData) -> None:
    drawn = {(s, k): draw(data, s, shard=k) for s in range(6) for k in (0, 1)}
    for (step, shard), batch in drawn.items():
        assert same(draw(data, step, shard=shard), batch)
    several = [drawn[0, 0], drawn[0, 1], drawn[1, 0], draw(data, 0, seed=1)]
    for i, one in enumerate(several):
        assert not any(one.msi.shape == b.msi.shape and same(one, b) for b in several[i + 1 :])


def test_batches_have_the_shapes_they_say(data: TrainingData) -> None:
    for step in range(12):
        batch = draw(data, step)
        count = batch.msi.shape[1]
        assert batch.msi.shape == (3, count, SIZE, SIZE)
        assert batch.hsi.shape == (3, 40, SIZE, SIZE)
        assert batch.family.curves.shape[1] == count
        assert (batch.theta is None) == (batch.rows is None) == (len(batch.family.curves) == 1)
        assert torch.isfinite(batch.msi).all()
        assert torch.isfinite(batch.hsi).all()


def test_weights_say_how_often_each_kind_is_drawn(data: TrainingData) -> None:
    """Weights 2, 1 and 1: a quarter of the steps has a real image, half of the pair's weight."""
    real = np.mean([draw(data, step, count=1).theta is None for step in range(400)])
    assert 0.18 < real < 0.32


def test_a_real_batch_holds_training_patches_in_all_eight_positions(data: TrainingData) -> None:
    (pair,) = data.pairs
    inner = slice(MAX_BAND_SHIFT, -MAX_BAND_SHIFT)
    cubes = pair.patches.cubes(pair.train)[..., inner, inner]
    images = pair.patches.images(pair.train)[..., inner, inner]
    turned = {
        (quarters, mirrored): [
            np.flip(np.rot90(a, quarters, (2, 3)), 3) if mirrored else np.rot90(a, quarters, (2, 3))
            for a in (cubes, images)
        ]
        for quarters in range(4)
        for mirrored in (False, True)
    }
    met = set()
    for step in range(60):
        batch = draw(data, step)
        if batch.theta is not None:
            continue
        for msi, hsi in zip(batch.msi.numpy(), batch.hsi.numpy(), strict=True):
            found = [
                (turn, index)
                for turn, (some_cubes, some_images) in turned.items()
                for index in np.flatnonzero((some_cubes == hsi).all((1, 2, 3)))
                if (some_images[index] == msi).all()
            ]
            assert found
            met.add(found[0][0])
    assert len(met) == 8


def test_simulated_batches_are_cubes_seen_by_their_cameras(data: TrainingData) -> None:
    for step in range(12):
        batch = draw(data, step)
        if batch.rows is None:
            continue
        clean = torch.einsum("sbc,scyx->sbyx", batch.rows, batch.hsi)
        error = (batch.msi - clean)[:, 0].square().mean().sqrt()
        assert error < 0.1 * clean[:, 0].square().mean().sqrt()


def test_no_validation_pixel_is_ever_drawn(data: TrainingData) -> None:
    """Row 39: no training batch holds a spectrum of a validation patch."""

    def pixels(cubes: np.ndarray) -> set[bytes]:
        spectra = np.moveaxis(cubes.astype(np.float16), 1, -1).reshape(-1, cubes.shape[1])
        return {spectrum.tobytes() for spectrum in spectra}

    apart = set[bytes]().union(*(pixels(f.patches.cubes(f.validate)) for f in data.splits))
    inside = set[bytes]().union(*(pixels(f.patches.cubes(f.train)) for f in data.splits))
    drawn = pixels(data.draw_scenes(np.random.default_rng(0), 60, 12))
    for step in range(20):
        drawn |= pixels(draw(data, step).hsi.numpy())
    assert len(drawn & inside) > 1000
    assert not drawn & apart


def test_a_library_alone_is_simulated_from_as_before(tmp_path: Path) -> None:
    library = tiny_library()
    data = TrainingData.of(library)
    one = data.draw(seed=3, step=4, shard=0, count=2, size=8)
    rng = np.random.default_rng([3, 4, 0])
    scenes = simulate_batch(library, rng, 2, 8 + 2 * MAX_BAND_SHIFT)
    other = observe_batch(rng, scenes, library.grid)
    assert same(one, other)
    assert data.pairs == []
    changed = replace(library, spectra=library.spectra * np.float32(0.9))
    assert TrainingData.of(changed).digest != data.digest


def test_spectra_of_the_prior_come_from_every_source(data: TrainingData) -> None:
    spectra = data.draw_spectra(np.random.default_rng(0), 40)
    assert spectra.shape[1] == 40
    assert spectra.dtype == np.float64
    only_cubes = replace(data, library=None)
    cubes = only_cubes.draw_spectra(np.random.default_rng(0), 40)
    assert cubes.shape[1] == 40
    assert cubes.std() != spectra.std()


def test_pairs_alone_are_enough(folder: Path, tmp_path: Path) -> None:
    data = load(folder, tmp_path, "msi,hsi,sensor\nmsi.tif,cube,p4m\n")
    kinds = {draw(data, step).theta is None for step in range(20)}
    assert kinds == {True, False}  # real images, and its cube seen by random cameras


# --- facts ----------------------------------------------------------------------------------------


def test_facts_say_what_every_row_gave(data: TrainingData) -> None:
    pair, cube, library = data.facts["rows"]
    assert data.facts["validation"] == "blocks"
    assert list(pair["files"]) == ["msi.tif", "cube", "cube.hdr"]
    assert all(len(sha) == 64 for sha in pair["files"].values())
    assert pair["train"] + pair["validate"] + pair["guard"] == pair["patches"]
    assert pair["registration"]["shift_rows"] == pytest.approx(0.7, abs=0.1)
    assert "registration" not in cube
    assert library["spectra"] == len(tiny_library())
    assert library["kinds"] == tiny_library().counts()
    json.dumps(data.facts)


def test_overlapping_splits_are_refused(folder: Path, tmp_path: Path) -> None:
    """Row 39: rows that the column puts on both sides of the same ground."""
    write_field_cube(folder / "again")
    with pytest.raises(ManifestRefused, match="training patches lie on validation ground"):
        load(folder, tmp_path, "hsi,split\ncube,train\nagain,val\n")


def test_nothing_to_train_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="nothing is left to train on"):
        load(folder, tmp_path, "hsi,split\ncube,val\n")
    with pytest.raises(InputRefused, match="nothing is left to train on"):
        load(folder, tmp_path, "hsi\ncube\n", guard=500)


def test_the_window_type_is_what_splits_take(data: TrainingData) -> None:
    assert all(isinstance(w, Window) for f in data.splits for w in f.patches.windows)
    assert data.grid.matches(GRID)
