"""The spectral responses of all built-in cameras and satellites as Markdown, with their sources.

python scripts/response_table.py > docs/tables/responses.md
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uavssr.sensors import FINE_NM, SATELLITES, SENSORS, UNTABULATED, Band, Sensor, load_sensor


def main() -> int:
    """Print the table; returns the exit code."""
    print("\n".join(lines()))
    return 0


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield "# Spectral responses\n"
    yield "`python scripts/response_table.py`. Centre: mean wavelength weighted with the response;"
    yield "half: where it is half of its maximum; 95 %: the range that holds 95 % of it. All in nm."
    for name in (*SENSORS, *SATELLITES):
        yield from of_sensor(load_sensor(name))


def of_sensor(sensor: Sensor) -> Iterator[str]:
    """The section of a camera."""
    yield f"\n## {sensor.name}: {sensor.title}\n"
    absent = UNTABULATED.get(sensor.name, ())
    yield f"Source: {sensor.note}." + (f" Not tabulated: {', '.join(absent)}." if absent else "")
    yield "\n| band | centre | FWHM | half | 95 % | response |"
    yield "|---|---|---|---|---|---|"
    for band in sensor.bands:
        half, most = half_range(band), range_of_share(band, 0.95)
        kind = f"exponent {band.shape:g}" if band.curve is None else "measured curve"
        widths = f"{band.centre:.1f} | {band.fwhm:.1f}"
        yield f"| {band.role} | {widths} | {half} | {most} | {kind} |"


def half_range(band: Band) -> str:
    """First and last wavelength at half of the maximum, to 1 nm."""
    response = band.response()
    above = FINE_NM[response >= response.max() / 2]
    return f"{above[0]:.0f}-{above[-1]:.0f}"


def range_of_share(band: Band, share: float) -> str:
    """The range between equal tails that holds a share of the response."""
    total = band.response().cumsum()
    ends = np.interp([(1 - share) / 2, (1 + share) / 2], total, FINE_NM)
    return f"{ends[0]:.0f}-{ends[1]:.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
