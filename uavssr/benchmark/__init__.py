"""The benchmark: protocols, runs of methods side by side, tables of their results.

A protocol is a function that returns a list of cases. The methods are in `evaluation.baselines`.
"""

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.benchmark.cave import CaveSplit, cave_cases
from uavssr.benchmark.cover_gains import CoverGain, cover_gains, write_cover_gains
from uavssr.benchmark.methods import METHODS
from uavssr.benchmark.ntire2022 import ntire2022_cases
from uavssr.benchmark.pairs import pairs_cases
from uavssr.benchmark.pictures import Picture, write_pictures
from uavssr.benchmark.protocols import PROTOCOLS, Protocol
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
from uavssr.benchmark.report_files import results_as_dict, write_benchmark_report, write_tables
from uavssr.benchmark.schedule import Budget, run_benchmark
from uavssr.benchmark.tables import NOTES, results_markdown
from uavssr.benchmark.vnir import vnir_cases

__all__ = [
    "FACTS_FILE",
    "METHODS",
    "METRICS",
    "NOTES",
    "PROTOCOLS",
    "RUNS_FOLDER",
    "BenchmarkResults",
    "Budget",
    "Case",
    "CaveSplit",
    "CoverGain",
    "HeldOutImage",
    "Picture",
    "Protocol",
    "RunRecord",
    "ScoredImage",
    "cave_cases",
    "cover_gains",
    "ntire2022_cases",
    "pack_results",
    "pairs_cases",
    "read_record",
    "read_results",
    "results_as_dict",
    "results_markdown",
    "run_benchmark",
    "vnir_cases",
    "write_benchmark_report",
    "write_cover_gains",
    "write_pictures",
    "write_record",
    "write_tables",
]
