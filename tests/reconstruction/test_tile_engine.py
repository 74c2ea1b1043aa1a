"""Tiles: equal to the whole with one STF, and blended without seams with many."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.fakes import (
    FakeSource,
    coordinate_image,
    failing_at,
    irregular_mask,
    random_stf,
    scene_sizes,
)
from tests.helpers.models import (
    CONFIG,
    GRID,
    P4M,
    expected_stf,
    tiny_library,
    tiny_network,
    tiny_scene,
)
from tests.helpers.tile_stfs import tile_stf_estimator
from uavssr.errors import IncompleteRun, InputRefused, OutputError, UsageError
from uavssr.io.stf import QUANTITIES
from uavssr.io.writers.tile_record import TileRecord
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import GAIN, ResponseFamily
from uavssr.model.state import Stf
from uavssr.reconstruction.devices import resolve_device, torch_threads
from uavssr.reconstruction.fitted_stf import FittedStf, TileStfs, float32_arrays
from uavssr.reconstruction.pixels import blend_weight, blend_windows, fill_invalid, group_tiles
from uavssr.reconstruction.stf_estimates import fill_reflectance
from uavssr.reconstruction.tile_engine import COEFFICIENTS, TileEngine
from uavssr.reconstruction.tile_stfs import TileStfEstimator
from uavssr.tiling import TileGrid

CPU = torch.device("cpu")
FAMILY = ResponseFamily.of(P4M, GRID)
TILES = st.sampled_from([16, 32, 48, 64, 96])


@cache
def network(stages: int = CONFIG.stages) -> PGUNet:
    return tiny_network(replace(CONFIG, stages=stages)).requires_grad_(False)


def coordinates(height: int, width: int, mask: np.ndarray | None = None) -> FakeSource:
    every = np.ones((height, width), bool)
    image = coordinate_image(len(P4M), height, width)
    return FakeSource(image=image, sensor=P4M, mask=every if mask is None else mask)


def smooth_camera_drift(size: int = 96) -> FakeSource:
    """A smooth scene seen by a camera that grows brighter from left to right by a factor of 2.7.

    Mixtures of four spectra vary along the diagonal with a period that divides the size, so that
    one row or column changes as much as another: only seams stand out at tile borders.
    """
    y, x = np.mgrid[:size, :size] * (2 * np.pi / 48)
    phases = np.stack([np.cos(x + y), np.sin(2 * (x + y)), np.cos(x + y + 2), np.sin(x + y - 2)])
    share = np.exp(phases)
    share /= share.sum(0)
    spectra = tiny_library().spectra[[3, 40, 75, 100]]
    image = np.einsum("bc,mc,myx->byx", P4M.srf(GRID), spectra, share)
    image *= np.exp(np.linspace(-0.5, 0.5, size))
    return FakeSource(image=image.astype(np.float32), sensor=P4M, mask=np.ones((size, size), bool))


def engine_of(source: FakeSource, tile: int, **options: object) -> TileEngine:
    net, stages = options.pop("network", network()), options.get("stages")
    halo = options.pop("halo", net.halo(stages))
    tiles = TileGrid(height=source.height, width=source.width, tile=tile, halo=halo)
    options = {"scene_stf": random_stf(FAMILY, seed=1), "overlap": 0} | options
    options.setdefault("tile_stf", tile_stf_estimator(net, options["scene_stf"], source))
    return TileEngine(network=net, source=source, tiles=tiles, device=CPU, **options)


def assembled(engine: TileEngine) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (r, y, x), NaN where no tile gave any, and the valid pixels that tiles gave."""
    shape = engine.tiles.height, engine.tiles.width
    coefficients = np.full((engine.network.config.rank, *shape), np.nan, np.float32)
    valid = np.zeros(shape, bool)
    for group in engine.groups():
        for record in engine.compute(engine.read(group), stf=False):
            core = engine.tiles[record.index].core
            valid[core.rows, core.cols] = record.valid
            if record.maps:
                coefficients[:, core.rows, core.cols] = record.maps[COEFFICIENTS]
    return coefficients, valid


def expand(engine: TileEngine, coefficients: np.ndarray) -> np.ndarray:
    return engine.network.basis.expand(torch.from_numpy(coefficients)).numpy()


def found(engine: TileEngine, index: int) -> FittedStf:
    """A tile's own STF."""
    return FittedStf.from_numbers(engine.record(index).stf, FAMILY)


def whole(engine: TileEngine) -> np.ndarray:
    """The network run once on the filled image, without an engine: the oracle."""
    fill = fill_reflectance(engine.network, engine.scene_stf)
    source = engine.source
    image = torch.from_numpy(fill_invalid(source.image, source.mask, fill))[None]
    result = engine.network(image, engine.scene_stf, estimate_stf=False, stages=engine.stages)
    return result.coefficients[0].numpy()


# --- one STF -------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(scene_sizes(), TILES, st.integers(0, 3), st.integers(0, 9))
@example((1, 1), 16, 3, 0)
@example((1, 79), 16, 3, 1)
@example((79, 1), 16, 3, 2)
@example((61, 53), 16, 3, 3)
@example((61, 67), 96, 2, 4)
def test_tiles_equal_the_whole(size: tuple[int, int], tile: int, stages: int, seed: int) -> None:
    """Row 19, fact 10: any size, tile and number of stages, with an irregular hole."""
    source = coordinates(*size, irregular_mask(*size, seed=seed))
    engine = engine_of(source, tile, network=network(3), stages=stages)
    coefficients, valid = assembled(engine)
    expected = whole(engine)
    assert np.array_equal(valid, source.mask)
    assert np.abs(coefficients - expected)[:, source.mask].max() <= 1e-5
    cube = expand(engine, np.nan_to_num(coefficients))
    oracle = expand(engine, expected)
    assert np.abs(cube - oracle)[:, source.mask].max() <= 1e-5


def test_a_short_halo_leaves_seams() -> None:
    """Fact 10: the test above can fail."""
    source = coordinates(60, 60)
    engine = engine_of(source, 16, halo=network().halo() // 2 - 1)
    assert np.abs(assembled(engine)[0] - whole(engine)).max() > 1e-4


def test_the_heads_are_awake() -> None:
    """Else tiles would equal the whole for want of any neighbourhood."""
    source = coordinates(40, 40)
    none, two = (assembled(engine_of(source, 16, stages=s))[0] for s in (0, 2))
    assert np.abs(none - two).max() > 0.05


def test_values_under_the_mask_do_not_matter() -> None:
    """Promise P5: NaN, infinity or a fill value in invalid pixels never reaches the network."""
    mask = irregular_mask(40, 50, seed=4)
    source = coordinates(40, 50, mask)
    wild = source.image.copy()
    wild[:, ~mask] = np.float32(1e30)
    one = assembled(engine_of(source, 16))[0]
    other = assembled(engine_of(replace(source, image=wild), 16))[0]
    assert np.array_equal(one[:, mask], other[:, mask])
    assert np.isfinite(one[:, mask]).all()


def test_empty_tile_is_skipped() -> None:
    """Row 17: nothing but the tile's own window is read, and nothing is computed."""
    mask = np.ones((40, 40), bool)
    mask[:16, :16] = False
    engine = engine_of(coordinates(40, 40, mask), 16)
    empty = engine.record(0)
    assert not empty.maps
    assert not empty.stf
    assert not empty.valid.any()
    assert len(engine.source.reads) == 1
    assert engine.record(1).maps


def test_tile_of_one_valid_pixel_is_reconstructed() -> None:
    """Row 17, promise P5."""
    mask = np.zeros((40, 40), bool)
    mask[20, 21] = True
    engine = engine_of(coordinates(40, 40, mask), 16)
    record = engine.record(4)
    assert record.valid.sum() == 1
    assert np.isfinite(record.maps[COEFFICIENTS]).all()
    assert record.stf["valid_fraction"] == pytest.approx(1 / 256)
    assert not any(engine.record(i).maps for i in range(9) if i != 4)


@pytest.mark.parametrize("kind", ["constant", "one material"])
def test_tile_without_diversity_is_finite_and_flagged(kind: str) -> None:
    """Row 18, fact 11."""
    spectrum = tiny_scene(2, 2)[:, 0, 0]
    bright = np.ones((40, 40)) if kind == "constant" else np.linspace(0.5, 1.5, 1600)
    image = (P4M.srf(GRID) @ spectrum)[:, None, None] * bright.reshape(40, 40)
    source = replace(coordinates(40, 40), image=image.astype(np.float32))
    engine = engine_of(source, 64, scene_stf=expected_stf())
    assert np.isfinite(expand(engine, engine.record(0).maps[COEFFICIENTS])).all()
    poor = found(engine, 0).estimate
    assert np.isfinite(poor.stf).all()
    assert np.isfinite([poor.centre_se, poor.fwhm_se, poor.gain_se]).all()
    rich = found(engine_of(coordinates(40, 40), 64, scene_stf=expected_stf()), 0).estimate
    assert poor.condition > 1e5
    assert poor.condition > 100 * rich.condition
    nominal = FAMILY.centre[0].numpy()
    assert np.abs(poor.centre - nominal).max() < 3 * FAMILY.spread[0, :, 0].max()


def test_tile_of_a_constant_scene_has_the_scenes_stf() -> None:
    """Row 18: no drift, and no more certainty than the scene's STF has."""
    spectrum = np.full((len(P4M), 40, 40), 0.2, np.float32)
    engine = engine_of(replace(coordinates(40, 40), image=spectrum), 16)
    tile = found(engine, 4).stf
    assert torch.allclose(tile.theta, engine.scene_stf.theta, atol=1e-6)
    assert (tile.theta_se >= engine.scene_stf.theta_se).all()


def test_nan_from_the_network_names_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 32: in one pass and in the blended one."""
    engine = engine_of(coordinates(40, 40), 16)
    stf = found(engine, 8)
    real = PGUNet.forward

    def broken(self: PGUNet, *args: object, **options: object) -> object:
        result = real(self, *args, **options)
        result.coefficients[..., -1, -1] = float("nan")
        return result

    monkeypatch.setattr(PGUNet, "forward", broken)
    assert engine.record(0).maps  # the pixel lies in its halo
    with pytest.raises(IncompleteRun, match=r"tile 8 \(row 32, column 32\)") as caught:
        engine.record(8)
    assert caught.value.exit_code == 6
    with pytest.raises(IncompleteRun, match="tile 8"):
        replace(engine, tile_stfs={8: stf}).record(8)


def test_refusal_of_the_source_passes_through() -> None:
    """Row 20: what the reader says is what the caller hears."""
    source = replace(coordinates(40, 40), before_read=failing_at(2))
    engine = engine_of(source, 16)
    assert engine.record(0).maps
    with pytest.raises(InputRefused, match="cannot be decoded"):
        engine.record(1)


# --- batches -------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(scene_sizes(), TILES, st.integers(0, 20), st.integers(1, 5))
def test_batches_hold_every_tile_once_and_tiles_of_one_size(
    size: tuple[int, int], tile: int, halo: int, most: int
) -> None:
    tiles = TileGrid(height=size[0], width=size[1], tile=tile, halo=halo)
    groups = list(group_tiles(tiles, most))
    assert [index for group in groups for index in group] == list(range(len(tiles)))
    assert all(1 <= len(group) <= most for group in groups)
    for group in groups:
        reads = [tiles[index].read for index in group]
        assert len({(each.height, each.width) for each in reads}) == 1


def test_a_batch_gives_what_its_tiles_give_alone() -> None:
    """Holes included: an empty tile goes through no network."""
    mask = irregular_mask(48, 96, seed=1)
    mask[16:32, 32:48] = False
    engine = engine_of(coordinates(48, 96, mask), 16)
    many = replace(engine, batch=4)
    assert max(map(len, many.groups())) == 4
    for group in many.groups():
        for record in many.compute(many.read(group)):
            alone = engine.record(record.index)
            assert np.array_equal(record.valid, alone.valid)
            assert bool(record.maps) == bool(alone.maps) == record.valid.any()
            for name, maps in record.maps.items():
                assert np.abs(maps - alone.maps[name]).max() <= 1e-5
            for name, numbers in record.stf.items():
                assert np.allclose(numbers, alone.stf[name], rtol=1e-3, atol=1e-4), name


def test_engine_can_be_sent_to_another_process() -> None:
    """A record depends on the tile's number and on what was pickled, on nothing else."""
    engine = engine_of(coordinates(40, 40), 16)
    sent = pickle.loads(pickle.dumps(engine))  # noqa: S301 - our own bytes
    one, other = engine.record(5), sent.record(5)
    assert np.array_equal(one.maps[COEFFICIENTS], other.maps[COEFFICIENTS])
    assert all(np.array_equal(one.stf[name], other.stf[name]) for name in one.stf)


def test_stf_comes_back_from_its_numbers_to_the_last_bit() -> None:
    engine = engine_of(coordinates(40, 40), 32)
    one = found(engine, 0)
    numbers = one.numbers()
    for kept in (numbers, float32_arrays(numbers)):
        other = FittedStf.from_numbers(kept, FAMILY)
        for name in ("theta", "theta_se", "rows"):
            assert torch.equal(getattr(one.stf, name), getattr(other.stf, name)), name
        for name in QUANTITIES:
            assert np.array_equal(getattr(one.estimate, name), getattr(other.estimate, name)), name


def test_tile_stfs_are_loaded_when_they_are_needed() -> None:
    """Promise P6: an empty tile has none; one that is gone is no reason to use the scene's."""
    engine = engine_of(coordinates(40, 40), 32)
    record, calls = engine.record(0), []

    def load(index: int) -> TileRecord | None:
        calls.append(index)
        empty = TileRecord(index=1, valid=np.zeros((0, 0), bool))
        return {0: record, 1: empty}.get(index)

    kept = TileStfs(load=load, indices=frozenset({0, 1, 2}), family=FAMILY)
    assert len(kept) == 3
    assert calls == []
    assert torch.equal(kept[0].stf.rows, found(engine, 0).stf.rows)
    assert kept.get(0) is kept[0]
    assert calls == [0]
    assert kept.get(1) is None
    assert kept.get(3) is None
    with pytest.raises(IncompleteRun, match=r"tile 2 is gone from the journal; run .* --resume"):
        kept.get(2)


# --- memory --------------------------------------------------------------------------------------


def forgetful(monkeypatch: pytest.MonkeyPatch, pixels: int, error: Exception) -> list[int]:
    """A network that runs out of memory above a number of pixels; returns what it did run."""
    real, ran = PGUNet.forward, []

    def forward(self: PGUNet, msi: torch.Tensor, *args: object, **options: object) -> object:
        count = msi.shape[0] * msi.shape[2] * msi.shape[3]
        if count > pixels:
            raise error
        ran.append(count)
        return real(self, msi, *args, **options)

    monkeypatch.setattr(PGUNet, "forward", forward)
    return ran


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
@pytest.mark.parametrize("batch", [1, 3])
def test_tile_too_large_for_the_memory_is_done_in_quarters(
    monkeypatch: pytest.MonkeyPatch, error: Exception, batch: int
) -> None:
    """Row 30: the same pixels to rounding, the same STF."""
    engine = replace(engine_of(coordinates(70, 150, irregular_mask(70, 150, seed=3)), 32), batch=3)
    expected = [record for g in engine.groups() for record in engine.compute(engine.read(g))]
    ran = forgetful(monkeypatch, 33**2, error)
    engine = replace(engine, batch=batch)
    cut = [record for g in engine.groups() for record in engine.compute(engine.read(g))]
    assert len(ran) > 4 * 8
    for one, other in zip(expected, cut, strict=True):
        assert np.abs(one.maps[COEFFICIENTS] - other.maps[COEFFICIENTS]).max() <= 1e-5
        assert np.allclose(one.stf["stf"], other.stf["stf"], atol=1e-5)


@pytest.mark.parametrize("error", NO_MEMORY)
def test_lack_of_memory_beside_the_network_is_reported(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Row 30: not a bug of the tile."""

    def numbers(*_: object, **__: object) -> None:
        raise error

    engine = engine_of(coordinates(40, 40), 32)
    [finish] = engine.begin(engine.read([0]))
    monkeypatch.setattr(TileStfEstimator, "numbers", numbers)
    with pytest.raises(OutputError, match=r"out of memory beside the network; .*--tile") as caught:
        finish()
    assert caught.value.exit_code == 5


def test_records_are_finished_without_the_network_in_any_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tile's own STF is found after `begin`, without the network, and in any thread."""
    engine, calls = engine_of(coordinates(40, 40), 32), []
    expected = engine.compute(engine.read([0]))[0]
    real = TileStfEstimator.numbers
    monkeypatch.setattr(
        TileStfEstimator, "numbers", lambda *a, **k: (calls.append(1), real(*a, **k))[1]
    )
    [finish] = engine.begin(engine.read([0]))
    assert not calls
    forgetful(monkeypatch, 0, RuntimeError("no network"))
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(finish).result()
    assert calls == [1]
    assert found.stf.keys() == expected.stf.keys()
    for name, value in expected.stf.items():
        assert np.array_equal(found.stf[name], value)
    assert np.array_equal(found.maps[COEFFICIENTS], expected.maps[COEFFICIENTS])


def test_lack_of_memory_for_a_quarter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 30."""
    engine = engine_of(coordinates(40, 40), 32)
    forgetful(monkeypatch, 100, MemoryError())
    with pytest.raises(OutputError, match=r"out of memory, even for 24 x 24 .*--tile") as caught:
        engine.record(0)
    assert caught.value.exit_code == 5


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = forgetful(monkeypatch, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        engine_of(coordinates(40, 40), 32).record(0)
    assert not ran


# --- many STFs -----------------------------------------------------------------------------------


@settings(max_examples=150)
@given(scene_sizes(), TILES, st.floats(0, 1))
@example((79, 79), 16, 1.0)
@example((67, 1), 32, 1.0)
def test_blending_weights_sum_to_one(size: tuple[int, int], tile: int, share: float) -> None:
    """At every pixel, over the tiles that `blended` asks: itself and its neighbours."""
    tiles, overlap = TileGrid(height=size[0], width=size[1], tile=tile), int(share * tile)
    total = np.zeros(size)
    for here in tiles:
        for index, window in blend_windows(tiles, here, overlap):
            weight = blend_weight(tiles, tiles[index], window, overlap)
            assert weight.min() >= 0
            total[window.rows, window.cols] += weight
    assert np.abs(total - 1).max() < 1e-6


def the_scenes(engine: TileEngine) -> FittedStf:
    """The scene's STF as if a tile had it, with the numbers of the last tile that has an STF."""
    filled = next(i for i in reversed(range(len(engine.tiles))) if engine.record(i).stf)
    return replace(found(engine, filled), stf=engine.scene_stf)


@settings(max_examples=15)
@given(scene_sizes(60), st.sampled_from([16, 32]), st.sampled_from([0, 9, 16]), st.integers(0, 9))
@example((53, 61), 16, 16, 0)
def test_identical_local_stfs_give_the_scenes_cube(
    size: tuple[int, int], tile: int, overlap: int, seed: int
) -> None:
    """Row 19: blending adds nothing of its own, around holes and at edges either."""
    source = coordinates(*size, irregular_mask(*size, seed=seed))
    engine = engine_of(source, tile, overlap=overlap)
    one, valid = assembled(engine)
    local = dict.fromkeys(range(len(engine.tiles)), the_scenes(engine))
    many, also_valid = assembled(replace(engine, tile_stfs=local))
    assert np.array_equal(valid, source.mask)
    assert np.array_equal(also_valid, source.mask)
    assert np.abs(one - many)[:, source.mask].max() <= 1e-5


def test_empty_tile_among_neighbours_stays_empty() -> None:
    """Row 17: its neighbours' STFs do not fill it, and it does not dim its neighbours."""
    mask = np.ones((48, 48), bool)
    mask[16:32, 16:32] = False
    engine = engine_of(coordinates(48, 48, mask), 16, overlap=16)
    local = {index: the_scenes(engine) for index in range(9) if index != 4}
    many = replace(engine, tile_stfs=local)
    assert not many.record(4).maps
    one, other = (each.record(1).maps[COEFFICIENTS] for each in (engine, many))
    assert np.abs(one - other).max() <= 1e-5


def drifted(overlap: int) -> TileEngine:
    """An engine whose tiles have STFs that follow the camera's drift in three steps."""
    source = smooth_camera_drift()
    engine = engine_of(source, 32, overlap=overlap, scene_stf=expected_stf())
    gains = [-0.3, 0.0, 0.3]
    local = {}
    for tile in engine.tiles:
        one = found(engine, tile.index)
        theta = one.stf.theta.clone()
        theta[..., GAIN] = gains[tile.core.col // 32]
        local[tile.index] = replace(one, stf=Stf.of(FAMILY, theta, one.stf.theta_se))
    return replace(engine, tile_stfs=local)


def seam_ratio(cube: np.ndarray, tile: int) -> float:
    """Mean absolute jump across tile borders over that between all other neighbours."""
    at_border, elsewhere = [], []
    for axis in (1, 2):
        jump = np.abs(np.diff(cube, axis=axis)).mean(axis=(0, 3 - axis))
        border = np.arange(1, jump.size + 1) % tile == 0
        at_border.append(jump[border])
        elsewhere.append(jump[~border])
    return float(np.concatenate(at_border).mean() / np.concatenate(elsewhere).mean())


def test_blended_stfs_leave_no_seam() -> None:
    """Fact 10: a ratio of 1.05 at most where the tiles' gains differ by 30 per cent."""
    engine = drifted(overlap=32)
    blended = expand(engine, assembled(engine)[0])
    hard = expand(engine, assembled(replace(engine, overlap=0))[0])
    assert seam_ratio(blended, 32) <= 1.05
    assert seam_ratio(hard, 32) > 1.1
    one = expand(engine, assembled(replace(engine, tile_stfs={}))[0])
    assert np.abs(one - blended).max() > 0.005  # the tiles' STFs do act


def test_tiles_own_stfs_show_in_their_middles() -> None:
    """Beyond the reach of the blending a tile is as its own STF alone would make it."""
    engine = drifted(overlap=16)
    alone = (
        replace(engine, scene_stf=engine.tile_stfs[4].stf, tile_stfs={})
        .record(4)
        .maps[COEFFICIENTS]
    )
    middle = slice(8, 24)
    blended = engine.record(4).maps[COEFFICIENTS]
    assert np.abs(blended - alone)[:, middle, middle].max() <= 1e-5
    assert np.abs(blended - alone).max() > 1e-4


# --- where it runs -------------------------------------------------------------------------------


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("mps", "gpu", "", f"cuda:{torch.cuda.device_count()}"):
        with pytest.raises(UsageError, match="device"):
            resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_not_replaced_by_something_else() -> None:
    with pytest.raises(UsageError, match=r"0 CUDA devices found; use --device cpu"):
        resolve_device("cuda")


def test_half_precision_stays_near_and_keeps_the_solvers_exact() -> None:
    """What a GPU does: Z-Net in bfloat16, and coefficients in float32."""
    engine = engine_of(coordinates(40, 50), 32)
    exact, rough = assembled(engine)[0], assembled(replace(engine, bfloat16=True))[0]
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.05 * exact.std()


def test_threads_are_limited_and_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(2):
        assert torch.get_num_threads() == 2
        with torch_threads(0):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
