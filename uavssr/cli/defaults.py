"""Options from a settings file and from variables `UAVSSR_...`; those of a command line win."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from uavssr.cli.options import panel_of
from uavssr.errors import UsageError

PREFIX: Final = "UAVSSR_"
SETTINGS_VARIABLE: Final = "UAVSSR_CONFIG"
"""Variable that names the settings file, as `--config` does."""
LOG_VARIABLE: Final = "UAVSSR_LOG_FILE"
"""Variable that names the log file, as `--log-file` does."""

_NOT_SET: Final = {"help", "install_completion", "show_completion", "version"}


def option_key(option: TyperOption) -> str:
    """The long name of an option as a key: `stf_scope` for `--stf-scope`."""
    long = next((text for text in option.opts if text.startswith("--")), f"--{option.name}")
    return long.removeprefix("--").replace("-", "_")


def options_of(command: TyperCommand | TyperGroup) -> dict[str, TyperOption]:
    """The options of a command that may be set elsewhere, by key."""
    options = (param for param in command.params if isinstance(param, TyperOption))
    return {key: option for option in options if (key := option_key(option)) not in _NOT_SET}


def commands_of(
    group: TyperGroup,
) -> Iterator[tuple[tuple[str, ...], TyperCommand | TyperGroup]]:
    """All commands of a group with the words that call them: `("camera", "fit")`.

    A group that does something by itself, as `sensors` lists cameras, is a command, too.
    """
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            if command.invoke_without_command:
                yield (name,), command
            for words, inner in commands_of(command):
                yield (name, *words), inner
        elif isinstance(command, TyperCommand):
            yield (name,), command


def prepare_options(command: TyperCommand | TyperGroup, words: Sequence[str]) -> None:
    """Give each option its group in `--help` and its variables.

    These are `UAVSSR_<COMMAND>_<OPTION>`, or else `UAVSSR_<OPTION>`.
    """
    for key, option in options_of(command).items():
        option.rich_help_panel = panel_of(key)
        option.envvar = [_variable(*words, key), _variable(key)]
        option.show_envvar = False


def _variable(*parts: str) -> str:
    return PREFIX + "_".join(parts).upper().replace("-", "_")


def unknown_variables(group: TyperGroup) -> Iterator[str]:
    """A sentence for each variable `UAVSSR_...` that no option takes."""
    known = {SETTINGS_VARIABLE, LOG_VARIABLE}
    for words, command in commands_of(group):
        for key in options_of(command):
            known |= {_variable(*words, key), _variable(key)}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
            remedy = f"; did you mean {near[0]}?" if near else ""
            yield f"the variable {name} belongs to no option{remedy}"


def read_defaults(path: Path, group: TyperGroup) -> dict[str, object]:
    """The values of a settings file by command and parameter, as `Context.default_map` has them.

    Keys at its top hold for every command with that option; those of a section for that command.

    Raises:
        UsageError: the file cannot be read, or a key belongs to no command or option.
    """
    from uavssr.io.settings import read_mapping

    tree = {str(key).replace("-", "_"): value for key, value in read_mapping(path).items()}
    commands = list(commands_of(group))
    sections = {words[0].replace("-", "_") for words, _ in commands}
    everywhere = {key: tree[key] for key in tree if key not in sections}
    known = {key for _, command in commands for key in options_of(command)}
    _refuse_unknown(everywhere, known | sections, path, "")
    defaults: dict[str, object] = {}
    for words, command in commands:
        options = options_of(command)
        values = {key: value for key, value in everywhere.items() if key in options}
        for depth in range(1, len(words) + 1):
            keys = _keys_below(commands, words[:depth])
            section = _section(tree, words[:depth], keys, path)
        values |= {key: value for key, value in section.items() if key in options}
        place = defaults
        for word in words:
            place = place.setdefault(word, {})  # type: ignore[assignment]
        place |= {
            str(options[key].name): _plain(options[key], value, path.parent)
            for key, value in values.items()
            if value is not None
        }
    return defaults


def _keys_below(
    commands: Sequence[tuple[tuple[str, ...], TyperCommand | TyperGroup]], words: tuple[str, ...]
) -> set[str]:
    """The options of the command of these words, and the commands of the group of these words."""
    keys = {key for own, command in commands if own == words for key in options_of(command)}
    depth = len(words)
    return keys | {own[depth] for own, _ in commands if own[:depth] == words and own != words}


def _section(
    tree: Mapping[str, object], words: Sequence[str], known: set[str], path: Path
) -> dict[str, object]:
    """The keys below the words of a command or group, of which all must be known."""
    keys: dict[str, object] = dict(tree)
    for word in words:
        below = keys.get(word.replace("-", "_")) or {}
        if not isinstance(below, Mapping):
            raise UsageError(f"{word} is a section of keys", path=path)
        keys = {str(key).replace("-", "_"): value for key, value in below.items()}
    _refuse_unknown(keys, known, path, " ".join(words) + ": ")
    return keys


def _refuse_unknown(keys: Mapping[str, object], known: set[str], path: Path, where: str) -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"{where}no setting is called {key!r}", path=path, remedy=remedy)


def _plain(option: TyperOption, value: object, folder: Path) -> object:
    """A value as the command line would give it."""
    if option.is_flag:
        return value
    values = value if isinstance(value, list) else [value]
    texts = [_text(part, folder) for part in values]
    return texts if option.multiple else ",".join(texts)


def _text(value: object, folder: Path) -> str:
    """A value as text: YAML's on and off, or a file that exists beside the settings file."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value)
    return str(folder / text) if text and (folder / text).exists() else text


def values_of(
    root: typer.Context, words: Sequence[str], command: TyperCommand | TyperGroup
) -> Iterator[tuple[str, object, str]]:
    """Key, value and origin of each option of a command, were it called now without options."""
    inner = root
    for word in words:
        inner = type(root)(command, parent=inner, info_name=word)
    file = root.obj["config"]
    for key, option in options_of(command).items():
        value, source = option.consume_value(inner, {})
        origins = {"ENVIRONMENT": _set_variable(option), "DEFAULT_MAP": str(file)}
        yield key, value, origins.get(source.name, "default")


def origin_of(err: Exception) -> str:
    """The variable or file that gave the option of an error its value; empty if neither did."""
    context: typer.Context | None = getattr(err, "ctx", None)
    option = getattr(err, "param", None)
    if context is None or not isinstance(option, TyperOption):
        return ""
    source = context.get_parameter_source(str(option.name))
    if source is not None and source.name == "DEFAULT_MAP":
        return str(context.find_root().obj["config"])
    return _set_variable(option) if source is not None and source.name == "ENVIRONMENT" else ""


def _set_variable(option: TyperOption) -> str:
    names = option.envvar if isinstance(option.envvar, list) else []
    return next((name for name in names if os.environ.get(name)), "")
