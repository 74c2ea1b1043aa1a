"""Measured cameras: their table, and the data sheet and spread of a set of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data import RandomCameras
from uavssr.errors import InputRefused
from uavssr.io.bounded import read_bytes, why_unread
from uavssr.model import ResponseFamily
from uavssr.sensors import FINE_NM, Band, Float32Array, FloatArray, Sensor, WavelengthGrid

CAMERA_TABLE: Final = "camspec_28_cameras_400-720nm.txt"
"""File of Jiang et al. 2013: a line with the name of a camera, then its red, green and blue."""
_TABLE_NM: Final = np.arange(400.0, 721.0, 10.0)
"""Wavelengths of that table in nm."""
_ROLES: Final = ("blue", "green", "red")
_MAX_TABLE_BYTES: Final = 2**20
_LEAST_SPREAD: Final = (1.0, 0.03, 0.02)
"""Least prior spread of shift (nm), log stretch and log gain, for sets of few or equal cameras."""
_FIT_ROUNDS: Final = 12
_FIT_LIMIT: Final = (30.0, 0.5, 0.5)
"""Largest deviation from a data sheet that is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraSet:
    """Cameras with known responses, and the data sheet and spread that a method is given of them.

    It is a source of cameras for `data.ScenePatches`.
    """

    names: tuple[str, ...]
    """Of the n cameras."""
    family: ResponseFamily
    """The data sheet (S = 1) and the spread of cameras around it."""
    theta: Float32Array
    """(n, c, 3) the deviations from the data sheet that fit the responses best."""
    rows: Float32Array
    """(n, c, C) the responses on the bands of the cube."""

    def __call__(self, rng: np.random.Generator, count: int) -> RandomCameras:
        """`count` of the cameras, each equally likely."""
        return self._chosen(rng.integers(len(self.names), size=count))

    def different(self, rng: np.random.Generator, count: int) -> tuple[RandomCameras, list[str]]:
        """`count` different cameras (all and again, where there are fewer) and their names."""
        shuffled = rng.permutation(len(self.names))
        chosen = np.resize(shuffled, count)
        return self._chosen(chosen), [self.names[index] for index in chosen]

    def _chosen(self, chosen: np.ndarray) -> RandomCameras:
        family = self.family.repeated(len(chosen))
        return RandomCameras(family=family, theta=self.theta[chosen], rows=self.rows[chosen])


def read_camera_table(path: Path, grid: WavelengthGrid) -> dict[str, Sensor]:
    """The cameras of Jiang et al. 2013 by name: blue, green and red, white-balanced.

    A response beyond the ends of the grid is left out, as a cube holds nothing of it. Each band
    then sums to one.

    Raises:
        InputRefused: no such file, or it holds no such cameras.
    """
    try:
        lines = read_bytes(path, _MAX_TABLE_BYTES).decode("utf-8", errors="replace").splitlines()
        curves = _curves_by_name(lines)
    except (OSError, ValueError) as err:
        raise InputRefused(
            f"no table of measured cameras ({why_unread(err, path)})",
            path=path,
            remedy="get it from http://www.gujinwei.org/research/camspec/camspec_database.txt",
        ) from err
    first, last = grid.centres[[0, -1]]
    inside = (first <= _TABLE_NM) & (last >= _TABLE_NM)
    return {
        name: Sensor(
            name=name,
            bands=tuple(
                Band.from_curve(role, _TABLE_NM[inside].tolist(), curve[inside].tolist())
                for role, curve in zip(_ROLES, rgb[::-1], strict=True)
            ),
        )
        for name, rgb in curves.items()
    }


def _curves_by_name(lines: list[str]) -> dict[str, FloatArray]:
    """Curves (3, F) of red, green and blue by the name above them."""
    curves: dict[str, list[list[float]]] = {}
    name = ""
    for line in lines:
        words = line.split()
        if len(words) != _TABLE_NM.size:
            name = line.strip()
            continue
        curves.setdefault(name, []).append([float(word) for word in words])
    if not curves:
        raise ValueError(f"no line of {_TABLE_NM.size} numbers")
    wrong = [name for name, rows in curves.items() if len(rows) != len(_ROLES) or not name]
    if wrong:
        raise ValueError(f"camera {wrong[0]!r} has {len(curves[wrong[0]])} curves, not 3")
    return {name: np.array(rows) for name, rows in curves.items()}


def camera_set(sensors: Sequence[Sensor], grid: WavelengthGrid) -> CameraSet:
    """Cameras with the mean of their responses as data sheet, and the spread of fitted deviations.

    The prior mean of shift, stretch and gain is that of the cameras, and so is the spread, which is
    at least 1 nm, 3 % and 2 %.
    """
    family = ResponseFamily.of(_mean_sensor(sensors), grid)
    rows = response_rows(sensors, grid)
    theta = fit_deviations(family, rows)
    spread = torch.maximum(theta.std(0, correction=0), torch.tensor(_LEAST_SPREAD))
    family = replace(family, prior=theta.mean(0)[None], spread=spread[None], common=torch.zeros(1))
    names = tuple(sensor.name for sensor in sensors)
    return CameraSet(names=names, family=family, theta=theta.numpy(), rows=rows)


def with_data_sheet(sensors: Sequence[Sensor], seen: CameraSet, grid: WavelengthGrid) -> CameraSet:
    """Other cameras, of which a method is given the data sheet and the spread of `seen`."""
    rows = response_rows(sensors, grid)
    theta = fit_deviations(seen.family, rows).numpy()
    names = tuple(sensor.name for sensor in sensors)
    return CameraSet(names=names, family=seen.family, theta=theta, rows=rows)


def response_rows(sensors: Sequence[Sensor], grid: WavelengthGrid) -> Float32Array:
    """The responses (n, c, C) of cameras on the bands of a cube; each row sums to one."""
    # R = r H, with responses r on the fine axis and the interpolation H
    curves = np.stack([sensor.response() for sensor in sensors])
    return np.asarray(curves @ grid.interpolation(), np.float32)


def _mean_sensor(sensors: Sequence[Sensor]) -> Sensor:
    """The mean of the cameras' responses, as a data sheet."""
    curves = np.mean([sensor.response() for sensor in sensors], axis=0)
    bands = tuple(
        Band.from_curve(role, FINE_NM.tolist(), curve.tolist())
        for role, curve in zip(sensors[0].roles, curves, strict=True)
    )
    return Sensor(name="mean", bands=bands)


@torch.no_grad()
def fit_deviations(family: ResponseFamily, rows: Float32Array) -> Tensor:
    """Shift, stretch and gain (n, c, 3) whose responses are nearest to the rows (n, c, C).

    Least squares by the method of Levenberg and Marquardt, band by band, within 30 nm and a factor
    of 1.6.
    """
    target = torch.from_numpy(rows)
    limit = torch.tensor(_FIT_LIMIT)
    theta = torch.zeros(*target.shape[:2], 3)
    error = (family.rows(theta) - target).square().sum(-1)
    damping = torch.full_like(error, 1e-3)
    for _ in range(_FIT_ROUNDS):
        # (J J^T + damping diag(J J^T)) step = J (target - R(theta)),  J = dR / d theta
        jacobian = family.tangent(theta)
        normal = jacobian @ jacobian.mT
        normal = normal + torch.diag_embed(damping[..., None] * normal.diagonal(dim1=-2, dim2=-1))
        gradient = jacobian @ (target - family.rows(theta))[..., None]
        moved = (theta + torch.linalg.solve(normal, gradient)[..., 0]).clamp(-limit, limit)
        moved_error = (family.rows(moved) - target).square().sum(-1)
        better = moved_error < error
        theta = torch.where(better[..., None], moved, theta)
        error = torch.where(better, moved_error, error)
        damping = torch.where(better, damping / 3, damping * 10)
    return theta
