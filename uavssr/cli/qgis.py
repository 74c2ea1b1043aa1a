"""The command that makes a QGIS project of a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, print_outputs, say
from uavssr.errors import UsageError


@app.command()
def qgis(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="The folder of cubes, maps, quality layers and polygons.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The project to write, a .qgs; default: FOLDER/FOLDER.qgs."
        ),
    ] = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Write a QGIS project that shows the results in a folder, each with its style."""
    from uavssr.io.writers import project_of_folder

    name = folder.resolve().name
    project_path = out or folder / f"{name}.qgs"
    check_suffix(project_path, ".qgs")
    if project_path.resolve().parent != folder.resolve():
        raise UsageError(
            "lies outside the folder, and its layers are named relative to it",
            path=project_path,
            remedy=f"write it to {folder}",
        )
    check_outputs([project_path], [], overwrite=overwrite)
    made = project_of_folder(folder, title=name)
    for file, reason in made.left_out.items():
        say(context, f"uavssr: {file} is left out: {reason}")
    made.project.write(project_path, overwrite=overwrite)
    print_outputs(context, {"project": project_path}, as_json=as_json)
