"""Tables of plots as training data: mosaics of plots, split by flight."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import GRID, P4M, tiny_library, tiny_network
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig, open_sources
from uavssr.data.plot_sources import PlotSource
from uavssr.data.training_data import TrainingData, load_data
from uavssr.io.manifests import ManifestRefused

GAINS = {"june": 0.6, "july": 0.85, "august": 1.1}
BASIS = tiny_network().basis


def write_plots(folder: Path, *, bands: int = 40, gains: dict[str, float] = GAINS) -> Path:
    """A table of 20 plots a flight on the first `bands` wavelengths, and a manifest of it."""
    spectra = tiny_library().spectra[30:50].astype(float)
    flights = list(gains)
    np.savez(
        folder / "plots.npz",
        ms=np.concatenate([gains[flight] * spectra @ P4M.srf(GRID).T for flight in flights]),
        hs=np.concatenate([spectra[:, :bands]] * len(flights)),
        wavelength_nm=GRID.centres[:bands],
        flight=np.repeat(flights, len(spectra)),
    )
    path = folder / "pairs.csv"
    path.write_text("hsi,kind,sensor,weight\nplots.npz,plots,p4m,3\n")
    return path


def sources(path: Path, **options: object) -> list[PlotSource]:
    _, opened = open_sources(read_manifest(path), DataConfig(), **options)
    assert all(isinstance(source, PlotSource) for source in opened)
    return opened


def load(path: Path, **options: object) -> TrainingData:
    config = DataConfig(patches=30)
    return load_data(path.parent / "run", read_manifest(path), config, size=20, seed=1, **options)


def test_every_flight_is_a_group_with_its_share_of_the_weight(tmp_path: Path) -> None:
    opened = sources(write_plots(tmp_path))
    assert [source.row.group for source in opened] == ["august", "july", "june"]
    assert [source.row.weight for source in opened] == [1, 1, 1]
    for source in opened:
        np.testing.assert_allclose(source.bands.ratio, GAINS[source.flight], rtol=1e-3)
    warned = [text for source in opened for text in source.warnings()]
    assert [text[:20] for text in warned] == ["line 2: flight june:"]


def test_mosaics_hold_squares_of_plots_and_the_cameras_noise(tmp_path: Path) -> None:
    source = sources(write_plots(tmp_path))[2]
    spectra, seen = source.table.spectra, source.table.msi
    for _, image, cube in islice(source.mosaics(GRID, None, side=24, seed=0), 5):
        pixels = cube.reshape(40, -1).T
        distance = np.abs(pixels[:, None] - spectra).max(2)
        plot = distance.argmin(1)
        assert distance.min(1).max() < 1e-6
        noise = image.reshape(5, -1).T - seen[plot]
        rms = np.sqrt((seen[plot] ** 2).mean(0))
        assert (noise.std(0) < 10 ** (-25 / 20) * 1.1 * rms).all()
        assert (noise.std(0) > 10 ** (-45 / 20) * 0.9 * rms).all()
        same = np.diff(plot.reshape(24, 24), axis=1) == 0
        assert same.mean() > 0.7


def test_validation_is_of_other_flights(tmp_path: Path) -> None:
    data = load(write_plots(tmp_path))
    assert data.facts["validation"] == "groups"
    sides = {s.patches.facts["flight"]: (s.train.size, s.validate.size) for s in data.splits}
    assert sorted(sides.values()) == [(0, 10), (10, 0), (10, 0)]
    again = load(tmp_path / "pairs.csv")  # from the stored patches
    assert again.digest == data.digest
    assert [s.row.group for s in again.splits] == ["august", "july", "june"]
    batches = [data.draw(seed=0, step=step, shard=0, count=2, size=20) for step in range(8)]
    assert any(batch.theta is None for batch in batches)
    assert any(batch.theta is not None for batch in batches)
    assert all(batch.msi.shape == (2, *batch.msi.shape[1:2], 20, 20) for batch in batches)


def test_a_lone_flight_trains(tmp_path: Path) -> None:
    data = load(write_plots(tmp_path, gains={"june": 0.9}))
    assert [split.validate.size for split in data.splits] == [0]
    assert data.splits[0].train.size == 30


def test_the_initial_model_completes_the_wavelengths(tmp_path: Path) -> None:
    path = write_plots(tmp_path, bands=34)  # to 908 nm
    with pytest.raises(ManifestRefused, match="which completes them: --init"):
        sources(path, grid=GRID)
    for source in sources(path, grid=GRID, basis=BASIS):
        completed = source.spectra_on(GRID, BASIS)
        np.testing.assert_allclose(completed[:, :34], source.table.spectra, atol=1e-6)
        error, unlearned = (
            np.sqrt(np.square(part - tiny_library().spectra[30:50, 34:]).mean())
            for part in (completed[:, 34:], BASIS.mean[34:].numpy())
        )
        assert error < 0.2 * unlearned
    assert len(load(path, basis=BASIS).grid) == 40


def test_an_odd_flight_is_named_and_accepted(tmp_path: Path) -> None:
    path = write_plots(tmp_path, gains={**GAINS, "july": 3.28})
    with pytest.raises(ManifestRefused) as refused:
        sources(path)
    (problem,) = refused.value.problems
    assert "flight july: the image is blue 3.28, green 3.28" in problem.text
    path.write_text("hsi,kind,sensor,accept\nplots.npz,plots,p4m,ratio\n")
    july = sources(path)[1]
    assert [oddity.check for oddity in july.accepted] == ["ratio"]
    assert any("accepted: the image is blue 3.28" in text for text in july.warnings())
