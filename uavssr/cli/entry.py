"""The entry point: runs the application and turns errors into one line and an exit code."""

from __future__ import annotations

import gc
import shlex
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final

import typer
from typer._click.exceptions import ClickException  # Typer has carried its own Click since 0.26

from uavssr.cli.app import app
from uavssr.errors import Interrupted, OutputError, UavssrError, UsageError

INTERRUPTED = 130
"""Exit code after Ctrl-C, which Click makes of it."""
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GARBAGE: Final = 20_000
"""New objects after which garbage is looked for: at 700, a sixth of the start goes there."""


def process() -> int:
    """The command line as a process of its own, which ends with it; returns the exit code."""
    gc.set_threshold(_GARBAGE)
    _handle(_STOP, *_ENDING)
    try:
        code = main()
    except KeyboardInterrupt:  # another one, just before the first was told of
        code = INTERRUPTED
    _STOP.ending = True  # threads end with the tiles they have
    _handle(signal.SIG_IGN, *_ENDING)  # Python gives up its own handlers before the last thread
    gc.freeze()  # to look through what is left would take half a second
    return code


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/errors.md)."""
    arguments = _common_first(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        _handle(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP, but=_STOP)
    try:
        code = app(args=arguments, prog_name="uavssr", standalone_mode=False)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except ClickException as err:
        return _fail_usage(err, arguments)
    except UavssrError as err:
        return _fail(err, err, arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as err:
        told = OutputError("out of memory", remedy="use a smaller --tile or fewer --workers")
        return _fail(told, err, arguments)
    except Exception as err:  # noqa: BLE001 - the one handler: a bug is one line too, -vv shows it
        told_bug = UavssrError(f"{type(err).__name__}: {err}", remedy="a bug: report it with -vv")
        return _fail(told_bug, err, arguments)
    if code == INTERRUPTED:
        _STOP.ending = True
        typer.echo("uavssr: interrupted; nothing was left half-written", err=True)
    return int(code or 0)


class _Stop:
    """What Ctrl-C and its like do: interrupt, until there is nothing left but to end."""

    ending = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if not self.ending:
            raise KeyboardInterrupt


_STOP: Final = _Stop()


def _handle(handler: Any, *signals: signal.Signals, but: object = None) -> None:
    """Handle signals, except those that the caller has us ignore (nohup) or that `but` handles."""
    for each in signals:
        if signal.getsignal(each) not in (signal.SIG_IGN, but):
            signal.signal(each, handler)


def _resuming(arguments: list[str]) -> str:
    """The command line that goes on with the run of this one."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    more = [] if "--resume" in arguments[:end] else ["--resume"]
    return shlex.join(["uavssr", *arguments[:end], *more, *arguments[end:]])


def _common_first(arguments: list[str]) -> list[str]:
    """The arguments with -v and -q moved before the command, where people also type them after."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first = [a for a in arguments[:end] if a in ("-q", "--quiet") or _verbosity([a])]
    return [*first, *(a for a in arguments[:end] if a not in first), *arguments[end:]]


def _verbosity(arguments: list[str]) -> int:
    short = [a for a in arguments if a.startswith("-v") and set(a[1:]) == {"v"}]
    return arguments.count("--verbose") + sum(len(a) - 1 for a in short)


def _fail_usage(err: ClickException, arguments: list[str]) -> int:
    """What Click says of the command line, in our one line; nothing where it has shown the help."""
    if not err.format_message():
        return err.exit_code
    command = getattr(getattr(err, "ctx", None), "command_path", "uavssr")
    told = UsageError(err.format_message().rstrip("."), remedy=f"see {command} --help")
    return _fail(told, err, arguments)


def _fail(told: UavssrError, cause: Exception, arguments: list[str]) -> int:
    _STOP.ending = True
    if _verbosity(arguments) > 1:
        import traceback

        traceback.print_exception(cause)
    if isinstance(told, Interrupted):
        typer.echo(f"uavssr: {told}, go on with: {_resuming(arguments)}", err=True)
    else:
        typer.echo(f"uavssr: error: {told}", err=True)
    return told.exit_code
