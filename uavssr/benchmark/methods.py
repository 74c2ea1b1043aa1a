"""All methods of the benchmark by name."""

from __future__ import annotations

from typing import Final

from uavssr.benchmark.pgunet_method import PGUNET, PGUNET_FULL_BAND
from uavssr.benchmark.released import RELEASED
from uavssr.evaluation.baselines import BASELINES, Method

METHODS: Final[dict[str, Method]] = {
    **BASELINES,
    PGUNET_FULL_BAND.name: PGUNET_FULL_BAND,
    PGUNET.name: PGUNET,
    **RELEASED,
}
"""The methods by name, in the order of tables: ours last."""
