"""`adapt_model`: a model with local spectra in its prior, saved as a model of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr._version import __version__
from uavssr.data import file_sha256
from uavssr.errors import InputRefused, ModelRefused, OutputError, UsageError
from uavssr.io.writers import (
    check_names,
    part_folder,
    publish_folder,
    restore_replaced,
    sync,
    write_failed,
)
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
from uavssr.spectra import MeasuredSpectra
from uavssr.training.local_spectra import read_local_spectra
from uavssr.training.model_card import CARD_FILE, adapted_card

MIN_SPECTRA: Final = 5
"""Smallest number of different spectra that describe a field."""
MAX_LOCAL_ERROR: Final = 0.03
"""RMS error of local spectra in the basis, relative to their mean, above which to warn."""
_MODEL_BYTES: Final = 4 * 2**20  # size of a model folder, for the message about a full disk


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedModel:
    """The result of `adapt_model`."""

    folder: Path
    """Folder of the model."""
    sha256: str
    """Digest of its weights."""
    spectra: int
    """Number of local spectra used."""
    components: int
    """Number of Gaussians that describe them."""
    warnings: tuple[str, ...]
    """Warnings about the spectra."""


def adapt_model(
    spectra: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    scale: str | None = None,
    overwrite: bool = False,
) -> AdaptedModel:
    """Add local spectra to a model's prior and write the new model; its name is the folder's.

    Args:
        spectra: tables (.csv), libraries (.npz) or cubes; see `spectra.open_spectra`.
        out: the folder, for `--model`.
        model: the model to adapt: a released name or a folder.
        scale: reflectance = stored number x scale, in tables and cubes.
        overwrite: whether to replace a model in that folder.

    Raises:
        UsageError: no spectra are given, or the scale makes no sense.
        InputRefused: a file cannot be read, or does not cover the model's wavelengths.
        ModelRefused: see `load_model`; or the model has been adapted too often.
        OutputError: the folder holds something else, or cannot be written.

    Examples:
        >>> import uavssr
        >>> adapted = uavssr.adapt_model("hsi.tif", "my-field")
        >>> uavssr.load_model("my-field").name
        'my-field'
    """
    paths = [Path(path) for path in ([spectra] if isinstance(spectra, str | Path) else spectra)]
    if not paths:
        raise UsageError("no spectra are given", remedy="give a table, a library or a cube")
    folder = Path(out)
    if folder.name in ("", ".."):  # a folder without a name has no hidden name beside it
        folder = folder.resolve()
    _check_folder(folder, overwrite=overwrite)
    base = _load_base(model)
    parts = [read_local_spectra(path, base.grid, scale) for path in paths]
    local = np.concatenate([part.reflectance for part in parts])
    different = len(np.unique(local, axis=0))
    if different < MIN_SPECTRA:
        raise InputRefused(
            f"needs {MIN_SPECTRA} different spectra; found {different}",
            path=paths[0],
            remedy="measure more of the field: crops, soil, paths, water",
        )
    network = add_local_prior(base.network, torch.as_tensor(local, dtype=torch.float32))
    error = projection_error(base.network.basis, local)
    components = network.config.components - base.network.config.components
    facts = _facts(base, parts) | {"components": components, "residual": error}
    name = folder.resolve().name
    with _replacing_folder(folder) as part:
        sha256 = save_model(network, part, name=name, training=facts)
        card = adapted_card(name, sha256, network.config.to_dict(), facts)
        (part / CARD_FILE).write_text(card, encoding="utf-8")
    warnings = [warning for spectra_of_file in parts for warning in spectra_of_file.warnings]
    if error["relative"] > MAX_LOCAL_ERROR:
        warnings.append(
            f"the model's basis cannot represent {error['relative']:.1%} of these spectra, most at "
            f"{error['worst_nm']:.0f} nm: check that they are reflectance; if so, train a model "
            "with them"
        )
    return AdaptedModel(
        folder=folder,
        sha256=sha256,
        spectra=len(local),
        components=components,
        warnings=tuple(warnings),
    )


def _load_base(model: str | Path) -> Model:
    base = load_model(model)
    components = base.network.config.components
    if components + MAX_LOCAL_COMPONENTS > MAX_COMPONENTS:
        raise ModelRefused(
            f"{base.name} has {components} Gaussians; {MAX_LOCAL_COMPONENTS} more exceed the limit "
            f"of {MAX_COMPONENTS}",
            remedy="adapt the model that it was made from",
        )
    return base


def _facts(base: Model, parts: Sequence[MeasuredSpectra]) -> dict[str, Any]:
    """The section `training` of config.json, which the card shows."""
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
        "base": base.training,
    }


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to write to, which replaces `folder` if the body succeeds."""
    try:
        with part_folder(folder) as part:
            part.mkdir()
            yield part
            sync(part)
            publish_folder(part, folder)
            sync(folder.parent)
    except OSError as err:
        raise write_failed(folder, err.strerror, needed_bytes=_MODEL_BYTES) from err


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but a model that may be replaced."""
    fact, remedy = "", "choose another name"
    check_names([folder])
    try:
        restore_replaced(folder)
        configs = [path for parent in model_folders() for path in parent.glob(f"*/{CONFIG_FILE}")]
        content = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        is_model = {CONFIG_FILE, WEIGHTS_FILE} <= content <= {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE}
        if folder.resolve().name in {path.parent.name for path in configs}:
            fact = "has the name of a released model"
        elif not folder.parent.is_dir():
            fact, remedy = f"there is no folder {folder.parent}", "create it first"
        elif folder.exists() and not folder.is_dir():
            fact, remedy = "is a file", "name a folder with -o/--out"
        elif content and not is_model:
            fact = "holds other files than a model"
        elif content and not overwrite:
            fact, remedy = "holds a model", "pass --overwrite or choose another name"
    except OSError as err:
        fact = f"cannot be read ({err.strerror})"
        raise OutputError(fact, path=folder, remedy=remedy) from err
    if fact:
        raise OutputError(fact, path=folder, remedy=remedy)
