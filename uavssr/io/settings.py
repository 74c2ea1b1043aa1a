"""Settings as pydantic dataclasses, read from a YAML file, options and `KEY=VALUE` assignments."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic.functional_validators import AfterValidator, model_validator

from uavssr.errors import UsageError
from uavssr.io.bounded import MAX_YAML_BYTES, is_folder, parse_yaml, read_bytes, why_unread

SettingsClass = TypeVar("SettingsClass", bound="Settings")

KNOWN_KEYS_ONLY: Final = ConfigDict(extra="forbid")
"""`config` of each settings class: an unknown key is an error."""


@dataclass(frozen=True, slots=True, kw_only=True, config=KNOWN_KEYS_ONLY)
class Settings:
    """Base of a group of settings; a wrong key or value raises a UsageError at any time."""

    section: ClassVar[str] = ""
    """Key of the group in a settings file; empty for the top level."""

    @model_validator(mode="wrap")
    @classmethod
    def _raise_usage_error(
        cls, values: object, handler: Callable[[object], Self], info: ValidationInfo
    ) -> Self:
        try:
            return handler(values)
        except ValidationError as err:
            raise _usage_error(cls, err, info) from err


def _file_of(key: str, info: ValidationInfo) -> Path | None:
    """The settings file, if a key comes from it and not from an option or assignment."""
    path, given = info.context or (None, ())
    return None if key in given else path


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    source = _file_of(info.field_name or "", info)
    return path if source is None else source.parent / path


def _folder_beside_file(name: str, info: ValidationInfo) -> str:
    folder = _beside_file(Path(name), info)
    return str(folder) if is_folder(folder) else name


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
    """Settings from a YAML file, options and texts `key=value`; later ones win, in this order.

    Keys of options and texts are dotted (`training.steps`); an option that is None is not given.

    Raises:
        UsageError: the file cannot be read, or an assignment, key or value makes no sense.
    """
    tree = {} if path is None else read_mapping(path)
    values = [(key, value) for key, value in options.items() if value is not None]
    for text in assignments:
        name, sign, yaml_value = text.partition("=")
        if not sign:
            raise UsageError(f"--set must be KEY=VALUE, got {text!r}")
        values.append((name.strip(), _parse_yaml(yaml_value)))
    given = set()
    for key, value in values:
        section, dot, name = key.partition(".")
        parent = tree.setdefault(section, {}) if dot else tree
        if not isinstance(parent, dict):
            raise UsageError(f"{key}: {section} is no section of settings")
        parent[name or section] = value
        given |= {section, key}
    return TypeAdapter(settings).validate_python(tree, context=(path, given))


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a settings file in YAML.

    Raises:
        UsageError: it cannot be read, or holds no mapping.
    """
    try:
        text = read_bytes(path, MAX_YAML_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as err:
        raise UsageError(why_unread(err, path), path=path) from err
    content = _parse_yaml(text, path)
    if not isinstance(content, dict):
        raise UsageError("is no mapping of keys to values", path=path)
    return content


def _parse_yaml(text: str, path: Path | None = None) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as err:
        raise UsageError(f"not YAML ({err})", path=path) from err


def _usage_error(
    settings: type[Settings], invalid: ValidationError, info: ValidationInfo
) -> UsageError:
    """The first of pydantic's errors as one line."""
    errors = invalid.errors()
    first, prefix = errors[0], f"{settings.section}." if settings.section else ""
    key = prefix + str(first["loc"][0]) if first["loc"] else settings.section
    path = _file_of(key, info)
    if first["type"] in ("unexpected_keyword_argument", "invalid_key"):
        known = [prefix + field.name for field in fields(settings)]
        near = difflib.get_close_matches(key, known, 1, cutoff=0.4)
        remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return UsageError(f"no setting is called {key!r}", path=path, remedy=remedy)
    if first["type"] == "missing":
        return UsageError(f"{key} is not set", path=path, remedy=f"pass --set {key}=VALUE")
    texts = [error["msg"] for error in errors if error["loc"][:1] == first["loc"][:1]]
    expected = " or ".join(text.removeprefix("Input should be ") for text in texts)
    if first["type"] == "dataclass_type":
        expected = "a section of settings"
    return UsageError(f"{key} must be {expected}, got {first['input']!r}", path=path)
