"""What the released weights must not invent: traces of the atmosphere in bare soil."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.rasters import shared
from uavssr.io.msi import open_msi
from uavssr.model import PGUNet, ResponseFamily, Stf, load_model
from uavssr.sensors import HEADWALL_NANO, SENSORS, FloatArray
from uavssr.spectra import resample
from uavssr.tiling import Window

MAX_PEAK = 0.002
"""Reflectance; weights trained on airborne cubes as they came had 0.011 on the orchard."""


@cache
def network() -> PGUNet:
    return load_model("p4m-nano").network.eval().requires_grad_(False)


def peak(spectra: FloatArray) -> FloatArray:
    """Height (n,) at 937 nm over the line between 905 and 970 nm, of spectra (n, C)."""
    places = [HEADWALL_NANO.nearest(nm) for nm in (905, 937, 970)]
    left, middle, right = (spectra[:, i - 2 : i + 3].mean(1) for i in places)
    return middle - (left + (right - left) * (937 - 905) / (970 - 905))


def seen_and_back(spectra: FloatArray, camera: str) -> FloatArray:
    """Spectra (n, C) as the network estimates them from a camera's bands."""
    family = ResponseFamily.of(SENSORS[camera], HEADWALL_NANO)
    image = torch.tensor(spectra @ family.rows(family.prior)[0].numpy().T, dtype=torch.float32)
    result = network()(image.T[None, :, None], Stf.from_prior(family), estimate_stf=False)
    return network().basis.expand(result.coefficients)[0, :, 0].T.double().numpy()


@pytest.mark.parametrize("camera", ["p4m", "rededge3"])
def test_smooth_soils_stay_smooth_in_the_water_vapour_band(camera: str) -> None:
    place = np.clip((HEADWALL_NANO.centres - 400) / 600, 0, 1)
    level, slope = np.random.default_rng(0).uniform([[0.05, 0.3]], [[0.2, 1.5]], (60, 2)).T
    soils = level[:, None] * (1 + slope[:, None] * place**0.7)
    assert np.abs(peak(seen_and_back(soils, camera)) - peak(soils)).mean() < MAX_PEAK


@pytest.mark.parametrize("camera", ["p4m", "rededge3"])
@pytest.mark.parametrize("name", ["soil_mixed_visnir_2nm", "soil_icraf_isric_10nm"])
def test_laboratory_soils_get_no_peak_at_937_nm(camera: str, name: str) -> None:
    with np.load(shared(f"speclib/{name}.npz"), allow_pickle=False) as file:
        soils = resample(file["spectra"][::5], file["wavelength_nm"].astype(float), HEADWALL_NANO)
    found = peak(seen_and_back(soils.astype(float), camera))
    assert np.quantile(np.abs(found - peak(soils)), 0.95) < MAX_PEAK


def test_bare_soil_of_the_orchard_has_no_peak_at_937_nm() -> None:
    path: Path = shared("fields/rededge3_orchard.tif")
    source = open_msi(path, sensor="rededge3")
    msi, valid = source.read(Window(456, 456, 256, 256))
    family = ResponseFamily.of(source.sensor, HEADWALL_NANO)
    image = torch.from_numpy(msi)[None]
    result = network()(
        image, Stf.from_prior(family), estimate_stf=True, valid=torch.from_numpy(valid)[None]
    )
    index = (msi[4] - msi[2]) / np.maximum(msi[4] + msi[2], 1e-6)  # NDVI
    soil = torch.from_numpy(valid & (index < 0.2) & (msi[2] > 0.12))
    assert soil.sum() > 1000
    spectra = network().basis.expand(result.coefficients)[0][:, soil].T.double().numpy()
    assert np.abs(peak(spectra)).mean() < MAX_PEAK
