"""What is trained on and what is validated on, apart from each other on the ground.

Only places and names are looked at. Must not read pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import shapely

from uavssr.data.manifest import Problem
from uavssr.io.hsi import map_to_pixel, pixel_to_map, reproject_points
from uavssr.io.raster import Transform
from uavssr.sensors import FloatArray, IndexArray
from uavssr.tiling import Window

Share = npt.NDArray[np.int8]
How = Literal["column", "groups", "blocks", "none"]

TRAIN, VALIDATE, GUARD = np.int8(0), np.int8(1), np.int8(2)
"""What a patch is for; those in the guard are for nothing."""
BLOCK: Final = 4
"""Side of a validation block in patches."""
_INSET: Final = 0.05
"""Pixels taken off a patch before it is said to overlap another: neighbours touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where the patches of a row lie."""

    line: int
    """Of the row."""
    split: str | None
    """What the manifest says it is for."""
    group: str
    """Of the manifest; empty where none is named."""
    crs_wkt: str
    """Of its pixels."""
    transform: Transform
    """From (column, row) to coordinates."""
    windows: tuple[Window, ...]
    """The patches, n of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """What every patch of every row is for."""

    how: How
    """By the column, by whole groups, by blocks within the scenes, or not at all."""
    shares: tuple[Share, ...]
    """(n,) of each row: TRAIN, VALIDATE or GUARD."""
    problems: tuple[Problem, ...]
    """Why they cannot be used."""

    def count(self, share: np.int8) -> int:
        """How many patches are for this."""
        return int(sum((each == share).sum() for each in self.shares))


def split_ground(grounds: Sequence[Ground], *, share: float, guard: int, seed: int) -> Splits:
    """Divide patches into training and validation.

    Where a row says `val`, the column decides and all other rows train. Else, where two groups or
    more are named, whole groups are drawn for validation; a row without a group is one of its own.
    Else each scene is cut into blocks of 4 x 4 patches, some are drawn, and what lies within
    `guard` pixels of them is left out; scenes of the same ground share their blocks. What a row
    keeps for training by the word `train` is not drawn.

    Args:
        grounds: the rows with pixels.
        share: of the groups or blocks, drawn for validation; 0 divides nothing.
        guard: pixels.
        seed: of the draw.
    """
    how = _how(grounds, share)
    problems = list(_torn_groups(grounds)) if how == "column" else []
    polygons = [_polygons(ground, grounds[0].crs_wkt, -_INSET) for ground in grounds]
    if how == "column":
        shares = [_whole(ground, validate=ground.split == "val") for ground in grounds]
    elif how == "groups":
        drawn = _drawn_groups(grounds, share, seed)
        shares = [_whole(ground, validate=_group(ground) in drawn) for ground in grounds]
    elif how == "blocks":
        shares = _blocks(grounds, polygons, share, guard, seed)
    else:
        shares = [_whole(ground, validate=False) for ground in grounds]
    problems += _overlaps(grounds, polygons, shares)
    return Splits(how=how, shares=tuple(shares), problems=tuple(problems))


def _how(grounds: Sequence[Ground], share: float) -> How:
    if any(ground.split == "val" for ground in grounds):
        return "column"
    if share == 0 or all(ground.split == "train" for ground in grounds):
        return "none"
    return "groups" if len({ground.group for ground in grounds} - {""}) > 1 else "blocks"


def _group(ground: Ground) -> str:
    return ground.group or f"line {ground.line}"


def _whole(ground: Ground, *, validate: bool) -> Share:
    return np.full(len(ground.windows), VALIDATE if validate else TRAIN, np.int8)


def _drawn_groups(grounds: Sequence[Ground], share: float, seed: int) -> set[str]:
    """At least one group of those that may be drawn, and never all groups."""
    kept = {_group(ground) for ground in grounds if ground.split == "train"}
    names = {_group(ground) for ground in grounds}
    free = sorted(names - kept)
    order = np.random.default_rng([seed, 41]).permutation(len(free))
    return {free[i] for i in order[: _part(len(names), share)]}


def _part(count: int, share: float) -> int:
    """How many of `count` are for validation: at least one where that leaves one to train on."""
    return min(max(round(share * count), 1), count - 1)


def _torn_groups(grounds: Sequence[Ground]) -> Iterator[Problem]:
    """Groups with rows on both sides."""
    first: dict[str, Ground] = {}
    for ground in grounds:
        before = first.setdefault(_group(ground), ground)
        if (before.split == "val") != (ground.split == "val"):
            yield Problem(
                ground.line,
                f"group {ground.group!r} is for {ground.split or 'train'} here and for "
                f"{before.split or 'train'} in line {before.line}; a group cannot be on both sides",
            )


def _overlaps(
    grounds: Sequence[Ground], polygons: Sequence[npt.NDArray[np.object_]], shares: Sequence[Share]
) -> Iterator[Problem]:
    """Rows whose training patches lie on the ground of validation patches of another row."""
    for i, ground in enumerate(grounds):
        trained = polygons[i][shares[i] == TRAIN]
        for j, other in enumerate(grounds):
            validated = polygons[j][shares[j] == VALIDATE]
            count = len(np.unique(_meeting(trained, validated)))
            if count:
                yield Problem(
                    ground.line,
                    f"{count} of its {len(trained)} training patches lie on validation ground of "
                    f"line {other.line}; put both rows on one side, or in one group",
                )


def _meeting(ones: npt.NDArray[np.object_], others: npt.NDArray[np.object_]) -> IndexArray:
    """Indices of those of `ones` that intersect any of `others`."""
    if not len(ones) or not len(others):
        return np.empty(0, np.intp)
    return np.asarray(shapely.STRtree(others).query(ones, predicate="intersects")[0], np.intp)


def _blocks(
    grounds: Sequence[Ground],
    polygons: Sequence[npt.NDArray[np.object_]],
    share: float,
    guard: int,
    seed: int,
) -> list[Share]:
    """Blocks drawn in each cluster of scenes of the same ground, and the guard around them."""
    shares = [_whole(ground, validate=False) for ground in grounds]
    rng = np.random.default_rng([seed, 43])
    for cluster in _clusters(grounds, polygons):
        frame = grounds[cluster[0]]
        free = [i for i in cluster if grounds[i].split is None]
        names = [_block_names(grounds[i], frame) for i in free]
        blocks = np.unique(np.concatenate([np.empty((0, 2), np.int64), *names]), axis=0)
        if len(blocks) < 2:
            continue  # too small to be divided: it trains
        drawn = blocks[rng.permutation(len(blocks))[: _part(len(blocks), share)]]
        for i, own in zip(free, names, strict=True):
            chosen = (own[:, None] == drawn[None]).all(2).any(1)
            shares[i][chosen] = VALIDATE
    validated = np.concatenate([p[s == VALIDATE] for p, s in zip(polygons, shares, strict=True)])
    for i, ground in enumerate(grounds):
        grown = _polygons(ground, grounds[0].crs_wkt, guard - _INSET)
        near = _meeting(grown, validated)
        shares[i][near[shares[i][near] == TRAIN]] = GUARD
    return shares


def _clusters(
    grounds: Sequence[Ground], polygons: Sequence[npt.NDArray[np.object_]]
) -> list[list[int]]:
    """Rows in sets that share ground, directly or through others."""
    clusters: list[list[int]] = []
    for i in range(len(grounds)):
        joined = [
            cluster
            for cluster in clusters
            if any(len(_meeting(polygons[i], polygons[j])) for j in cluster)
        ]
        clusters = [cluster for cluster in clusters if cluster not in joined]
        clusters.append(sorted([i, *(j for cluster in joined for j in cluster)]))
    return sorted(clusters)


def _block_names(ground: Ground, frame: Ground) -> npt.NDArray[np.int64]:
    """(n, 2) the block that the middle of each patch lies in, on the grid of the frame's pixels."""
    middles = np.array(
        [[w.col + w.width / 2, w.row + w.height / 2] for w in ground.windows], float
    ).reshape(-1, 2)
    side = BLOCK * frame.windows[0].height if frame.windows else 1
    placed = pixel_to_map(ground.transform, middles)
    own = reproject_points(placed, ground.crs_wkt, frame.crs_wkt)
    places = map_to_pixel(frame.transform, own)
    return np.floor(places / side).astype(np.int64)


def _polygons(ground: Ground, crs_wkt: str, grown: float) -> npt.NDArray[np.object_]:
    """The patches as polygons in a common CRS, `grown` pixels larger on each side.

    A patch without coordinates there is empty: it can meet nothing.
    """
    if not ground.windows:
        return np.empty(0, object)
    corners = np.concatenate([_corners(window, grown) for window in ground.windows])
    placed = pixel_to_map(ground.transform, corners)
    rings = reproject_points(placed, ground.crs_wkt, crs_wkt).reshape(len(ground.windows), 4, 2)
    found = np.array([shapely.Polygon()] * len(rings), object)
    there = np.isfinite(rings).all((1, 2))
    found[there] = shapely.polygons(rings[there])
    return found


def _corners(window: Window, grown: float) -> FloatArray:
    left, top = window.col - grown, window.row - grown
    right, bottom = window.col + window.width + grown, window.row + window.height + grown
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
