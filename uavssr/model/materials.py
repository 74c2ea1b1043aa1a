"""The materials of a scene: a few dozen spectra that stand for all of its pixels.

The STF is learned from them and not from the pixels: a scene is mostly more of the same, and what
it is made of is not drawn from the prior pixel by pixel. Each material counts alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

MATERIALS_PER_SCENE: Final = 40
"""Clusters of a scene."""
MAX_CLUSTERED_PIXELS: Final = 8192
"""Pixels of a scene that are clustered, at most."""
REFLECTANCE_FLOOR: Final = 0.003
"""Reflectance below which differences do not count: clusters are made of logarithms."""
HALF_WEIGHT_SHARE: Final = 1e-3
"""Share of the pixels at which a material counts half: a few odd pixels are no material."""
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
    most: int = MAX_CLUSTERED_PIXELS,
) -> Materials:
    """Cluster pixels by k-means on the logarithm of reflectance, from a k-means++ start.

    The same image gives the same materials: the start is drawn with a fixed seed.

    Args:
        msi: Y (B, c, N).
        valid: (B, N) pixels that count; all by default.
        pooled: whether the B images are windows of one scene (S = 1), or a scene each (S = B).
        count: J.
        most: pixels of a scene that are clustered.
    """
    kept = torch.ones_like(msi[:, 0]) if valid is None else valid.to(msi.dtype)
    pixels = msi.mT
    if pooled:
        pixels, kept = pixels.flatten(0, 1)[None], kept.flatten()[None]
    pixels, kept = _thinned(pixels, kept, most)
    points = pixels.clamp_min(REFLECTANCE_FLOOR).log()
    centres = _start(points, kept, count)
    for _ in range(KMEANS_ITERATIONS):
        member = _membership(points, centres) * kept[..., None]
        mass = member.sum(1)
        moved = member.mT @ points / mass.clamp_min(1e-12)[..., None]
        centres = torch.where(mass[..., None] > 0, moved, centres)
    member = _membership(points, centres) * kept[..., None]
    mass = member.sum(1)
    values = member.mT @ pixels / mass.clamp_min(1e-12)[..., None]
    share = mass / mass.sum(1, keepdim=True).clamp_min(1)
    weight = share / (share + HALF_WEIGHT_SHARE)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
    seen = torch.where(mass[..., None] > 0, values, values.new_tensor(REFLECTANCE_FLOOR))
    return Materials(values=seen, weight=weight)


def _thinned(pixels: Tensor, kept: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """At most `most` of a scene's pixels, drawn at random, those that count first."""
    if pixels.shape[1] <= most:
        return pixels, kept
    luck = torch.rand(pixels.shape[1], generator=torch.Generator().manual_seed(0))
    chosen = (kept + luck.to(kept)).topk(most, 1).indices
    spectra = chosen[..., None].expand(-1, -1, pixels.shape[-1])
    return pixels.gather(1, spectra), kept.gather(1, chosen)


def _start(points: Tensor, kept: Tensor, count: int) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007): each centre far from those before it.

    A race: of waiting times with the rates `chance` the shortest is drawn in proportion to them.
    The same luck for every scene, on every device.
    """
    luck = _luck(count, points.shape[1])
    distance = torch.full_like(kept, torch.inf)
    chance, chosen = kept + 1e-12, []
    for waiting in luck.to(points):
        index = (chance / waiting).argmax(1, keepdim=True)
        centre = points.gather(1, index[..., None].expand(-1, -1, points.shape[-1]))
        chosen.append(centre)
        distance = torch.minimum(distance, (points - centre).square().sum(-1))
        chance = distance * kept + 1e-12
    return torch.cat(chosen, 1)


@lru_cache(4)
def _luck(count: int, points: int) -> Tensor:
    """(count, points) waiting times, the same every time."""
    luck = torch.empty(count, points, dtype=torch.float64)
    return luck.exponential_(generator=torch.Generator().manual_seed(0))


def _membership(points: Tensor, centres: Tensor) -> Tensor:
    """(S, N, J) one where a centre is a pixel's nearest."""
    distance = centres.square().sum(-1)[:, None] - 2 * points @ centres.mT
    nearest = distance.argmin(-1)
    return torch.nn.functional.one_hot(nearest, centres.shape[1]).to(points.dtype)
