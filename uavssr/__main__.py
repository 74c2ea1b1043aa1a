"""`python -m uavssr` is the `uavssr` command."""

import sys

from uavssr.cli import process

sys.exit(process())
