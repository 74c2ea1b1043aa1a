"""The protocol of the NTIRE 2022 challenge, on generated files of the form of ARAD_1K."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pictures import write_mat
from uavssr.benchmark import ntire2022_cases
from uavssr.benchmark.challenge_scene import CHALLENGE_GRID
from uavssr.errors import InputRefused, UsageError
from uavssr.io.pictures import encode_jpeg

TRAINING, VALIDATION = ("ARAD_1K_0001", "ARAD_1K_0002"), ("ARAD_1K_0901", "ARAD_1K_0902")
SIZE = (264, 270)
"""Rows and columns of the scenes; those of the challenge have 482 x 512."""


def write_filters(path: Path) -> None:
    nm = np.arange(360, 751)
    curves = [np.exp(-(((nm - centre) / 60) ** 2)) for centre in (610, 540, 545, 460)]
    rows = zip(nm, *curves, strict=True)
    lines = ["Wavelength[nm],R,G1,G2,B", *(",".join(map(str, row)) for row in rows)]
    path.parent.mkdir()
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge")
    write_filters(folder / "srf" / "RGB_Camera_QE.csv")
    (folder / "ntire2022" / "Train_Spec").mkdir(parents=True)
    (folder / "ntire2022" / "split_txt").mkdir()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 300
    nm = CHALLENGE_GRID.centres
    for number, name in enumerate([*TRAINING, *VALIDATION]):
        slope = np.linspace(number / 4, 1, nm.size)
        cube = (0.1 + 0.3 * y[..., None] * slope + 0.2 * (x**2)[..., None]).astype(np.float32)
        options = {"chunks": (31, 32, 32), "compression": "gzip", "compression_opts": 1}
        write_mat(folder / "ntire2022" / "Train_Spec" / f"{name}.mat", cube, nm, **options)
    for file, names in (("train_list", TRAINING), ("valid_list", VALIDATION)):
        (folder / "ntire2022" / "split_txt" / f"{file}.txt").write_text("\n".join(names) + "\n")
    return folder


def test_images_are_exposed_cubes_with_blue_first(data: Path) -> None:
    (case,) = ntire2022_cases(data, size=32)
    images = case.tests["validation"]
    assert [image.scene for image in images] == list(VALIDATION)
    image = images[0]
    assert image.crop == 128
    assert image.cube.shape == (31, *SIZE)
    np.testing.assert_allclose(image.image.msi.mean(), 0.18, atol=0.004)
    rows = image.image.rows
    assert np.all(np.diff(rows @ CHALLENGE_GRID.centres / rows.sum(1)) > 30)
    seen = np.einsum("bc,cyx->byx", rows, image.cube)
    assert np.abs(image.image.msi - seen).mean() < 0.01
    family = image.image.family
    np.testing.assert_allclose(family.rows(family.prior)[0].sum(1), rows.sum(1), rtol=0.2)
    shape = family.rows(family.prior)[0].numpy()
    np.testing.assert_allclose(
        shape / shape.sum(1)[:, None], rows / rows.sum(1)[:, None], atol=3e-3
    )


def test_patches_are_of_training_scenes_with_their_images(data: Path) -> None:
    (first,), (second,) = (ntire2022_cases(data, size=32) for _ in range(2))
    assert {scene.name for scene in first.training.scenes} == set(TRAINING)
    batch, again = (case.training.draw([0, 1], 3) for case in (first, second))
    np.testing.assert_array_equal(batch.msi, again.msi)
    np.testing.assert_array_equal(batch.hsi, again.hsi)
    seen = np.einsum("sbc,scyx->sbyx", batch.rows, batch.hsi)
    assert np.abs(batch.msi.numpy() - seen).mean() < 0.01
    np.testing.assert_allclose(batch.family.rows(batch.theta).sum(2), batch.rows.sum(2), rtol=1e-4)
    assert first.training.validation().msi.shape[2:] == (32, 32)
    msi, hsi = first.training.pixels(0, 100)
    assert msi.shape == (100, 3)
    assert hsi.shape == (100, 31)


def test_an_image_that_is_there_is_read(data: Path, tmp_path: Path) -> None:
    for path in data.rglob("*.*"):
        target = tmp_path / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    folder = tmp_path / "ntire2022" / "Valid_RGB"
    folder.mkdir()
    colours = np.stack([np.full(SIZE, value, np.uint8) for value in (200, 100, 50)])
    (folder / f"{VALIDATION[0]}.jpg").write_bytes(encode_jpeg(colours, quality=95))
    (case,) = ntire2022_cases(tmp_path)
    msi = case.tests["validation"][0].image.msi
    np.testing.assert_allclose(msi.mean((1, 2)) * 255, [50, 100, 200], atol=2)
    small = encode_jpeg(colours[:, :200], quality=95)
    (folder / f"{VALIDATION[1]}.jpg").write_bytes(small)
    (case,) = ntire2022_cases(tmp_path)
    with pytest.raises(InputRefused, match="has the shape"):
        case.tests["validation"][1]


@pytest.mark.parametrize(
    ("training", "validation", "error", "fact"),
    [
        ("ARAD_1K_0001.mat\nARAD_1K_0950", None, InputRefused, "lacks 1 of 4 scenes, .*0950"),
        ("ARAD_1K_0001\nARAD_1K_0901.mat", None, UsageError, "1 scenes are in both lists"),
        ("", None, InputRefused, "no list of scenes"),
        (None, "ARAD_1K_0001", UsageError, "in both lists"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    data: Path,
    tmp_path: Path,
    training: str | None,
    validation: str | None,
    error: type[Exception],
    fact: str,
) -> None:
    lists = {"training": training, "validation": validation}
    for name, text in lists.items():
        (tmp_path / name).write_text(text or "")
    given = {name: tmp_path / name for name, text in lists.items() if text is not None}
    with pytest.raises(error, match=fact):
        ntire2022_cases(data, **given)
