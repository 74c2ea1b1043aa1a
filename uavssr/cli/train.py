"""The command that trains a model. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uavssr import console
from uavssr.cli.app import app, say
from uavssr.cli.options import Device


@app.command()
def train(
    context: typer.Context,
    spectra: Annotated[
        Path,
        typer.Option("--spectra", help="Spectral library (.npz), see scripts/build_library.py."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run and of the model.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model.")] = "custom",
    steps: Annotated[int, typer.Option("--steps", help="Optimiser steps in all.")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    components: Annotated[
        int, typer.Option("--components", help="Gaussians of the spectral prior.")
    ] = 48,
    rank: Annotated[int, typer.Option("--rank", help="Spectral coefficients.")] = 16,
    stage_count: Annotated[int, typer.Option("--stages", help="Unrolled stages.")] = 4,
    width: Annotated[int, typer.Option("--width", help="Channels inside Z-Net.")] = 32,
    device: Device = "auto",
) -> None:
    """Train on scenes simulated from a spectral library; run again to resume."""
    from uavssr.bands import HEADWALL_NANO
    from uavssr.data.library import load_library
    from uavssr.engine import resolve_device
    from uavssr.model.pgunet import PGUNetConfig
    from uavssr.training import TrainingConfig, train_model

    library = load_library(spectra, HEADWALL_NANO)
    network = PGUNetConfig(
        bands=len(HEADWALL_NANO), rank=rank, components=components, stages=stage_count, width=width
    )
    config = TrainingConfig(steps=steps, seed=seed)
    place = str(resolve_device(device))
    with console.progress(quiet=context.obj["quiet"]) as progress:

        def tracked(_: int, figures: dict[str, float]) -> None:
            if progress is not None:
                progress(f"training, loss {figures['loss']:.3f}", 1, steps)

        folder = train_model(
            library, out, name=name, network=network, config=config, device=place, progress=tracked
        )
    say(context, f"wrote {folder}")
