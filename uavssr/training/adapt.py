"""A model told of spectra that were measured near a field, saved as a model of its own.

Must not know how the prior is joined, or how a file is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr._version import __version__
from uavssr.data import MAX_GAP_NM, file_sha256
from uavssr.errors import InputRefused, ModelRefused, OutputError, UsageError
from uavssr.io.checks import check_path_text
from uavssr.io.writers import part_path, remove, remove_stale_parts, sync, write_failed
from uavssr.model import (
    CONFIG_FILE,
    DEFAULT_MODEL,
    LOCAL_PRIOR_WEIGHT,
    MAX_COMPONENTS,
    MAX_LOCAL_COMPONENTS,
    WEIGHTS_FILE,
    Model,
    add_local_prior,
    load_model,
    model_folders,
    projection_error,
    save_model,
)
from uavssr.sensors import WavelengthGrid
from uavssr.spectra import (
    FIELD_REFLECTANCE,
    MAX_MISSING_NM,
    MeasuredSpectra,
    load_library,
    open_spectra,
    resample,
)
from uavssr.training.model_card import adapted_card

FEWEST: Final = 5
"""Fewer different spectra describe no field."""
UNEXPLAINED: Final = 0.03
"""A warning is given where the model's basis leaves more than this of the mean reflectance."""
DARK: Final = 0.003
"""No ground is as dark as this on average."""
CARD: Final = "README.md"
_ROOM: Final = 4 * 2**20  # bytes that a model takes, to be told on a full disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """What came of it."""

    folder: Path
    """The model."""
    sha256: str
    """Digest of its weights."""
    spectra: int
    """How many it was told of."""
    components: int
    """Gaussians that describe them."""
    warnings: tuple[str, ...]
    """What to be wary of."""


def adapt_model(
    spectra: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    scale: str | None = None,
    overwrite: bool = False,
) -> Adapted:
    """Write the folder of a model that expects spectra like these; its name is the folder's.

    Args:
        spectra: tables (.csv), libraries (.npz) or cubes; see `raster.spectra.open_spectra`.
        out: the folder, for `--model`.
        model: what is adapted: a released name or a folder.
        scale: reflectance = stored number x scale, in tables and cubes.
        overwrite: whether a model in that folder may be replaced.

    Raises:
        UsageError: no spectra are named, or the scale makes no sense.
        InputRefused: a file cannot be read, or does not reach over the model's wavelengths.
        ModelRefused: as `load_model` says, or it has been adapted too often.
        OutputError: the folder is in the way, or cannot be written.
    """
    named = [spectra] if isinstance(spectra, str | Path) else spectra
    paths, folder = [Path(each) for each in named], Path(out)
    if folder.name in ("", ".."):  # no name that could be taken by another
        folder = folder.resolve()
    if not paths:
        raise UsageError("no spectra are named", remedy="name a table, a library or a cube")
    _check_folder(folder, overwrite=overwrite)
    base = load_model(model)
    _check_base(base)
    parts = [_read(path, base.grid, scale) for path in paths]
    found = np.concatenate([part.reflectance for part in parts])
    different = len(np.unique(found, axis=0))
    if different < FEWEST:
        raise InputRefused(
            f"{different} different spectra in all, and {FEWEST} or more are needed",
            path=paths[0],
            remedy="measure more of what the field holds: crops, soil, paths, water",
        )
    network = add_local_prior(base.network, torch.as_tensor(found, dtype=torch.float32))
    facts = _facts(base, parts, components=network.config.components)
    left = facts["residual"] = projection_error(base.network.basis, found)
    name = folder.resolve().name
    with _replacing(folder) as new:
        sha256 = save_model(network, new, name=name, training=facts)
        card = adapted_card(name, sha256, network.config.to_dict(), facts)
        (new / CARD).write_text(card, encoding="utf-8")
    warnings = (warning for part in parts for warning in part.warnings)
    return Adapted(
        folder=folder,
        sha256=sha256,
        spectra=len(found),
        components=facts["components"],
        warnings=(*warnings, *_unexplained(left)),
    )


def _facts(base: Model, parts: Sequence[MeasuredSpectra], *, components: int) -> dict[str, Any]:
    """What config.json and the card say of the spectra."""
    return {
        "uavssr_version": __version__,
        "adapted_from": f"{base.name} ({base.sha256})",
        "spectra": [
            {
                "file": part.path.name,
                "sha256": "-" if part.path.is_dir() else file_sha256(part.path),
                "spectra": len(part.reflectance),
            }
            for part in parts
        ],
        "share": LOCAL_PRIOR_WEIGHT,
        "components": components - base.network.config.components,
        "base": base.training,
    }


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder to build in, which takes the name, and another's place, if the body succeeds."""
    part = part_path(folder)
    old = part.with_name(f"{part.name}.old")
    try:
        remove_stale_parts(folder)
        part.mkdir()
        yield part
        sync(part)
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
        sync(folder.parent)
    except OSError as err:
        raise write_failed(folder, err.strerror, needed_bytes=_ROOM) from err
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)
        remove(part)
        remove(old)


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything, but for a model that may be replaced."""
    try:
        _check_place(folder, overwrite=overwrite)
    except OSError as err:
        raise OutputError(
            f"cannot be looked at ({err.strerror})", path=folder, remedy="choose another name"
        ) from err


def _check_place(folder: Path, *, overwrite: bool) -> None:
    if any((place / folder.resolve().name / CONFIG_FILE).is_file() for place in model_folders()):
        raise OutputError(
            "has the name of a released model", path=folder, remedy="choose another name"
        )
    if not folder.parent.is_dir():
        raise OutputError(
            f"there is no folder {folder.parent}", path=folder, remedy="create it first"
        )
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError("is a file", path=folder, remedy="name a folder with -o/--out")
    held = {each.name for each in folder.iterdir()}
    model = {CONFIG_FILE, WEIGHTS_FILE} <= held <= {CONFIG_FILE, WEIGHTS_FILE, CARD}
    if not held or (model and overwrite):
        return
    raise OutputError(
        "holds a model" if model else "holds something else than a model",
        path=folder,
        remedy="pass --overwrite or choose another name" if model else "choose another name",
    )


def _check_base(base: Model) -> None:
    most = base.network.config.components + MAX_LOCAL_COMPONENTS
    if most > MAX_COMPONENTS:
        raise ModelRefused(
            f"{base.name} has {base.network.config.components} Gaussians, and has no room for more",
            remedy="adapt the model that it was made from",
        )


def _read(path: Path, grid: WavelengthGrid, scale: str | None) -> MeasuredSpectra:
    """The spectra of one file on the model's wavelengths, without those that cannot be."""
    if path.suffix.lower() == ".npz":
        if scale is not None:
            raise UsageError("a library holds reflectance", path=path, remedy="leave out --scale")
        try:
            check_path_text(str(path))
            if not path.is_file():
                raise InputRefused("no such file", remedy="give the path of a local file")
            values = np.asarray(load_library(path, grid).spectra, float)
        except InputRefused as err:
            raise InputRefused(err.fact, path=err.path or path, remedy=err.remedy) from err
        found = MeasuredSpectra(path=path, nm=grid.centres, reflectance=values, warnings=())
    else:
        found = _reaching(open_spectra(path, scale=scale), path, grid)
    return _plausible(found, path)


def _reaching(found: MeasuredSpectra, path: Path, grid: WavelengthGrid) -> MeasuredSpectra:
    """Spectra on the model's wavelengths, whatever lies far beyond these left out."""
    low, high = grid.centres[0], grid.centres[-1]
    near = (found.nm > low - MAX_MISSING_NM) & (found.nm < high + MAX_MISSING_NM)
    gaps = np.diff(found.nm[near])
    if gaps.size and gaps.max() > MAX_GAP_NM:
        raise InputRefused(
            f"its wavelengths are up to {gaps.max():g} nm apart, more than {MAX_GAP_NM:g}",
            path=path,
            remedy="give spectra of a spectrometer: what lies between would be made up",
        )
    try:
        values = resample(found.reflectance[:, near], found.nm[near], grid)
    except InputRefused as err:
        raise InputRefused(
            f"reaches from {found.nm[0]:g} to {found.nm[-1]:g} nm, the model from {low:g} to "
            f"{high:g}",
            path=path,
            remedy="give spectra of the whole range, or a model of the range they have",
        ) from err
    return MeasuredSpectra(
        path=found.path,
        nm=grid.centres,
        reflectance=np.asarray(values, float),
        warnings=found.warnings,
    )


def _plausible(found: MeasuredSpectra, path: Path) -> MeasuredSpectra:
    """Spectra that hold a reflectance, and one that can be, at every wavelength."""
    low, high = FIELD_REFLECTANCE
    values = found.reflectance
    kept = ((values >= low) & (values <= high)).all(1)  # false where it is NaN
    if 2 * kept.sum() <= len(values):
        largest = np.nanmax(values, initial=-np.inf)
        remedy = "fill or leave out the rows with gaps and impossible numbers"
        if largest > high:
            scale = "1/100" if largest < 500 else "1/10000"
            remedy = f"give what a number means in reflectance, such as --scale {scale}"
        raise InputRefused(
            f"{(~kept).sum()} of {len(values)} spectra miss a reflectance or go beyond {low:g} to "
            f"{high:g}",
            path=path,
            remedy=remedy,
        )
    if values[kept].mean() < DARK:
        raise InputRefused(
            f"a mean reflectance of {values[kept].mean():.2g}",
            path=path,
            remedy="leave out --scale, or give reflectance from 0 to 1",
        )
    out = f"{path.name}: {(~kept).sum()} of {len(values)} spectra are left out: no reflectance"
    return MeasuredSpectra(
        path=found.path,
        nm=found.nm,
        reflectance=values[kept],
        warnings=found.warnings if kept.all() else (*found.warnings, out),
    )


def _unexplained(left: dict[str, float]) -> Iterator[str]:
    if left["relative"] > UNEXPLAINED:
        yield (
            f"the model's basis cannot show {left['relative']:.1%} of these spectra, most at "
            f"{left['worst_nm']:.0f} nm: are they reflectance? if so, train a model with them"
        )
