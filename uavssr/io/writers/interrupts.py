"""Interrupts that wait for a few lines which must run as one.

Must not know what those lines do.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C and its like strike after the body, not within it; keep the body short.

    Only signals that are handled in Python wait, and only the main thread handles any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = _Held()
    try:
        for each in held.handlers:
            signal.signal(each, held)
        yield
    finally:
        held.over = True
        for each, handler in held.handlers.items():
            signal.signal(each, handler)
        for number in dict.fromkeys(held.numbers):
            signal.raise_signal(number)


class _Held:
    """Stands in for the handlers, and hands on to them once the body is over.

    So one that a further signal leaves in place does no harm.
    """

    def __init__(self) -> None:
        found = {each: signal.getsignal(each) for each in _SIGNALS}
        self.handlers = {each: handler for each, handler in found.items() if callable(handler)}
        self.numbers: list[int] = []
        self.over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            self.handlers[signal.Signals(number)](number, frame)
        else:
            self.numbers.append(number)
