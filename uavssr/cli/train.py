"""The command that trains a model. No logic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli import console
from uavssr.cli.app import app, say


@app.command()
def train(
    context: typer.Context,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Manifest (.csv) of pairs, cubes and spectral libraries."),
    ] = None,
    spectra: Annotated[
        Path | None, typer.Option("--spectra", help="A spectral library (.npz) alone.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run and of the model.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model.")] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="Start from a model: a released name or a folder.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings in YAML; other options win over it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting: training.steps=500. May be repeated, wins over all."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps in all.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random.")] = None,
    rank: Annotated[
        str | None, typer.Option("--rank", help="Spectral coefficients, or auto.")
    ] = None,
    components: Annotated[
        int | None, typer.Option("--components", help="Gaussians of the spectral prior.")
    ] = None,
    stage_count: Annotated[int | None, typer.Option("--stages", help="Unrolled stages.")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Channels inside Z-Net.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32 or bf16 (proximal networks).")
    ] = None,
    log: Annotated[str | None, typer.Option("--log", help="csv, or tensorboard beside it.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto (default), cpu or cuda[:i].")
    ] = None,
) -> None:
    """Train a model on your own pairs, cubes or spectra; run again to resume."""
    from uavssr.io.settings import read_settings
    from uavssr.training import RunConfig, run_training

    options = {
        "pairs": pairs,
        "spectra": spectra,
        "out": out,
        "name": name,
        "init": init,
        "log": log,
        "device": device,
        "training.steps": steps,
        "training.seed": seed,
        "training.precision": precision,
        "network.rank": int(rank) if rank is not None and rank.isdecimal() else rank,
        "network.components": components,
        "network.stages": stage_count,
        "network.width": width,
    }
    run = read_settings(RunConfig, config, options, assignments or [])
    alone = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, the first one speaks
    with console.progress(quiet=context.obj["quiet"] or not alone, unit="steps") as progress:
        done = 0

        def stepped(step: int, figures: dict[str, float]) -> None:
            nonlocal done
            if progress is not None:
                progress(
                    f"training, loss {figures['loss']:.3f}", step + 1 - done, run.training.steps
                )
            done = step + 1

        finished = run_training(run, data_progress=progress, step_progress=stepped)
    if alone:
        for warning in finished.warnings:
            say(context, f"! {warning}")
        say(context, f"wrote {finished.folder}")
