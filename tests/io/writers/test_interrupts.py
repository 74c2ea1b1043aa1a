"""An interrupt may come at any moment: it is never lost, and leaves nothing half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from uavssr.io.writers.atomic import check_output
from uavssr.io.writers.interrupts import interrupts_held
from uavssr.io.writers.journal import Journal

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
        try:
            if not struck_at(moment, act, codes, number):
                return
        except KeyboardInterrupt:
            yield moment
        else:
            raise AssertionError(f"the interrupt at line {moment} was lost")
        moment += 1


@SIGNALS
def test_a_journal_that_is_interrupted_anywhere_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Row 23, promise P1: a folder without a lock, or a lock without a holder, would be left."""

    def use() -> None:
        with Journal(tmp_path / "out.tif"):
            pass

    last = 0
    for moment in interrupted_everywhere(use, Journal.__enter__, Journal.__exit__, number=number):
        assert list(tmp_path.iterdir()) == [], moment
        last = moment
    assert last > 100


def test_a_check_of_an_output_that_is_interrupted_anywhere_leaves_nothing(tmp_path: Path) -> None:
    """Row 23, promise P1."""
    check, last = partial(check_output, tmp_path / "out.tif", inputs=[]), 0
    for moment in interrupted_everywhere(check, check_output):
        assert list(tmp_path.iterdir()) == [], moment
        last = moment
    assert last > 50


@SIGNALS
def test_a_signal_at_any_moment_leaves_handlers_that_work(number: signal.Signals) -> None:
    """Even one that comes while the handlers are put back."""

    def hold() -> None:
        with interrupts_held():
            pass

    struck = 0
    for _ in interrupted_everywhere(hold, hold, number=number):
        for each in (signal.SIGINT, signal.SIGTERM):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(each)
        struck += 1
    assert struck > 20


@SIGNALS
def test_what_is_held_strikes_once_the_body_is_done(number: signal.Signals) -> None:
    done = []

    def work() -> None:
        with interrupts_held():
            with interrupts_held():
                signal.raise_signal(number)
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_error_of_the_body_comes_through() -> None:
    with pytest.raises(ValueError, match="of the body"), interrupts_held():
        raise ValueError("of the body")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_that_python_does_not_handle_are_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts_held():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_may_hold_what_it_never_gets() -> None:
    said: list[str] = []

    def work() -> None:
        with interrupts_held():
            said.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == ["done"]
