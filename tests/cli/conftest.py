"""The command line in this process, with one thread as the runs of all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.commands import Ran, Run
from uavssr import cli
from uavssr.reconstruction.devices import torch_threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: object) -> Ran:
        capfd.readouterr()
        return Ran(cli.main(list(map(str, arguments))), *capfd.readouterr())

    return ran
