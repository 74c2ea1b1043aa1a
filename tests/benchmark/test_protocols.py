"""Cases of the protocols `cave` and `vnir`, on small generated scenes and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmark_data import NAMES, write_benchmark_data, write_scene, write_table
from tests.helpers.pictures import write_png
from uavssr.benchmark import Case, cave_cases, vnir_cases
from uavssr.benchmark.cave import seen_and_unseen
from uavssr.benchmark.cave_scenes import CAVE_GRID, read_cave
from uavssr.benchmark.measured_cameras import (
    CAMERA_TABLE,
    camera_set,
    fit_deviations,
    read_camera_table,
)
from uavssr.benchmark.observed import CAMERAS_A_SCENE
from uavssr.benchmark.vnir import CAMERAS_A_FLIGHT, VNIR_TEST_SCENES
from uavssr.errors import InputRefused


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_benchmark_data(folder)
    return folder


Builder = Callable[[Path], list[Case]]
PROTOCOLS: dict[str, Builder] = {
    "cave": lambda folder: cave_cases(folder, size=8),
    "vnir": lambda folder: vnir_cases(folder, sensors=("p4m",), size=8),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cases_repeat_and_hold_out_their_test_scenes(data: Path, protocol: str) -> None:
    first, second = PROTOCOLS[protocol](data), PROTOCOLS[protocol](data)
    for case, again in zip(first, second, strict=True):
        training = [np.asarray(scene) for scene in case.training.scenes]
        for name, images in case.tests.items():
            cameras = CAMERAS_A_FLIGHT if protocol == "vnir" else CAMERAS_A_SCENE
            assert len(images) == cameras * len({image.scene for image in images})
            for image, copy in zip(images, again.tests[name], strict=True):
                np.testing.assert_array_equal(image.image.msi, copy.image.msi)
                assert not any(np.array_equal(image.cube, scene) for scene in training)
        batches = case.training.draw([0, 0], 3), again.training.draw([0, 0], 3)
        np.testing.assert_array_equal(batches[0].msi, batches[1].msi)
        assert batches[0].msi.shape[1] == case.training.family.centre.shape[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_is_its_cube_seen_by_its_camera(data: Path, protocol: str) -> None:
    for case in PROTOCOLS[protocol](data):
        for images in case.tests.values():
            for image in images:
                clean = np.einsum("bc,cyx->byx", image.image.rows, image.cube)
                noise = image.image.msi - clean
                decibel = 20 * np.log10(np.sqrt((clean**2).mean((1, 2))) / noise.std((1, 2)))
                assert np.all((decibel > 23) & (decibel < 47))


def test_seen_and_unseen_cameras_share_none_and_one_data_sheet(data: Path) -> None:
    measured = cave_cases(data, size=8)[0]
    seen, unseen = ({image.camera for image in measured.tests[k]} for k in ("seen", "unseen"))
    assert seen == {"Canon A", "Nikon D700", "Olympus F"}
    assert unseen == {"Canon B", "Nikon E"}
    sheet = measured.training.family.curves
    assert all(bool((i.image.family.curves == sheet).all()) for i in measured.tests["unseen"])


def test_white_balanced_bands_sum_to_one_with_blue_first(data: Path) -> None:
    cameras = read_camera_table(data / "srf" / CAMERA_TABLE, CAVE_GRID)
    rows = camera_set(list(cameras.values()), CAVE_GRID).rows
    np.testing.assert_allclose(rows.sum(2), 1, rtol=1e-5)
    centres = rows @ CAVE_GRID.centres
    assert np.all(np.diff(centres, axis=1) > 30)
    assert tuple(cameras) == NAMES


def test_deviations_are_those_that_made_the_responses(data: Path) -> None:
    cameras = read_camera_table(data / "srf" / CAMERA_TABLE, CAVE_GRID)
    family = camera_set(seen_and_unseen(cameras)[0], CAVE_GRID).family
    rng = np.random.default_rng(3)
    theta = family.spread.new_tensor(rng.normal(size=(6, 3, 3)) * [4, 0.1, 0.1])
    fitted = fit_deviations(family, family.rows(theta).numpy())
    np.testing.assert_allclose(fitted, theta, atol=0.02)


@pytest.mark.parametrize(
    ("protocol", "missing", "fact"),
    [
        ("cave", "cave", "no scene of CAVE here"),
        ("cave", "cave/paints.npz", "needs paints"),
        ("cave", f"srf/{CAMERA_TABLE}", "no table of measured cameras"),
        ("vnir", "vnir", "holds 0 scenes"),
        ("vnir", f"vnir/{VNIR_TEST_SCENES[0]}.npz", "needed are"),
        ("vnir", "vnir/meta.json", "reflectance or radiance"),
    ],
)
def test_what_is_missing_is_named(
    data: Path, tmp_path: Path, protocol: str, missing: str, fact: str
) -> None:
    for path in data.rglob("*.*"):
        place = path.relative_to(data)
        if path.is_file() and not place.is_relative_to(missing):
            (tmp_path / place).parent.mkdir(exist_ok=True)
            (tmp_path / place).hardlink_to(path)
    with pytest.raises(InputRefused, match=fact) as caught:
        PROTOCOLS[protocol](tmp_path)
    assert caught.value.remedy
    assert str(tmp_path) in str(caught.value.path)


@pytest.mark.parametrize("nested", ["", "cups_ms"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_folders_of_pictures_are_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: str, dtype: str
) -> None:
    monkeypatch.setattr("uavssr.benchmark.cave_scenes._HALVED_FROM", 8)
    top = np.iinfo(dtype).max
    cube = np.random.default_rng(0).integers(0, top, (31, 8, 10), dtype)
    folder = tmp_path / "cups_ms" / nested
    folder.mkdir(parents=True)
    for number, band in enumerate(cube, 1):
        colours = np.stack([band, band, band, np.full_like(band, top)])  # grey, and alpha
        write_png(folder / f"cups_ms_{number:02}.png", colours if dtype == "u1" else band[None])
    (folder / "cups_RGB.bmp").write_bytes(b"not read")
    whole, halved = (read_cave(tmp_path, halved=half)["cups"] for half in (False, True))
    np.testing.assert_allclose(whole, cube / top, rtol=1e-6)
    np.testing.assert_allclose(halved[:, 1, 2], whole[:, 2:4, 4:6].mean((1, 2)), rtol=1e-5)
    (folder / "cups_ms_07.png").unlink()
    with pytest.raises(InputRefused, match="holds 30 of 31 bands"):
        read_cave(tmp_path, halved=True)


def test_dian_trains_on_the_first_twenty_scenes(data: Path, tmp_path: Path) -> None:
    for number in range(22):
        write_scene(tmp_path / "cave" / f"scene{number:02}.npz", CAVE_GRID.centres, number)
    write_table(tmp_path / "srf" / CAMERA_TABLE)
    for case in cave_cases(tmp_path, split="dian", size=8):
        assert len(case.training.scenes) == 20
        for images in case.tests.values():
            assert {image.scene for image in images} == {"scene20", "scene21"}
    with pytest.raises(InputRefused, match="holds 9 scenes; the split 'dian' needs more"):
        cave_cases(data, split="dian")
