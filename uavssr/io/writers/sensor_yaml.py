"""A sensor as a .yaml file, which `load_sensor` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uavssr.io.checks import PathLike
from uavssr.io.writers.atomic import replacing, write_failed
from uavssr.io.writers.ownership import Replaceable
from uavssr.sensors import Sensor, sensor_text


def write_sensor(
    sensor: Sensor,
    path: PathLike,
    *,
    overwrite: Replaceable = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a sensor file and read it back before it gets its name.

    Raises:
        OutputError: something stands in the way, or the disk is full.
    """
    content = sensor_text(sensor).encode()
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=len(content)) as part:
        try:
            part.write_bytes(content)
            same = part.read_bytes() == content
        except OSError as err:
            raise write_failed(path, err.strerror, needed_bytes=len(content)) from err
        if not same:
            reason = "not as written when read back"
            raise write_failed(path, reason, needed_bytes=len(content))
    return Path(path)
