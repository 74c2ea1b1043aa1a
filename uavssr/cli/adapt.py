"""The command that tells a model of local spectra. No logic."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli.app import app, say
from uavssr.cli.options import ModelName, Overwrite, Scale


@app.command()
def adapt(
    context: typer.Context,
    spectra: Annotated[
        list[Path],
        typer.Argument(
            help="Tables (.csv), cubes or libraries (.npz) of spectra like the field's.",
            metavar="SPECTRA",
            readable=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model, for --model.")],
    model: ModelName = None,
    scale: Scale = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell a model which spectra a field holds: its crops, soils and paths, fifty if you can."""
    from uavssr.model import DEFAULT_MODEL
    from uavssr.training import adapt_model

    found = adapt_model(
        spectra, out, model=model or DEFAULT_MODEL, scale=scale, overwrite=overwrite
    )
    for warning in found.warnings:
        say(context, f"! {warning}")
    shown = shlex.quote(str(found.folder))
    many = "" if found.components == 1 else "s"
    say(
        context,
        f"wrote {found.folder}: {found.spectra} spectra, {found.components} Gaussian{many} more; "
        f"use it with --model {shown}",
    )
