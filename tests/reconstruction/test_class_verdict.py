"""The verdict on classes of ground in plain words."""

from __future__ import annotations

import numpy as np

from uavssr.io.stf import ClassDifference, ClassStfs
from uavssr.reconstruction import class_verdict

ROLES = ("red", "nir")


def classes(*names: str, p: float) -> ClassStfs:
    """The first class is 4 % higher in red, with the p-value."""
    shape = (len(names), len(ROLES))
    value, of_red = np.full(shape, -0.01), np.ones(shape)
    value[0, 0], of_red[0, 0] = np.log(1.04), p
    significant_from = np.log(1.3) * np.ones(shape)
    gain = ClassDifference(
        value=value, se=0.01 * np.ones(shape), p=of_red, significant_from=significant_from
    )
    return ClassStfs(
        names=names,
        pixels=np.full(len(names), 100),
        msi=np.ones(shape),
        estimates=(),
        difference=gain,
        left_out={},
        source="test",
    )


def test_a_difference_is_named_with_its_size_and_direction() -> None:
    said = class_verdict(classes("soil", "crop", "road", p=0.002), ROLES)
    assert said == "gain of red in class soil is 4.0% higher than in the other classes, p = 0.002"
    assert class_verdict(classes("soil", "crop", p=0.002), ROLES).endswith(
        "higher than in class crop, p = 0.002"
    )


def test_without_a_difference_the_significant_size_is_said() -> None:
    said = class_verdict(classes("soil", "crop", "road", p=0.31), ROLES)
    assert said.startswith("classes do not differ beyond their standard errors (p = 0.31)")
    assert "a gain that differs by 30% to 30%, by class and band" in said
