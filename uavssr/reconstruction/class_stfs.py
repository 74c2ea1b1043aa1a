"""The STFs of classes of ground from the image alone: the scene's with gains of a class's own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from uavssr.io.stf import ClassDifference, ClassStfs, StfEstimate
from uavssr.model import (
    ContrastTest,
    Materials,
    PGUNet,
    Stf,
    class_gain_test,
    find_materials,
)
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.land_cover import LandCover, sample_classes
from uavssr.sensors import Float32Array, FloatArray


def class_stfs(scene: FittedScene, cover: LandCover) -> ClassStfs:
    """The STFs of the classes of an image, blind, and whether their gains differ.

    Centres and widths are the scene's: the image hardly reveals those of a class. A factor that all
    bands of a class share is brighter ground, so gains are relative to the mean of the bands.

    Raises:
        InputRefused: there are fewer than two classes of enough pixels.
    """
    samples = sample_classes(scene.plan.source, cover)
    test = gain_test(scene.plan.network, list(samples.pixels.values()), scene.stf.stf)
    estimate = scene.stf.estimate
    return ClassStfs(
        names=tuple(samples.pixels),
        pixels=np.array([len(values) for values in samples.pixels.values()]),
        msi=np.stack([values.mean(0, dtype=float) for values in samples.pixels.values()]),
        estimates=tuple(
            with_own_gains(estimate, *change)
            for change in zip(test.deviation, test.deviation_se, strict=True)
        ),
        difference=ClassDifference(
            value=test.value, se=test.se, p=test.p, significant_from=test.significant_from
        ),
        left_out=samples.left_out,
        source=cover.source,
    )


@torch.inference_mode()
def gain_test(network: PGUNet, pixels: Sequence[Float32Array], stf: Stf) -> ContrastTest:
    """The test of classes' gains, from pixels (n, c) of each and the scene's STF (S = 1).

    In float64 on the CPU, see `estimate_scene_stf`.
    """
    cpu, exact = torch.device("cpu"), torch.float64
    exactly = copy.deepcopy(network).to(cpu, exact)
    return class_gain_test(exactly, list(map(_materials, pixels)), stf.to(cpu, exact))


def with_own_gains(
    scene: StfEstimate, log_gain: FloatArray, log_gain_se: FloatArray
) -> StfEstimate:
    """The scene's STF with gains changed by factors exp(`log_gain`) (c,) of a class."""
    factor = np.exp(log_gain)
    rows, gain = scene.stf * factor[:, None], scene.gain * factor
    # var(R e^d) = e^2d var(R) + R^2 e^2d var(d)
    return replace(
        scene,
        stf=rows,
        stf_se=np.hypot(scene.stf_se * factor[:, None], rows * log_gain_se[:, None]),
        gain=gain,
        gain_se=np.hypot(scene.gain_se * factor, gain * log_gain_se),
    )


def _materials(pixels: Float32Array) -> Materials:
    return find_materials(torch.from_numpy(pixels).double().T[None], None, pooled=True)
