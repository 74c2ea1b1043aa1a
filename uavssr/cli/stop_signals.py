"""Ctrl-C and its like: noted at once, raised where an exception does no harm, and never lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

TYPE_CHECKING = False  # as in typing, which loads after the handlers are set
if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import FrameType
    from typing import Final

STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that stop a run in good order: Ctrl-C, `kill`, a terminal that was closed."""
HAS_TIMER: Final = hasattr(signal, "SIGALRM")
"""Whether the system has the timer that retries; without it (Windows) Python's handlers stay."""
RETRY_SECONDS: Final = 0.01
"""Time between two looks whether a noted signal can be raised."""
PATIENCE_SECONDS: Final = 3.0
"""Time after which a noted signal is raised wherever the program is."""
INTERRUPTED_CODE: Final = 130
_NOTHING_DONE: Final = "interrupted; nothing was left half-written"

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - loads at once


class StopSignals:
    """Handler of the stop signals of this process, in three stages.

    While the program loads and reads, a signal ends it with one line: nothing has been written.
    While a command writes, a signal is noted and raised as KeyboardInterrupt, but only between
    lines of this package: an exception inside a callback of GDAL, zarr or torch, a destructor or an
    import would be lost or do harm. A timer tries again until the interrupt is being handled, also
    if a library has swallowed it. When the command has ended, a signal ends the process.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._ended = False
        self._code: int | None = None

    def exit_at_once(self) -> None:
        """First stage: install the handlers of a program that has written nothing yet."""
        if HAS_TIMER:
            self._install(_exit_at_once)

    def raise_from_now_on(self) -> None:
        """Second stage: a command begins to write. Without the first stage, nothing changes."""
        if HAS_TIMER and signal.getsignal(signal.SIGALRM) == _exit_at_once:
            sys.unraisablehook = _drop_interrupt
            self._install(self._note)

    def end(self, code: int | None = None) -> None:
        """Third stage: the command has ended; with its exit code, a signal ends the process."""
        self._ended, self._code = True, code

    def _install(self, handler: object) -> None:
        for number in (*STOP_SIGNALS, signal.SIGALRM):
            if signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._ended:
            if self._code is not None and number != signal.SIGALRM:
                os._exit(self._code)
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
        if isinstance(sys.exception(), KeyboardInterrupt):  # it is being handled
            return
        if _is_ours(frame) or now - self._since > PATIENCE_SECONDS:
            raise KeyboardInterrupt


STOP = StopSignals()
"""Those of the command line."""


def nothing_done(arguments: list[str]) -> str:
    """The line for a command that was stopped before it wrote; JSON without a module to load."""
    if "--json" not in arguments:
        return f"uavssr: {_NOTHING_DONE}"
    start = f'"error": "Interrupted", "exit_code": {INTERRUPTED_CODE}, "path": null'
    return f'{{{start}, "fact": "{_NOTHING_DONE}", "remedy": null}}'


def _is_ours(frame: FrameType | None) -> bool:
    """Whether a line of this package is running, or waiting for a thread."""
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_PACKAGE)


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    os.write(2, f"{nothing_done(sys.argv)}\n".encode())
    os._exit(INTERRUPTED_CODE)


def _drop_interrupt(swallowed: UnraisableHookArgs) -> None:
    """Say nothing of an interrupt in a destructor or callback, where Python drops errors.

    Nor of a message of GDAL that is not UTF-8: its error is raised anyway.
    """
    if not isinstance(swallowed.exc_value, KeyboardInterrupt | UnicodeDecodeError):
        sys.__unraisablehook__(swallowed)
