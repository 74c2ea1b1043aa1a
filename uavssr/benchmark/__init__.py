"""The benchmark: protocols, methods side by side, tables and pictures of the results.

The methods are in `evaluation.baselines`.
"""

from uavssr.benchmark.case import Case, HeldOutImage
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

__all__ = [
    "FACTS_FILE",
    "METRICS",
    "RUNS_FOLDER",
    "BenchmarkResults",
    "Case",
    "HeldOutImage",
    "RunRecord",
    "ScoredImage",
    "pack_results",
    "read_record",
    "read_results",
    "write_record",
]
