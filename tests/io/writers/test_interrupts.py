"""An interrupt may come at any moment: it is never lost, and no later run stumbles over it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

from uavssr.io.writers.atomic import check_output, replacing
from uavssr.io.writers.journal import Journal
from uavssr.io.writers.tile_record import TileRecord

pytestmark = pytest.mark.filterwarnings("ignore:unclosed (file|scandir):ResourceWarning")

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """SIGINT as a fresh process handles it, and SIGTERM as the command line does."""
    chosen = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.default_int_handler}
    before = {each: signal.signal(each, handler) for each, handler in chosen.items()}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def struck_at(
    moment: int, act: Callable[[], None], where: Collection[CodeType], number: int
) -> bool:
    """Run `act` with a signal before the `moment`-th line of what functions `where` call.

    Their own lines do not count: nothing helps between the call of an `__exit__` and its `try`.

    Returns:
        Whether it had that many lines.
    """
    lines = inside = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines, inside
        if event == "call":
            inside += frame.f_code in where
        elif event == "return":
            inside -= frame.f_code in where
        elif event == "line" and inside and frame.f_code not in where:
            lines += 1
            if lines == moment:
                signal.raise_signal(number)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines >= moment


def interrupted_everywhere(
    act: Callable[[], None], *where: Callable[..., object], number: int = signal.SIGINT
) -> Iterator[int]:
    """Each moment at which a signal can strike functions that `act` runs, after it has struck."""
    codes = [each.__code__ for each in where]
    moment = 1
    while True:
        lost = False
        try:
            if not struck_at(moment, act, codes, number):
                return
            lost = True
        except KeyboardInterrupt:
            pass
        assert not lost, f"the interrupt at line {moment} was lost"
        yield moment
        moment += 1


@SIGNALS
def test_run_after_an_interrupt_anywhere_finds_its_way_free(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Row 23, promise P1: what an interrupt may leave of a journal is empty and in nobody's way."""
    out = tmp_path / "out.tif"

    def use() -> None:
        with Journal(out):
            pass

    last = 0
    for moment in interrupted_everywhere(use, Journal.__enter__, Journal.__exit__, number=number):
        assert not out.exists()
        use()
        assert list(tmp_path.iterdir()) == [], moment
        last = moment
    assert last > 50


@SIGNALS
def test_kept_tiles_survive_an_interrupt_anywhere(tmp_path: Path, number: signal.Signals) -> None:
    """Row 23: the next run goes on with them."""
    out = tmp_path / "out.tif"
    record = TileRecord(index=3, valid=np.ones((2, 2), bool))
    with Journal(out) as journal:
        journal.begin({"version": "1"}, {})
        journal.store("tile", record)

    def resume() -> None:
        with Journal(out, resume=True) as journal:
            assert journal.load("tile", 3) is not None

    for _ in interrupted_everywhere(resume, Journal.__enter__, Journal.__exit__, number=number):
        resume()


def test_check_of_an_output_that_is_interrupted_anywhere_may_be_repeated(tmp_path: Path) -> None:
    """Row 23, promise P1: an empty part file at most is left, which the next writer removes."""
    out = tmp_path / "out.tif"
    check, last = partial(check_output, out, inputs=[]), 0
    for moment in interrupted_everywhere(check, check_output):
        check()
        with replacing(out, overwrite=False) as part:
            part.touch()
        assert list(tmp_path.iterdir()) == [out], moment
        out.unlink()
        last = moment
    assert last > 40
