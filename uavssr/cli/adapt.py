"""The command that adapts a model to local spectra."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli.app import app, say
from uavssr.cli.options import ModelName, Overwrite, ScaleOption


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
    model: ModelName = None,
    scale: ScaleOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Adapt a model to local spectra: crops, soils and paths of the field, about fifty."""
    from uavssr.model import DEFAULT_MODEL
    from uavssr.training import adapt_model

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
