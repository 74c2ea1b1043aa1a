"""Runs of the command line in processes of their own, to be killed: forked from a warm one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.runs", "uavssr.inference", "uavssr.raster.source"])


def start(said: Path, *arguments: object, largest: int | None = None) -> BaseProcess:
    """A run in a process of its own; what it says on stderr goes to a file.

    Args:
        said: the file.
        arguments: of the command line.
        largest: no file may grow beyond so many bytes, as on a full disk.
    """
    process = CONTEXT.Process(target=_run, args=(said, list(map(str, arguments)), largest))
    process.start()
    return process


def _run(said: Path, arguments: list[str], largest: int | None) -> None:
    import resource
    import signal

    import torch

    from uavssr import cli

    torch.set_num_threads(1)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    with said.open("w") as file, contextlib.redirect_stderr(file):
        code = cli.main(arguments)
    os._exit(code)
