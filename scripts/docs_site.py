"""Hook of mkdocs.yml: the pages that are made from code, and links that hold in both places.

Pages of commands come from the Typer application, the Python page from `uavssr.__all__`, and the
table of sensors from cameras.yaml. A new command, name or camera has its page without further work.
Files of the repository that are no pages of docs/ (changes, model cards) become pages too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol

import uavssr
from uavssr.sensors import SATELLITES, SENSORS, Sensor, load_sensor

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
COPIED: Final = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "models/p4m-nano/README.md": "reference/p4m-nano.md",
    "models/rgb-cave/README.md": "reference/rgb-cave.md",
}
"""Files of the repository and the pages that they become."""


SENSORS_TEXT: Final = """# Sensors

`--sensor NAME` selects a camera. Without it, the camera comes from a tag with its model, or from
wavelength tags on every band that fit one camera only. Otherwise the file is refused, and the
message lists the cameras that fit.

Bands are given as role centre/FWHM in nm. *FWHM* is the full width at half maximum: twice the
"± 16 nm" of a data sheet, and twice DJI's `WavelengthFWHM` tag. These numbers are nominal; the STF
estimates the real ones of your camera.

## Cameras

{cameras}

## Satellites

Satellites have measured response curves, at steps of 1 nm. They serve as
[references](satellite.md), and `--sensor` takes them. No image is taken for theirs by its tags.

{satellites}

For another camera or satellite, such as Sentinel-2C, give a [sensor file](sensor-files.md) with its
curves: roles `b2`, `b3` ... as above. `uavssr/sensors/curves/sentinel2a.csv` is such a file.
"""
"""The page of sensors, with links from docs/formats/."""


class Parameter(Protocol):
    """An option or an argument of a command, as Typer's Click holds it."""

    name: str
    param_type_name: str
    opts: list[str]
    secondary_opts: list[str]
    required: bool
    nargs: int
    default: object
    hidden: bool
    multiple: bool
    is_flag: bool
    help: str | None
    rich_help_panel: str | None
    metavar: str | None


class Command(Protocol):
    """A command, or a group of commands."""

    name: str
    help: str | None
    hidden: bool
    params: list[Parameter]


# --- commands ------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Command]]:
    """Each command with the words that call it after `uavssr`, as `camera fit`."""
    import typer

    from uavssr.cli.commands import app

    return _commands(typer.main.get_command(app), "")


def _commands(group: object, words: str) -> Iterator[tuple[str, Command]]:
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        is_group = hasattr(command, "commands")
        if not is_group or command.invoke_without_command:
            yield f"{words}{name}", command
        if is_group:
            yield from _commands(command, f"{words}{name} ")


def command_page(words: str, command: Command) -> str:
    """The page of a command: what it does, how it is called, its options by group."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["uavssr", words, "[OPTIONS]", *map(_placeholder, arguments)])
    lines = [f"# {words}", "", command.help or "", "", "```text", usage, "```", ""]
    if any(argument.help for argument in arguments):
        rows = [f"| `{_placeholder(p)}` | {_cell(p.help)} |" for p in arguments]
        lines += ["| argument | |", "|---|---|", *rows, ""]
    panels = dict.fromkeys(option.rich_help_panel or "Options" for option in options)
    for panel in panels:
        rows = [_option_row(p) for p in options if (p.rich_help_panel or "Options") == panel]
        lines += [f"## {panel}", "", "| option | | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _placeholder(argument: Parameter) -> str:
    name = (argument.metavar or argument.name.upper()).strip("{}[]").removesuffix("...")
    text = f"{name}..." if argument.nargs == -1 else name
    return text if argument.required else f"[{text}]"


def _option_row(option: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    unset = option.default is None or option.is_flag or callable(option.default)
    default = "" if unset or option.default in ([], ()) else f"`{option.default}`"
    note = "required" if option.required else default
    return f"| {names} | {_cell(option.help)} | {note} |"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def command_index() -> str:
    """The page that lists all commands."""
    rows = [
        f"| [`{words}`]({_slug(words)}.md) | {_summary(command)} |" for words, command in commands()
    ]
    text = (
        "Every command takes `--help`. `-v` and `-q` before or after its name print more or less. "
        "[Errors](../../errors.md) lists the exit codes."
    )
    return "\n".join(["# Command line", "", text, "", "| command | |", "|---|---|", *rows, ""])


def _summary(command: Command) -> str:
    return _cell((command.help or "").partition("\n\n")[0]).rstrip(".")


def _slug(words: str) -> str:
    return "uavssr-" + words.replace(" ", "-")  # the page of `index` is not the folder's


# --- Python, sensors, the map --------------------------------------------------------------------


def python_page() -> str:
    """The public names of the package, each with its docstring."""
    names = [name for name in sorted(uavssr.__all__, key=str.lower) if not name.startswith("_")]
    head = "# Python reference\n\nNames of `import uavssr`, in alphabetical order.\n"
    return "\n".join([head, *(f"::: {_defined(getattr(uavssr, name))}\n" for name in names)])


def _defined(public: Any) -> str:
    """Where a function or class is defined: a package may hold a module of the same name."""
    return f"{public.__module__}.{public.__qualname__}"


def sensors_page() -> str:
    """The tables of cameras and satellites."""
    columns = "| name | sensor | bands | source |\n|---|---|---|---|\n"
    cameras = "\n".join(map(_sensor_row, SENSORS.values()))
    satellites = "\n".join(_sensor_row(load_sensor(name)) for name in SATELLITES)
    text = SENSORS_TEXT.format(cameras=columns + cameras, satellites=columns + satellites)
    return text.replace("](", "](../formats/")


def _sensor_row(sensor: Sensor) -> str:
    bands = ", ".join(f"{b.role} {b.centre:.4g}/{b.fwhm:.4g}" for b in sensor.bands)
    return f"| `{sensor.name}` | {sensor.title} | {bands} | {sensor.note} |"


def map_as_table(flowchart: str) -> str:
    """A Mermaid flowchart of packages as a table, which needs no script of another server."""
    labels = dict(re.findall(r'([\w.]+)\["([^"]+)"\]', flowchart))
    rows = []
    for line in re.sub(r'\["[^"]+"\]', "", flowchart).splitlines():
        if "-->" in line:
            source, targets = line.split("-->")
            rows.append((source.strip(), [name.strip() for name in targets.split("&")]))
    imports: dict[str, list[str]] = {}
    for source, targets in rows:
        imports.setdefault(source, []).extend(targets)
    names = dict.fromkeys([*imports, *labels])
    lines = ["| package | holds | imports, and what these import |", "|---|---|---|"]
    for name in names:
        label, _, content = labels.get(name, name).partition(": ")
        wanted = [labels.get(target, target).partition(":")[0] for target in imports.get(name, [])]
        lines.append(f"| `{label}` | {content} | {', '.join(f'`{w}`' for w in wanted)} |")
    return "\n".join(lines)


# --- links ---------------------------------------------------------------------------------------


def with_links_of_page(markdown: str, source: str, page: str) -> str:
    """Text of the file `source` of the repository, with its links as they are from `page`.

    A link to a file that is no page becomes plain text.
    """

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = os.path.normpath(PurePosixPath(source).parent / target).replace(os.sep, "/")
        if path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path in COPIED:
            path = COPIED[path]
        else:
            return text
        return f"[{text}]({os.path.relpath(path, PurePosixPath(page).parent)}{anchor or ''})"

    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)


# --- the hook's events ---------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the commands' pages where the navigation names their folder."""
    folder = "reference/cli/"
    pages: list[object] = [f"{folder}index.md"]
    pages += [{words: f"{folder}{_slug(words)}.md"} for words, _ in commands()]
    for section in config.nav or []:
        for items in section.values():
            if folder in items:
                items[items.index(folder)] = {"Command line": pages}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from code or copied."""
    from mkdocs.structure.files import File

    pages = {f"reference/cli/{_slug(words)}.md": command_page(words, c) for words, c in commands()}
    pages["reference/cli/index.md"] = command_index()
    pages["reference/python.md"] = python_page()
    pages["reference/sensors.md"] = sensors_page()
    for source, page in COPIED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
        pages[page] = with_links_of_page(text, source, page)
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Draw the map without Mermaid, and lead links out of docs/ to the copied pages."""
    source = page.file.src_uri
    if source.startswith("reference/cli/") or source in COPIED.values():
        return markdown
    markdown = re.sub(
        r"```mermaid\n(.*?)```", lambda m: map_as_table(m.group(1)), markdown, flags=re.DOTALL
    )
    return with_links_of_page(markdown, f"docs/{source}", source)
