"""Interrupts that wait for a few lines which must run as one.

Must not know what those lines do.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    held: list[int] = []
    with ExitStack() as stack:  # which goes on restoring, should a signal strike meanwhile
        stack.callback(_strike, held)
        for each in _SIGNALS:
            handler = signal.getsignal(each)
            if callable(handler):
                stack.callback(signal.signal, each, handler)
                signal.signal(each, lambda number, _: held.append(number))
        yield


def _strike(held: list[int]) -> None:
    for number in held[:1]:
        signal.raise_signal(number)
