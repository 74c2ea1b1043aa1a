"""Samples of the posterior against the standard errors of cubes, indices and means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import CONFIG, P4M, tiny_msi, tiny_network
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.analysis import (
    IndexEvaluation,
    IndexRequest,
    PosteriorSampler,
    SampleOptions,
    SpectralSource,
    SpectralTile,
    of_cube,
    of_image,
    own_share_of_mean,
    write_samples,
)
from uavssr.errors import InputRefused, OutputExists, UsageError
from uavssr.model import save_model

HEIGHT, WIDTH, SAMPLES = 40, 36, 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    write(folder / "in.tif", np.where(irregular_mask(HEIGHT, WIDTH, seed=2), image, np.nan))
    uniform = np.broadcast_to(image[:, 7:8, 9:10], image.shape)
    write(folder / "uniform.tif", np.ascontiguousarray(uniform))
    return folder


def image_source(folder: Path, name: str = "in.tif", tile: int = 32) -> SpectralSource:
    options = ReconstructionOptions(model=folder / "tiny", tile=tile, workers=2)
    return of_image(plan_reconstruction(open_msi(folder / name, sensor="p4m"), options))


def first_tile(source: SpectralSource) -> SpectralTile:
    [tile] = source.map(lambda tile: tile, progress=None, task="", indices=[0])
    return tile


@torch.inference_mode()
def drawn(source: SpectralSource, tile: SpectralTile, count: int, seed: int = 0) -> np.ndarray:
    """(count, C, n) errors of the valid pixels of a tile."""
    sampler = PosteriorSampler.of(source, seed=seed)
    shared = [sampler.shared(sample) for sample in range(count)]
    spectra = tile.bands(range(len(source.grid))).numpy()
    return np.stack([cube[:, tile.valid] - spectra for cube in sampler.draws(tile, shared)])


def first_sample(source: SpectralSource) -> np.ndarray:
    """(C, h, w) of the first tile."""
    sampler = PosteriorSampler.of(source)
    return next(sampler.draws(first_tile(source), [sampler.shared(0)]))


@pytest.fixture(scope="module")
def source(folder: Path) -> SpectralSource:
    return image_source(folder)


@pytest.fixture(scope="module")
def tile(source: SpectralSource) -> SpectralTile:
    return first_tile(source)


@pytest.fixture(scope="module")
def errors(source: SpectralSource, tile: SpectralTile) -> np.ndarray:
    return drawn(source, tile, SAMPLES)


def test_deviation_of_samples_is_the_standard_error(
    source: SpectralSource, tile: SpectralTile, errors: np.ndarray
) -> None:
    uncertainty = source.errors.uncertainty()
    image, a = source.errors.image(tile.coefficients), tile.coefficients[None]
    with torch.inference_mode():
        sigma = uncertainty.expand(uncertainty.maps(image[..., None], a[..., None]))[0, ..., 0]
    ratio = errors.std(0) / sigma.numpy()
    # what all pixels share makes their deviations err together, by 1 / sqrt(2 x 600) = 3 %
    assert abs(np.median(ratio) - 1) < 0.08
    assert np.mean(np.abs(ratio - 1) < 0.12) > 0.95
    assert np.abs(errors.mean(0) / sigma.numpy()).max() < 6 / SAMPLES**0.5


def test_covariance_of_samples_gives_the_standard_error_of_an_index(
    source: SpectralSource, tile: SpectralTile, errors: np.ndarray
) -> None:
    evaluation = IndexEvaluation.of(
        IndexRequest.of([], ["R800 - R550", "R800 / 2 + R550 / 2"]), source.grid, source.errors
    )
    with torch.inference_mode():
        sigma = evaluation(tile).maps()[1::2].numpy()
    weights = evaluation.weights.numpy()
    order = [evaluation.terms.index(term) for term in ("R800", "R550")]
    first, second = (np.einsum("c,scn->sn", weights[row], errors) for row in order)
    for combination, expected in zip((first - second, (first + second) / 2), sigma, strict=True):
        assert np.median(combination.std(0) / expected) == pytest.approx(1, abs=0.08)


def test_mean_of_like_pixels_keeps_what_they_share(folder: Path) -> None:
    """The STF, and the share of pixels' own errors that the plots of `uavssr plots` keep."""
    network = tiny_network(replace(CONFIG, components=1))
    save_model(network, folder / "one", name="one", training={})
    options = ReconstructionOptions(model=folder / "one", tile=32, workers=1)
    msi = open_msi(folder / "uniform.tif", sensor="p4m")
    source = of_image(plan_reconstruction(msi, options))
    tile = first_tile(source)
    errors = drawn(source, tile, SAMPLES)
    evaluation = IndexEvaluation.of(IndexRequest.of([], ["R800"]), source.grid, source.errors)
    with torch.inference_mode():
        values = evaluation(tile)
    of_index = np.einsum("c,scn->sn", evaluation.weights[0].numpy(), errors)
    own = float(values.own_variance.mean()) * own_share_of_mean(1 / of_index.shape[1])
    expected = np.sqrt(own + float(values.shared.mean(2).square().sum()))
    assert of_index.mean(1).std() == pytest.approx(expected, rel=0.08)
    single = float(values.maps()[1].mean())
    assert of_index.std(0).mean() == pytest.approx(single, rel=0.05)
    assert expected < 0.95 * single


def test_same_seed_gives_the_same_samples_whatever_the_tiles(folder: Path) -> None:
    cubes = {}
    for tile in (16, 32):
        out = folder / f"tile{tile}"
        storage = OutputOptions(cube=out / "sample.tif", dtype="float32")
        options = SampleOptions.of(out, count=2, seed=5, storage=storage)
        paths = write_samples(image_source(folder, tile=tile), options)
        assert [path.name for path in paths] == ["sample_001.tif", "sample_002.tif"]
        with rasterio.open(paths[0]) as first, rasterio.open(paths[1]) as second:
            cubes[tile] = np.stack([first.read(), second.read()])
            assert first.tags()["uavssr_sample"] == "1 of 2"
    np.testing.assert_allclose(cubes[16], cubes[32], atol=2e-5)
    assert np.nanstd(cubes[16][0] - cubes[16][1]) > 1e-3
    assert (folder / "tile16" / "sample_001.qml").exists()
    with pytest.raises(OutputExists):
        write_samples(image_source(folder), SampleOptions.of(folder / "tile16", count=1))


def test_coefficients_give_the_samples_of_their_image(folder: Path) -> None:
    planned = plan_reconstruction(
        open_msi(folder / "in.tif", sensor="p4m"),
        ReconstructionOptions(model=folder / "tiny", tile=32),
    )
    path = planned.write(OutputOptions(cube=folder / "a.tif", format="coefficients")).cube
    again, source = of_cube(path, model=folder / "tiny"), of_image(planned)
    with torch.inference_mode():
        first, second = (first_sample(one) for one in (source, again))
    # one tile of 32, the other of 256 pixels; p_k from Y, or from R X
    different = np.abs(first - second[:, :32, :32])
    assert np.nanmedian(different) < 1e-3


def test_cube_without_errors_and_odd_numbers_are_refused(folder: Path) -> None:
    source = replace(image_source(folder), errors=None)
    with pytest.raises(InputRefused, match="no samples can be drawn"):
        write_samples(source, SampleOptions.of(folder / "none", count=1))
    with pytest.raises(UsageError, match="--count must be 1-1000, got 0"):
        SampleOptions.of(folder / "none", count=0)
    storage = OutputOptions(cube="a.tif", format="coefficients")
    with pytest.raises(UsageError, match="no coefficients hold"):
        SampleOptions.of(folder / "none", count=1, storage=storage)


def test_command_writes_the_samples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "by command"
    camera = ["--sensor", "p4m", "--model", str(folder / "tiny")]
    command = ["sample", str(folder / "in.tif"), *camera, "-n", "2", "-o", str(out)]
    assert cli.main([*command, "--wavelengths", "700-900"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["sample_001.tif", "sample_002.tif"]
    assert cli.main(command) == 8
    assert "pass --overwrite" in capsys.readouterr().err
