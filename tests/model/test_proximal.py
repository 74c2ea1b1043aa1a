"""The proximal networks whatever their weights: P-Net reads sets, Z-Net a neighbourhood."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uavssr.model import proximal
from uavssr.model.proximal import ChannelAttention, Convolution, PNet, Pointwise, ZNet

RANK, SCENES, COUNT, BANDS = 3, 2, 9, 6


def pnet_of(*, asleep: bool = False) -> PNet:
    torch.manual_seed(0)
    pnet = PNet(RANK, 16).double().requires_grad_(False)
    if not asleep:
        pnet.head.weight.normal_()
        pnet.head.bias.normal_()
    return pnet


def inputs(bands: int = BANDS, count: int = COUNT) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "tokens": normal(SCENES, count, bands, PNet.TOKEN),
        "materials": normal(SCENES, count, RANK),
        "weight": normal(SCENES, count).softmax(1),
        "bands": normal(SCENES, bands, PNet.BAND),
    }


def assert_close(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


# --- P-Net ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("bands", [1, 3, 10])
def test_pnet_takes_any_number_of_bands_and_materials(bands: int, count: int) -> None:
    change, shrinkage = pnet_of()(**inputs(bands, count))
    assert change.shape == shrinkage.shape == (SCENES, bands, 3)
    assert torch.isfinite(change).all()
    assert (change != shrinkage).all()


def test_permuted_bands_permute_what_pnet_says() -> None:
    given, order = inputs(), [3, 0, 5, 1, 4, 2]
    change, shrinkage = pnet_of()(**given)
    shuffled = {"tokens": given["tokens"][:, :, order], "bands": given["bands"][:, order]}
    assert_close(pnet_of()(**given | shuffled), (change[:, order], shrinkage[:, order]))
    assert not torch.allclose(change, change[:, order], atol=1e-3)


def test_the_order_of_materials_does_not_matter_to_pnet() -> None:
    given, order = inputs(), torch.randperm(COUNT, generator=torch.Generator().manual_seed(2))
    shuffled = {key: given[key][:, order] for key in ("tokens", "materials", "weight")}
    assert_close(pnet_of()(**given | shuffled), pnet_of()(**given))


def test_materials_of_no_weight_do_not_matter_to_pnet() -> None:
    """A scene of fewer colours than clusters has empty ones, which stand for nothing."""
    given, empty = inputs(), inputs(count=4)
    more = {key: torch.cat([given[key], 3 * empty[key]], 1) for key in ("tokens", "materials")}
    more["weight"] = torch.cat([given["weight"], torch.zeros(SCENES, 4).double()], 1)
    assert_close(pnet_of()(**given | more), pnet_of()(**given))


def test_pnet_is_finite_where_no_material_counts() -> None:
    given = inputs()
    change, shrinkage = pnet_of()(**given | {"weight": torch.zeros_like(given["weight"])})
    assert torch.isfinite(change).all()
    assert torch.isfinite(shrinkage).all()


@pytest.mark.parametrize("key", ["tokens", "materials", "weight", "bands"])
def test_every_input_of_a_scene_has_its_say_and_in_no_other_scene(key: str) -> None:
    given = inputs()
    other = {key: given[key].clone()}
    other[key][0] = other[key][0].flip(0)
    changes = [pnet_of()(**each)[0] for each in (given, given | other)]
    assert not torch.allclose(changes[0][0], changes[1][0], atol=1e-4)
    assert torch.equal(changes[0][1], changes[1][1])


def test_bands_attend_to_each_other() -> None:
    given = inputs()
    other = given["bands"].clone()
    other[:, 0] = 0
    before, after = (pnet_of()(**each)[0] for each in (given, given | {"bands": other}))
    assert ((before - after).abs() > 1e-6).all()


def test_pnet_says_nothing_before_training() -> None:
    change, shrinkage = pnet_of(asleep=True)(**inputs())
    assert not change.any()
    assert not shrinkage.any()


# --- Z-Net ----------------------------------------------------------------------------------------


def maps_of(size: int = 15) -> tuple[Tensor, Tensor]:
    """Coefficients (1, H, W, r) and the stem's maps (1, H, W, w)."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(1, size, size, RANK + 8, generator=generator, dtype=torch.float64)
    return maps[..., :RANK].contiguous(), maps[..., RANK:].contiguous()


def znet_of() -> ZNet:
    torch.manual_seed(0)
    znet = ZNet(RANK, 8).double().requires_grad_(False)
    znet.head.weight.normal_()
    return znet


@pytest.mark.parametrize("which", range(2))
def test_znet_reaches_as_far_as_it_says_and_no_farther(which: int) -> None:
    maps, znet = list(maps_of()), znet_of()
    before = znet(*maps)
    maps[which] = maps[which].clone()
    maps[which][0, 7, 7] += 1
    rows, cols = torch.nonzero((znet(*maps) != before)[0].any(-1), as_tuple=True)
    reach = 0 if which == 0 else ZNet.reach
    assert max((rows - 7).abs().max(), (cols - 7).abs().max()) == reach


def test_znet_is_the_identity_before_training() -> None:
    torch.manual_seed(0)
    maps = maps_of()
    assert torch.equal(ZNet(RANK, 8).double()(*maps), maps[0])


def test_znet_is_its_layers_one_after_the_other() -> None:
    """With the branches concatenated, as in the paper; also after a change of its weights."""
    znet, (coefficients, stem) = znet_of(), maps_of()
    features = torch.nn.functional.gelu(stem)
    both = torch.cat([znet.spatial(features), znet.spectral(features)], -1)
    expected = coefficients + znet.head(znet.fuse(both) + features)
    torch.testing.assert_close(znet(coefficients, stem), expected)


def test_layers_with_channels_last_are_torchs_convolutions() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 6, 7, 5)
    for layer in (Pointwise(5, 3), Convolution(5, 3)):
        expected = torch.nn.Conv2d.forward(layer, maps.permute(0, 3, 1, 2))
        torch.testing.assert_close(layer(maps), expected.permute(0, 2, 3, 1))


def test_gradients_of_znet_are_those_of_differences() -> None:
    """Whatever it computes in place."""
    znet = znet_of().requires_grad_(True)
    maps = tuple(part[:, :4, :5].clone().requires_grad_() for part in maps_of())
    assert torch.autograd.gradcheck(znet, maps)
    weights = dict(znet.named_parameters())

    def of_weights(*values: Tensor) -> Tensor:
        given = dict(zip(weights, values, strict=True))
        return torch.func.functional_call(znet, given, maps).sum()

    assert torch.autograd.gradcheck(of_weights, tuple(weights.values()), fast_mode=True)


def test_channel_attention_of_a_constant_image_is_constant() -> None:
    """Borders are no darker than the middle: what lies outside is not counted as zeros."""
    torch.manual_seed(0)
    attention = ChannelAttention(8, size=5).double().requires_grad_(False)
    image = torch.randn(1, 1, 1, 8).double().expand(-1, 9, 9, -1)
    found = attention(image)
    torch.testing.assert_close(found, found[:, :1, :1].expand_as(found))
    assert not torch.allclose(found, image)


@pytest.mark.parametrize("shape", [(9, 11), (5, 5), (2, 7), (1, 1), (3, 1)])
def test_means_of_the_surroundings_are_those_of_torchs_pooling(shape: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    found = proximal._neighbourhood_mean(maps.permute(0, 2, 3, 1), 5).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.avg_pool2d(maps, 5, 1, 2, count_include_pad=False)
    assert torch.allclose(found, wanted, atol=1e-6)
