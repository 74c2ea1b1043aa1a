"""Networks of others: sizes and costs as published, and what their parts compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uavssr.evaluation.baselines import (
    Awan,
    CrossFusionNetwork,
    HscnnPlus,
    Hsrnet,
    MstLarge,
    MstPlusPlus,
)
from uavssr.evaluation.baselines.mst import HEAD_WIDTH, SpectralAttention

BANDS_IN, BANDS_OUT = 3, 31
NETWORKS = {
    "MST++": (lambda: MstPlusPlus(BANDS_IN, BANDS_OUT), 1_619_625, 22.29),
    "MST-L": (lambda: MstLarge(BANDS_IN, BANDS_OUT), 2_450_978, 31.82),
    "HSCNN+": (lambda: HscnnPlus(BANDS_IN, BANDS_OUT), 4_645_504, 304.45),
    "AWAN": (lambda: Awan(BANDS_IN, BANDS_OUT), 4_039_425, 265.8),
    "HSRnet": (lambda: Hsrnet([6, 10, 15]), 769_662, 48.07),
    "Dian": (lambda: CrossFusionNetwork(BANDS_IN, BANDS_OUT), 387_779, 25.3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_size_and_cost_are_the_published_ones(name: str) -> None:
    """Parameters exactly; operations at 256 x 256 within 4 %, norms not counted."""
    make, parameters, operations = NETWORKS[name]
    network: nn.Module = make().eval()
    assert sum(weights.numel() for weights in network.parameters()) == parameters
    image, rows = torch.rand(1, BANDS_IN, 64, 64), torch.rand(1, BANDS_IN, BANDS_OUT)
    inputs: tuple[Tensor, ...] = (image, rows) if name == "Dian" else (image,)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        cube = network(*inputs)
    assert cube.shape == (1, BANDS_OUT, 64, 64)
    assert counter.get_total_flops() / 2 * 16 / 1e9 == pytest.approx(operations, rel=0.04)


def test_attention_is_over_the_channels_of_a_head() -> None:
    """Against numpy in float64, for 62 channels in two heads."""
    torch.manual_seed(0)
    attend = SpectralAttention(2 * HEAD_WIDTH).double().eval()
    with torch.no_grad():
        attend.scale.copy_(torch.tensor([[[2.0]], [[5.0]]]))
    maps = torch.rand(1, 2 * HEAD_WIDTH, 6, 5, dtype=torch.float64)
    with torch.inference_mode():
        found = attend(maps) - attend.position(
            attend.queries_keys_values(maps)[:, 4 * HEAD_WIDTH :].contiguous()
        )
    weight = attend.queries_keys_values.weight.detach().numpy()[:, :, 0, 0]
    query, key, value = (weight @ maps[0].flatten(1).numpy()).reshape(3, 2, HEAD_WIDTH, -1)
    expected = []
    for head, scale in enumerate((2.0, 5.0)):
        q, k = (
            each[head] / np.linalg.norm(each[head], axis=1, keepdims=True) for each in (query, key)
        )
        score = np.exp(scale * (k @ q.T))
        expected.append(score / score.sum(1, keepdims=True) @ value[head])
    project = attend.project.weight.detach().numpy()[:, :, 0, 0]
    mapped = project @ np.concatenate(expected) + attend.project.bias.detach().numpy()[:, None]
    assert np.allclose(found[0].flatten(1), mapped, atol=1e-12)
