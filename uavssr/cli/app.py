"""The application with its common options, and what its commands share."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.core import TyperGroup

from uavssr._version import __version__
from uavssr.cli.defaults import LOG_VARIABLE, SETTINGS_VARIABLE, read_defaults, unknown_variables
from uavssr.cli.stop_signals import STOP
from uavssr.errors import OutputError, UsageError, printable

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource, Request
    from uavssr.io.writers import Replaceable
    from uavssr.reconstruction import RunVerdict

SAID: Final = "uavssr.said"
"""Name of the logger of messages that are printed anyway."""

_WARNING: Final = "uavssr: warning: "
_VERSIONS: Final = ("numpy", "rasterio", "torch")
"""Libraries whose versions `--json` gives."""

app = typer.Typer(
    name="uavssr",
    help="Reconstruct hyperspectral cubes and the camera's response from multispectral images.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uavssr {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Print more; -vv prints tracebacks.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar=SETTINGS_VARIABLE,
            help="Options in YAML; `uavssr config show` lists them.",
        ),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", envvar=LOG_VARIABLE, help="Add messages and times to a file."),
    ] = None,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Common options of all commands."""
    context.obj = {"quiet": quiet, "config": config, "warnings": [], "seconds": {}}
    _start_logging(verbose, log_file)
    if isinstance(context.command, TyperGroup):
        for sentence in unknown_variables(context.command):
            say(context, f"uavssr: warning: {sentence}")
        if config is not None:
            context.default_map = read_defaults(config, context.command)


def _start_logging(verbose: int, log_file: Path | None) -> None:
    """Print messages on stderr, and add them to a file with their times."""
    printed = logging.StreamHandler()
    printed.setFormatter(_PlainText())
    printed.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("rasterio").setLevel(logging.WARNING)  # it reports errors that are handled
    printed.addFilter(lambda record: record.name != SAID)  # it is printed already
    handlers: list[logging.Handler] = [printed]
    if log_file is not None:
        try:
            written = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as err:
            raise OutputError(str(err.strerror), path=log_file, remedy="name another file") from err
        written.setFormatter(_PlainText("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(written)
    logging.basicConfig(
        level=logging.INFO if verbose or log_file else logging.WARNING, handlers=handlers
    )


class _PlainText(logging.Formatter):
    """The message alone, without characters that a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        record.message = "\n".join(map(printable, record.message.splitlines()))
        return super().formatMessage(record)


def open_image(context: typer.Context, request: Request) -> MsiSource:
    """Open an image, and print its warnings."""
    from uavssr.io.msi import open_request

    with phase(context, "opening the image"):
        msi = open_request(request)
    for warning in msi.summary.warnings:
        say(context, f"uavssr: warning: {warning}")
    return msi


def image_request(
    files: list[Path],
    sensor: str | None,
    bands: str | None,
    bidx: str | None,
    scale: str | None,
    assume_crs: str | None,
    max_pixels: int | None,
) -> Request:
    """The image of a command's arguments, not yet opened."""
    from uavssr.io.msi import Request

    try:
        indices = None if bidx is None else [int(part) for part in bidx.split(",")]
    except ValueError as err:
        raise UsageError(f"--bidx must be whole numbers such as 1,2,3, got {bidx!r}") from err
    return Request(
        paths=tuple(files),
        sensor=sensor,
        bands=None if bands is None else [role.strip() for role in bands.split(",")],
        bidx=indices,
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
    )


def option_pairs(pairs: list[str] | None) -> dict[str, str]:
    """The `--co K=V` of a command as a mapping."""
    for pair in pairs or []:
        if "=" not in pair:
            raise UsageError(f"--co must be K=V, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs or [])


def start_writing() -> None:
    """From here on a command works and writes, so that Ctrl-C has to stop it in good order."""
    from uavssr.cli.entry import collect_garbage_as_usual

    collect_garbage_as_usual()
    STOP.raise_from_now_on()


def check_outputs(paths: list[Path | None], inputs: list[Path], *, overwrite: Replaceable) -> None:
    """Refuse outputs that exist, are an input, or are asked for twice, before any work."""
    from uavssr.io.writers import check_names, check_output

    start_writing()
    outputs = [path for path in paths if path is not None]
    check_names(outputs)
    for path in outputs:
        if [output.absolute() for output in outputs].count(path.absolute()) > 1:
            raise UsageError("is asked for as two outputs", path=path, remedy="give two names")
        check_output(path, overwrite=overwrite, inputs=inputs)


def check_suffix(path: Path | None, *suffixes: str) -> None:
    """Refuse an output whose suffix belongs to another format."""
    if path is not None and path.suffix.lower() not in suffixes:
        wanted = " or ".join(suffixes)
        raise UsageError(f"this output is a {wanted} file", path=path, remedy=f"name it {wanted}")


def print_outputs(
    context: typer.Context,
    outputs: Mapping[str, Path | None],
    *,
    verdict: RunVerdict | None = None,
    as_json: bool = False,
) -> None:
    """Print the names of the files that were written: JSON on stdout, or lines on stderr."""
    if verdict is not None:
        say(context, verdict.summary())
        for sentence in verdict.odd:
            say(context, f"uavssr: warning: {sentence}")
    written = [str(path) for path in outputs.values() if path is not None]
    if as_json:
        typer.echo(json.dumps(run_facts(context, outputs, verdict)))
    elif written:
        say(context, "wrote " + ", ".join(written))


def run_facts(
    context: typer.Context,
    outputs: Mapping[str, Path | None],
    verdict: RunVerdict | None = None,
) -> dict[str, object]:
    """Names and sizes of the outputs, verdict, warnings, seconds of each phase, and versions."""
    paths = {key: path for key, path in outputs.items() if path is not None}
    modules = {name: sys.modules[name] for name in _VERSIONS if name in sys.modules}
    return {
        **{key: str(path) for key, path in paths.items()},
        **({} if verdict is None else {"verdict": verdict.to_dict()}),
        "bytes": {key: _bytes(path) for key, path in paths.items()},
        "warnings": context.obj["warnings"],
        "seconds": context.obj["seconds"],
        "versions": {"uavssr": __version__, "python": platform.python_version()}
        | {name: str(getattr(module, "__version__", "")) for name, module in modules.items()},
    }


def _bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def phase(context: typer.Context, name: str, *, shown: bool = True) -> Iterator[None]:
    """Log how long the body takes, and show on a terminal what it does."""
    from uavssr.cli.console import spinner

    start = time.perf_counter()
    with spinner(name, quiet=context.obj["quiet"] or not shown):
        yield
    seconds = time.perf_counter() - start
    context.obj["seconds"][name] = round(seconds, 3)
    logging.getLogger(__name__).info("%s: %.2f s", name, seconds)


def say(context: typer.Context, text: str) -> None:
    """Print a message on stderr, unless `--quiet` was given; the log file has it anyway."""
    logging.getLogger(SAID).info(text)
    if text.startswith(_WARNING):
        context.obj["warnings"].append(text.removeprefix(_WARNING))
    if not context.obj["quiet"]:
        typer.echo("\n".join(map(printable, text.splitlines())), err=True)
