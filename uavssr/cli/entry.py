"""The entry point: runs the application and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from uavssr.cli.app import app
from uavssr.errors import Interrupted, OutputError, UavssrError, UsageError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it; Typer returns it too."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that stop a run in good order: Ctrl-C, `kill`, a terminal that was closed."""
REPEAT_SECONDS: Final = 0.05
"""Time until a Ctrl-C that a callback swallowed is sent again."""


def run_and_exit() -> NoReturn:
    """Run the command line of this process and end the process.

    It ends without Python's teardown, which takes up to half a second and, on Python 3.13, reports
    datasets that are still open. All files are closed by then.
    """
    _stop_on_signals()
    try:
        code = main()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except KeyboardInterrupt:  # a second one, while the first was handled in `main`
        code = _report_interrupt()
    except BrokenPipeError:  # the reader, `| head` for example, has gone
        code = 0
    os._exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/errors.md)."""
    arguments = _common_options_first(sys.argv[1:] if argv is None else argv)
    try:
        code = int(app(args=arguments, prog_name="uavssr", standalone_mode=False) or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except UavssrError as err:
        return _report(err, err, arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as err:
        error = OutputError("out of memory", remedy="use a smaller --tile or fewer --workers")
        return _report(error, err, arguments)
    except Exception as err:  # noqa: BLE001 - the one handler: a bug is one line too, -vv shows it
        if hasattr(err, "format_message"):  # Typer's errors have no public base class
            return _report_usage(err, arguments)
        bug = UavssrError(f"{type(err).__name__}: {err}", remedy="a bug: report it with -vv")
        return _report(bug, err, arguments)
    return _report_interrupt() if code == INTERRUPTED else code


# --- signals -------------------------------------------------------------------------------------


class _StopHandler:
    """Raises KeyboardInterrupt, but not while an earlier one is handled or once all is done."""

    finished = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.finished and not isinstance(sys.exception(), KeyboardInterrupt | Interrupted):
            raise KeyboardInterrupt


_stop_handler: Final = _StopHandler()


def _stop_on_signals() -> None:
    """Handle the signals that stop a run, except those that the caller ignores, as nohup does."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop_handler)
    sys.unraisablehook = _repeat_interrupt


def _repeat_interrupt(swallowed: UnraisableHookArgs) -> None:
    """Send a Ctrl-C again that struck in a destructor or callback, where Python drops errors."""
    if isinstance(swallowed.exc_value, KeyboardInterrupt):
        threading.Timer(REPEAT_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(swallowed)


# --- messages ------------------------------------------------------------------------------------


def _report_interrupt() -> int:
    _stop_handler.finished = True
    typer.echo("uavssr: interrupted; nothing was left half-written", err=True)
    return INTERRUPTED


def _report_usage(err: Exception, arguments: list[str]) -> int:
    """Report in our own form what Typer refuses; nothing where it has shown the help instead."""
    message = str(err.format_message()).rstrip(".")  # type: ignore[attr-defined]
    if not message:
        return UsageError.exit_code
    command = getattr(getattr(err, "ctx", None), "command_path", "uavssr")
    return _report(UsageError(message, remedy=f"see {command} --help"), err, arguments)


def _report(error: UavssrError, cause: Exception, arguments: list[str]) -> int:
    """Print the line of an error, after the traceback of its cause with -vv; its exit code."""
    _stop_handler.finished = True
    if _verbosity(arguments) > 1:
        traceback.print_exception(cause)
    if isinstance(error, Interrupted):
        typer.echo(f"uavssr: {error}, go on with: {_resume_command(arguments)}", err=True)
    else:
        typer.echo(f"uavssr: error: {error}", err=True)
    return error.exit_code


# --- arguments -----------------------------------------------------------------------------------


def _resume_command(arguments: list[str]) -> str:
    """The command line that goes on with the run of this one."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    resume = [] if "--resume" in arguments[:end] else ["--resume"]
    return shlex.join(["uavssr", *arguments[:end], *resume, *arguments[end:]])


def _common_options_first(arguments: list[str]) -> list[str]:
    """Move -v and -q before the command, as people also type them after it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common = [a for a in arguments[:end] if a in ("-q", "--quiet") or _verbosity([a])]
    return [*common, *(a for a in arguments[:end] if a not in common), *arguments[end:]]


def _verbosity(arguments: list[str]) -> int:
    short = [a for a in arguments if a.startswith("-v") and set(a[1:]) == {"v"}]
    return arguments.count("--verbose") + sum(len(a) - 1 for a in short)
