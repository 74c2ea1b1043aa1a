"""All methods of the benchmark by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from uavssr.benchmark.pgunet_method import PGUNET, PGUNET_FULL_BAND
from uavssr.benchmark.released import RELEASED
from uavssr.errors import UsageError
from uavssr.evaluation.baselines import BASELINES, Method

METHODS: Final[dict[str, Method]] = {
    **BASELINES,
    PGUNET_FULL_BAND.name: PGUNET_FULL_BAND,
    PGUNET.name: PGUNET,
    **RELEASED,
}
"""The methods by name, in the order of tables: ours last."""

PAIR_METHODS: Final = (
    *("ridge", "plsr", "wiener", "mixture", "a+", "mst++", "martinez", "martinez-scratch"),
    *RELEASED,
)
"""Methods of the protocol `pairs`: few pairs train no large network, and R is not known."""


def chosen_methods(names: Sequence[str], protocol: str = "") -> list[Method]:
    """The methods of these names, by default all of a protocol, in the order of tables.

    Raises:
        UsageError: a name is unknown.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(
            f"unknown method {', '.join(unknown)}; the methods are {', '.join(METHODS)}"
        )
    usual = PAIR_METHODS if protocol == "pairs" else [m for m in METHODS if m not in RELEASED]
    return [method for name, method in METHODS.items() if name in (names or usual)]
