"""Settings as pydantic dataclasses, read from a YAML file, options and `KEY=VALUE` assignments.

The settings of a command are defined where the command's work is done, not here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from uavssr.errors import UsageError

SettingsClass = TypeVar("SettingsClass", bound="Settings")
KeyFiles = Mapping[str, Path]
"""The file that each key comes from; keys of options and assignments are not in it."""

_EXPECTED: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a word",
    "path_type": "a path",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
}
"""What a value must be, by pydantic's type of error."""


KNOWN_KEYS_ONLY: Final = ConfigDict(extra="forbid")
"""`config` of each settings class: an unknown key is an error."""


@dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class Settings:
    """Base of a group of settings, which are checked whenever they are made.

    Raises:
        UsageError: an unknown key, or a value of a wrong type or outside its range.
    """

    section: ClassVar[str] = ""
    """Key of the group in a settings file; empty for the top level."""

    @model_validator(mode="wrap")
    @classmethod
    def _raise_usage_error(
        cls, values: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        try:
            return handler(values)
        except ValidationError as err:
            raise _usage_error(cls, err.errors(), info.context or {}) from err


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    source = (info.context or {}).get(info.field_name)
    return path if source is None else source.parent / path


def _folder_beside_file(name: str, info: ValidationInfo) -> str:
    folder = _beside_file(Path(name), info)
    return str(folder) if folder.is_dir() else name


WholeNumber = Annotated[int, Field(strict=True)]
"""An int; true, false and text are refused."""
Number = Annotated[float, Field(strict=True)]
"""A float or int; true, false and text are refused."""
Word = Annotated[str, Field(coerce_numbers_to_str=True)]
"""Text, or a number that YAML made of it."""
FilePath = Annotated[Path, AfterValidator(_beside_file)]
"""A path at the top level; in a settings file it is relative to the file's folder."""
FolderOrName = Annotated[Word, AfterValidator(_folder_beside_file)]
"""The name of something shipped with the package, or a folder that is relative like `FilePath`."""


def read_settings(
    settings: type[SettingsClass],
    path: Path | None,
    options: Mapping[str, object],
    assignments: Sequence[str],
) -> SettingsClass:
    """Settings from a file, options and assignments; later ones win, in this order.

    Args:
        settings: the class of the settings.
        path: a YAML file of nested sections.
        options: values of the command line by dotted key (`training.steps`); None means not given.
        assignments: texts `key=value` with dotted keys and YAML values.

    Raises:
        UsageError: the file cannot be read, or an assignment, key or value makes no sense.
    """
    tree = {} if path is None else _read_file(path)
    sources = {} if path is None else dict.fromkeys(_keys(tree), path)
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in [*given.items(), *map(_parse_assignment, assignments)]:
        _assign(tree, key, value)
        sources.pop(key, None)
    return TypeAdapter(settings).validate_python(tree, context=sources)


def _parse_assignment(text: str) -> tuple[str, object]:
    key, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"--set must be KEY=VALUE, got {text!r}")
    return key.strip(), _parse_yaml(value)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = _parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"cannot be read ({err})", path=path) from err
    except UsageError as err:
        raise UsageError(err.fact, path=path) from err
    if not isinstance(content, dict):
        raise UsageError("is no mapping of keys to values", path=path)
    return content


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, and numbers such as 1e-3, which it takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse_yaml(text: str) -> Any:
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as err:
        raise UsageError(f"not YAML ({err})") from err


def _keys(tree: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all sections and values."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _assign(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{key}: {section} is no section of settings")
    tree[last] = value


def _usage_error(
    settings: type[Settings], errors: Sequence[ErrorDetails], sources: KeyFiles
) -> UsageError:
    """The first of pydantic's errors as one line."""
    first = errors[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    prefix = f"{settings.section}." if settings.section else ""
    key = (prefix + name).removesuffix(".")
    path = sources.get(key)
    if first["type"] in ("unexpected_keyword_argument", "invalid_key"):
        known = [prefix + field.name for field in fields(settings)]
        near = difflib.get_close_matches(key, known, 1, cutoff=0.4)
        remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return UsageError(f"no setting is called {key!r}", path=path, remedy=remedy)
    if first["type"] == "missing":
        return UsageError(f"{key} is not set", path=path, remedy=f"pass --set {key}=VALUE")
    if first["type"] == "dataclass_type":
        return UsageError(f"{key} is a section of settings, got {first['input']!r}", path=path)
    same_field = [error for error in errors if error["loc"][:1] == first["loc"][:1]]
    expected = " or ".join(map(_expected, same_field))
    return UsageError(f"{key} must be {expected}, got {first['input']!r}", path=path)


def _expected(error: ErrorDetails) -> str:
    text = _EXPECTED.get(error["type"], error["msg"])
    return text.format(**error.get("ctx", {})).replace("'", "")
