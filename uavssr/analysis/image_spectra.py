"""The spectra of an image, reconstructed tile by tile; no cube is written."""

from __future__ import annotations

import torch

from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.errors import UsageError
from uavssr.reconstruction import (
    COEFFICIENTS,
    PixelCounts,
    PlannedReconstruction,
    memory_budget,
)
from uavssr.tiling import Window


def of_image(planned: PlannedReconstruction) -> SpectralSource:
    """The spectra that a reconstruction computes, tile by tile; no cube is written.

    Raises:
        InputRefused: the scene has no valid pixel.
        UsageError: the options estimate an STF for each tile.
    """
    if planned.plan.options.stf_scope == "tile":
        raise UsageError(
            "the errors of spectra with an STF for each tile are not known",
            remedy="leave out --stf-scope tile",
        )
    scene, counts = planned.scene, PixelCounts()
    plan, engine = scene.plan, scene.engine(quality=True)
    estimate = scene.stf.estimate
    errors = SpectralErrors.of(
        plan.model, plan.source.sensor, estimate, plan.references, plan.stages
    )

    def read(window: Window, index: int) -> SpectralTile | None:
        record = engine.record(index, stf=False)
        counts.add(record, clipped=0)
        if COEFFICIENTS not in record.maps:
            return None
        flat = torch.from_numpy(record.maps[COEFFICIENTS][:, record.valid])
        return SpectralTile(
            window=window,
            index=index,
            valid=record.valid,
            basis=errors.basis,
            coefficients=flat,
        )

    source, budget = plan.source, memory_budget(plan, 0, error_maps=False)
    return SpectralSource(
        grid=plan.model.grid,
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        inputs=plan.inputs,
        tags=planned.provenance(),
        tiles=plan.tiles,
        read=read,
        errors=errors,
        sensor=source.sensor,
        scene_stf=estimate,
        judge=lambda: counts.verdict(scene.prior_driven_bands),
        workers=plan.threads.workers,
        tile_bytes=budget.network + budget.waiting,
    )
