"""How far an index of a reconstructed cube may be trusted: the trust table of a model.

`benchmarks/trust.py` measures it on simulated flights over test scenes and writes trust.json into
the model's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from uavssr.errors import ModelRefused
from uavssr.indices.index import SpectralIndex
from uavssr.io.bounded import parse_json, read_bytes, why_unread
from uavssr.sensors import Sensor

TRUST_FILE: Final = "trust.json"
"""Name of the trust table in a model's folder."""
TRUST_FORMAT: Final = 1
"""Version of the file's format."""
TRUST_COLUMNS: Final = (
    *("camera", "index", "ground", "knowledge"),
    *("images", "rank", "worst_rank", "rmse", "bias", "spread"),
)
"""Names of the values of a row."""
CARRIED_RANK: Final = 0.9
"""Least rank correlation of an index that the cube carries: 86 of 100 pairs of places are ordered
as in truth."""
PARTLY_RANK: Final = 0.6
"""Least rank correlation of an index that the cube carries in part: 71 of 100 pairs."""
_MAX_BYTES: Final = 2**22

Ground = Literal["all", "vegetation", "soil"]
"""Kind of ground: all, NDVI above 0.5, or NDVI of 0 to 0.3 (soil and buildings)."""
Knowledge = Literal["blind", "profile", "calibrated", "bands"]
"""What the index comes from: a cube without, with a camera's profile, with ten known spectra, or
the camera's own bands in the place of the index's."""
Level = Literal["carried", "partly", "not carried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Errors of an index against the true cube, means over simulated images."""

    camera: str
    """Name of the sensor."""
    index: str
    """Name of the index."""
    ground: Ground
    """Pixels that count."""
    knowledge: Knowledge
    """What is known of the camera."""
    images: int
    """Number of images, each of another camera or scene."""
    rank: float
    """Rank correlation (Spearman) with the truth over the pixels of an image, mean over images."""
    worst_rank: float
    """The mean of the worst scene."""
    rmse: float
    """Root mean square error over 99 % of the pixels, in the unit of the index."""
    bias: float
    """Mean error over the same pixels."""
    spread: float
    """Standard deviation of the true index over an image, root mean square over images."""

    @property
    def level(self) -> Level:
        """Whether the index is carried, by its rank correlation."""
        if self.rank >= CARRIED_RANK:
            return "carried"
        return "partly" if self.rank >= PARTLY_RANK else "not carried"


@dataclass(frozen=True, kw_only=True)  # no slots: the cache lives in __dict__
class TrustTable:
    """The trust table of a model."""

    sha256: str
    """SHA-256 of the weights that were judged."""
    scenes: tuple[str, ...]
    """Names of the scenes."""
    rows: tuple[Trust, ...]
    """The rows of all cameras and indices."""

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str, str], Trust]:
        return {(row.camera, row.index, row.ground, row.knowledge): row for row in self.rows}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that were judged."""
        return tuple(dict.fromkeys(row.camera for row in self.rows))

    def judges(self, sensor: Sensor) -> bool:
        """Whether a camera, or the data sheet of its profile, was judged."""
        return bool({sensor.name, sensor.data_sheet} & set(self.cameras))

    def of(
        self,
        sensor: Sensor,
        index: SpectralIndex,
        *,
        ground: Ground | None = None,
        knowledge: Knowledge = "blind",
    ) -> Trust | None:
        """The row of a camera, or of the data sheet of its profile; None where none was measured.

        Args:
            sensor: the camera.
            index: the index.
            ground: pixels that count; by default those that the index is made for, see `ground_of`.
            knowledge: what is known of the camera.
        """
        name = sensor.name if sensor.name in self.cameras else sensor.data_sheet
        return self._by_key.get((name, index.name, ground or ground_of(index), knowledge))


def ground_of(index: SpectralIndex) -> Ground:
    """The ground that an index is made for: a vegetation index means little on soil."""
    grounds: dict[str, Ground] = {"vegetation": "vegetation", "soil": "soil"}
    return grounds.get(index.domain, "all")


def load_trust(folder: str | Path, *, sha256: str) -> TrustTable | None:
    """The trust table in a model's folder; None where the folder has none.

    Args:
        folder: of the model.
        sha256: of its weights.

    Raises:
        ModelRefused: the file is damaged, or of other weights.
    """
    path = Path(folder) / TRUST_FILE
    if not path.exists():
        return None
    remedy = "get the model folder again, or delete this file: indices then have no trust"
    try:
        table = _table_of(parse_json(read_bytes(path, _MAX_BYTES)))
    except OSError as err:
        raise ModelRefused(why_unread(err, path), path=path) from err
    except (ValueError, TypeError) as err:  # pydantic's are ValueErrors of several lines
        fact = f"not a trust table ({' '.join(str(err).split())[:100]})"
        raise ModelRefused(fact, path=path, remedy=remedy) from err
    if table.sha256 != sha256:
        fact = f"judges weights {table.sha256[:12]}, and the model's are {sha256[:12]}"
        raise ModelRefused(fact, path=path, remedy=remedy)
    return table


def _table_of(content: object) -> TrustTable:
    """The table of a file's content; raises ValueError or TypeError where it is none."""
    if not isinstance(content, dict):
        raise TypeError("not an object")
    if content.get("format") != TRUST_FORMAT:
        raise ValueError(f"format is {content.get('format')!r}, not {TRUST_FORMAT}")
    if content.get("columns") != list(TRUST_COLUMNS):
        raise ValueError("other columns")
    from pydantic import TypeAdapter  # takes a tenth of a second

    rows = [dict(zip(TRUST_COLUMNS, row, strict=True)) for row in content.get("rows", ())]
    scenes = TypeAdapter(tuple[str, ...]).validate_python(content.get("scenes"))
    return TrustTable(
        sha256=str(content.get("sha256")),
        scenes=scenes,
        rows=TypeAdapter(tuple[Trust, ...]).validate_python(rows),
    )
