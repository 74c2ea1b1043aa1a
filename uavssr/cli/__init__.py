"""The command line: parses, calls, prints, turns errors into one line and an exit code.

No logic: what a command does lives in the other packages, which never print.
"""

from uavssr.cli.entry import main, run_and_exit

__all__ = ["main", "run_and_exit"]
