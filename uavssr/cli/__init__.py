"""The command line: parses, calls, prints, turns errors into one line and an exit code.

No logic: what a command does lives in the other packages, which never print.
"""

from __future__ import annotations

# --help lists the commands in the order of these lines
from uavssr.cli import reconstruct  # isort: skip
from uavssr.cli import adapt, estimate, expand  # isort: skip
from uavssr.cli import evaluate, train  # isort: skip
from uavssr.cli.app import app
from uavssr.cli.entry import main, run_and_exit

__all__ = [
    "adapt",
    "app",
    "estimate",
    "evaluate",
    "expand",
    "main",
    "reconstruct",
    "run_and_exit",
    "train",
]
