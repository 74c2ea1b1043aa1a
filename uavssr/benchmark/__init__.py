"""The benchmark: protocols, runs of methods side by side, tables of their results.

A protocol is a function that returns a list of cases. The methods are in `evaluation.baselines`.
"""

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.cave import CaveSplit, cave_cases
from uavssr.benchmark.records import (
    FACTS_FILE,
    METRICS,
    RUNS_FOLDER,
    BenchmarkResults,
    RunRecord,
    ScoredImage,
    pack_results,
    read_record,
    read_results,
    write_record,
)
from uavssr.benchmark.vnir import vnir_cases

__all__ = [
    "FACTS_FILE",
    "METRICS",
    "RUNS_FOLDER",
    "BenchmarkResults",
    "Case",
    "CaveSplit",
    "HeldOutImage",
    "RunRecord",
    "ScoredImage",
    "cave_cases",
    "pack_results",
    "read_record",
    "read_results",
    "vnir_cases",
    "write_record",
]
