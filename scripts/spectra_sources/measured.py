"""Measured spectra that a library is built from: which files, which of their rows, which bands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.sensors import Float32Array, FloatArray
from uavssr.spectra import StrArray

ATMOSPHERE_NM: Final = ((750.0, 775.0), (810.0, 840.0), (920.0, 980.0))
"""Bands in nm where oxygen and water vapour are left in spectra that were made from radiance."""
_BELOW: Final = 0.0
_ABOVE: Final = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSource:
    """One file of spectra, and what is taken from it."""

    file: str
    """Name of the .npz file without its ending; its label in the library."""
    kind: str | dict[str, str]
    """Kind of all spectra, or by the beginning of a spectrum's label; others are left out."""
    most: int = 1200
    """Most spectra that are drawn, so that no source outweighs the others."""
    remote: bool = False
    """Measured from the air: kinds follow the red edge, `ATMOSPHERE_NM` is completed."""
    distrusted: tuple[tuple[float, float], ...] = ()
    """Further bands in nm that are noise and are completed."""


_EARTHLIB: Final = {"built/": "manmade", "bare/": "soil", "npv/": "other", "burned/": "soil"}
_USGS: Final = {
    "MANMADE/": "manmade",
    "VEGETATION/": "leaf",
    "SOIL/": "soil",
    "WATER/": "water",
    "MINERAL/": "mineral",
}
_BERLIN: Final = {"impervious": "manmade", "low vegetation": "canopy", "tree": "canopy"}
GROUND_SOURCES: Final = (
    MeasuredSource(file="barley_canopy_svc_2nm", kind="canopy"),
    MeasuredSource(file="leaf_bark_jalter_2nm", kind="leaf"),
    MeasuredSource(file="leaf_maine_trees_psr_2nm", kind="leaf", most=400),
    MeasuredSource(file="leaf_paintrock_trees_psr_2nm", kind="leaf"),
    MeasuredSource(file="leaf_rhododendron_svc_5nm", kind="leaf", most=250),
    MeasuredSource(file="moss_svc_2nm", kind="canopy"),
    MeasuredSource(file="parthenium_weed_asd_2nm", kind="canopy"),
    MeasuredSource(file="soil_icraf_isric_10nm", kind="soil", most=1000),
    MeasuredSource(file="soil_mixed_visnir_2nm", kind="soil"),
    MeasuredSource(file="urban_npv_asd_earthlib_10nm", kind=_EARTHLIB),
    MeasuredSource(file="urban_slum_london_1.6nm", kind="manmade"),
    MeasuredSource(file="usgs_splib07_2nm", kind=_USGS, most=700),
    MeasuredSource(file="urban_klum_2nm_400_948", kind="manmade"),
    MeasuredSource(file="soil_uhd285_125b", kind="soil", distrusted=((0, 472), (930, _ABOVE))),
)
"""Field and laboratory spectra, without an atmosphere between."""
REMOTE_SOURCES: Final = (
    MeasuredSource(
        file="uav_headwall_israel_tree_crowns",
        kind="canopy",
        remote=True,
        distrusted=((920, _ABOVE),),
    ),
    MeasuredSource(file="uav_headwall_maine_trees_crownbins", kind="canopy", remote=True),
    MeasuredSource(file="neon_jerc_px", kind="canopy", remote=True),
    MeasuredSource(file="avirisng_pycoal_px", kind="soil", remote=True),
    MeasuredSource(file="wheat_cimmyt_airborne_400_851", kind="canopy", remote=True, most=400),
    MeasuredSource(file="urban_berlin_hymap_lib", kind=_BERLIN, remote=True),
    MeasuredSource(
        file="pwd_uav_pine_240b",
        kind="other",
        remote=True,
        distrusted=((_BELOW, 440), (895, _ABOVE)),
    ),
)
"""Spectra of pixels of airborne and drone images."""
MINERAL_SHARE: Final = 0.15
"""Share of a mixed source's minerals that is taken: fields hold few of them pure."""


def read_source(
    folder: Path, source: MeasuredSource, rng: np.random.Generator
) -> tuple[Float32Array, FloatArray, StrArray]:
    """Spectra (n, F), their wavelengths (F,) in nm and kinds (n,), drawn from a source's file."""
    with np.load(folder / f"{source.file}.npz", allow_pickle=False) as file:
        spectra = file["spectra"].astype(np.float32)
        axis = "wavelength_nm" if "wavelength_nm" in file.files else "wavelength_nm_est"
        nm = file[axis].astype(float)
        labels = file["label"] if "label" in file.files else np.zeros(len(spectra), np.int64)
    kinds = np.array([_kind(source.kind, str(label)) for label in labels])
    usable = (kinds != "") & (spectra >= 0).all(1)
    usable &= (kinds != "mineral") | (rng.random(len(kinds)) < MINERAL_SHARE)
    chosen = np.flatnonzero(usable)
    if chosen.size > source.most:
        chosen = np.sort(rng.choice(chosen, source.most, replace=False))
    return spectra[chosen], nm, kinds[chosen]


def _kind(kind: str | dict[str, str], label: str) -> str:
    if isinstance(kind, str):
        return kind
    return next((name for start, name in kind.items() if label.startswith(start)), "")
