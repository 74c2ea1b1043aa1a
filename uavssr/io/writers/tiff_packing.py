"""Directories for the TIFF files that we write, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.io.checks import TiffForm

LONG, LONG8 = 4, 16
"""TIFF types of uint32 and uint64."""
_ALIGNED: Final = 8


@dataclass(frozen=True, slots=True)
class TagValues:
    """The values of one tag."""

    kind: int
    """Their TIFF type."""
    count: int
    """Number of values."""
    data: bytes
    """The values in the byte order of the file."""


def tag_values(form: TiffForm, kind: int, numbers: npt.ArrayLike) -> TagValues:
    """Whole numbers as the values of a tag."""
    raw = np.atleast_1d(np.asarray(numbers)).astype(form.dtype(kind))
    return TagValues(kind, raw.size, raw.tobytes())


def pack_directory(
    form: TiffForm, tags: Mapping[int, TagValues], start: int, *, followed: bool = False
) -> bytes:
    """A directory with all its values.

    Args:
        form: of the file.
        tags: values by the number of the tag.
        start: position of the directory in the file.
        followed: whether another directory comes right behind this one.
    """
    field = form.offset.size
    body, values = bytearray(form.tag_count.pack(len(tags))), bytearray()
    behind = start + len(body) + len(tags) * (form.tag.size + field) + field
    behind += -behind % _ALIGNED
    for number, tag in sorted(tags.items()):
        body += form.tag.pack(number, tag.kind, tag.count)
        if len(tag.data) > field:
            body += form.offset.pack(behind + len(values))
            values += tag.data + bytes(-len(tag.data) % _ALIGNED)
        else:
            body += tag.data.ljust(field, b"\0")
    body += form.offset.pack(behind + len(values) if followed else 0)
    return bytes(body).ljust(behind - start, b"\0") + bytes(values)
