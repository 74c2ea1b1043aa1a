"""The page as text, and the sample of the scene that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, open_msi, plan_reconstruction
from uavssr.analysis import IndexRequest, SpectralSource, of_cube, of_image
from uavssr.errors import OutputExists
from uavssr.io.hsi import open_cube_source
from uavssr.reconstruction import RunVerdict
from uavssr.report import IndexNote, PageFacts, PageSample, sample_spectra, write_page
from uavssr.report import page_sample as module
from uavssr.report.page import MAX_SPECTRA_BYTES, _packed, page_text
from uavssr.report.verdict_words import headline, sentences
from uavssr.tiling import Window

HEIGHT, WIDTH = 70, 45
REQUESTS = IndexRequest.of(["NDVI", "CIre"], [])
HOSTILE = "</script></title><script>alert(1)</script>\"'&"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    write(folder / "in.tif", np.where(irregular_mask(HEIGHT, WIDTH, seed=2), image, np.nan))
    tiny_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> SpectralSource:
    options = ReconstructionOptions(model=folder / "tiny", tile=32, workers=1)
    planned = plan_reconstruction(open_msi(folder / "in.tif", sensor="p4m"), options)
    planned.write(
        OutputOptions(cube=folder / "cube.tif", uncertainty=folder / "se.tif", dtype="float32")
    )
    planned.write(OutputOptions(cube=folder / "coefficients.tif", format="coefficients"))
    return of_image(planned)


@pytest.fixture(scope="module")
def sample(source: SpectralSource) -> PageSample:
    return sample_spectra(source, REQUESTS)


@pytest.fixture
def facts() -> PageFacts:
    notes = [IndexNote(name=item.name, title="", formula=item.formula.text) for item in REQUESTS]
    return PageFacts(title=HOSTILE, verdict=None, notes=notes, options={HOSTILE: HOSTILE})


def test_sample_is_the_cube_at_its_pixels(
    sample: PageSample, folder: Path, monkeypatch: pytest.MonkeyPatch, source: SpectralSource
) -> None:
    monkeypatch.setattr(module, "MAX_MAP_PIXELS", 6 * 1000)
    monkeypatch.setattr(module, "MAX_SHOWN_SPECTRA", 200)
    coarse = sample_spectra(source, REQUESTS)
    assert coarse.map_grid.step == 2
    assert coarse.cell_grid.step == 6
    cube, valid = open_cube_source(folder / "cube.tif").read(Window(0, 0, HEIGHT, WIDTH))
    with rasterio.open(folder / "se.tif") as dataset:
        errors = dataset.read()
    for shown in (sample, coarse):
        at = np.ix_(shown.cell_grid.rows, shown.cell_grid.cols)
        np.testing.assert_array_equal(shown.valid, valid[at])
        expected = cube[:, *at][:, shown.valid].clip(0)
        np.testing.assert_allclose(shown.spectra, expected, atol=1e-5)
        np.testing.assert_allclose(shown.spectra_errors, errors[:, *at][:, valid[at]], rtol=0.02)
        at = np.ix_(shown.map_grid.rows, shown.map_grid.cols)
        np.testing.assert_array_equal(np.isfinite(shown.indices[0]), valid[at])


@pytest.mark.parametrize("name", ["cube.tif", "coefficients.tif"])
def test_file_of_spectra_gives_the_same_sample(sample: PageSample, folder: Path, name: str) -> None:
    opened = of_cube(folder / name, model=folder / "tiny")
    assert opened.run_verdict is not None
    assert opened.run_verdict.valid == pytest.approx(sample.valid.mean(), abs=1e-5)
    again = sample_spectra(opened, REQUESTS)
    np.testing.assert_allclose(again.spectra.clip(0), sample.spectra, atol=1e-4)
    np.testing.assert_allclose(again.indices[0], sample.indices[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(again.spectra_errors, sample.spectra_errors, rtol=0.02)


def test_cube_without_its_stf_gives_a_page_without_errors(
    folder: Path, source: SpectralSource, facts: PageFacts
) -> None:
    text = (folder / "cube.tif").read_bytes()
    (folder / "lonely.tif").write_bytes(text)
    lonely = of_cube(folder / "lonely.tif", model=folder / "tiny")
    page = page_text(lonely, sample_spectra(lonely, REQUESTS), facts)
    assert "Standard errors are not known" in page
    data = json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["errors"] is data["outlier"] is data["stf"] is None


def test_many_spectra_are_thinned_to_the_limit(
    sample: PageSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = _packed(sample, 2)
    assert full[0] is sample
    monkeypatch.setattr("uavssr.report.page.MAX_SPECTRA_BYTES", 4000)
    thinned, spectra, errors = _packed(sample, 2)
    assert (spectra.bytes_each + errors.bytes_each + 8) * spectra.counts.shape[1] <= 4000
    assert thinned.cell_grid.step in (4, 8)
    rows, cols = thinned.cell_grid.rows, thinned.cell_grid.cols
    number = np.cumsum(sample.valid).reshape(sample.valid.shape) - 1
    chosen = number[np.ix_(rows, cols)][thinned.valid]
    np.testing.assert_array_equal(thinned.spectra, sample.spectra[:, chosen])
    assert MAX_SPECTRA_BYTES * 4 / 3 + 5_000_000 < 15e6


def test_page_allows_its_own_style_and_script_alone(
    source: SpectralSource, sample: PageSample, facts: PageFacts
) -> None:
    page = page_text(source, sample, facts)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert not re.search(r"innerHTML|eval\(|fetch\(|XMLHttp|import\(|@import|url\(", text)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page)
    assert "<script>alert" not in page
    assert page.count("<script") == 2


def test_page_that_exists_is_kept(
    source: SpectralSource, sample: PageSample, facts: PageFacts, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    write_page(source, sample, facts, out)
    with pytest.raises(OutputExists):
        write_page(source, sample, facts, out)
    before = out.read_bytes()
    write_page(source, sample, facts, out, overwrite=True)
    assert out.read_bytes() == before


def test_verdict_is_told_in_words() -> None:
    usual = RunVerdict(
        valid=0.93, unusual=0.1, outlier=0.0004, saturated=0.0, clipped=0.0, prior_driven=(), odd=()
    )
    assert headline(usual)[0] == "good"
    assert sentences(usual)[0] == "93 % of the image holds data."
    assert "Less than 0.1 % is unlike" in sentences(usual)[1]
    odd = replace(usual, odd=("35 % of the pixels are unlike anything in training: check it",))
    assert headline(odd)[0] == "odd"
    assert sentences(odd)[0].startswith("35 % of the pixels")
    assert headline(None)[0] == "unknown"
