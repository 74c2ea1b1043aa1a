"""The days of satellite images and of the flight: what is near enough, and the weights of two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.satellite import SatelliteImage, acquisition_date

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

MAX_DAYS: Final = 10
"""Days between satellite and flight that are accepted: two passes of Sentinel-2."""


def date_weights(
    images: Sequence[SatelliteImage], flight: date, *, max_days: int = MAX_DAYS
) -> tuple[float, ...]:
    """The weights of one image, or of two for linear interpolation in time; their sum is 1.

    Raises:
        UsageError: none, or more than two images.
        InputRefused: an image is more than `max_days` from the flight, or both lie on one side.
    """
    if not 1 <= len(images) <= 2:
        fact = f"{len(images)} satellite images are given"
        raise UsageError(fact, remedy="give one, or two whose days bracket the flight")
    gaps = [(image.acquired - flight).days for image in images]
    for image, gap in zip(images, gaps, strict=True):
        if abs(gap) > max_days:
            raise InputRefused(
                f"was acquired on {image.acquired}, {abs(gap)} days from the flight on {flight}, "
                f"more than {max_days}",
                path=image.path,
                remedy="give an image of a nearer day, or two that bracket the flight; if little "
                f"has changed on the ground: --max-days {abs(gap)}",
            )
    if len(images) == 1:
        return (1.0,)
    first, second = gaps
    if first * second > 0 or first == second:
        farther = images[0] if abs(first) >= abs(second) else images[1]
        raise InputRefused(
            f"lies with the other satellite image on one side of the flight on {flight} "
            f"({images[0].acquired}, {images[1].acquired})",
            path=farther.path,
            remedy="leave it out, or give two that bracket the flight",
        )
    # x(0) = (x(a) b - x(b) a) / (b - a)
    share = -first / (second - first)
    return 1 - share, share


def flight_date(msi: MsiSource, given: date | None = None) -> date:
    """The day of an image's flight: as given, else by the tags of its files.

    Raises:
        InputRefused: no tag states it, or two files state different days.
    """
    if given is not None:
        return given
    paths = msi.summary.paths
    days = sorted({day for path in paths if (day := acquisition_date(path)) is not None})
    if len(days) == 1:
        return days[0]
    fact = "no tag states the day of the flight"
    if days:
        fact = f"its files state different days: {', '.join(map(str, days))}"
    raise InputRefused(fact, path=paths[0], remedy="give it with --flight-date YYYY-MM-DD")


def open_days(images: Sequence[SatelliteImage], flight: date) -> float:
    """Days of growth between flight and satellite; a b / (a + b) of two that bracket the flight."""
    gaps = [abs((image.acquired - flight).days) for image in images]
    return float(gaps[0] if len(gaps) == 1 else gaps[0] * gaps[1] / max(sum(gaps), 1))
