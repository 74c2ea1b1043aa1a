"""What every test shares: the repository's root, hypothesis settings, and a quiet environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib
# Before anything imports torch: on arrays as small as here its threads wait more than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Runs under test inherit which signals are ignored: SIGHUP under nohup, SIGINT behind an `&`.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "uavssr",
    deadline=None,  # shared machines stall; pytest's timeout is the limit that counts
    derandomize=True,  # the same examples on every machine: a red test is red for everybody
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", parent=settings.get_profile("uavssr"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "uavssr"))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository, which holds pyproject.toml, docs/ and models/."""
    return Path(__file__).resolve().parents[1]
