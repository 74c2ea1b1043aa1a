"""The materials of a scene: what counts, what does not, and that they are the same again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import tiny_msi
from uavssr.model import materials as module
from uavssr.model.materials import Materials, find_materials

FLOOR, COUNT = module.REFLECTANCE_FLOOR, module.MATERIALS_PER_SCENE
HALF, MAX_PIXELS = module.HALF_WEIGHT_SHARE, module.MAX_CLUSTERED_PIXELS

COLOURS = torch.tensor([[0.05, 0.3, 0.1], [0.4, 0.4, 0.45], [0.02, 0.02, 0.01], [0.2, 0.1, 0.3]])


def coloured(counts: tuple[int, ...], *, noise: float = 0.0, seed: int = 0) -> Tensor:
    """An image (1, 3, N) of so many pixels of each of `COLOURS`, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pixels = COLOURS[which[torch.randperm(len(which), generator=generator)]]
    return (pixels + noise * torch.randn(pixels.shape, generator=generator)).T[None]


def scene_of(seed: int = 0, size: int = 20) -> Tensor:
    """A camera's image (1, c, N) of a simulated scene."""
    return tiny_msi(height=size, width=size, seed=seed).flatten(2)


def counting(found: Materials) -> list[dict[tuple[float, ...], float]]:
    """The materials that count, and how much, scene by scene."""
    return [
        {
            tuple(round(value, 5) for value in spectrum.tolist()): weight.item()
            for spectrum, weight in zip(values, weights, strict=True)
            if weight > 0
        }
        for values, weights in zip(found.values, found.weight, strict=True)
    ]


def assert_equal(one: Materials, two: Materials) -> None:
    assert torch.equal(one.values, two.values)
    assert torch.equal(one.weight, two.weight)


# --- what the materials are -----------------------------------------------------------------------


def test_an_image_of_few_colours_has_these_for_materials_and_their_weights() -> None:
    """A weight is share / (share + HALF), so that common materials count alike."""
    counts = (500, 300, 199, 1)
    found = counting(find_materials(coloured(counts), pooled=True))[0]
    assert len(found) == len(counts)
    share = np.array(counts) / sum(counts)
    expected = share / (share + HALF)
    for colour, weight in zip(COLOURS, expected / expected.sum(), strict=True):
        assert found[tuple(round(value, 5) for value in colour.tolist())] == pytest.approx(weight)


@pytest.mark.parametrize("count", [1, 5, COUNT])
def test_materials_have_the_shapes_they_say_and_weights_that_sum_to_one(count: int) -> None:
    image = torch.cat([scene_of(0), scene_of(1)])
    for pooled, scenes in ((True, 1), (False, 2)):
        found = find_materials(image, pooled=pooled, count=count)
        assert found.values.shape == (scenes, count, image.shape[1])
        assert found.weight.shape == (scenes, count)
        torch.testing.assert_close(found.weight.sum(1), torch.ones(scenes))
        assert found.weight.min() > 0


def test_one_material_is_the_mean_of_the_image() -> None:
    image = scene_of()
    found = find_materials(image, pooled=True, count=1)
    torch.testing.assert_close(found.values[:, 0], image.mean(2))
    assert found.weight.item() == 1


def test_materials_are_the_means_of_the_pixels_that_are_nearest_to_them() -> None:
    """Lloyd's condition, in logarithms of reflectance, once k-means has come to rest."""
    image = coloured((120, 90, 60, 30), noise=1e-3).double()
    found = find_materials(image, pooled=True, count=4)
    points, centres = (each.clamp_min(FLOOR).log() for each in (image[0].T, found.values[0]))
    nearest = torch.cdist(points, centres).argmin(1)
    for k in range(4):
        torch.testing.assert_close(found.values[0, k], image[0].T[nearest == k].mean(0))
    share = torch.bincount(nearest, minlength=4) / len(nearest)
    assert sorted(share.tolist()) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_materials_cover_a_scene_better_the_more_there_are() -> None:
    image = scene_of(size=32)

    def misfit(count: int) -> float:
        found = find_materials(image, pooled=True, count=count)
        points, centres = (each.clamp_min(FLOOR).log() for each in (image[0].T, found.values[0]))
        return torch.cdist(points, centres).amin(1).square().mean().item()

    ladder = [misfit(count) for count in (1, 4, 16, 64)]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[-1] < 0.1 * ladder[0]


def test_rare_outliers_weigh_little() -> None:
    """Two odd pixels among eight thousand are found, and count a fifth of what a material does."""
    image = torch.cat([coloured((4000, 3000, 998)), torch.full((1, 3, 2), 1.4)], 2)
    found = find_materials(image, pooled=True)
    outlier = (found.values - 1.4).abs().amax(-1)[0] < 1e-3
    weight = found.weight[0]
    assert outlier.sum() == 1
    assert 0 < weight[outlier].item() < 0.25 * weight[~outlier].max().item()
    assert weight[~outlier].sum() > 0.9


def test_darkness_makes_no_materials() -> None:
    """Below `FLOOR` logarithms of noise differ widely and say nothing."""
    noise = torch.randn(1, 3, 400, generator=torch.Generator().manual_seed(0))
    dark = (1e-3 * noise).clamp(-FLOOR, 0.9 * FLOOR)
    found = find_materials(dark, pooled=True)
    assert (found.weight > 0).sum() == 1
    torch.testing.assert_close(found.values[found.weight > 0], dark.mean(2))


# --- what counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wild", [0.0, 0.31, -5.0, 1e25])
def test_values_of_invalid_pixels_do_not_count(wild: float) -> None:
    image = scene_of()
    valid = torch.arange(image.shape[-1])[None] % 3 != 0
    found = find_materials(image, valid, pooled=True)
    dirty = find_materials(torch.where(valid[:, None], image, wild), valid, pooled=True)
    assert_equal(found, dirty)
    assert not torch.equal(found.values, find_materials(image, pooled=True).values)


def test_invalid_pixels_do_not_count_where_there_are_fewer_pixels_than_materials() -> None:
    image = torch.cat([coloured((3, 2, 1)), torch.full((1, 3, 50), 0.7)], 2)
    valid = torch.arange(56)[None] < 6
    found = counting(find_materials(image, valid, pooled=True))[0]
    assert found == counting(find_materials(image[..., :6], pooled=True))[0]
    assert len(found) == 3


def test_a_scene_without_valid_pixels_has_no_materials() -> None:
    image = torch.cat([scene_of(0), scene_of(1)])
    valid = torch.zeros(2, image.shape[-1], dtype=torch.bool)
    valid[1] = True
    found = find_materials(image, valid, pooled=False)
    assert not found.weight[0].any()
    assert torch.isfinite(found.values).all()
    assert found.weight[1].sum().item() == pytest.approx(1)
    nothing = find_materials(image, torch.zeros_like(valid), pooled=True)
    assert not nothing.weight.any()
    assert torch.isfinite(nothing.values).all()


@pytest.mark.parametrize("level", [0.0, 0.2, 1.3])
def test_a_constant_scene_is_one_material(level: float) -> None:
    found = find_materials(torch.full((1, 5, 100), level), pooled=True)
    assert (found.weight > 0).sum() == 1
    assert found.weight.sum() == 1
    values = found.values[found.weight > 0]
    torch.testing.assert_close(values, torch.full_like(values, level))
    assert torch.isfinite(found.values).all()


@pytest.mark.parametrize("pixels", [1, 2, 39])
def test_fewer_pixels_than_materials_are_the_materials(pixels: int) -> None:
    image = scene_of()[..., :pixels]
    found = find_materials(image, pooled=True)
    weighty = found.values[found.weight > 0]
    assert len(weighty) == pixels
    torch.testing.assert_close(found.weight[found.weight > 0], torch.full((pixels,), 1 / pixels))
    distance = torch.cdist(image[0].T.double(), weighty.double())
    assert distance.amin(1).max() < 1e-6
    assert torch.isfinite(found.values).all()


# --- one scene or several -------------------------------------------------------------------------


def test_windows_of_one_scene_are_clustered_as_one_image() -> None:
    image = scene_of()
    half = image.shape[-1] // 2
    windows = torch.cat([image[..., :half], image[..., half:]])
    assert_equal(find_materials(windows, pooled=True), find_materials(image, pooled=True))
    valid = torch.arange(2 * half)[None] % 5 != 0
    cut = torch.cat([valid[:, :half], valid[:, half:]])
    assert_equal(
        find_materials(windows, cut, pooled=True), find_materials(image, valid, pooled=True)
    )


def test_scenes_that_are_not_pooled_do_not_see_each_other() -> None:
    images = [scene_of(seed) for seed in range(3)]
    together = find_materials(torch.cat(images), pooled=False)
    for i, image in enumerate(images):
        alone = find_materials(image, pooled=False)
        torch.testing.assert_close(together.values[i], alone.values[0])
        torch.testing.assert_close(together.weight[i], alone.weight[0])


def test_scenes_of_few_colours_are_kept_apart() -> None:
    """Whatever the random start: each scene has the colours that it has."""
    one, two = coloured((30, 10)), coloured((0, 0, 10, 30))
    apart = counting(find_materials(torch.cat([one, two]), pooled=False))
    assert apart == [
        pytest.approx(counting(find_materials(image, pooled=True))[0]) for image in (one, two)
    ]
    pooled = counting(find_materials(torch.cat([one, two]), pooled=True))[0]
    assert pooled.keys() == apart[0].keys() | apart[1].keys()


# --- the same again -------------------------------------------------------------------------------


def test_the_same_image_gives_the_same_materials() -> None:
    """And neither takes from the global generator nor depends on it."""
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    found = find_materials(scene_of(), pooled=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert_equal(found, find_materials(scene_of(), pooled=True))


def test_float64_gives_the_materials_of_float32() -> None:
    single = find_materials(scene_of(), pooled=True)
    double = find_materials(scene_of().double(), pooled=True)
    assert (single.values.dtype, double.values.dtype) == (torch.float32, torch.float64)
    assert (single.weight.dtype, double.weight.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.values.double(), double.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(single.weight.double(), double.weight, rtol=0, atol=1e-5)


def test_the_order_of_bands_does_not_matter() -> None:
    image, order = scene_of().double(), [3, 1, 4, 0, 2]
    found = find_materials(image, pooled=True)
    other = find_materials(image[:, order], pooled=True)
    torch.testing.assert_close(other.values, found.values[..., order])
    torch.testing.assert_close(other.weight, found.weight)


def test_the_order_of_few_pixels_does_not_matter() -> None:
    image = scene_of()[..., :COUNT]
    found = counting(find_materials(image, pooled=True))[0]
    assert found == pytest.approx(counting(find_materials(image.flip(2), pooled=True))[0])


def test_a_large_image_is_thinned_evenly() -> None:
    """Common colours count alike, but what is rare must have been counted about rightly."""
    counts = (30000, 20000, 9964, 36)
    found = counting(find_materials(coloured(counts), pooled=True))[0]
    assert sum(counts) > 7 * MAX_PIXELS
    assert len(found) == 4
    share = np.array(counts) / sum(counts)
    expected = share / (share + HALF)
    expected /= expected.sum()
    for colour, weight in zip(COLOURS, expected, strict=True):
        assert found[tuple(round(value, 5) for value in colour.tolist())] == pytest.approx(
            weight, rel=0.3
        )


@pytest.mark.parametrize("place", [slice(0, 4), slice(50, 64)], ids=["left", "right"])
def test_a_strip_of_data_is_found_in_many_windows(place: slice) -> None:
    """Though only a part of so many pixels is looked at."""
    image = torch.full((32, 3, 64 * 64), 0.2)
    valid = torch.zeros(32, 64, 64, dtype=torch.bool)
    valid[..., place] = True
    found = find_materials(image, valid.flatten(1), pooled=True)
    assert found.weight.sum() == 1


def test_materials_carry_no_gradient() -> None:
    found = find_materials(scene_of().requires_grad_(), pooled=True)
    assert not found.values.requires_grad
    assert not found.weight.requires_grad
