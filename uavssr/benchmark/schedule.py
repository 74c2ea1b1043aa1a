"""The runs of a benchmark: which are due, in processes of their own, and which are done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from uavssr.benchmark.methods import METHODS
from uavssr.benchmark.protocols import Protocol
from uavssr.benchmark.records import read_record
from uavssr.benchmark.run import RunPlace, run_method
from uavssr.evaluation.baselines import FitSettings, Method

HEAVY_GMAC: Final = 30.0
"""Multiply-adds in G, at 256 x 256 pixels, from which a method gets one seed alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How often and how long methods are fitted."""

    seeds: int = 3
    """Seeds of each trained method below `HEAVY_GMAC`; closed forms and heavy ones get one."""
    minutes: float = 5.0
    """Processor time of each training."""
    threads: int = 1
    """Threads of each run."""
    jobs: int = 1
    """Runs at the same time."""
    repeat: Path | None = None
    """An earlier benchmark whose numbers of training steps are taken, so results are equal."""


def run_all(
    protocol: Protocol, methods: Sequence[Method], budget: Budget, out: Path
) -> Iterator[tuple[RunPlace, int]]:
    """Make all runs that have no record yet; yields each with the number still due.

    Seeds run from the first to the last over all methods, so an interrupted benchmark has a
    complete table of fewer seeds. Heavy methods make no second run, which is known after the first.
    """
    names = [case.name for case in protocol.cases()]
    for seed in range(budget.seeds):
        places = [
            RunPlace(folder=out, case=case, method=method.name, seed=seed)
            for case in names
            for method in methods
        ]
        due = [place for place in places if seed == 0 or _is_repeated(place)]
        waiting = [place for place in due if not place.file(".json").is_file()]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(budget.jobs, context, max_tasks_per_child=1) as pool:
            runs = {pool.submit(_run, protocol, place, budget): place for place in waiting}
            for count, run in enumerate(as_completed(runs), 1):
                run.result()
                yield runs[run], len(waiting) - count


def _is_repeated(place: RunPlace) -> bool:
    """Whether a method gets more than one seed."""
    if not METHODS[place.method].is_trained:
        return False
    first = replace(place, seed=0).file(".json")
    gmac = read_record(first).gmac
    return gmac is not None and gmac <= HEAVY_GMAC


def _run(protocol: Protocol, place: RunPlace, budget: Budget) -> None:
    """One run, in a process of its own."""
    case = next(case for case in protocol.cases() if case.name == place.case)
    steps = None
    if budget.repeat is not None:
        earlier = RunPlace(
            folder=budget.repeat, case=place.case, method=place.method, seed=place.seed
        )
        steps = read_record(earlier.file(".json")).steps or None
    settings = FitSettings(seed=place.seed, seconds=60 * budget.minutes, steps=steps)
    run_method(case, METHODS[place.method], place, settings, threads=budget.threads)
