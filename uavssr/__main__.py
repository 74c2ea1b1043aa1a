"""`python -m uavssr` is the `uavssr` command."""

import sys

from uavssr.cli import main

sys.exit(main())
