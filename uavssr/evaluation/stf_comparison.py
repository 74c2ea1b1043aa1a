"""Comparison of two STF files of one camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from uavssr.errors import InputRefused
from uavssr.evaluation.metrics import stf_error
from uavssr.io.checks import PathLike
from uavssr.io.stf import read_stf, scene_estimate
from uavssr.sensors import WavelengthGrid

if TYPE_CHECKING:
    import xarray as xr


def compare_stfs(stf: PathLike, true_stf: PathLike, *, grid: WavelengthGrid) -> dict[str, Any]:
    """Errors of one scene's STF against another, on the wavelengths of a cube.

    Centre, FWHM and gain are compared as the files hold them: nominal centre plus shift, nominal
    width times stretch, factor on the nominal response. Leaks and other filter shapes, which these
    three do not describe, show in `relative` only.

    Returns:
        `sensor`; `relative`, |R - R_true| / |R_true| by Frobenius norms over all bands; the mean
        absolute errors `centre_nm`, `fwhm_nm` and `gain_percent`; and `per_band`, a list of `band`,
        `relative` and the signed errors (estimate minus truth) of the same.

    Raises:
        InputRefused: a file is refused, or the two are not of the same bands.
    """
    datasets = [read_stf(path, sensor=None, grid=grid) for path in (stf, true_stf)]
    _check_same_camera(datasets, stf, true_stf)
    truth_data = datasets[1]
    roles = [str(role) for role in truth_data["band"].to_numpy().tolist()]
    estimate = scene_estimate(datasets[0].sel(band=roles))
    truth = scene_estimate(truth_data)
    errors = {
        "centre_nm": estimate.centre - truth.centre,
        "fwhm_nm": estimate.fwhm - truth.fwhm,
        "gain_percent": 100 * (estimate.gain / truth.gain - 1),
    }
    return {
        "sensor": str(truth_data.attrs.get("sensor", "")),
        "relative": stf_error(estimate.stf, truth.stf),
        **{name: float(np.abs(values).mean()) for name, values in errors.items()},
        "per_band": [
            {
                "band": role,
                "relative": stf_error(estimate.stf[i], truth.stf[i]),
                **{name: float(values[i]) for name, values in errors.items()},
            }
            for i, role in enumerate(roles)
        ],
    }


def _check_same_camera(datasets: Sequence[xr.Dataset], stf: PathLike, true_stf: PathLike) -> None:
    bands = [sorted(data["band"].to_numpy().tolist()) for data in datasets]
    names = [data.attrs.get("sensor", "") for data in datasets]
    if bands[0] == bands[1] and (names[0] == names[1] or "" in names):
        return
    cameras = [f"{name} ({', '.join(roles)})" for name, roles in zip(names, bands, strict=True)]
    raise InputRefused(
        f"is of {cameras[0]}, and {true_stf} of {cameras[1]}",
        path=stf,
        remedy="compare two files of the same camera",
    )
