"""The command that examines the pairs of a manifest before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, print_outputs
from uavssr.cli.stop_signals import STOP
from uavssr.errors import InputRefused

if TYPE_CHECKING:
    from uavssr.data import DataConfig

pairs = typer.Typer(name="pairs", help="Examine pairs of images and cubes before any training.")
app.add_typer(pairs)


@pairs.callback()
def group() -> None:
    """Examine pairs of images and cubes before any training."""


@pairs.command()
def check(
    context: typer.Context,
    manifest: Annotated[
        Path, typer.Argument(help="Manifest (.csv), as for `train --pairs`.", metavar="PAIRS")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also draw the pairs to this .png.")
    ] = None,
    accept: shared.Accept = None,
    max_shift: Annotated[
        float, typer.Option(help="Largest shift of a cube in pixels of the image.")
    ] = 2.0,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Print footprints, shift, ratios and correlation of each pair, and what `train` refuses.

    The exit code is 3 if `train` would refuse a row.
    """
    from uavssr.calibration import RATIO_LIMITS
    from uavssr.data import check_pairs

    check_suffix(out, ".png")
    check_outputs([out], [manifest], overwrite=overwrite)
    STOP.raise_from_now_on()
    config = _config(accept, max_shift)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        reports = check_pairs(manifest, config, progress=progress)
    if out is not None:
        from uavssr.viz import draw_pairs

        panels = [report.panel() for report in reports if report.row.has_image]
        draw_pairs(panels, out, limits=RATIO_LIMITS, overwrite=overwrite, inputs=[manifest])
    print_outputs(context, {"figure": out})
    rows = [report.to_dict() for report in reports]
    console.show({"pairs": rows}, *tables.pair_parts(rows), as_json=as_json)
    if any(report.problems for report in reports):
        raise typer.Exit(InputRefused.exit_code)


def _config(accept: str | None, max_shift: float) -> DataConfig:
    from uavssr.data import DataConfig
    from uavssr.io.settings import read_settings

    checks = None if accept is None else accept.split(",")
    return read_settings(DataConfig, None, {"accept": checks, "max_shift": max_shift}, [])
