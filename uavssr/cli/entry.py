"""The entry point: runs the application and turns errors into one line and an exit code.

Whatever loads slowly is imported by `_run`, where a Ctrl-C is answered already.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from uavssr.cli.stop_signals import STOP, nothing_done
from uavssr.errors import Interrupted, OutputError, UavssrError, UsageError, printable

TYPE_CHECKING = False  # as in typing, which loads after the handlers of signals are set
if TYPE_CHECKING:
    from typing import Final, NoReturn

_USUAL_THRESHOLDS: Final = gc.get_threshold()
_OBJECTS_WHILE_LOADING: Final = 100_000
"""New objects after which Python looks for garbage in cycles while libraries load.

Imports leave none, and with the usual 700 objects looking for it takes 0.3 s.
"""


def run_and_exit() -> NoReturn:
    """Run the command line of this process and end the process.

    It ends without Python's teardown, which takes up to half a second and, on Python 3.13, reports
    datasets that are still open. All files are closed by then.
    """
    STOP.exit_at_once()
    gc.set_threshold(_OBJECTS_WHILE_LOADING)
    try:
        _prepare_gdal()
        code = main()
        STOP.end(code)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except KeyboardInterrupt:  # just after the command
        code = Interrupted.exit_code
    except (BrokenPipeError, SystemExit):  # the reader, `| head` for example, has gone; rich exits
        code = 0
    os._exit(code)


def collect_garbage_as_usual() -> None:
    """What has been loaded stays; from here on look for garbage as often as Python does."""
    if gc.get_threshold() != _USUAL_THRESHOLDS:
        gc.freeze()
        gc.set_threshold(*_USUAL_THRESHOLDS)


def _prepare_gdal() -> None:
    from uavssr.cli.gdal_settings import hide_undecodable_messages, ignore_gdal_settings

    ignore_gdal_settings()
    hide_undecodable_messages()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/errors.md)."""
    arguments = _common_options_first(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt as stop:
        return _interrupted(stop, arguments)
    except BrokenPipeError:
        raise
    except Exception as err:  # noqa: BLE001 - the one handler: a bug is one line too, -vv shows it
        if interrupt := _cause(err):
            return _interrupted(interrupt, arguments)
        error = as_uavssr_error(err)
        if _verbosity(arguments) > 1:
            import traceback

            traceback.print_exception(err)
        if str(error):
            as_json = "--json" in arguments
            text = json.dumps(error.to_dict()) if as_json else f"uavssr: error: {error}"
            print(text, file=sys.stderr)
            _log_error(error)
        return error.exit_code


def _log_error(error: UavssrError) -> None:
    """Add an error to the log file, if there is one."""
    if logging := sys.modules.get("logging"):
        logging.getLogger("uavssr.said").error(str(error))


def _run(arguments: list[str]) -> int:
    import typer

    from uavssr.cli.commands import app
    from uavssr.cli.defaults import commands_of, prepare_options

    command = typer.main.get_command(app)
    if isinstance(command, typer.core.TyperGroup):
        for words, inner in commands_of(command):
            prepare_options(inner, words)
    if "_UAVSSR_COMPLETE" in os.environ:  # a shell asks for the next word
        command(arguments, prog_name="uavssr")
    try:
        with command.make_context("uavssr", [*arguments]) as context:
            command.invoke(context)
    except typer.Exit as done:  # after --help and --version
        return done.exit_code
    return 0


def _interrupted(stop: KeyboardInterrupt, arguments: list[str]) -> int:
    STOP.end()
    finished = "; ".join(getattr(stop, "__notes__", []))
    fact, remedy = f"interrupted; {finished}", f"go on with: {_resume_command(arguments)}"
    line = nothing_done(arguments)
    if finished and "--json" in arguments:
        line = json.dumps(Interrupted(fact, remedy=remedy).to_dict())
    elif finished:
        line = printable(f"uavssr: {fact}, {remedy}")
    print(line, file=sys.stderr, flush=True)
    return Interrupted.exit_code


def _cause(err: BaseException | None) -> KeyboardInterrupt | None:
    """The interrupt of which a library has made another error."""
    while err is not None and not isinstance(err, KeyboardInterrupt):
        err = err.__cause__ or err.__context__
    return err


def as_uavssr_error(err: Exception) -> UavssrError:
    """The error with the message to print; that is empty where Typer has shown the help."""
    if isinstance(err, UavssrError):
        return err
    if isinstance(err, MemoryError):
        return OutputError("out of memory", remedy="use a smaller --tile or fewer --workers")
    if isinstance(err, OSError) and err.strerror:
        remedy = "see whether the file or its folder was moved, and whether the disk is full"
        path = None if err.filename is None else str(err.filename)
        return OutputError(err.strerror, path=path, remedy=remedy)
    if hasattr(err, "format_message"):  # Typer's errors have no public base class
        from uavssr.cli.defaults import origin_of

        message = str(err.format_message()).rstrip(".")
        if origin := origin_of(err):
            message += f", which {origin} sets"
        command = getattr(getattr(err, "ctx", None), "command_path", "uavssr")
        return UsageError(message, remedy=f"see {command} --help" if message else None)
    return UavssrError(f"{type(err).__name__}: {err}", remedy="a bug: report it with -vv")


# --- arguments -----------------------------------------------------------------------------------


def _resume_command(arguments: list[str]) -> str:
    """The command line that goes on with the run of this one."""
    import shlex

    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = next((word for word in arguments if not word.startswith("-")), "")
    resume = [] if command == "batch" or "--resume" in arguments[:end] else ["--resume"]
    return shlex.join(["uavssr", *arguments[:end], *resume, *arguments[end:]])


def _common_options_first(arguments: list[str]) -> list[str]:
    """Move -v, -q, --config and --log-file before the command, as people also type them after it.

    `train` has a --config of its own, which stays.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common: list[str] = []
    others: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        name, sign, _ = word.partition("=")
        if word in ("-q", "--quiet") or _verbosity([word]):
            common.append(word)
        elif name == "--log-file" or (name == "--config" and others[:1] != ["train"]):
            common.append(word)
            common += [] if sign else [value for value in [next(words, None)] if value is not None]
        else:
            others.append(word)
    return [*common, *others, *arguments[end:]]


def _verbosity(arguments: list[str]) -> int:
    short = [a for a in arguments if a.startswith("-v") and set(a[1:]) == {"v"}]
    return arguments.count("--verbose") + sum(len(a) - 1 for a in short)
