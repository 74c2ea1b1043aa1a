"""The application: options before the command, what is said on stderr, checks of output names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from uavssr._version import __version__
from uavssr.errors import Interrupted, UsageError

app = typer.Typer(
    name="uavssr",
    help="Hyperspectral cubes, and the camera's true response, from multispectral drone images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
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
        int, typer.Option("-v", "--verbose", count=True, help="Say more; -vv for tracebacks.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""
    context.obj = {"quiet": quiet, "verbose": verbose}
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


def creation_options(pairs: list[str]) -> dict[str, str]:
    """The `--co K=V` of a command as a mapping."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--co must be K=V, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def check_outputs(paths: list[Path | None], inputs: list[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, outputs that stand in each other's or an input's way."""
    from uavssr.io.writers import check_output

    given = [path for path in paths if path is not None]
    for path in given:
        if [each.absolute() for each in given].count(path.absolute()) > 1:
            raise UsageError("is asked for as two outputs", path=path, remedy="give two names")
        check_output(path, overwrite=overwrite, inputs=inputs)


@contextmanager
def explain_interrupts() -> Iterator[None]:
    """Make an interrupt that left something to go on from an error that says so."""
    try:
        yield
    except KeyboardInterrupt as stop:
        notes = getattr(stop, "__notes__", [])
        if not notes:
            raise
        raise Interrupted("interrupted", remedy="; ".join(notes)) from stop


def check_suffix(path: Path | None, *suffixes: str) -> None:
    """Refuse an output whose name promises another format than it would have."""
    if path is not None and path.suffix.lower() not in suffixes:
        wanted = " or ".join(suffixes)
        raise UsageError(f"this output is a {wanted} file", path=path, remedy=f"name it {wanted}")


def say(context: typer.Context, text: str) -> None:
    """Say something on stderr, unless asked to be quiet."""
    if not context.obj["quiet"]:
        typer.echo(text, err=True)
