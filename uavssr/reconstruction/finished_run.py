"""Outputs that an earlier run of the very same command has finished."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from uavssr.errors import UavssrError
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.hsi import product_tags
from uavssr.io.writers import journal_path
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.provenance import identity
from uavssr.reconstruction.verdict import RunVerdict

if TYPE_CHECKING:
    from uavssr.reconstruction.output_files import Outputs
    from uavssr.reconstruction.plan import Plan

RUN_TAG: Final = "uavssr_run"
"""Tag of an output that holds `run_digest`."""


def run_digest(plan: Plan, output: OutputOptions) -> str:
    """Digest of all that the outputs of a run depend on: input, settings, and how they are stored.

    Raises:
        InputRefused: an input cannot be read any more.
    """
    settings = identity(plan, error_maps=bool(output.extra_files)) | {
        "format": output.cube_format,
        "dtype": output.dtype,
        "wavelengths": str(output.wavelength_indices(plan.model.grid)),
        "creation options": json.dumps(dict(output.creation_options or {}), sort_keys=True),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def finished_verdict(plan: Plan, output: OutputOptions, outputs: Outputs) -> RunVerdict | None:
    """The verdict of the run that wrote all `outputs`, if it was the very same; otherwise None."""
    files = [outputs.cube, *output.extra_files]
    if journal_path(outputs.cube).exists() or not all(map(Path.exists, [*outputs, *files])):
        return None
    import xarray as xr

    digest = run_digest(plan, output)
    try:
        with xr.open_dataset(outputs.stf, engine="h5netcdf") as stf:
            tags = {str(name): str(value) for name, value in stf.attrs.items()}
        all_tags = [tags, *map(product_tags, files)]
        same = all(file_tags.get(RUN_TAG) == digest for file_tags in all_tags)
        return RunVerdict.from_tags(tags) if same else None
    except (UavssrError, *GDAL_ERRORS, OSError, ValueError, KeyError):  # another file, or damaged
        return None
