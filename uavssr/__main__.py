"""`python -m uavssr` is the `uavssr` command."""

from uavssr.cli import run_and_exit

run_and_exit()
