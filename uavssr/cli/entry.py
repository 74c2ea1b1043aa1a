"""The entry point: runs the application and turns errors into one line and an exit code.

Whatever loads slowly is imported by `_run`, where a Ctrl-C is reported as everywhere else.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from uavssr.errors import Interrupted, OutputError, UavssrError, UsageError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that stop a run in good order: Ctrl-C, `kill`, a terminal that was closed."""
REPEAT_SECONDS: Final = 0.05
"""Time until a Ctrl-C that a callback swallowed is sent again."""


def run_and_exit() -> NoReturn:
    """Run the command line of this process and end the process.

    It ends without Python's teardown, which takes up to half a second and, on Python 3.13, reports
    datasets that are still open. All files are closed by then.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
            signal.signal(number, _interrupt)
    sys.unraisablehook = _repeat_interrupt
    try:
        code = main()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except KeyboardInterrupt:  # a second one, after `main` has reported
        code = Interrupted.exit_code
    except (BrokenPipeError, SystemExit):  # the reader, `| head` for example, has gone; rich exits
        code = 0
    os._exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/errors.md)."""
    arguments = _common_options_first(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt as stop:
        finished = "; ".join(getattr(stop, "__notes__", []))
        advice = f"{finished}, go on with: {_resume_command(arguments)}"
        print(
            f"uavssr: interrupted; {advice if finished else 'nothing was left half-written'}",
            file=sys.stderr,
        )
        return Interrupted.exit_code
    except BrokenPipeError:
        raise
    except Exception as err:  # noqa: BLE001 - the one handler: a bug is one line too, -vv shows it
        error = _as_uavssr_error(err)
        if _verbosity(arguments) > 1:
            traceback.print_exception(err)
        if str(error):
            print(f"uavssr: error: {error}", file=sys.stderr)
        return error.exit_code


def _run(arguments: list[str]) -> int:
    import typer

    from uavssr.cli.commands import app

    command = typer.main.get_command(app)
    try:
        with command.make_context("uavssr", [*arguments]) as context:
            command.invoke(context)
    except typer.Exit as done:  # after --help and --version
        return done.exit_code
    return 0


def _as_uavssr_error(err: Exception) -> UavssrError:
    """The error with the message to print; that is empty where Typer has shown the help."""
    if isinstance(err, UavssrError):
        return err
    if isinstance(err, MemoryError):
        return OutputError("out of memory", remedy="use a smaller --tile or fewer --workers")
    if hasattr(err, "format_message"):  # Typer's errors have no public base class
        message = str(err.format_message()).rstrip(".")
        command = getattr(getattr(err, "ctx", None), "command_path", "uavssr")
        return UsageError(message, remedy=f"see {command} --help" if message else None)
    return UavssrError(f"{type(err).__name__}: {err}", remedy="a bug: report it with -vv")


# --- signals -------------------------------------------------------------------------------------


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, unless an earlier one is being handled."""
    if not isinstance(sys.exception(), KeyboardInterrupt):
        raise KeyboardInterrupt


def _repeat_interrupt(swallowed: UnraisableHookArgs) -> None:
    """Send a Ctrl-C again that struck in a destructor or callback, where Python drops errors."""
    if isinstance(swallowed.exc_value, KeyboardInterrupt):
        threading.Timer(REPEAT_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(swallowed)


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
