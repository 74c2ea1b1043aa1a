"""The commands that make models: train, and adapt to local spectra."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli import console
from uavssr.cli import options as shared
from uavssr.cli.app import app, say
from uavssr.cli.stop_signals import STOP


@app.command()
def train(
    context: typer.Context,
    pairs: Annotated[
        Path | None, typer.Option(help="Manifest (.csv) of pairs, cubes and spectral libraries.")
    ] = None,
    spectra: Annotated[
        Path | None, typer.Option(help="A spectral library (.npz), to train without images.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run and of the model.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Kind of network: pgunet (default), or one it is compared with."),
    ] = None,
    sensor: Annotated[
        str | None,
        typer.Option(help="With another --arch: its camera, a name or a .yaml or .csv file."),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from a model: a released name or a folder.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in YAML; other options override them.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="One setting, e.g. training.steps=500; overrides all else; repeatable."
        ),
    ] = None,
    accept: shared.Accept = None,
    steps: Annotated[int | None, typer.Option(help="Total number of optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    rank: Annotated[
        str | None, typer.Option(help="Number of spectral coefficients, or auto.")
    ] = None,
    components: Annotated[
        int | None, typer.Option(help="Number of Gaussians of the spectral prior.")
    ] = None,
    stage_count: Annotated[
        int | None, typer.Option("--stages", help="Number of unrolled stages.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Number of channels in the Z-Nets.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision of the proximal networks: float32 or bf16.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="Log: csv, or tensorboard for both.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Device: auto (default), cpu or cuda[:i].")
    ] = None,
) -> None:
    """Train a model on pairs, cubes or spectra; give the same command again to resume."""
    from uavssr.io.settings import read_settings
    from uavssr.training import DEFAULT_ARCH, RunConfig, run_training, train_baseline

    options = {
        "pairs": pairs,
        "spectra": spectra,
        "out": out,
        "name": name,
        "arch": arch,
        "sensor": sensor,
        "init": init,
        "log": log,
        "device": device,
        "data.accept": None if accept is None else accept.split(","),
        "training.steps": steps,
        "training.seed": seed,
        "training.precision": precision,
        "network.rank": int(rank) if rank is not None and rank.isdecimal() else rank,
        "network.components": components,
        "network.stages": stage_count,
        "network.width": width,
    }
    STOP.raise_from_now_on()
    run = read_settings(RunConfig, config, options, assignments or [])
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, only the first prints
    with console.progress(quiet=context.obj["quiet"] or not leads, unit="steps") as progress:
        done = 0

        def stepped(step: int, figures: dict[str, float]) -> None:
            nonlocal done
            if progress is not None:
                progress(
                    f"training, loss {figures['loss']:.3f}", step + 1 - done, run.training.steps
                )
            done = step + 1

        if run.arch == DEFAULT_ARCH:
            warnings = run_training(run, data_progress=progress, step_progress=stepped)
        else:
            warnings = train_baseline(run, data_progress=progress, step_progress=progress)
    if leads:
        for warning in warnings:
            say(context, f"! {warning}")
        say(context, f"wrote {run.out / run.name}")


@app.command()
def adapt(
    context: typer.Context,
    spectra: Annotated[
        list[Path],
        typer.Argument(
            help="Spectra like those of the field: tables (.csv), cubes or libraries (.npz).",
            metavar="SPECTRA",
            readable=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model.")],
    model: shared.ModelName = None,
    scale: shared.ScaleOption = None,
    overwrite: shared.Overwrite = False,
) -> None:
    """Adapt a model to local spectra: crops, soils and paths of the field, about fifty."""
    from uavssr.model import DEFAULT_MODEL
    from uavssr.training import adapt_model

    STOP.raise_from_now_on()
    adapted = adapt_model(
        spectra, out, model=model or DEFAULT_MODEL, scale=scale, overwrite=overwrite
    )
    for warning in adapted.warnings:
        say(context, f"! {warning}")
    plural = "" if adapted.components == 1 else "s"
    say(
        context,
        f"wrote {adapted.folder}: {adapted.spectra} spectra, "
        f"{adapted.components} Gaussian{plural} more; "
        f"use it with --model {shlex.quote(str(adapted.folder))}",
    )
