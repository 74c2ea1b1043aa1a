"""`uavssr index --list`: the table of indices with the trust of a camera's cubes."""

from __future__ import annotations

import json

from tests.helpers.commands import Run


def test_trust_is_listed_for_a_camera(run: Run) -> None:
    listed = json.loads(run("index", "--list", "--sensor", "p4m", "--json").out)
    trust = {row["name"]: row["trust"] for row in listed}
    assert trust["NDVI"]["level"] == "carried"
    assert trust["WBI"]["level"] == "not carried"
    assert set(trust["NDVI"]["rank"]) == {"bands", "blind", "profile", "calibrated"}
    assert trust["WBI"]["rank"]["bands"] is None
    assert "not carried" in run("index", "--list", "--sensor", "p4m").out


def test_a_camera_without_trust_is_named(run: Run) -> None:
    listed = json.loads(run("index", "--list", "--sensor", "rgb", "--json").out)
    assert all(row["trust"] is None for row in listed)
    assert "No trust table for rgb" in run("index", "--list", "--sensor", "rgb").out
