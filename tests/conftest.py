"""What every test shares: the repository's root, hypothesis settings, and a quiet environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import torch

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


@pytest.fixture
def gpu() -> torch.device:
    """A CUDA device, for tests marked `gpu`; they are skipped on machines without one."""
    import torch  # here, so that tests of files and cameras start without it

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that this machine has in turn: a test runs once per device."""
    import torch

    return request.getfixturevalue("gpu") if request.param == "cuda" else torch.device("cpu")
