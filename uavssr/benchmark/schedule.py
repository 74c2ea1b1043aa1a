"""The runs of a benchmark: which are due, in processes of their own, and which are done."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from uavssr._version import __version__
from uavssr.benchmark.case import Case
from uavssr.benchmark.methods import METHODS, chosen_methods
from uavssr.benchmark.protocols import Protocol
from uavssr.benchmark.records import FACTS_FILE, BenchmarkResults, read_record, read_results
from uavssr.benchmark.report_files import write_benchmark_report
from uavssr.benchmark.run import RunPlace, run_method
from uavssr.errors import IncompleteRun, UsageError
from uavssr.evaluation.baselines import FitSettings
from uavssr.io.writers import replacing
from uavssr.tiling import Progress

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


def run_benchmark(
    protocol: Protocol,
    out: Path,
    *,
    methods: Sequence[str] = (),
    cases: Sequence[str] = (),
    budget: Budget,
    progress: Progress | None = None,
) -> BenchmarkResults:
    """Make all runs that have no record in `out` yet, and write tables and pictures there.

    Seeds run from the first to the last over all methods, so an interrupted benchmark has the
    complete table of fewer seeds. Which methods are heavy is known after their first run.

    Args:
        protocol: what is compared on.
        out: folder of records, tables and pictures.
        methods: names of methods, all by default.
        cases: names of the protocol's cases, all by default.
        budget: how often and how long methods are fitted.
        progress: called after each run.

    Raises:
        UsageError: a name is unknown, or `out` holds a benchmark with other settings.
        InputRefused: data are missing, or a record is damaged.
        OutputError: a file cannot be written.
        IncompleteRun: the process of a run was killed.
    """
    chosen = chosen_methods(methods, protocol.name)
    built = protocol.cases()
    titles = _titles(protocol.name, built, cases)
    tables = {case.table: case.title for case in built if case.table}
    del built  # its scenes may be large
    command = _command(protocol, budget, methods=methods, cases=cases)
    _write_facts(protocol, titles | tables, budget, out, command)
    for seed in range(budget.seeds):
        places = [
            RunPlace(folder=out, case=case, method=method.name, seed=seed)
            for case in titles
            for method in chosen
        ]
        due = [place for place in places if seed == 0 or _is_repeated(place)]
        waiting = [place for place in due if not place.file(".json").is_file()]
        with _processes(budget) as pool:
            runs = {pool.submit(_run, protocol, place, budget): place for place in waiting}
            for run in as_completed(runs):
                place = runs[run]
                _check_ended(run, place)
                if progress is not None:
                    progress(f"seed {seed}, {place.case}, {place.method}", 1, len(waiting))
    write_benchmark_report(out)
    return read_results(out)


@contextmanager
def _processes(budget: Budget) -> Iterator[ProcessPoolExecutor]:
    """Processes of `budget.threads` threads, one for each run; libraries read their environment."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    earlier = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(budget.threads)))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(budget.jobs, context, max_tasks_per_child=1) as pool:
            yield pool
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _titles(protocol: str, built: Sequence[Case], names: Sequence[str]) -> dict[str, str]:
    """Titles of the chosen cases by name."""
    titles = {case.name: case.title for case in built}
    unknown = [name for name in names if name not in titles]
    if unknown:
        raise UsageError(
            f"{protocol} has no case {', '.join(unknown)}; its cases are {', '.join(titles)}"
        )
    return {name: title for name, title in titles.items() if not names or name in names}


def _write_facts(
    protocol: Protocol, titles: Mapping[str, str], budget: Budget, out: Path, command: str
) -> None:
    """Write benchmark.json with the last command, or refuse if the folder's has other settings."""
    settings = {
        "protocol": protocol.name,
        "options": {key: _option_text(value) for key, value in protocol.options.items()},
        "budget_minutes": budget.minutes,
        "threads": budget.threads,
    }
    path = out / FACTS_FILE
    if path.is_file():
        earlier = read_results(out).facts
        differing = [key for key, value in settings.items() if earlier.get(key) != value]
        if differing:
            key = differing[0]
            raise UsageError(
                f"{out} holds a benchmark with {key} {earlier.get(key)}, not {settings[key]}",
                remedy="choose another --out",
            )
        titles = {**earlier.get("cases", {}), **titles}
    facts = {
        **settings,
        "data": protocol.data.name,
        "cases": dict(titles),
        "methods": list(METHODS),
        "command": command,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {"uavssr": __version__, "torch": torch.__version__},
    }
    out.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _option_text(value: object) -> str:
    """An option as the command line has it."""
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _command(
    protocol: Protocol, budget: Budget, *, methods: Sequence[str], cases: Sequence[str]
) -> str:
    """The command, with placeholders for folders."""
    chosen = {"methods": tuple(methods), "cases": tuple(cases)}
    given = [*protocol.options.items(), *((key, names) for key, names in chosen.items() if names)]
    options = "".join(f" --{key} {_option_text(value)}" for key, value in given)
    return (
        f"uavssr benchmark {protocol.name} --data DATA{options} --seeds {budget.seeds} "
        f"--budget {budget.minutes:g} --threads {budget.threads} --out OUT"
    )


def _check_ended(run: Future[None], place: RunPlace) -> None:
    try:
        run.result()
    except BrokenProcessPool as err:
        raise IncompleteRun(
            f"the process of {place.method} ended early, perhaps for lack of memory",
            path=place.folder,
            remedy="give the same command again: what is done is kept",
        ) from err


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
