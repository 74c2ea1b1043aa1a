"""The command that shows where the value of each option comes from."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from typer.core import TyperGroup

from uavssr.cli import console
from uavssr.cli import options as shared
from uavssr.cli.app import app
from uavssr.cli.defaults import commands_of, values_of
from uavssr.errors import UsageError

config = typer.Typer(name="config", help="Settings from files and variables.")
app.add_typer(config)


@config.callback()
def settings_group() -> None:
    """Show settings from files and variables."""


@config.command()
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="A command, such as reconstruct or camera fit; default: all."),
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Print the options of a command with their values, and where each comes from.

    Without a command, print the options of all commands that a file or a variable sets.
    """
    from uavssr.cli.tables import add_row, new_table

    root = cast("typer.Context", context.find_root())
    if not isinstance(root.command, TyperGroup):
        raise TypeError("the application is a group of commands")
    known = dict(commands_of(root.command))
    wanted = tuple(command or ())
    if wanted and wanted not in known:
        names = ", ".join(" ".join(words) for words in known)
        raise UsageError(f"no command is called {' '.join(wanted)!r}", remedy=f"known are {names}")
    rows = [
        {"command": " ".join(words), "option": key, "value": value, "from": origin}
        for words, found in known.items()
        if not wanted or words == wanted
        for key, value, origin in values_of(root, words, found)
        if wanted or origin != "default"
    ]
    table = new_table("command", "option", "value", "from")
    for row in rows:
        value = "" if row["value"] is None else str(row["value"])
        add_row(table, str(row["command"]), str(row["option"]), value, str(row["from"]))
    nothing = "no file and no variable sets an option; see uavssr config show COMMAND"
    shown = [dict(row, value=_json_value(row["value"])) for row in rows]
    console.show(shown, table if rows else nothing, as_json=as_json)


def _json_value(value: object) -> object:
    if isinstance(value, list):
        return [str(part) for part in value]
    return value if isinstance(value, bool | int | float | None) else str(value)
