"""The materials of a scene: a few dozen spectra that stand for all of its pixels.

The STF is estimated from them, as most pixels of a scene repeat the same few spectra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

MATERIALS_PER_SCENE: Final = 40
"""Clusters of a scene, J."""
MAX_CLUSTERED_PIXELS: Final = 8192
"""Most pixels of a scene that are clustered."""
REFLECTANCE_FLOOR: Final = 0.003
"""Reflectance below which logarithms are not taken: they would compare noise."""
HALF_WEIGHT_SHARE: Final = 1e-3
"""Share of the pixels at which a material has half the weight of a common one."""
KMEANS_ITERATIONS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Mean spectra of J clusters of the pixels of S scenes."""

    values: Tensor
    """(S, J, c) reflectance in the camera's bands."""
    weight: Tensor
    """(S, J) summing to one; zeros where a scene has no valid pixel."""


@torch.no_grad()
def find_materials(
    msi: Tensor,
    valid: Tensor | None = None,
    *,
    pooled: bool,
    count: int = MATERIALS_PER_SCENE,
    max_pixels: int = MAX_CLUSTERED_PIXELS,
) -> Materials:
    """Cluster pixels by k-means on log reflectance, started by k-means++.

    The weight of a material with the share s of the pixels is proportional to s / (s + 0.001). The
    same image gives the same materials: the random draws have a fixed seed.

    Args:
        msi: Y (B, c, N) reflectance.
        valid: (B, N) pixels that count; all by default.
        pooled: whether the B images are windows of one scene (S = 1), or a scene each (S = B).
        count: J.
        max_pixels: most pixels of a scene that are clustered.
    """
    usable = torch.ones_like(msi[:, 0]) if valid is None else valid.to(msi.dtype)
    pixels = msi.mT
    if pooled:
        pixels, usable = pixels.flatten(0, 1)[None], usable.flatten()[None]
    pixels, usable = _thin(pixels, usable, max_pixels)
    points = pixels.clamp_min(REFLECTANCE_FLOOR).log()
    centres = _initial_centres(points, usable, count)
    for _ in range(KMEANS_ITERATIONS):
        means, mass = _cluster_means(points, points, centres, usable)
        centres = torch.where(mass[..., None] > 0, means, centres)
    values, mass = _cluster_means(pixels, points, centres, usable)
    share = mass / mass.sum(1, keepdim=True).clamp_min(1)
    weight = share / (share + HALF_WEIGHT_SHARE)
    return Materials(
        values=torch.where(mass[..., None] > 0, values, values.new_tensor(REFLECTANCE_FLOOR)),
        weight=weight / weight.sum(1, keepdim=True).clamp_min(1e-12),
    )


def pool_materials(scenes: Sequence[Materials]) -> Materials:
    """The materials of several scenes of one camera (S = 1 each) as those of one scene.

    Together they count as much as one scene: the errors of the spectral prior that they share do
    not average out (docs/design.md).
    """
    return Materials(
        values=torch.cat([scene.values for scene in scenes], 1),
        weight=torch.cat([scene.weight for scene in scenes], 1) / len(scenes),
    )


def _thin(pixels: Tensor, usable: Tensor, max_pixels: int) -> tuple[Tensor, Tensor]:
    """At most `max_pixels` of a scene's pixels, drawn at random, usable ones first."""
    if pixels.shape[1] <= max_pixels:
        return pixels, usable
    draw = torch.rand(pixels.shape[1], generator=torch.Generator().manual_seed(0))
    # float32 whatever the pixels' type: the order decides where clusters start
    chosen = (usable.float() + draw.to(usable.device)).topk(max_pixels, 1).indices
    spectra = chosen[..., None].expand(-1, -1, pixels.shape[-1])
    return pixels.gather(1, spectra), usable.gather(1, chosen)


def _initial_centres(points: Tensor, usable: Tensor, count: int) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007): (S, J, c) centres far from each other.

    A centre is drawn with probability proportional to its squared distance to the centres so far.
    To draw it, each point gets an exponential waiting time with that rate; the shortest wins. All
    scenes and devices use the same waiting times.
    """
    distance = torch.full_like(usable, torch.inf)
    rate, chosen = usable + 1e-12, []
    for waiting in _waiting_times(count, points.shape[1]).to(points):
        index = (rate / waiting).argmax(1, keepdim=True)
        centre = points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))
        chosen.append(centre)
        distance = torch.minimum(distance, (points - centre).square().sum(-1))
        rate = distance * usable + 1e-12
    return torch.cat(chosen, 1)


@lru_cache(4)
def _waiting_times(count: int, points: int) -> Tensor:
    """(count, points) exponential variates, the same every time."""
    times = torch.empty(count, points, dtype=torch.float64)
    return times.exponential_(generator=torch.Generator().manual_seed(0))


def _cluster_means(
    values: Tensor, points: Tensor, centres: Tensor, usable: Tensor
) -> tuple[Tensor, Tensor]:
    """Means (S, J, c) of values (S, N, c) over the points nearest to each centre; counts (S, J)."""
    # argmin_j |p - m_j|^2 = argmin_j |m_j|^2 - 2 p^T m_j
    distance = centres.square().sum(-1)[:, None] - 2 * points @ centres.mT
    nearest = torch.nn.functional.one_hot(distance.argmin(-1), centres.shape[1])
    member = nearest.to(points.dtype) * usable[..., None]
    mass = member.sum(1)
    return member.mT @ values / mass.clamp_min(1e-12)[..., None], mass
