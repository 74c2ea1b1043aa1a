"""A model told of spectra that were measured near a field, saved as a model of its own.

Must not know how the prior is joined, or how a file is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr import __version__
from uavssr.bands import FloatArray, WavelengthGrid
from uavssr.data.library import load_library, resample
from uavssr.data.pairs import digest
from uavssr.errors import InputRefused, OutputError, UsageError
from uavssr.model.adaptation import SHARE, adapt
from uavssr.model.basis import residual_of
from uavssr.model.weights import CONFIG, DEFAULT_MODEL, load_model, save_model
from uavssr.modelcard import adapted_card
from uavssr.raster.spectra import open_spectra

FEWEST: Final = 5
"""Fewer spectra describe no field."""
UNEXPLAINED: Final = 0.03
"""A warning is given where the model's basis leaves more than this of the mean reflectance."""


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
    spectra: Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    name: str | None = None,
    scale: str | None = None,
    overwrite: bool = False,
) -> Adapted:
    """Write the folder of a model that expects spectra like these.

    Args:
        spectra: tables (.csv, .txt), libraries (.npz) or cubes; see `raster.spectra.open_spectra`.
        out: the folder, for `--model`.
        model: what is adapted: a released name or a folder.
        name: of the new model; by default that of its folder.
        scale: reflectance = stored number x scale, in tables and cubes.
        overwrite: whether a model in that folder may be replaced.

    Raises:
        UsageError: no spectra are named.
        InputRefused: a file cannot be read, or does not reach over the model's wavelengths.
        ModelRefused: as `load_model` says.
        OutputError: the folder is in the way, or cannot be written.
    """
    paths, folder = [Path(each) for each in spectra], Path(out)
    if not paths:
        raise UsageError("no spectra are named", remedy="name a table, a library or a cube")
    _check_folder(folder, overwrite=overwrite)
    base = load_model(model)
    parts = [_on_grid(path, base.grid, scale) for path in paths]
    found = np.concatenate(parts)
    if len(found) < FEWEST:
        raise InputRefused(
            f"{len(found)} spectra in all, and {FEWEST} or more are needed",
            path=paths[0],
            remedy="measure more of what the field holds: crops, soil, paths, water",
        )
    network = adapt(base.network, torch.as_tensor(found, dtype=torch.float32))
    left = residual_of(base.network.basis, found)
    facts: dict[str, Any] = {
        "uavssr_version": __version__,
        "adapted_from": f"{base.name} ({base.sha256})",
        "spectra": [
            {"file": path.name, "sha256": _digest(path), "spectra": len(part)}
            for path, part in zip(paths, parts, strict=True)
        ],
        "share": SHARE,
        "components": network.config.components - base.network.config.components,
        "residual": left,
        "base": base.training,
    }
    called = name or folder.resolve().name
    try:
        sha256 = save_model(network, folder, name=called, training=facts)
        card = adapted_card(called, sha256, network.config.to_dict(), facts)
        (folder / "README.md").write_text(card, encoding="utf-8")
    except OSError as err:
        raise OutputError(f"cannot be written ({err.strerror})", path=folder) from err
    return Adapted(
        folder=folder,
        sha256=sha256,
        spectra=len(found),
        components=facts["components"],
        warnings=tuple(_warnings(left)),
    )


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything, but for a model that may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError("is a file", path=folder, remedy="name a folder with -o/--out")
    if not any(folder.iterdir()) or (overwrite and (folder / CONFIG).is_file()):
        return
    model = (folder / CONFIG).is_file()
    raise OutputError(
        "holds a model" if model else "holds something else than a model",
        path=folder,
        remedy="pass --overwrite or choose another name" if model else "choose another name",
    )


def _on_grid(path: Path, grid: WavelengthGrid, scale: str | None) -> FloatArray:
    """Reflectance (n, C) of one file."""
    if path.suffix.lower() == ".npz":
        if scale is not None:
            raise UsageError("a library holds reflectance", path=path, remedy="leave out --scale")
        return np.asarray(load_library(path, grid).spectra, float)
    nm, found = open_spectra(path, scale=scale)
    try:
        return np.asarray(resample(found, nm, grid), float)
    except InputRefused as err:
        raise InputRefused(
            f"reaches from {nm[0]:g} to {nm[-1]:g} nm, the model from {grid.centres[0]:g} to "
            f"{grid.centres[-1]:g}",
            path=path,
            remedy="give spectra of the whole range, or a model of the range they have",
        ) from err


def _digest(path: Path) -> str:
    """Of a file; of a Zarr store, which is a folder, none."""
    return "" if path.is_dir() else digest(path)


def _warnings(left: dict[str, float]) -> Iterator[str]:
    if left["relative"] > UNEXPLAINED:
        yield (
            f"the model's basis cannot show {left['relative']:.1%} of these spectra, most at "
            f"{left['worst_nm']:.0f} nm: are they reflectance? if so, train a model with them"
        )
