"""The STFs of classes of ground on the command line: `estimate-stf --zones`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from uavssr.cli import tables
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uavssr.io.msi import MsiSource
    from uavssr.io.stf import ClassStfs, StfArrays
    from uavssr.reconstruction import LandCover

AUTO: Final = "auto"
"""The value of `--zones` by which classes are found in the image."""


def zone_files(zones: str | None) -> list[Path]:
    """The file of classes, if one is given."""
    return [] if zones is None or zones == AUTO else [Path(zones)]


def open_land_cover(msi: MsiSource, zones: str, column: str | None) -> LandCover:
    """The classes of ground of an image.

    Raises:
        UsageError, InputRefused: see `open_class_map` and `found_land_cover`.
    """
    from uavssr.reconstruction import found_land_cover, given_land_cover, grid_of

    if zones == AUTO:
        if column is not None:
            fact = "--zone-field has no effect with --zones auto"
            raise UsageError(fact, remedy="leave it out")
        return found_land_cover(msi)
    from uavssr.io.zones import open_class_map

    path = Path(zones)
    return given_land_cover(open_class_map(path, grid_of(msi), column=column), path.name)


def add_classes(
    arrays: StfArrays, classes: ClassStfs, facts: dict[str, Any]
) -> tuple[StfArrays, list[RenderableType]]:
    """The product with the classes, and what is printed; `facts` get the same as plain numbers."""
    from uavssr.io.stf import with_class_stfs
    from uavssr.reconstruction import class_verdict

    roles = [str(role) for role in arrays.coordinates["band"].values.tolist()]
    verdict = class_verdict(classes, roles)
    rows = class_rows(classes, roles)
    facts["classes"] = {
        "source": classes.source,
        "verdict": verdict,
        "p": classes.p_any,
        "left_out": dict(classes.left_out),
        "rows": rows,
    }
    table = tables.class_table(rows, classes.left_out)
    return with_class_stfs(arrays, classes, verdict), [
        table,
        f"Classes: {classes.source}.",
        f"Verdict: {verdict}.",
    ]


def class_rows(classes: ClassStfs, roles: list[str]) -> list[dict[str, Any]]:
    """The classes as plain numbers, a mapping per class and band."""
    rows = []
    for k, (name, estimate) in enumerate(zip(classes.names, classes.estimates, strict=True)):
        for b, role in enumerate(roles):
            row: dict[str, Any] = {"class": name, "pixels": int(classes.pixels[k]), "band": role}
            for field in ("centre", "centre_se", "gain", "gain_se"):
                row[field] = round(float(getattr(estimate, field)[b]), 6)
            of = classes.difference
            known = math.isfinite(of.se[k, b])  # else the references do not cover the band
            row["gain_difference"] = round(float(of.value[k, b]), 6) if known else None
            row["gain_difference_se"] = round(float(of.se[k, b]), 6) if known else None
            row["gain_significant_from"] = (
                round(float(of.significant_from[k, b]), 6) if known else None
            )
            row["p"] = round(float(of.p[k, b]), 6) if known else None
            rows.append(row)
    return rows
