"""The application with its common options, and what its commands share."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uavssr._version import __version__
from uavssr.cli.stop_signals import STOP
from uavssr.errors import UsageError, printable

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource, Request
    from uavssr.io.writers import Replaceable
    from uavssr.reconstruction import RunVerdict

app = typer.Typer(
    name="uavssr",
    help="Reconstruct hyperspectral cubes and the camera's response from multispectral images.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
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
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Common options of all commands."""
    context.obj = {"quiet": quiet}
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainText())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class _PlainText(logging.Formatter):
    """The message alone, without characters that a terminal would obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        return "\n".join(map(printable, record.message.splitlines()))


def open_image(context: typer.Context, request: Request) -> MsiSource:
    """Open an image, and print its warnings."""
    from uavssr.io.msi import open_request

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
    written = {key: str(path) for key, path in outputs.items() if path is not None}
    if verdict is not None:
        say(context, verdict.summary())
        for sentence in verdict.odd:
            say(context, f"uavssr: warning: {sentence}")
    if as_json:
        verdict_fields = {} if verdict is None else {"verdict": verdict.to_dict()}
        typer.echo(json.dumps(written | verdict_fields))
    elif written:
        say(context, "wrote " + ", ".join(written.values()))


def say(context: typer.Context, text: str) -> None:
    """Print a message on stderr, unless `--quiet` was given."""
    if not context.obj["quiet"]:
        typer.echo("\n".join(map(printable, text.splitlines())), err=True)
