"""The command that tells a model of local spectra. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli.app import app, say
from uavssr.cli.options import Overwrite


@app.command()
def adapt(
    context: typer.Context,
    spectra: Annotated[
        list[Path],
        typer.Argument(
            help="Tables (.csv), cubes or libraries (.npz) of spectra like the field's.",
            metavar="SPECTRA...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new model, for --model.")],
    model: Annotated[
        str, typer.Option("--model", help="What to adapt: a released name or a folder.")
    ] = "p4m-nano",
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the new model; default: the folder's.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", help="Reflectance = number x scale, such as 1/100.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell a model which spectra to expect: ten of a field make its cubes better, fifty much."""
    from uavssr.adaptation import adapt_model

    found = adapt_model(spectra, out, model=model, name=name, scale=scale, overwrite=overwrite)
    for warning in found.warnings:
        say(context, f"! {warning}")
    many = "" if found.components == 1 else "s"
    say(
        context,
        f"wrote {found.folder}: {found.spectra} spectra, {found.components} Gaussian{many} more; "
        f"use it with --model {found.folder}",
    )
