"""The fields of a batch: rows of a manifest, each parsed as a command line of `reconstruct`."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperCommand, TyperOption

from uavssr.cli.defaults import prepare_options
from uavssr.cli.reconstruct import reconstruct
from uavssr.errors import InputRefused, UavssrError, UsageError

if TYPE_CHECKING:
    from uavssr.batch import Field

OF_THE_BATCH: Final = (
    *("out", "workers", "mem_limit", "scheduler", "cluster"),
    *("overwrite", "resume", "dry_run", "as_json", "help"),
)
"""Options of `reconstruct` that a batch has itself, or in another form."""
PICTURES: Final = ("uncertainty", "quality", "quicklook")
"""Options that name a further output."""
MAY_BE_FILES: Final = ("sensor", "model", "wavelengths")
"""Options that may name a file, which in a manifest is beside it."""

_META: Final = "uavssr.batch"
_TRUTH: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@cache
def field_options() -> dict[str, TyperOption]:
    """The options of `reconstruct` that a field may have, by name."""
    params = (param for param in _reconstruct_command().params if isinstance(param, TyperOption))
    return {str(p.name): p for p in params if p.name not in OF_THE_BATCH}


def columns() -> list[str]:
    """The columns that a manifest may have."""
    return ["path", "out", *field_options()]


class BatchCommand(TyperCommand):
    """A command that also has the options of a field, and keeps those that are given."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        for option in field_options().values():
            self.params.append(copy.copy(option))

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Call the command without the options of a field."""
        values = {name: ctx.params.pop(name) for name in field_options()}
        ctx.meta[_META] = {
            name: value
            for name, value in values.items()
            if (source := ctx.get_parameter_source(name)) and source.name != "DEFAULT"
        }
        return super().invoke(ctx)


def read_fields(context: typer.Context, files: Sequence[Path], out_dir: Path) -> list[Field]:
    """The fields of a manifest, or one for each image.

    Raises:
        UsageError, InputRefused: the options or the manifest make no sense; all of its problems
            are named with row and column.
    """
    shared: dict[str, object] = context.meta[_META]
    for name in PICTURES:
        if name in shared and "{name}" not in str(shared[name]):
            fact = f"--{name} names one file for all fields"
            remedy = f"write {{name}} in it: --{name} {{name}}_{name}.tif"
            raise UsageError(fact, remedy=remedy.replace("look.tif", "look.png"))
    reader = _FieldReader(context=context, out_dir=out_dir, shared=shared)
    manifests = [path for path in files if path.suffix.lower() in (".csv", ".tsv")]
    if manifests and len(files) > 1:
        fact = f"{len(files)} files are given, and one of them is a manifest"
        remedy = "give one manifest alone, or images alone"
        raise UsageError(fact, path=manifests[0], remedy=remedy)
    if manifests:
        return _of_manifest(manifests[0], reader)
    return [reader.field([path], {}) for path in files]


def _of_manifest(path: Path, reader: _FieldReader) -> list[Field]:
    from uavssr.io.manifests import (
        ManifestProblem,
        ManifestRefused,
        header_problems,
        read_manifest_table,
    )

    table = read_manifest_table(path)
    table = replace(table, names=tuple(map(_option_name, table.names)))
    wrong = list(header_problems(table, columns()))
    if table.names and "path" not in table.names:
        wrong.append("the column path is missing; it names the image of each row")
    if not wrong and not table.rows and not table.problems:
        wrong = ["no row follows the header"]
    problems = [*table.problems, *(ManifestProblem(1, text) for text in wrong)]
    fields: list[Field] = []
    for line, cells in table.rows if not wrong else ():
        named = {_option_name(name): cell for name, cell in cells.items()}
        try:
            fields.append(reader.row(path.parent, named))
        except UavssrError as err:
            problems.append(ManifestProblem(line, _with_column(str(err), named)))
    if problems:
        raise ManifestRefused(path, problems)
    return fields


def _option_name(column: str) -> str:
    return column.strip().replace("-", "_").replace(" ", "_")


def _with_column(text: str, cells: Mapping[str, str]) -> str:
    """A problem with the column whose option it names."""
    named = [_option_name(name) for name in re.findall(r"--([a-z][a-z-]*)", text)]
    column = next((name for name in named if name in cells), None)
    return text if column is None else f"column {column}: {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldReader:
    """Makes fields of images and options, as `reconstruct` would."""

    context: typer.Context
    out_dir: Path
    shared: Mapping[str, object]
    """Options of all fields."""

    def row(self, folder: Path, cells: Mapping[str, str]) -> Field:
        """The field of a row, whose files are relative to the manifest's folder."""
        from uavssr.io.checks import check_path_text

        texts = dict(cells)
        paths = [part.strip() for part in texts.pop("path", "").split("|") if part.strip()]
        if not paths:
            raise InputRefused("column path: is empty", remedy="name the image")
        for text in paths:
            check_path_text(text)
        if "stf" in texts:
            texts["stf"] = str(folder / texts["stf"])
        for name in MAY_BE_FILES:
            if name in texts and (folder / texts[name]).exists():
                texts[name] = str(folder / texts[name])
        values = {name: _value(name, text) for name, text in texts.items()}
        return self.field([folder / text for text in paths], values)

    def field(self, paths: Sequence[Path], given: Mapping[str, object]) -> Field:
        """The field of an image with its own options."""
        from uavssr.cli.entry import as_uavssr_error

        options = {**self.shared, **given}
        cube = self._cube(paths[0], options)
        options |= {
            name: self.out_dir / str(options[name]).replace("{name}", cube.stem)
            for name in PICTURES
            if name in options
        }
        fields: list[Field] = []
        command, obj = _reconstruct_command(), self.context.obj | {"fields": fields}
        words = [*_words(options | {"out": cube}), "--", *map(str, paths)]
        parent = self.context.parent
        try:
            with command.make_context("reconstruct", words, parent=parent, obj=obj) as parsed:
                command.invoke(parsed)
        except UavssrError:
            raise
        except Exception as err:
            raise as_uavssr_error(err) from err
        return fields[0]

    def _cube(self, image: Path, options: dict[str, object]) -> Path:
        """The name of a field's cube: that of the column out, or of the image with `_cube`."""
        from uavssr.io.writers import SUFFIXES

        suffixes = {str(name): known for name, known in SUFFIXES.items()}
        known = {suffix for several in suffixes.values() for suffix in several}
        name = Path(str(options.pop("out", f"{image.stem}_cube")))
        if name.suffix.lower() not in known:
            default = suffixes.get(str(options.get("format")), (".tif",))[0]
            name = name.with_name(name.name + default)
        return self.out_dir / name


def _value(name: str, cell: str) -> object:
    """A cell as the value of an option."""
    option = field_options().get(name)
    if option is not None and option.is_flag:
        if cell.lower() not in _TRUTH:
            raise UsageError(f"column {name}: must be yes or no, got {cell!r}")
        return _TRUTH[cell.lower()]
    return cell.split("|") if option is not None and option.multiple else cell


def _words(options: Mapping[str, object]) -> Iterator[str]:
    """Options as words of a command line."""
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            yield from [option] if value else []
        else:
            parts = value if isinstance(value, list | tuple) else [value]
            yield from (f"{option}={part}" for part in parts)


@cache
def _reconstruct_command() -> TyperCommand:
    alone = typer.Typer(add_completion=False)
    decorate: Callable[[object], object] = alone.command("reconstruct")  # type: ignore[assignment]
    decorate(reconstruct)
    command = typer.main.get_command(alone)
    if not isinstance(command, TyperCommand):
        raise TypeError("a Typer of one command makes a TyperCommand")
    prepare_options(command, ["reconstruct"])
    return command
