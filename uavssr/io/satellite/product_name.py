"""Names of satellite products: satellite, level, day and version, as agencies write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from uavssr.errors import InputRefused

_SENTINEL: Final = re.compile(
    r"(S2[A-D])_(?:MSI|OPER_MSI_)(L1C|L2A)_(\d{8})T\d{6}(?:_N(\d{2})(\d{2}))?"
)
"""S2A_MSIL2A_20220615T103631_N0400_R008_T32UNU_20220615T180411 (ESA, PSD document 15)."""
_TILE: Final = re.compile(r"T\d{2}[A-Z]{3}_(\d{8})T\d{6}")
"""T32UNU_20220615T103631, the start of the names of a product's images."""
_LANDSAT: Final = re.compile(r"(L[CO]0[89])_(L\d\w{2})_\d{6}_(\d{8})_\d{8}_(\d{2})_(?:T1|T2|RT)")
"""LC08_L2SP_195025_20220715_20220721_02_T1 (USGS, Data Format Control Book)."""
SATELLITE_NAMES: Final = {
    "S2A": "sentinel2a",
    "S2B": "sentinel2b",
    "LC08": "landsat8",
    "LC09": "landsat9",
    "LO08": "landsat8",
    "LO09": "landsat9",
}
"""Built-in sensors by the letters that begin a product's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductName:
    """What the name of a product states; empty where it does not."""

    text: str
    """The part of the name that was understood."""
    satellite: str
    """Letters of the satellite: S2A, LC08."""
    level: str
    """Processing level: L1C, L2A, L2SP."""
    acquired: date | None
    """The day of acquisition."""
    version: str
    """Processing baseline of Sentinel-2 (04.00), collection of Landsat (02)."""

    @property
    def sensor(self) -> str:
        """Name of the built-in sensor; empty if there is none."""
        return SATELLITE_NAMES.get(self.satellite, "")


def read_product_name(name: str) -> ProductName | None:
    """The product that the name of a file or folder states; None if it is none that we know."""
    if match := _SENTINEL.search(name):
        satellite, level, day, major, minor = match.groups()
        version = f"{major}.{minor}" if major else ""
    elif match := _LANDSAT.search(name):
        satellite, level, day, version = match.groups()
    elif match := _TILE.search(name):
        (day,), satellite, level, version = match.groups(), "", "", ""
    else:
        return None
    try:
        acquired = date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return None
    return ProductName(
        text=match[0], satellite=satellite, level=level, acquired=acquired, version=version
    )


def check_level(level: str, path: object) -> None:
    """Refuse a product that is not surface reflectance; `level` as L1C, Level-1C, L2SP ...

    Raises:
        InputRefused: it is of level 1, or a surface temperature alone.
    """
    short = level.upper().replace("LEVEL-", "L").replace("S2MSI", "L")
    if short.startswith("L1"):
        names = ("L2A", "Sen2Cor") if short == "L1C" else ("L2SP", "LaSRC")
        raise InputRefused(
            f"is a product of level {short[1:]}, top-of-atmosphere reflectance",
            path=str(path),
            remedy=f"download the same scene as {names[0]}, or correct it with {names[1]}",
        )
    if short == "L2ST":
        remedy = "download the same scene as L2SP"
        raise InputRefused("holds surface temperature alone", path=str(path), remedy=remedy)
