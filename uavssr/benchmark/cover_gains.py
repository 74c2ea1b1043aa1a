"""Gains of classes of ground on real pairs: from the image alone, and from the cube of the ground.

Whether an STF differs with land cover can be seen in both; a blind difference should agree with
that of the cube within the standard errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from uavssr.benchmark.records import MAX_RECORD_BYTES
from uavssr.calibration import calibrate_classes, calibrate_scene, open_reference
from uavssr.data import ManifestRow, read_manifest
from uavssr.errors import InputRefused, UsageError
from uavssr.io.bounded import parse_json, read_bytes, why_unread
from uavssr.io.manifests import ManifestRefused
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.stf import ClassStfs, StfArrays, scene_estimate
from uavssr.io.writers import replacing
from uavssr.io.zones import open_class_map
from uavssr.model import DEFAULT_MODEL, Model, load_model
from uavssr.reconstruction import (
    LandCover,
    ReconstructionOptions,
    class_stfs,
    found_land_cover,
    given_land_cover,
    grid_of,
    plan_reconstruction,
)

COVER_FILE: Final = "land_cover.json"
"""File of the gains of classes in the folder of a benchmark."""
AUTO_ZONES: Final = "auto"
"""Classes are found in the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverGain:
    """Log gain of a class of ground in a band, minus the mean of the other classes'."""

    flight: str
    cover: str
    """The class."""
    band: str
    blind: float
    blind_se: float
    blind_p: float
    """Probability of a largest difference of that size under one STF."""
    paired: float
    """The same from the cube."""
    paired_se: float
    paired_p: float


def cover_gains(
    pairs: Path,
    *,
    zones: str = AUTO_ZONES,
    column: str | None = None,
    model: str = DEFAULT_MODEL,
) -> list[CoverGain]:
    """The gains of classes in each image of a manifest of pairs, for classes that both know.

    Args:
        pairs: a manifest of images with their cubes.
        zones: a file of polygons or classes over all images, or "auto".
        column: of the polygons, with the classes' names.
        model: with which the STFs are estimated.

    Raises:
        UsageError: tables of plots, which have no places.
        InputRefused, ManifestRefused: a file cannot be used, or there are no two classes.
    """
    if pairs.suffix.lower() == ".npz":
        raise _placeless(pairs)
    manifest, loaded = read_manifest(pairs), load_model(model)
    if manifest.problems:
        raise ManifestRefused(pairs, manifest.problems)
    if any(row.kind != "pair" for row in manifest.rows):
        raise _placeless(pairs)
    return [gain for row in manifest.rows for gain in _gains_of_pair(row, zones, column, loaded)]


def _placeless(path: Path) -> UsageError:
    fact = "plots without places show no classes of ground"
    return UsageError(fact, path=path, remedy="leave --zones out, or give images with cubes")


def _gains_of_pair(
    row: ManifestRow, zones: str, column: str | None, model: Model
) -> Iterator[CoverGain]:
    image = open_msi(row.msi, sensor=row.sensor, bands=row.bands, scale=row.msi_scale)
    cover = _land_cover(image, zones, column)
    blind = class_stfs(plan_reconstruction(image, ReconstructionOptions(model=model)).scene, cover)
    reference = open_reference(row.hsi, image, scale=row.hsi_scale)
    calibration = calibrate_scene(image, reference, model=model)
    scene = scene_estimate(StfArrays.of(calibration.dataset).dataset())
    paired = calibrate_classes(image, reference, cover, scene, model=model)
    flight = row.group or row.msi[0].stem
    for name in blind.names:
        if name in paired.names:
            yield from _class_gains(flight, name, (blind, paired), image.sensor.roles)


def _class_gains(
    flight: str, name: str, both: tuple[ClassStfs, ClassStfs], roles: Sequence[str]
) -> Iterator[CoverGain]:
    for band, role in enumerate(roles):
        blind, paired = (
            (
                float(stfs.difference.value[stfs.names.index(name), band]),
                float(stfs.difference.se[stfs.names.index(name), band]),
                float(stfs.difference.p[stfs.names.index(name), band]),
            )
            for stfs in both
        )
        yield CoverGain(
            flight=flight,
            cover=name,
            band=role,
            blind=blind[0],
            blind_se=blind[1],
            blind_p=blind[2],
            paired=paired[0],
            paired_se=paired[1],
            paired_p=paired[2],
        )


def _land_cover(image: MsiSource, zones: str, column: str | None) -> LandCover:
    if zones == AUTO_ZONES:
        return found_land_cover(image)
    path = Path(zones)
    return given_land_cover(open_class_map(path, grid_of(image), column=column), path.name)


def write_cover_gains(gains: Sequence[CoverGain], folder: Path) -> Path:
    """Write gains as JSON into the folder of a benchmark, replacing earlier ones."""
    path = folder / COVER_FILE
    with replacing(path, overwrite=True) as part:
        part.write_text(json.dumps([asdict(gain) for gain in gains], indent=1) + "\n")
    return path


def read_cover_gains(folder: Path | None) -> list[CoverGain]:
    """The gains in the folder of a benchmark; none where it has no such file.

    Raises:
        InputRefused: the file is damaged.
    """
    if folder is None or not (path := folder / COVER_FILE).is_file():
        return []
    try:
        return [CoverGain(**row) for row in parse_json(read_bytes(path, MAX_RECORD_BYTES))]
    except TypeError as err:
        raise InputRefused("holds no gains of classes", path=path) from err
    except (OSError, ValueError) as err:
        raise InputRefused(why_unread(err, path), path=path) from err


def cover_table(gains: Sequence[CoverGain]) -> Iterator[str]:
    """The gains as lines of a Markdown table."""
    yield "| flight | class | band | blind | p | from the cube | p |"
    yield "|---|---|---|---|---|---|---|"
    for gain in gains:
        yield (
            f"| {gain.flight} | {gain.cover} | {gain.band} | {gain.blind:+.3f} ± "
            f"{gain.blind_se:.3f} | {gain.blind_p:.3f} | {gain.paired:+.3f} ± "
            f"{gain.paired_se:.3f} | {gain.paired_p:.3f} |"
        )
