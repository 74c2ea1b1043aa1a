"""STFs of scenes and tiles: which pixels are asked, how they are pooled, how sure the answer is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun, InputRefused
from uavssr.io.stf import StfEstimate
from uavssr.model import (
    GAIN,
    SHIFT,
    STRETCH,
    PGUNet,
    ResponseFamily,
    SceneStatistics,
    SpectralBasis,
    Stf,
    find_materials,
)
from uavssr.sensors import Sensor
from uavssr.tiling import TileGrid, Window

SAMPLE_SIZE: Final = 64
SAMPLE_LATTICE: Final = 8
SAMPLE_COUNT: Final = 32
SAMPLE_VALID: Final = 0.25
PLAUSIBLE: Final = (-0.1, 1.5)
"""Reflectance within which a pixel counts for the STF."""
TILE_SPREAD: Final = 0.35
"""Prior deviation of a tile's STF from the scene's, in units of the camera prior's spread."""
TILE_PIXELS: Final = 2048
"""Pixels of a tile from which its materials are found: fifty each."""
PRIOR_DRIVEN: Final = 0.75
"""A band is prior-driven when this share of its prior variance (centre, gain) remains."""


Read = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
"""Reflectance (c, y, x) and valid pixels (y, x)."""


class Source(Protocol):
    """What the engine needs of an input; `raster.source.MsiSource` is one."""

    @property
    def height(self) -> int:
        """Rows of the scene."""

    @property
    def width(self) -> int:
        """Columns of the scene."""

    @property
    def sensor(self) -> Sensor:
        """The camera, its bands in the order in which they are read."""

    def read(self, window: Window) -> Read:
        """Reflectance (c, y, x) in the sensor's band order, and which pixels are valid (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePixels:
    """Windows of a scene that stand for all of it."""

    msi: Tensor
    """(W, c, h, w) reflectance, finite."""
    valid: Tensor
    """(W, h, w)."""
    fraction: float
    """Share of valid pixels in all windows that were looked at."""


def sample_scene(source: Source, fill: npt.NDArray[np.float32]) -> ScenePixels:
    """Windows of `SAMPLE_SIZE` pixels at the centres of a lattice over the scene.

    The scene is cut into `SAMPLE_LATTICE` x `SAMPLE_LATTICE` cells; of the windows at their centres
    those with a share `SAMPLE_VALID` of valid pixels are kept (any, where there are none such),
    and of these `SAMPLE_COUNT`, evenly spaced in row-major order. No randomness. Where all of them
    are empty the whole scene is searched.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    height, width = min(SAMPLE_SIZE, source.height), min(SAMPLE_SIZE, source.width)
    rows, cols = _lattice(source.height, height), _lattice(source.width, width)
    reads = [source.read(Window(row, col, height, width)) for row in rows for col in cols]
    shares = np.array([valid.mean() for _, valid in reads])
    fraction = float(shares.mean())
    if fraction == 0:
        reads = _search(source, height, width)
        shares = np.array([valid.mean() for _, valid in reads])
        fraction = float(shares.sum()) * height * width / (source.height * source.width)
    kept = np.flatnonzero(shares >= SAMPLE_VALID)
    if kept.size == 0:
        kept = np.flatnonzero(shares > 0)
    chosen = kept[np.linspace(0, kept.size - 1, min(kept.size, SAMPLE_COUNT)).round().astype(int)]
    msi = np.stack([filled(reads[i][0], reads[i][1], fill) for i in chosen])
    valid = np.stack([telling(*reads[i]) for i in chosen])
    return ScenePixels(msi=torch.from_numpy(msi), valid=torch.from_numpy(valid), fraction=fraction)


def telling(msi: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels (y, x) from which an STF is learned: valid, and plausible as reflectance.

    A glint or a dead pixel of reflectance 100 would outweigh the whole scene in second moments. It
    stays in the cube all the same.
    """
    with np.errstate(invalid="ignore"):
        low, high = PLAUSIBLE
        return valid & np.all((msi > low) & (msi < high), axis=0)


def _search(source: Source, height: int, width: int) -> list[Read]:
    """The first `SAMPLE_COUNT` windows that hold a valid pixel, in row-major order."""
    found: list[Read] = []
    for tile in TileGrid(height=source.height, width=source.width, tile=SAMPLE_SIZE):
        row, col = (
            min(tile.core.row, source.height - height),
            min(tile.core.col, source.width - width),
        )
        read = source.read(Window(row, col, height, width))
        found += [read] if read[1].any() else []
        if len(found) == SAMPLE_COUNT:
            break
    if not found:
        raise InputRefused(
            f"no valid pixel in {source.width} x {source.height}",
            remedy="check its nodata value with uavssr inspect",
        )
    return found


def _lattice(length: int, size: int) -> list[int]:
    cells = (np.arange(SAMPLE_LATTICE) + 0.5) * length / SAMPLE_LATTICE - size / 2
    return sorted({int(start) for start in np.clip(cells.round(), 0, length - size)})


def filled(
    msi: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], fill: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The image (c, y, x) with invalid pixels set to `fill` (c,), the prior's mean spectrum.

    A constant, so that a tile and the whole scene see the same values around a hole.
    """
    return np.where(valid, msi, fill[:, None, None]).astype(np.float32)


def fill_values(network: PGUNet, stf: Stf) -> npt.NDArray[np.float32]:
    """(c,) what the camera sees of the prior's mean spectrum."""
    return (stf.rows[0].cpu() @ network.mean.cpu()).numpy()


@torch.inference_mode()
def scene_stf(
    network: PGUNet, source: Source, *, device: torch.device, stages: int | None = None
) -> tuple[Stf, StfEstimate]:
    """The scene's STF, estimated blind from a sample whose statistics are pooled.

    Returns:
        The STF on `device`, and the same as numbers with standard errors.
    """
    family = ResponseFamily.of(source.sensor, network.grid).to(device)
    start = Stf.from_prior(family)
    sample = sample_scene(source, fill_values(network, start))
    msi, valid = sample.msi.to(device), sample.valid.to(device)
    result = network(msi, start, estimate_stf=True, valid=valid, stages=stages)
    statistics = _final_statistics(network.basis, msi, result.coefficients, result.stf, valid)
    return result.stf, summarise(
        result.stf, statistics, network.basis, valid_fraction=sample.fraction
    )


def stf_from_estimate(
    network: PGUNet, sensor: Sensor, estimate: StfEstimate, *, device: torch.device
) -> Stf:
    """An STF that was estimated, calibrated or simulated before, to be held fixed.

    Its responses are taken as they are; its standard errors become noise in the X-step.
    """
    family = ResponseFamily.of(sensor, network.grid)
    relative_se = np.stack(
        [
            estimate.centre_se,
            estimate.fwhm_se / estimate.fwhm,
            estimate.gain_se / np.maximum(estimate.gain, 1e-6),
        ],
        axis=-1,
    )
    theta = np.stack(
        [
            estimate.centre - family.centre[0].numpy(),
            np.log(estimate.fwhm / family.fwhm[0].numpy()),
            np.log(np.maximum(estimate.gain, 1e-6)),
        ],
        axis=-1,
    )
    batched = (
        torch.as_tensor(array[None], dtype=torch.float32, device=device)
        for array in (theta, relative_se, estimate.stf)
    )
    parameters, deviation, rows = batched
    return Stf(family=family.to(device), theta=parameters, theta_se=deviation, rows=rows)


@torch.inference_mode()
def held_stf(
    network: PGUNet,
    source: Source,
    given: StfEstimate,
    *,
    device: torch.device,
    stages: int | None = None,
) -> tuple[Stf, StfEstimate]:
    """A given STF to be held fixed; what it reports of a scene is taken anew from this one."""
    stf = stf_from_estimate(network, source.sensor, given, device=device)
    sample = sample_scene(source, fill_values(network, stf))
    msi, valid = sample.msi.to(device), sample.valid.to(device)
    result = network(msi, stf, estimate_stf=False, stages=stages)
    statistics = _final_statistics(network.basis, msi, result.coefficients, stf, valid)
    return stf, replace(
        given,
        residual=statistics.misfit[0].sqrt().double().cpu().numpy(),
        condition=float(statistics.condition()[0]),
        valid_fraction=sample.fraction,
    )


@torch.inference_mode()
def tile_stf(
    network: PGUNet,
    scene: Stf,
    msi: Tensor,
    coefficients: Tensor,
    valid: Tensor,
    *,
    basis: SpectralBasis,
    valid_fraction: float,
) -> tuple[Stf, StfEstimate]:
    """A tile's STF: the scene's and a deviation shrunk by the tile's own information.

    Args:
        network: the network.
        scene: the scene's STF, with which the tile was reconstructed.
        msi: (1, c, H, W) the tile's core.
        coefficients: (1, r, H, W) the result.
        basis: of the coefficients.
        valid: (1, H, W) pixels that count.
        valid_fraction: share of valid pixels, to be reported.

    Returns:
        The tile's STF, whose standard errors count the scene's own, and the same as numbers.
    """
    prior = Stf.of(scene.family, scene.theta, TILE_SPREAD * scene.family.spread)
    flat, counted = msi.flatten(2), valid.flatten(1)
    materials = find_materials(flat, counted, pooled=True, most=TILE_PIXELS)
    local = network.refine_stf(materials, scene, prior=prior)
    total = (local.theta_se.square() + scene.theta_se.square()).sqrt()
    stf = Stf(
        family=scene.family,
        theta=local.theta,
        theta_se=torch.minimum(total, torch.maximum(scene.family.spread, scene.theta_se)),
        rows=scene.rows + local.rows - scene.family.rows(scene.theta),
    )
    statistics = _final_statistics(basis, msi, coefficients, stf, valid)
    removed = 1 - (local.theta_se / prior.theta_se.clamp_min(1e-9)).square()
    return stf, summarise(
        stf,
        statistics,
        network.basis,
        valid_fraction=valid_fraction,
        removed=removed,
    )


def _final_statistics(
    basis: SpectralBasis, msi: Tensor, coefficients: Tensor, stf: Stf, valid: Tensor
) -> SceneStatistics:
    seen = stf.rows @ basis.extended
    found = SceneStatistics.of(
        msi.flatten(2),
        coefficients.flatten(2),
        seen[..., :-1],
        seen[..., -1],
        valid=valid.flatten(1),
    )
    if not bool(torch.isfinite(found.second).all()):
        raise IncompleteRun(
            "the network gave NaN or infinity",
            remedy="nothing was written; check the input's values with uavssr inspect",
        )
    return found


def summarise(
    stf: Stf,
    statistics: SceneStatistics,
    basis: SpectralBasis,
    *,
    valid_fraction: float,
    removed: Tensor | None = None,
) -> StfEstimate:
    """An STF of one camera (S = 1) as the numbers that are written.

    The standard error of each response follows from those of the parameters by the tangent (delta
    method). `removed` (1, c, 3) is the share of the prior variance that the image took away.
    """
    family, theta, deviation = stf.family, stf.theta[0], stf.theta_se[0]
    tangent = family.tangent(stf.theta)[0]
    if removed is None:
        removed = 1 - (stf.theta_se / family.spread.clamp_min(1e-9)).square()
    informed = torch.maximum(removed[0, :, SHIFT], removed[0, :, GAIN])
    fwhm, gain = family.fwhm[0] * theta[:, STRETCH].exp(), theta[:, GAIN].exp()
    numbers = {
        "stf": stf.rows[0],
        "stf_se": (tangent * deviation[..., None]).square().sum(1).sqrt(),
        "centre": family.centre[0] + theta[:, SHIFT],
        "fwhm": fwhm,
        "gain": gain,
        "centre_se": deviation[:, SHIFT],
        "fwhm_se": fwhm * deviation[:, STRETCH],
        "gain_se": gain * deviation[:, GAIN],
        "span_share": basis.span_share(stf.rows)[0],
        "residual": statistics.misfit[0].sqrt(),
    }
    return StfEstimate(
        **{key: value.double().cpu().numpy() for key, value in numbers.items()},
        prior_driven=(1 - informed > PRIOR_DRIVEN).cpu().numpy(),
        condition=float(statistics.condition()[0]),
        valid_fraction=valid_fraction,
    )
