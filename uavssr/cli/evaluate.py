"""The commands that judge a cube, and that simulate what a camera would see of one. No logic."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli import console
from uavssr.cli.app import app, check_outputs, check_suffix, say
from uavssr.cli.options import AsJson, Overwrite
from uavssr.errors import UsageError


@app.command()
def evaluate(
    context: typer.Context,
    pred: Annotated[Path, typer.Argument(help="The estimated cube.", metavar="PRED")],
    ref: Annotated[
        Path, typer.Argument(help="The reference, same grid and wavelengths.", metavar="REF")
    ],
    stf: Annotated[Path | None, typer.Option("--stf", help="The estimated .stf.nc.")] = None,
    true_stf: Annotated[
        Path | None, typer.Option("--true-stf", help="The true .stf.nc, e.g. of `simulate`.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option("--epsilon", help="Least denominator of MRAE, in reflectance.")
    ] = 1e-3,
    data_range: Annotated[
        float, typer.Option("--data-range", help="Range of reflectance for PSNR and SSIM.")
    ] = 1.0,
    pred_scale: Annotated[
        str | None, typer.Option("--pred-scale", help="Reflectance per number in PRED.")
    ] = None,
    ref_scale: Annotated[
        str | None, typer.Option("--ref-scale", help="Reflectance per number in REF: 1/10000.")
    ] = None,
    per_band: Annotated[
        bool, typer.Option("--per-band", help="Show each band too (JSON holds them always).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Errors of a cube against a reference, and of an STF against the true one."""
    from uavssr.evaluation import evaluate as compare

    with console.progress(quiet=context.obj["quiet"]) as progress:
        report = compare(
            pred,
            ref,
            stf=stf,
            true_stf=true_stf,
            epsilon=epsilon,
            data_range=data_range,
            pred_scale=pred_scale,
            ref_scale=ref_scale,
            progress=progress,
        )
    if as_json:
        typer.echo(jsonlib.dumps(console.plain(report), allow_nan=False))
    else:
        console.show(*console.report_parts(report, per_band=per_band))


@app.command()
def simulate(
    context: typer.Context,
    hsi: Annotated[Path, typer.Argument(help="A hyperspectral cube.", metavar="HSI")],
    sensor: Annotated[
        str, typer.Option("--sensor", help="Camera: a known name or a .yaml/.csv file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The image to write, a .tif.")],
    stf_out: Annotated[
        Path | None, typer.Option("--stf-out", help="Also write the true STF, a .stf.nc.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the camera, the shifts, the noise.")] = 0,
    snr_db: Annotated[
        float, typer.Option("--snr-db", help="20 log10(rms / sigma) of each band; inf: no noise.")
    ] = 40.0,
    misregistration: Annotated[
        float, typer.Option("--misregistration", help="Standard deviation of shifts in pixels.")
    ] = 0.0,
    perfect: Annotated[
        bool, typer.Option("--perfect", help="A camera that is exactly its data sheet.")
    ] = False,
    scale: Annotated[
        str | None, typer.Option("--scale", help="Reflectance per number in HSI, e.g. 1/10000.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="uint16 (reflectance x 10000) or float32.")
    ] = "uint16",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the image that a random camera near the data sheet would take of a cube."""
    from uavssr.data import simulate as observe

    if dtype not in ("uint16", "float32"):
        raise UsageError(f"--dtype must be uint16 or float32, got {dtype!r}")
    check_outputs([out, stf_out], [hsi], overwrite=overwrite)
    check_suffix(out, ".tif", ".tiff")
    check_suffix(stf_out, ".nc")
    with console.progress(quiet=context.obj["quiet"]) as progress:
        written = observe(
            hsi,
            sensor=sensor,
            out=out,
            stf_out=stf_out,
            seed=seed,
            snr_db=snr_db,
            misregistration=misregistration,
            perfect=perfect,
            scale=scale,
            dtype="uint16" if dtype == "uint16" else "float32",
            overwrite=overwrite,
            progress=progress,
        )
    paths = {"image": written.image, "stf": written.stf}
    found = {name: str(path) for name, path in paths.items() if path is not None}
    if as_json:
        typer.echo(jsonlib.dumps(found))
    else:
        say(context, "wrote " + ", ".join(found.values()))
