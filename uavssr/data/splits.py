"""Split patches into training and validation, so that the two never share ground.

Only positions and names of the patches are used, not their pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import shapely

from uavssr.data.manifest import ManifestProblem
from uavssr.data.manifest_row import ManifestRow
from uavssr.io.hsi import map_to_pixel, pixel_to_map, reproject_points
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
    """CRS of the pixel grid."""
    transform: Transform
    """From (column, row) to coordinates."""
    windows: tuple[Window, ...]
    """The n patches on the pixel grid."""

    @property
    def group_name(self) -> str:
        """The group; a row without one is a group of its own."""
        return self.row.group or f"line {self.row.line}"


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
    method = _method([layout.row for layout in layouts], fraction)
    problems = list(_torn_groups(layouts)) if method == "column" else []
    polygons = [_polygons(layout, layouts[0].crs_wkt, -_INSET) for layout in layouts]
    roles = [np.full(len(layout.windows), TRAIN) for layout in layouts]
    drawn = _drawn_groups(layouts, fraction, seed) if method == "groups" else set()
    for layout, own in zip(layouts, roles, strict=True):
        if layout.row.split == "val" or layout.group_name in drawn:
            own[:] = VALIDATE
    if method == "blocks":
        _draw_blocks(layouts, polygons, roles, fraction, seed)
        _mark_guard(layouts, polygons, roles, guard)
    problems += _overlaps(layouts, polygons, roles)
    return Splits(method=method, roles=tuple(roles), problems=tuple(problems))


def _method(rows: Sequence[ManifestRow], fraction: float) -> SplitMethod:
    if any(row.split == "val" for row in rows):
        return "column"
    if fraction == 0 or all(row.split == "train" for row in rows):
        return "none"
    return "groups" if len({row.group for row in rows} - {""}) > 1 else "blocks"


def _drawn_groups(layouts: Sequence[PatchLayout], fraction: float, seed: int) -> set[str]:
    """Draw at least one of the groups that no row reserves for training, and never all groups."""
    names = {layout.group_name for layout in layouts}
    free = sorted(names - {layout.group_name for layout in layouts if layout.row.split == "train"})
    order = np.random.default_rng([seed, 41]).permutation(len(free))
    return {free[i] for i in order[: _drawn_count(len(names), fraction)]}


def _drawn_count(total: int, fraction: float) -> int:
    """Number to draw of `total`: at least one, and at most all but one."""
    return min(max(round(fraction * total), 1), total - 1)


def _torn_groups(layouts: Sequence[PatchLayout]) -> Iterator[ManifestProblem]:
    """Yield a problem for each row of a group that the column puts on both sides."""
    first: dict[str, ManifestRow] = {}
    for layout in layouts:
        row, before = layout.row, first.setdefault(layout.group_name, layout.row)
        if (before.split == "val") != (row.split == "val"):
            yield ManifestProblem(
                row.line,
                f"group {row.group!r} is for {row.split or 'train'} here and for "
                f"{before.split or 'train'} in line {before.line}; a group cannot be on both sides",
            )


def _overlaps(
    layouts: Sequence[PatchLayout], polygons: Sequence[PolygonArray], roles: Sequence[RoleArray]
) -> Iterator[ManifestProblem]:
    """Yield a problem for each row that trains on the validation ground of another row."""
    train = [ground[own == TRAIN] for ground, own in zip(polygons, roles, strict=True)]
    validate = [ground[own == VALIDATE] for ground, own in zip(polygons, roles, strict=True)]
    for i, j in itertools.product(range(len(layouts)), repeat=2):
        if count := len(np.unique(_intersecting(train[i], validate[j]))):
            yield ManifestProblem(
                layouts[i].row.line,
                f"{count} of its {len(train[i])} training patches lie on validation ground of "
                f"line {layouts[j].row.line}; put both rows on one side, or in one group",
            )


def _intersecting(polygons: PolygonArray, others: PolygonArray) -> IndexArray:
    """The indices of the polygons that intersect any of the others."""
    if not len(polygons) or not len(others):
        return np.empty(0, np.intp)
    pairs = shapely.STRtree(others).query(polygons, predicate="intersects")
    return np.asarray(pairs[0], np.intp)


def _draw_blocks(
    layouts: Sequence[PatchLayout],
    polygons: Sequence[PolygonArray],
    roles: Sequence[RoleArray],
    fraction: float,
    seed: int,
) -> None:
    """Draw blocks for validation in each cluster of scenes that share ground."""
    rng = np.random.default_rng([seed, 43])
    for cluster in _clusters(polygons):
        free = [i for i in cluster if layouts[i].row.split is None]
        blocks_of = [_blocks(layouts[i], layouts[cluster[0]]) for i in free]
        blocks = np.unique(np.concatenate([np.empty((0, 2), np.int64), *blocks_of]), axis=0)
        if len(blocks) < 2:
            continue  # too small to be divided: it trains
        drawn = blocks[rng.permutation(len(blocks))[: _drawn_count(len(blocks), fraction)]]
        for i, own in zip(free, blocks_of, strict=True):
            roles[i][(own[:, None] == drawn).all(2).any(1)] = VALIDATE


def _mark_guard(
    layouts: Sequence[PatchLayout],
    polygons: Sequence[PolygonArray],
    roles: Sequence[RoleArray],
    guard: int,
) -> None:
    """Take training patches within `guard` pixels of validation patches out of the training."""
    validate = np.concatenate([p[r == VALIDATE] for p, r in zip(polygons, roles, strict=True)])
    for layout, own in zip(layouts, roles, strict=True):
        grown = _polygons(layout, layouts[0].crs_wkt, guard - _INSET)
        near = _intersecting(grown, validate)
        own[near[own[near] == TRAIN]] = GUARD


def _clusters(polygons: Sequence[PolygonArray]) -> list[list[int]]:
    """Group the rows that share ground, directly or through other rows."""
    clusters: list[list[int]] = []
    for i in range(len(polygons)):
        joined = [
            cluster
            for cluster in clusters
            if any(len(_intersecting(polygons[i], polygons[j])) for j in cluster)
        ]
        clusters = [cluster for cluster in clusters if cluster not in joined]
        clusters.append(sorted([i, *(j for cluster in joined for j in cluster)]))
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
