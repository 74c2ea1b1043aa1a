"""Local spectra for `adapt`: read from files, brought to the model's wavelengths, checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.data import MAX_GAP_NM
from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import check_path_text, is_file
from uavssr.sensors import WavelengthGrid
from uavssr.spectra import (
    FIELD_REFLECTANCE,
    MAX_MISSING_NM,
    MeasuredSpectra,
    load_library,
    open_spectra,
    resample,
)

MIN_MEAN_REFLECTANCE: Final = 0.003
"""Mean reflectance below which a scale must be wrong: no ground is as dark."""


def read_local_spectra(path: Path, grid: WavelengthGrid, scale: str | None) -> MeasuredSpectra:
    """The plausible spectra of a table, library or cube on a model's wavelengths.

    Raises:
        UsageError: a scale is given for a library.
        InputRefused: the file cannot be read, or most of its spectra cannot be used.
    """
    check_path_text(str(path))
    if path.suffix.lower() != ".npz":
        return _drop_implausible(_to_grid(open_spectra(path, scale=scale), path, grid), path)
    if scale is not None:
        raise UsageError("a library holds reflectance", path=path, remedy="leave out --scale")
    if not is_file(path):
        raise InputRefused("no such file", path=path, remedy="give the path of a local file")
    try:
        values = np.asarray(load_library(path, grid).spectra, float)
    except InputRefused as err:
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
    spectra = MeasuredSpectra(path=path, nm=grid.centres, reflectance=values, warnings=())
    return _drop_implausible(spectra, path)


def _to_grid(spectra: MeasuredSpectra, path: Path, grid: WavelengthGrid) -> MeasuredSpectra:
    """Spectra on the model's wavelengths; wavelengths far outside its range are left out."""
    low, high = grid.centres[0], grid.centres[-1]
    near = (spectra.nm > low - MAX_MISSING_NM) & (spectra.nm < high + MAX_MISSING_NM)
    gap = np.diff(spectra.nm[near]).max(initial=0)
    if gap > MAX_GAP_NM:
        raise InputRefused(
            f"its wavelengths are up to {gap:g} nm apart, more than {MAX_GAP_NM:g}",
            path=path,
            remedy="give spectra of a spectrometer",
        )
    try:
        values = resample(spectra.reflectance[:, near], spectra.nm[near], grid)
    except InputRefused as err:
        raise InputRefused(
            f"reaches from {spectra.nm[0]:g} to {spectra.nm[-1]:g} nm, the model from {low:g} to "
            f"{high:g}",
            path=path,
            remedy="give spectra of the whole range, or use a model of their range",
        ) from err
    return replace(spectra, nm=grid.centres, reflectance=np.asarray(values, float))


def _drop_implausible(spectra: MeasuredSpectra, path: Path) -> MeasuredSpectra:
    """The spectra that have a plausible reflectance at every wavelength."""
    low, high = FIELD_REFLECTANCE
    values = spectra.reflectance
    valid = ((values >= low) & (values <= high)).all(1)  # False where a value is NaN
    dropped, count = int((~valid).sum()), len(values)
    if 2 * dropped >= count:
        largest = np.nanmax(values, initial=-np.inf)
        remedy = "fill or leave out the rows with gaps and impossible numbers"
        if largest > high:
            scale = "1/100" if largest < 500 else "1/10000"
            remedy = f"give the reflectance of the number 1, such as --scale {scale}"
        fact = f"{dropped} of {count} spectra lack a reflectance, or have one outside {low:g} to "
        raise InputRefused(f"{fact}{high:g}", path=path, remedy=remedy)
    mean = values[valid].mean()
    if mean < MIN_MEAN_REFLECTANCE:
        raise InputRefused(
            f"a mean reflectance of {mean:.2g} is too small",
            path=path,
            remedy="leave out --scale, or give reflectance from 0 to 1",
        )
    if dropped == 0:
        return spectra
    warning = f"{path.name}: {dropped} of {count} spectra are left out: no reflectance"
    return replace(spectra, reflectance=values[valid], warnings=(*spectra.warnings, warning))
