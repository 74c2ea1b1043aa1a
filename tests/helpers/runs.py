"""Runs of the command line in processes of their own, to be killed: forked from a warm one."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.helpers.runs", "uavssr.reconstruction.api", "uavssr.io.msi.source"]
)


def start(
    stderr: Path, *arguments: object, largest: int | None = None, pause: int | None = None
) -> BaseProcess:
    """A run in a process of its own; its stderr goes to a file.

    Args:
        stderr: path of that file.
        arguments: of the command line.
        largest: no file may grow beyond so many bytes, as on a full disk.
        pause: the run stops itself (SIGSTOP) once so many tiles are kept; see `paused`.
    """
    arguments_of_run = (stderr, list(map(str, arguments)), largest, pause)
    process = CONTEXT.Process(target=_run, args=arguments_of_run)
    process.start()
    return process


@contextlib.contextmanager
def paused(process: BaseProcess, *, timeout: float = 60) -> Iterator[int]:
    """Once a run has stopped itself, its process number; it goes on after the body.

    Raises:
        AssertionError: it has ended, or does not stop.
    """
    end = time.monotonic() + timeout
    while not _stopped(process):
        if not process.is_alive() or time.monotonic() > end:
            process.kill()
            raise AssertionError(f"the run was to stop, its exit code is {process.exitcode}")
        time.sleep(0.002)
    number = process.pid or 0
    try:
        yield number
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)


def _stopped(process: BaseProcess) -> bool:
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:  # it has ended
        return False
    return status.rpartition(")")[2].split()[0] == "T"


def _run(stderr: Path, arguments: list[str], largest: int | None, pause: int | None) -> None:
    import resource

    import torch

    from uavssr import cli

    torch.set_num_threads(1)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if pause is not None:
        _pause_after(pause)
    sys.argv[1:] = arguments
    with stderr.open("w") as file, contextlib.redirect_stderr(file):
        cli.run_and_exit()


def _pause_after(tiles: int) -> None:
    """Stop this process when the journal has stored so many tiles."""
    from uavssr.io.writers import Journal, RecordKind, TileRecord

    store, count = Journal.store, itertools.count(1)

    def store_and_pause(self: Journal, kind: RecordKind, record: TileRecord) -> None:
        store(self, kind, record)
        if next(count) == tiles:
            os.kill(os.getpid(), signal.SIGSTOP)

    Journal.store = store_and_pause  # type: ignore[method-assign]
