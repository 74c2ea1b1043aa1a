"""Printing of results on stdout and of progress on stderr, with rich."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

from uavssr.tiling import Progress as ProgressCallback

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def show(data: object, *parts: RenderableType, as_json: bool) -> None:
    """Print a result on stdout: its data as JSON, or else its parts as text and tables."""
    if as_json:
        print(json.dumps(data))
        return
    from rich.text import Text

    console = _console()
    for part in parts:  # lines of text stay whole, so that a command can be copied
        console.print(part, soft_wrap=isinstance(part, Text))


@contextmanager
def progress(
    *, quiet: bool, unit: Literal["pixels", "steps", "runs"] = "pixels"
) -> Iterator[ProgressCallback | None]:
    """A progress bar on stderr with speed and time left; None if quiet.

    The bar appears with the first call, so that an error before that is one line. Until then a
    terminal shows that something is done. The callback
    takes the task, the units just finished, and the units in all. What follows a comma in the
    task's name may change from call to call.
    """
    if quiet:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    waiting = ExitStack()
    waiting.enter_context(spinner("preparing", quiet=quiet))
    bar = Progress(*columns, console=_console(stderr=True))
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def update(task_name: str, done: int, total: int) -> None:
        key = task_name.partition(",")[0]
        with lock:  # the threads of tiles call this
            if not tasks:
                waiting.close()
                bar.start()
            if key not in tasks:
                tasks[key] = bar.add_task(task_name, total=total, rate="")
        task = tasks[key]
        bar.update(task, advance=done, description=task_name)
        speed = bar.tasks[task].speed or 0.0
        pixels = unit == "pixels" and total > 10_000
        bar.update(task, rate=f"{speed / 1000:.0f} kpx/s" if pixels else f"{speed:.1f}/s")

    try:
        yield update
    finally:
        waiting.close()
        if tasks:
            bar.stop()


def spinner(text: str, *, quiet: bool) -> AbstractContextManager[object]:
    """What is done in the body, shown on a terminal until it ends."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    return _console(stderr=True).status(f"{text} ...")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else 200
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)
