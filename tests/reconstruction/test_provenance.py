"""What outputs say of the run that made them."""

from __future__ import annotations

import pytest

from uavssr.reconstruction import provenance


@pytest.mark.parametrize(
    ("mtime_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (10**21, "1000000000000000000000 ns"),  # the year 33658
        (-(10**20), "-100000000000000000000 ns"),
    ],
)
def test_time_of_modification_outside_the_calendar_is_given_in_ns(
    mtime_ns: int, expected: str
) -> None:
    assert provenance._date(mtime_ns) == expected
