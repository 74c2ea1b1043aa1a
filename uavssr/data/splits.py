"""Split patches into training and validation by their positions, so that they share no ground."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import shapely

from uavssr.data.manifest_row import ManifestRow
from uavssr.io.hsi import map_to_pixel, pixel_to_map, reproject_points
from uavssr.io.manifests import ManifestProblem
from uavssr.io.raster import Transform
from uavssr.sensors import FloatArray, IndexArray
from uavssr.tiling import Window

RoleArray = npt.NDArray[np.int8]
"""TRAIN, VALIDATE or GUARD of each patch, (n,)."""
PolygonArray = npt.NDArray[np.object_]
"""The ground of each patch in a common CRS, (n,); empty where it has no coordinates there."""
SplitMethod = Literal["column", "groups", "blocks", "none"]
"""By the column `split`, by whole groups, by blocks within the scenes, or not at all."""

TRAIN, VALIDATE, GUARD = np.int8(0), np.int8(1), np.int8(2)
"""Role of a patch; those in the guard are used for nothing."""
_BLOCK_SIDE: Final = 4
"""Side of a validation block in patches."""
_INSET: Final = 0.05
"""Pixels by which a patch is made smaller before overlaps are searched: neighbours touch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchLayout:
    """Positions of the n patches of a row."""

    row: ManifestRow
    """The row of the manifest."""
    crs_wkt: str
    """CRS of the pixel grid; empty for mosaics of plots, which lie nowhere."""
    transform: Transform
    """From (column, row) to coordinates."""
    windows: tuple[Window, ...]
    """The n patches on the pixel grid."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Splits:
    """Roles of all patches of all rows."""

    method: SplitMethod
    """How validation was chosen."""
    roles: tuple[RoleArray, ...]
    """(n,) per row: TRAIN, VALIDATE or GUARD."""
    problems: tuple[ManifestProblem, ...]
    """Reasons why the split cannot be used."""


def split_patches(
    layouts: Sequence[PatchLayout], *, fraction: float, guard: int, seed: int
) -> Splits:
    """Split patches into training and validation.

    Where a row says `val`, the column decides and all other rows train. Otherwise, where rows name
    two groups or more, whole groups are drawn for validation. Otherwise, blocks of 4 x 4 patches
    are drawn within each scene, and patches within `guard` pixels of them are left out; scenes of
    the same ground share their blocks. A row that says `train` is never drawn.

    Args:
        layouts: the rows with pixels.
        fraction: share of the groups or blocks to draw for validation; 0: no validation.
        guard: pixels between training and validation within a scene.
        seed: of the draw.
    """
    rows = [layout.row for layout in layouts]
    method = _method(rows, fraction)
    problems = list(_torn_groups(rows)) if method == "column" else []
    drawn = _drawn_groups(rows, fraction, seed) if method == "groups" else set()
    scenes, crs_wkt = [], _common_crs(layouts)
    for layout in layouts:
        whole = layout.row.split == "val" or layout.row.group_name in drawn
        roles = np.full(len(layout.windows), VALIDATE if whole else TRAIN)
        scenes.append(_Scene(layout, _polygons(layout, crs_wkt, -_INSET), roles))
    if method == "blocks":
        _draw_blocks(scenes, fraction, seed)
        _mark_guard(scenes, guard)
    problems += _overlaps(scenes)
    roles_of_rows = tuple(scene.roles for scene in scenes)
    return Splits(method=method, roles=roles_of_rows, problems=tuple(problems))


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    layout: PatchLayout
    polygons: PolygonArray
    roles: RoleArray

    def ground(self, role: np.int8) -> PolygonArray:
        return self.polygons[self.roles == role]


def _method(rows: Sequence[ManifestRow], fraction: float) -> SplitMethod:
    if any(row.split == "val" for row in rows):
        return "column"
    if fraction == 0 or all(row.split == "train" for row in rows):
        return "none"
    return "groups" if len({row.group for row in rows} - {""}) > 1 else "blocks"


def _drawn_groups(rows: Sequence[ManifestRow], fraction: float, seed: int) -> set[str]:
    """Draw at least one of the groups that no row reserves for training, and never all groups."""
    names = {row.group_name for row in rows}
    free = sorted(names - {row.group_name for row in rows if row.split == "train"})
    order = np.random.default_rng([seed, 41]).permutation(len(free))
    return {free[i] for i in order[: _drawn_count(len(names), fraction)]}


def _drawn_count(total: int, fraction: float) -> int:
    """Number to draw of `total`: at least one, and at most all but one."""
    return min(max(round(fraction * total), 1), total - 1)


def _torn_groups(rows: Sequence[ManifestRow]) -> Iterator[ManifestProblem]:
    """Yield a problem for each row of a group that the column puts on both sides."""
    first: dict[str, ManifestRow] = {}
    for row in rows:
        before = first.setdefault(row.group_name, row)
        if (before.split == "val") != (row.split == "val"):
            yield ManifestProblem(
                row.line,
                f"group {row.group!r} is for {row.split or 'train'} here and for "
                f"{before.split or 'train'} in line {before.line}; a group cannot be on both sides",
            )


def _overlaps(scenes: Sequence[_Scene]) -> Iterator[ManifestProblem]:
    """Yield a problem for each row that trains on the validation ground of another row."""
    for scene, other in itertools.product(scenes, repeat=2):
        train = scene.ground(TRAIN)
        if count := len(np.unique(_intersecting(train, other.ground(VALIDATE)))):
            yield ManifestProblem(
                scene.layout.row.line,
                f"{count} of its {len(train)} training patches lie on validation ground of line "
                f"{other.layout.row.line}; put both rows on one side, or in one group",
            )


def _intersecting(polygons: PolygonArray, others: PolygonArray) -> IndexArray:
    """The indices of the polygons that intersect any of the others."""
    if not len(polygons) or not len(others):
        return np.empty(0, np.intp)
    pairs = shapely.STRtree(others).query(polygons, predicate="intersects")
    return np.asarray(pairs[0], np.intp)


def _draw_blocks(scenes: Sequence[_Scene], fraction: float, seed: int) -> None:
    """Draw blocks for validation in each cluster of scenes that share ground."""
    rng = np.random.default_rng([seed, 43])
    for cluster in _clusters([scene.polygons for scene in scenes]):
        free = [scenes[i] for i in cluster if scenes[i].layout.row.split is None]
        blocks_of = [_blocks(scene.layout, scenes[cluster[0]].layout) for scene in free]
        blocks = np.unique(np.concatenate([np.empty((0, 2), np.int64), *blocks_of]), axis=0)
        if len(blocks) < 2:
            continue  # too small to be divided: it trains
        drawn = blocks[rng.permutation(len(blocks))[: _drawn_count(len(blocks), fraction)]]
        for scene, own in zip(free, blocks_of, strict=True):
            scene.roles[(own[:, None] == drawn).all(2).any(1)] = VALIDATE


def _mark_guard(scenes: Sequence[_Scene], guard: int) -> None:
    """Take training patches within `guard` pixels of validation patches out of the training."""
    validate = np.concatenate([scene.ground(VALIDATE) for scene in scenes])
    crs_wkt = _common_crs([scene.layout for scene in scenes])
    for scene in scenes:
        grown = _polygons(scene.layout, crs_wkt, guard - _INSET)
        near = _intersecting(grown, validate)
        scene.roles[near[scene.roles[near] == TRAIN]] = GUARD


def _common_crs(layouts: Sequence[PatchLayout]) -> str:
    """The CRS of the first scene that has one."""
    return next((layout.crs_wkt for layout in layouts if layout.crs_wkt), "")


def _clusters(polygons: Sequence[PolygonArray]) -> list[list[int]]:
    """Group the rows that share ground, directly or through other rows."""
    clusters: list[list[int]] = []
    for i, own in enumerate(polygons):
        joined = [c for c in clusters if any(len(_intersecting(own, polygons[j])) for j in c)]
        clusters = [cluster for cluster in clusters if cluster not in joined]
        clusters.append(sorted([i, *itertools.chain(*joined)]))
    return sorted(clusters)


def _blocks(layout: PatchLayout, frame: PatchLayout) -> npt.NDArray[np.int64]:
    """The block (n, 2) that the middle of each patch lies in, on the frame's pixel grid."""
    bounds = _bounds(layout)
    middles = pixel_to_map(layout.transform, (bounds[:, :2] + bounds[:, 2:]) / 2)
    placed = reproject_points(middles, layout.crs_wkt, frame.crs_wkt)
    side = _BLOCK_SIDE * frame.windows[0].height
    return np.floor(map_to_pixel(frame.transform, placed) / side).astype(np.int64)


def _polygons(layout: PatchLayout, crs_wkt: str, grown: float) -> PolygonArray:
    """The ground of the patches in a CRS, each patch `grown` pixels larger on every side."""
    if not layout.crs_wkt:
        return np.array([shapely.Polygon()] * len(layout.windows), object)
    left, top, right, bottom = range(4)
    bounds = _bounds(layout) + grown * np.array([-1, -1, 1, 1])
    corners = bounds[:, [left, top, right, top, right, bottom, left, bottom]].reshape(-1, 2)
    placed = pixel_to_map(layout.transform, corners)
    rings = reproject_points(placed, layout.crs_wkt, crs_wkt).reshape(-1, 4, 2)
    polygons = np.array([shapely.Polygon()] * len(rings), object)
    finite = np.isfinite(rings).all((1, 2))
    polygons[finite] = shapely.polygons(rings[finite])
    return polygons


def _bounds(layout: PatchLayout) -> FloatArray:
    """(n, 4) left, top, right and bottom of the patches in pixels."""
    return np.array(
        [[w.col, w.row, w.col + w.width, w.row + w.height] for w in layout.windows], float
    )
