"""Outcomes of a function in several threads, in order, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Argument = TypeVar("Argument")
Outcome = TypeVar("Outcome")


def bounded_map(
    function: Callable[[Argument], Outcome], items: Iterable[Argument], *, workers: int
) -> Iterator[Outcome]:
    """function(item) of every item, in order; at most `workers` results wait in memory.

    An error of the function is raised when its turn comes; items that wait are then dropped.
    """
    pending = deque[Future[Outcome]]()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(pending) > workers:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
