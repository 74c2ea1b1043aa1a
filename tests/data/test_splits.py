"""Splits: validation is apart from training on the ground, by column, by groups or by blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from uavssr.data.manifest_row import ManifestRow
from uavssr.data.splits import GUARD, TRAIN, VALIDATE, PatchLayout, Splits, split_patches
from uavssr.errors import InputRefused
from uavssr.tiling import TileGrid, Window

UTM, DEGREES = CRS.from_epsg(32650).to_wkt("WKT1_GDAL"), CRS.from_epsg(4326).to_wkt("WKT1_GDAL")
SIDE = 10


def ground(
    line: int = 2,
    *,
    size: int = 160,
    east: float = 5e5,
    north: float = 3e6,
    pixel: float = 0.1,
    split: str | None = None,
    group: str = "",
    side: int = SIDE,
) -> PatchLayout:
    """A scene of `size` pixels, all of its patches there."""
    tiles = TileGrid(height=size, width=size, tile=side)
    return PatchLayout(
        row=ManifestRow(line=line, hsi=Path("cube"), kind="cube", split=split, group=group),
        crs_wkt=UTM,
        transform=(pixel, 0.0, east, 0.0, -pixel, north),
        windows=tuple(t.core for t in tiles if t.core.height == t.core.width == side),
    )


def in_degrees(one: PatchLayout) -> PatchLayout:
    """The same ground in geographic coordinates, as near as a grid of squares can be."""
    to = Transformer.from_crs(32650, 4326, always_xy=True)
    a, _, c, _, e, f = one.transform
    (left, right), (top, bottom) = to.transform([c, c + 1000 * a], [f, f + 1000 * e])
    transform = ((right - left) / 1000, 0.0, left, 0.0, (bottom - top) / 1000, top)
    return replace(one, crs_wkt=DEGREES, transform=transform)


def split(*grounds: PatchLayout, fraction: float = 0.2, guard: int = 7, seed: int = 0) -> Splits:
    return split_patches(grounds, fraction=fraction, guard=guard, seed=seed)


def count(splits: Splits, role: np.int8) -> int:
    return sum(int((roles == role).sum()) for roles in splits.roles)


def boxes(one: PatchLayout, share: np.ndarray, kind: np.int8) -> list[shapely.Geometry]:
    """The patches of a kind in pixels of the scene, as an oracle without any CRS."""
    return [
        shapely.box(w.col, w.row, w.col + w.width, w.row + w.height)
        for w, each in zip(one.windows, share, strict=True)
        if each == kind
    ]


def test_blocks_leave_a_guard_between_training_and_validation() -> None:
    """Row 39: training and validation are spatially disjoint."""
    one = ground()
    found = split(one)
    assert found.method == "blocks"
    assert found.problems == ()
    (share,) = found.roles
    trained, validated = boxes(one, share, TRAIN), boxes(one, share, VALIDATE)
    assert len(trained) > len(validated) > 0
    assert min(a.distance(b) for a in trained for b in validated) >= 7
    left_out = boxes(one, share, GUARD)
    assert left_out
    for each in left_out:  # nothing is left out without need
        assert min(each.distance(b) for b in validated) < 7


def test_blocks_are_squares_of_four_by_four_patches_and_their_share_is_as_asked() -> None:
    one = ground(size=400)
    for share in (0.1, 0.3):
        found = split(one, fraction=share)
        chosen = {
            (w.row // 40, w.col // 40)
            for w, each in zip(one.windows, found.roles[0], strict=True)
            if each == VALIDATE
        }
        assert len(chosen) == share * 100
        assert count(found, VALIDATE) == 16 * len(chosen)


@pytest.mark.parametrize("degrees", [False, True], ids=["UTM", "degrees"])
def test_scenes_of_the_same_ground_share_their_blocks(*, degrees: bool) -> None:
    """Two flights over one field, the second displaced, at another resolution, in another CRS."""
    first = ground(2, size=400)
    second = ground(3, size=300, east=5e5 + 3.3, north=3e6 - 4.1, pixel=0.15)
    found = split(first, in_degrees(second) if degrees else second)
    assert found.problems == ()

    def on_the_ground(one: PatchLayout, share: np.ndarray, kind: np.int8) -> shapely.Geometry:
        a, _, c, _, e, f = one.transform
        return shapely.union_all(
            [
                shapely.box(
                    c + a * w.col,
                    f + e * (w.row + w.height),
                    c + a * (w.col + w.width),
                    f + e * w.row,
                )
                for w, each in zip(one.windows, share, strict=True)
                if each == kind
            ]
        )

    shares = found.roles
    assert all((share == VALIDATE).any() and (share == TRAIN).any() for share in shares)
    validated = [
        on_the_ground(g, s, VALIDATE) for g, s in zip((first, second), shares, strict=True)
    ]
    trained = [on_the_ground(g, s, TRAIN) for g, s in zip((first, second), shares, strict=True)]
    for own, other in ((0, 1), (1, 0), (0, 0), (1, 1)):
        assert trained[own].distance(validated[other]) > 0.6


def test_blocks_do_not_depend_on_scenes_elsewhere() -> None:
    near, far = ground(2), ground(3, east=6e5)
    alone, beside = split(near), split(near, far)
    np.testing.assert_array_equal(alone.roles[0], beside.roles[0])
    assert (beside.roles[1] == VALIDATE).any()


def test_the_seed_draws_other_blocks_and_the_same_seed_the_same() -> None:
    one = ground(size=400)
    first, again, other = split(one), split(one), split(one, seed=1)
    np.testing.assert_array_equal(first.roles[0], again.roles[0])
    assert (first.roles[0] != other.roles[0]).any()


def test_a_scene_of_one_block_trains() -> None:
    found = split(ground(size=40))
    assert count(found, TRAIN) == 16
    assert found.problems == ()


def test_the_column_decides_where_it_says_val() -> None:
    found = split(ground(2), ground(3, east=6e5, split="val"), ground(4, east=7e5, split="train"))
    assert found.method == "column"
    assert [set(share.tolist()) for share in found.roles] == [{TRAIN}, {VALIDATE}, {TRAIN}]
    assert found.problems == ()


@pytest.mark.parametrize("degrees", [False, True], ids=["UTM", "degrees"])
def test_overlapping_training_and_validation_are_refused_with_the_count(*, degrees: bool) -> None:
    """Row 39: refused (exit code 3), with the number of patches."""
    second = ground(3, east=5e5 + 12.0, split="val")
    found = split(ground(2), in_degrees(second) if degrees else second)
    (problem,) = found.problems
    assert problem.line == 2
    shared = 64  # columns 120 to 159 of 16 rows of patches
    assert (
        f"{shared} of its 256 training patches lie on validation ground of line 3" in problem.text
    )


def test_scenes_that_touch_do_not_overlap() -> None:
    assert split(ground(2), ground(3, east=5e5 + 16.0, split="val")).problems == ()


def test_whole_groups_are_drawn_where_groups_are_named() -> None:
    grounds = [ground(2 + i, east=5e5 + 1000 * i, group=f"flight {i // 2}") for i in range(10)]
    found = split(*grounds, fraction=0.4)
    assert found.method == "groups"
    kinds = [set(share.tolist()) for share in found.roles]
    assert all(len(kind) == 1 for kind in kinds)
    assert all(kinds[i] == kinds[i + 1] for i in range(0, 10, 2))
    assert sum(kind == {VALIDATE} for kind in kinds) == 4


def test_groups_are_never_all_drawn_and_kept_ones_not_at_all() -> None:
    two = [ground(2, group="a"), ground(3, east=6e5, group="b")]
    for seed in range(6):
        found = split(*two, fraction=0.5, seed=seed)
        assert count(found, VALIDATE) == count(found, TRAIN) == 256
        kept = split(ground(2, group="a", split="train"), two[1], fraction=0.5, seed=seed)
        assert (kept.roles[0] == TRAIN).all()
        assert (kept.roles[1] == VALIDATE).all()


def test_groups_over_the_same_ground_are_refused() -> None:
    found = split(ground(2, group="may"), ground(3, group="june"))
    assert len(found.problems) == 1
    assert "256 of its 256 training patches lie on validation ground" in found.problems[0].text


def test_a_group_on_both_sides_is_refused_with_both_lines() -> None:
    rows = (
        ground(2, group="flight 1", split="train"),
        ground(3, east=6e5, group="flight 1", split="val"),
    )
    (problem,) = split(*rows).problems
    assert problem.line == 3
    assert "'flight 1' is for val here and for train in line 2" in problem.text


@pytest.mark.parametrize("case", ["no share", "all for training", "no scenes"])
def test_nothing_is_set_apart_where_nobody_wants_it(case: str) -> None:
    one = ground(split="train") if case == "all for training" else ground()
    found = split(
        *([] if case == "no scenes" else [one]), fraction=0 if case == "no share" else 0.2
    )
    assert found.method == "none"
    assert count(found, VALIDATE) == 0


def test_blocks_leave_rows_kept_for_training_and_guard_them() -> None:
    kept, free = ground(2, split="train"), ground(3)
    found = split(kept, free)
    assert count(found, VALIDATE) > 0
    assert not (found.roles[0] == VALIDATE).any()
    assert (found.roles[0] == GUARD).any()
    assert found.problems == ()


@given(
    windows=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1),
    guard=st.integers(0, 25),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 5),
)
def test_no_choice_of_patches_and_settings_lets_them_meet(
    windows: set[tuple[int, int]], guard: int, fraction: float, seed: int
) -> None:
    one = replace(
        ground(), windows=tuple(Window(SIDE * r, SIDE * c, SIDE, SIDE) for r, c in windows)
    )
    found = split(one, fraction=fraction, guard=guard, seed=seed)
    assert found.problems == ()
    trained = boxes(one, found.roles[0], TRAIN)
    for validated in boxes(one, found.roles[0], VALIDATE):
        assert all(validated.distance(each) >= guard for each in trained)


def test_a_crs_that_leads_nowhere_is_refused() -> None:
    table = replace(ground(3), crs_wkt='LOCAL_CS["a table",UNIT["metre",1]]')
    with pytest.raises(InputRefused, match="no way from a table to EPSG:32650"):
        split(ground(2), table)
