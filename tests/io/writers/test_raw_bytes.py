"""Bytes at a place of a file: all of them, or an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uavssr.io.writers.raw_bytes import put_all


@pytest.mark.parametrize("most", [10**9, 1, 1000])
def test_all_buffers_are_written_whatever_the_system_takes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    whole, parts = os.pwritev, [bytes([k % 251]) * (k % 7) for k in range(1500)]

    def short(handle: int, some: list[bytes], place: int) -> int:
        return whole(handle, [b"".join(some)[:most]], place)

    monkeypatch.setattr("os.pwritev", short)
    with (tmp_path / "file").open("w+b") as file:
        put_all(file.fileno(), parts, 5)
        assert file.read() == bytes(5) + b"".join(parts)
