"""Models adapted to local spectra: the prior, the files of spectra, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import uavssr
from tests.helpers.cubes import listed, smooth_cube, write_cube, write_envi
from tests.helpers.models import GRID, P4M, tiny_library, tiny_model, tiny_network
from uavssr.cli import main
from uavssr.errors import ModelRefused, OutputError, UavssrError
from uavssr.evaluation.metrics import rmse, sam
from uavssr.io.hsi.cube import open_cube_source
from uavssr.model.local_prior import LOCAL_PRIOR_WEIGHT, add_local_prior, mix
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Stf
from uavssr.model.weights import load_model
from uavssr.sensors import WavelengthGrid
from uavssr.spectra.sources import open_spectra, sample_pixels
from uavssr.tiling import Window
from uavssr.training.adapt import adapt_model

SPECTRA = torch.as_tensor(tiny_library(seed=3).spectra)


def table(path: Path, spectra: np.ndarray, nm: np.ndarray = GRID.centres) -> Path:
    rows = ["site," + ",".join(f"{each:g}" for each in nm)]
    rows += [f"s{k}," + ",".join(f"{each:.5f}" for each in row) for k, row in enumerate(spectra)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("count", "components"), [(5, 1), (31, 1), (32, 2), (50, 3), (110, 6), (900, 24)]
)
def test_every_sixteen_spectra_are_a_gaussian(count: int, components: int) -> None:
    brighter = torch.linspace(1, 2, 9)[:, None, None]
    many = (brighter * SPECTRA).flatten(0, 1)[:count]
    assert len(add_local_prior(tiny_network(), many).mixture.weight) == 3 + components


def test_spectra_that_are_all_alike_are_one_gaussian() -> None:
    found = add_local_prior(tiny_network(), SPECTRA[:1].repeat(80, 1))
    assert len(found.mixture.weight) == 3 + 1
    assert torch.isfinite(found.mixture.covariance).all()


def test_prior_is_joined_and_nothing_else_changes() -> None:
    network = tiny_network()
    found = add_local_prior(network, SPECTRA[:50])
    torch.testing.assert_close(found.weight[-3:], (1 - LOCAL_PRIOR_WEIGHT) * network.weight)
    torch.testing.assert_close(found.mixture_mean[-3:], network.mixture_mean)
    torch.testing.assert_close(found.covariance[-3:], network.covariance)
    assert found.weight.sum() == pytest.approx(1, abs=1e-6)
    own, before = found.state_dict(), network.state_dict()
    assert own.keys() == before.keys()
    for key in own.keys() - {"weight", "mixture_mean", "covariance"}:
        torch.testing.assert_close(own[key], before[key], rtol=0, atol=0)


def test_mixed_density_is_the_mean_of_both() -> None:
    one, other = tiny_network().mixture, tiny_network(seed=1).mixture
    other = type(other)(weight=other.weight, mean=other.mean + 0.3, covariance=other.covariance)
    points = np.random.default_rng(0).normal(size=(20, 6))
    both = mix(one, other, share=0.3)
    expected = 0.3 * density(one, points) + 0.7 * density(other, points)
    np.testing.assert_allclose(density(both, points), expected, rtol=1e-5)


def density(mixture: object, points: np.ndarray) -> np.ndarray:
    parts = (getattr(mixture, name).double().numpy() for name in ("weight", "mean", "covariance"))
    total = np.zeros(len(points))
    for weight, mean, covariance in zip(*parts, strict=True):
        away = points - mean
        power = (away * np.linalg.solve(covariance, away.T).T).sum(1)
        total += weight * np.exp(-power / 2) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return total


def test_few_spectra_keep_a_wide_gaussian() -> None:
    """Of ten equal spectra a tenth of the unit variance stays."""
    network = tiny_network()
    found = add_local_prior(network, SPECTRA[:1].repeat(10, 1))
    torch.testing.assert_close(
        found.covariance[0].diagonal(), torch.full((6,), 0.1), rtol=0, atol=1e-4
    )


def test_cubes_of_the_shipped_field_are_better_where_its_spectra_are_known(repo: Path) -> None:
    """Adapted to one half of the true spectra of the field, tested on the other half."""
    with np.load(repo / "examples/field_truth.npz") as truth:
        spectra, rows, cols = (truth[key] for key in ("spectra", "row", "col"))
    network = load_model().network
    msi = uavssr.open_msi(repo / "examples/field.tif")
    image, valid = msi.read(Window(0, 0, msi.height, msi.width))
    image[:, ~valid] = image[:, valid].mean()
    counted = torch.from_numpy(valid)[None]
    start = Stf.from_prior(ResponseFamily.of(P4M, network.grid))
    errors = []
    for each in (
        network,
        add_local_prior(network, torch.as_tensor(spectra[::2], dtype=torch.float32)),
    ):
        found = each(torch.from_numpy(image)[None], start, estimate_stf=True, valid=counted)
        cube = each.basis.expand(found.coefficients)[0].numpy()[:, rows[1::2], cols[1::2]]
        reference = spectra[1::2].T
        errors.append((rmse(cube, reference), sam(cube, reference)))
    before, after = np.array(errors)
    assert (after < 0.97 * before).all()


# --- files ---------------------------------------------------------------------------------------


def test_adapted_model_is_a_model_folder(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    first = table(tmp_path / "a.csv", SPECTRA[:20].numpy())
    library = tmp_path / "b.npz"
    tiny_library(seed=4).save(library)
    before = load_model(base).network.state_dict()
    found = adapt_model([first, library], tmp_path / "own", model=base)
    assert found.spectra == 20 + 110
    loaded = load_model(tmp_path / "own")
    assert (loaded.name, loaded.sha256) == ("own", found.sha256)
    assert loaded.network.config.components == 3 + found.components
    files = loaded.training["spectra"]
    assert [(file["file"], file["spectra"]) for file in files] == [("a.csv", 20), ("b.npz", 110)]
    card = (tmp_path / "own/README.md").read_text(encoding="utf-8")
    assert all(file["sha256"] in card for file in files)
    assert load_model(base).sha256 in card
    again = adapt_model([first, library], tmp_path / "again", model=base)
    assert again.sha256 == found.sha256
    for key, value in load_model(base).network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_table_and_cube_give_the_same_spectra(tmp_path: Path) -> None:
    cube = smooth_cube(30, 40)
    path = write_cube(tmp_path / "cube.tif", cube)
    found = open_spectra(path)
    means = np.sort(found.reflectance.mean(1))
    np.testing.assert_allclose(means, np.sort(cube.mean(0).ravel()), atol=1e-4)
    again = open_spectra(table(tmp_path / "table.csv", found.reflectance, found.nm))
    np.testing.assert_allclose(again.nm, found.nm, atol=0.01)
    np.testing.assert_allclose(again.reflectance, found.reflectance, atol=1e-5)


def test_pixels_are_spread_drawn_alike_each_time_and_no_more_than_asked(tmp_path: Path) -> None:
    height, width = 200, 300
    cube = np.repeat(np.arange(height * width).reshape(1, height, width) / 1e5, 3, 0)
    grid = WavelengthGrid.regular("three", 500, 700, 3)
    path = write_cube(tmp_path / "cube.tif", cube.astype("f4"), grid=grid)
    found = sample_pixels(open_cube_source(path), most=60)
    places = np.round(found[:, 0] * 1e5).astype(int)
    assert len(set(places.tolist())) == 60
    np.testing.assert_array_equal(sample_pixels(open_cube_source(path), most=60), found)
    blocks = {(place // width // 128, place % width // 128) for place in places.tolist()}
    assert len(blocks) == 6


def test_a_header_leads_to_its_envi_file(tmp_path: Path) -> None:
    cube = smooth_cube(30, 40)
    nm = listed("wavelength", GRID.centres), "wavelength units = nm"
    path = write_envi(tmp_path / "cube", cube, *nm)
    found = open_spectra(tmp_path / "cube.hdr")
    assert found.path == path
    np.testing.assert_array_equal(found.reflectance, open_spectra(path).reflectance)


def test_spectra_that_are_no_reflectance_are_left_out_with_a_warning(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    spectra = SPECTRA[:10].numpy().copy()
    spectra[3, 5], spectra[6] = 7.0, np.nan
    found = adapt_model([table(tmp_path / "t.csv", spectra)], tmp_path / "own", model=base)
    assert found.spectra == 8
    assert found.warnings[0] == "t.csv: 2 of 10 spectra are left out: no reflectance"
    kept = np.delete(SPECTRA[:10].numpy(), [3, 6], axis=0)
    same = adapt_model([table(tmp_path / "kept.csv", kept)], tmp_path / "same", model=base)
    assert same.sha256 == found.sha256


def test_wavelengths_far_outside_the_model_are_ignored(tmp_path: Path) -> None:
    """Noise of a field spectrometer at 1400 nm does not matter."""
    base, spectra = tiny_model(tmp_path / "base"), SPECTRA[:20].numpy()
    wide = np.concatenate([spectra, np.full((20, 3), [9.0, -3.0, np.nan])], axis=1)
    nm = np.concatenate([GRID.centres, [1400, 1900, 2500]])
    one = adapt_model([table(tmp_path / "wide.csv", wide, nm)], tmp_path / "one", model=base)
    two = adapt_model([table(tmp_path / "near.csv", spectra)], tmp_path / "two", model=base)
    assert one.sha256 == two.sha256


def test_scale_turns_per_cent_into_reflectance(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    own = table(tmp_path / "own.csv", np.round(SPECTRA[:20].numpy(), 3))
    cent = table(tmp_path / "cent.csv", 100 * np.round(SPECTRA[:20].numpy(), 3))
    one = adapt_model([own], tmp_path / "one", model=base)
    two = adapt_model([cent], tmp_path / "two", model=base, scale="1/100")
    one, two = (load_model(each.folder).network.mixture_mean for each in (one, two))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


# --- the command ---------------------------------------------------------------------------------


def test_command_makes_a_model_that_reconstructs(
    tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model(tmp_path / "base")
    spectra, own = table(tmp_path / "local.csv", SPECTRA[:40].numpy()), tmp_path / "own"
    assert main(["adapt", str(spectra), "-o", str(own), "--model", str(base)]) == 0
    assert "40 spectra, 2 Gaussians more" in capsys.readouterr().err
    out = tmp_path / "cube.tif"
    field = str(repo / "examples/field.tif")
    assert main(["-q", "reconstruct", field, "-o", str(out), "--model", str(own)]) == 0
    assert main(["adapt", str(spectra), "-o", str(own), "--model", str(base)]) == 5
    assert "own: holds a model; pass --overwrite" in capsys.readouterr().err
    before = json.loads((own / "config.json").read_text())["sha256"]
    more = table(tmp_path / "more.csv", SPECTRA[40:80].numpy())
    words = ["adapt", str(more), "-o", str(own), "--model", str(base), "--overwrite"]
    assert main(words) == 0
    assert load_model(own).sha256 != before


NM = ",".join(str(nm) for nm in range(400, 1001, 20)) + "\n"
ROW = ",".join(f"{0.1 + 0.01 * k:.2f}" for k in range(31)) + "\n"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("site,x,y\na,1,2\n", "none of its 3 columns is headed by a wavelength"),
        (NM.replace(",", ";") + ROW.replace(",", ";"), "separate cells by commas"),
        (NM + ROW * 9, "needs 5 different spectra; found 1"),
        ("500,510,520\n" + "0.1,0.2,0.3\n" * 9, "reaches from 500 to 520 nm, the model from"),
        ("400,600,1000\n" + "0.1,0.2,0.3\n" * 9, "up to 400 nm apart, more than 20"),
        (NM + ROW.replace("0.", "20.") * 9, "such as --scale 1/100"),
        (NM + ROW.replace("0.", "2000.") * 9, "such as --scale 1/10000"),
        (NM + ROW.replace("0.10", "wet") * 9, "row 1 holds 'wet'"),
        (NM + ROW.replace("0.10", "") * 9, "9 of 9 spectra lack a reflectance"),
        (NM + ("0," * 30 + "0\n") * 9, "a mean reflectance of 0 is too small"),
        ("1000,990,980\n" + "0.1,0.2,0.3\n" * 9, "do not increase from column to column"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fact: str
) -> None:
    base, path = tiny_model(tmp_path / "base"), tmp_path / "local.csv"
    path.write_text(text, encoding="utf-8")
    words = ["adapt", str(path), "-o", str(tmp_path / "own"), "--model", str(base)]
    assert main(words) == 3
    message = capsys.readouterr().err
    assert fact in message
    assert "local.csv" in message
    assert message.count("\n") == 1
    assert {each.name for each in tmp_path.iterdir()} == {"base", "local.csv"}


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("none.npz", "no such file"),
        ("https://example.org/a.npz", "URLs are not opened"),
        ("text.npz", r"not a spectral library \(is no ZIP file"),
        ("half.npz", r"not a spectral library \(lacks fwhm_nm\)"),
    ],
)
def test_files_that_are_no_library_are_refused(tmp_path: Path, name: str, fact: str) -> None:
    base = tiny_model(tmp_path / "base")
    (tmp_path / "text.npz").write_text("no library")
    np.savez(tmp_path / "half.npz", spectra=SPECTRA.numpy(), wavelength_nm=GRID.centres)
    path = name if "://" in name else tmp_path / name
    with pytest.raises(UavssrError, match=fact):
        adapt_model(path, tmp_path / "own", model=base)


def test_a_write_that_fails_leaves_the_model_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full disk or interrupt, before and between the renames."""
    base, library = tiny_model(tmp_path / "base"), tmp_path / "b.npz"
    tiny_library().save(library)
    before = adapt_model(library, tmp_path / "own", model=base).sha256
    tiny_library(seed=5).save(library)
    replace_folder = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.name == "own" and self.parent.name.endswith(".part"):
            raise stop
        return replace_folder(self, target)

    for stop in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        for name, owner, wrong in (
            ("save_model", "uavssr.training.adapt.save_model", None),
            ("replace", "pathlib.Path.replace", failing),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(owner, wrong or raising(stop))
                with pytest.raises((OutputError, KeyboardInterrupt)):
                    adapt_model(library, tmp_path / "own", model=base, overwrite=True)
            assert load_model(tmp_path / "own").sha256 == before, name
            assert {each.name for each in tmp_path.iterdir()} == {"base", "b.npz", "own"}
    assert adapt_model(library, tmp_path / "own", model=base, overwrite=True).sha256 != before


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_empty_folder_that_is_there_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, library = tiny_model(tmp_path / "base"), tmp_path / "b.npz"
    tiny_library().save(library)
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")
    adapt_model(library, ".", model=base)
    assert load_model(tmp_path / "own").name == "own"


def test_folders_and_scales_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    base, library = tiny_model(tmp_path / "base"), tmp_path / "b.npz"
    tiny_library().save(library)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("keep")
    for out, options, fact in (
        ("notes", {"overwrite": True}, "holds other files than a model"),
        ("b.npz", {}, "is a file"),
        ("own", {"scale": "1/100"}, "a library holds reflectance"),
        ("no/own", {}, "there is no folder"),
        ("n" * 250, {}, "bytes too long for its temporary files"),
        ("p4m-nano", {"overwrite": True}, "has the name of a released model"),
    ):
        with pytest.raises(UavssrError, match=fact):
            adapt_model([library], tmp_path / out, model=base, **options)
    assert (tmp_path / "notes/mine.txt").read_text() == "keep"
    foreign = tmp_path / "base/run.log"
    foreign.touch()
    with pytest.raises(UavssrError, match="holds other files than a model"):
        adapt_model([library], base, overwrite=True)
    foreign.unlink()
    with pytest.raises(UavssrError, match="no spectra are given"):
        adapt_model([], tmp_path / "own", model=base)


@pytest.mark.parametrize("name", ["cube.tif", "cube.dat", "cube.zarr", "coefficients.tif"])
def test_a_cube_made_by_a_model_gives_a_warning(tmp_path: Path, repo: Path, name: str) -> None:
    base, out = tiny_model(tmp_path / "base"), tmp_path / name
    words = ["-q", "reconstruct", str(repo / "examples/field.tif"), "-o", str(out)]
    forms = {".dat": "envi", ".zarr": "zarr"}
    form = "coefficients" if name.startswith("coeff") else forms.get(out.suffix, "gtiff")
    assert main([*words, "--model", str(base), "--format", form, "--tile", "256"]) == 0
    found = adapt_model(out, tmp_path / "own", model=base)
    assert found.warnings[0] == f"{name} was made by uavssr (tiny): its spectra are not measured"


def test_spectra_outside_the_basis_give_a_warning(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    comb = 0.3 + 0.2 * np.tile([1.0, -1.0], len(GRID) // 2) * np.linspace(0.5, 1, 20)[:, None]
    found = adapt_model([table(tmp_path / "comb.csv", comb)], tmp_path / "own", model=base)
    assert "the model's basis cannot represent" in found.warnings[0]


def test_a_model_adapted_too_often_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, library = tiny_model(tmp_path / "base"), tmp_path / "b.npz"
    tiny_library().save(library)
    monkeypatch.setattr("uavssr.training.adapt.MAX_COMPONENTS", 3 + 24)
    adapt_model([library], tmp_path / "once", model=base)
    with pytest.raises(ModelRefused, match="adapt the model that it was made from"):
        adapt_model([library], tmp_path / "twice", model=tmp_path / "once")


def test_model_is_not_lost_by_a_kill_just_before_it_is_replaced(tmp_path: Path) -> None:
    own, stale = tmp_path / "own", tmp_path / ".own.abcd_123.part"
    tiny_model(stale / "own.old")
    (stale / "uavssr-part").write_bytes(b"part folder of uavssr 1\n")
    with pytest.raises(OutputError, match="holds a model"):
        adapt_model(tmp_path / "local.csv", own)
    assert load_model(own).name == "tiny"
    assert not stale.exists()
