"""The commands that compare cubes and simulate images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uavssr.cli import console, tables
from uavssr.cli import options as shared
from uavssr.cli.app import app, check_outputs, check_suffix, print_outputs, run_facts, say
from uavssr.cli.error_tables import comparison_parts, report_parts
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.evaluation import CubeComparison
    from uavssr.viz import ErrorPanel


@app.command()
def evaluate(
    context: typer.Context,
    cubes: Annotated[
        list[Path],
        typer.Argument(
            help="The estimated cubes, or a table of plots. Of two cubes without --reference the "
            "second is the reference.",
            metavar="PRED...",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(help="The reference cube, of any grid and wavelengths; none for a table."),
    ] = None,
    stf: Annotated[Path | None, typer.Option(help="The estimated .stf.nc.")] = None,
    true_stf: Annotated[
        Path | None, typer.Option(help="The true .stf.nc, e.g. from `simulate`.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Smallest denominator of MRAE, in reflectance.")
    ] = 1e-3,
    data_range: Annotated[
        float, typer.Option(help="Range of reflectance, for PSNR and SSIM.")
    ] = 1.0,
    pred_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in PRED, e.g. 1/10000.")
    ] = None,
    ref_scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in the reference, e.g. 1/10000.")
    ] = None,
    per_band: Annotated[
        bool,
        typer.Option("--per-band", help="Print the figures of every band; --json always does."),
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Also write the figures of scene and bands to this .csv.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw the errors by wavelength, as scatter plot and map, as .png."),
    ] = None,
    sensor: shared.SensorName = None,
    model: shared.ModelName = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Compare cubes with a reference and an STF with the true one, or reconstruct plots.

    Cubes of other grids or wavelengths are warped and interpolated to those of the coarsest one.
    A table of plots (.csv, .npz) is reconstructed flight by flight, blind or with --stf.
    """
    from uavssr.evaluation import compare_cubes

    predictions, truth = _predictions_and_reference(cubes, reference)
    if truth is None:
        _refuse_others(context, "cubes", "sensor", "model", "stf", "ref_scale", "as_json")
        _evaluate_plots(context, predictions[0], sensor, model, stf, ref_scale, as_json=as_json)
        return
    _refuse_others(context, *(set(context.params) - {"sensor", "model"}))
    check_suffix(csv, ".csv")
    check_suffix(figure, ".png")
    inputs = [*predictions, truth]
    check_outputs([csv, figure], inputs, overwrite=overwrite)
    with console.progress(quiet=context.obj["quiet"]) as progress:
        comparison = compare_cubes(
            predictions if len(predictions) > 1 else predictions[0],
            truth,
            stf=stf,
            true_stf=true_stf,
            epsilon=epsilon,
            data_range=data_range,
            pred_scale=pred_scale,
            ref_scale=ref_scale,
            progress=progress,
        )
    _write(context, comparison, csv, figure, overwrite=overwrite, inputs=inputs)
    report = comparison.report
    several = len(predictions) > 1
    parts = comparison_parts(report) if several else report_parts(report, per_band=per_band)
    facts = run_facts(context, {"csv": csv, "figure": figure})
    answer = facts | tables.json_ready(report)
    console.show(answer, *parts, as_json=as_json)


def _predictions_and_reference(
    cubes: list[Path], reference: Path | None
) -> tuple[list[Path], Path | None]:
    """The predictions and their reference, None for a table of plots."""
    if reference is not None or len(cubes) == 1:
        return cubes, reference
    if len(cubes) > 2:
        raise UsageError(
            f"{len(cubes)} cubes, and none is named as the reference",
            remedy="name it with --reference FILE",
        )
    return cubes[:1], cubes[1]


def _write(
    context: typer.Context,
    comparison: CubeComparison,
    csv: Path | None,
    figure: Path | None,
    *,
    overwrite: bool,
    inputs: list[Path],
) -> None:
    """Print the warnings, and write table and picture where they are asked for."""
    warnings = (text for report in comparison.reports for text in report["warnings"])
    for warning in dict.fromkeys(warnings):
        say(context, f"uavssr: warning: {warning}")
    if csv is not None:
        from uavssr.evaluation import write_error_table

        write_error_table(comparison.reports, csv, overwrite=overwrite, inputs=inputs)
    if figure is not None:
        from uavssr.viz import draw_errors

        title = f"Errors against {inputs[-1].name}"
        panels = _panels(comparison)
        draw_errors(panels, figure, title=title, overwrite=overwrite, inputs=inputs)
    print_outputs(context, {"table": csv, "figure": figure})


def _panels(comparison: CubeComparison) -> list[ErrorPanel]:
    import numpy as np

    from uavssr.viz import ErrorPanel

    panels = []
    for report, samples in zip(comparison.reports, comparison.samples, strict=True):
        columns = ([row[name] for row in report["per_band"]] for name in ("wavelength", "rmse"))
        nm, rmse = map(np.array, columns)
        panels.append(
            ErrorPanel(
                title=Path(report["pred"]).name,
                nm=nm,
                rmse=rmse,
                scatter=samples.scatter,
                scatter_nm=samples.nm,
                map=samples.map,
            )
        )
    return panels


def _refuse_others(context: typer.Context, *names: str) -> None:
    """Refuse options of the command line that belong to the comparison of the other kind."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in names and source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            plots = "sensor" in names
            raise UsageError(
                f"{option} has no effect {'without' if plots else 'with'} a reference",
                remedy="leave it out",
            )


def _evaluate_plots(
    context: typer.Context,
    path: Path,
    sensor: str | None,
    model: str | None,
    stf: Path | None,
    scale: str | None,
    *,
    as_json: bool,
) -> None:
    """Print the errors of the plots of a table by flight."""
    from uavssr.evaluation import evaluate_plots, mean_plot_errors
    from uavssr.io.raster import parse_scale
    from uavssr.model import DEFAULT_MODEL, load_model
    from uavssr.sensors import load_sensor
    from uavssr.spectra import read_plot_table

    if sensor is None or path.suffix.lower() not in (".csv", ".npz"):
        raise UsageError(
            "no reference", remedy="give it with --reference; or a table of plots and --sensor"
        )
    camera = load_sensor(sensor)
    table = read_plot_table(path, camera, scale=parse_scale(scale) if scale else 1.0)
    loaded = load_model(model or DEFAULT_MODEL)
    report = evaluate_plots(table, camera, loaded, stf=stf)
    for warning in report.warnings:
        say(context, f"uavssr: warning: {warning}")
    rows = [{"flight": name, **asdict(errors)} for name, errors in report.flights.items()]
    mean = asdict(mean_plot_errors(list(report.flights.values())))
    facts = {"plots": str(path), "sensor": camera.name, "model": loaded.name, "flights": rows}
    table_shown = tables.plot_table([*rows, {"flight": "mean", **mean}])
    answer = facts | {"mean": mean} | run_facts(context, {})
    console.show(answer, table_shown, as_json=as_json)


@app.command()
def simulate(
    context: typer.Context,
    hsi: Annotated[Path, typer.Argument(help="A hyperspectral cube.", metavar="HSI")],
    sensor: Annotated[
        str, typer.Option(help="Camera: a name from `uavssr sensors`, or a .yaml or .csv file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The image to write, a .tif.")],
    stf_out: Annotated[
        Path | None, typer.Option(help="Also write the true STF, a .stf.nc.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    snr_db: Annotated[
        float,
        typer.Option(
            help="Signal-to-noise ratio of each band, 20 log10(rms / sigma); inf: no noise."
        ),
    ] = 40.0,
    misregistration: Annotated[
        float, typer.Option(help="Standard deviation of the shifts between bands, in pixels.")
    ] = 0.0,
    perfect: Annotated[
        bool,
        typer.Option("--perfect", help="Use the camera of the data sheet, without deviations."),
    ] = False,
    scale: Annotated[
        str | None, typer.Option(help="Reflectance per number in HSI, e.g. 1/10000.")
    ] = None,
    dtype: shared.NumberType = "uint16",
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
) -> None:
    """Simulate the image that a camera with random deviations would take of a cube."""
    from uavssr.data import simulate as simulate_image

    if dtype not in ("uint16", "float32"):
        raise UsageError(f"--dtype must be uint16 or float32, got {dtype!r}")
    check_outputs([out, stf_out], [hsi], overwrite=overwrite)
    check_suffix(out, ".tif", ".tiff")
    check_suffix(stf_out, ".nc")
    with console.progress(quiet=context.obj["quiet"]) as progress:
        written = simulate_image(
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
    for warning in written.warnings:
        say(context, f"uavssr: warning: {warning}")
    print_outputs(context, {"image": written.image, "stf": written.stf}, as_json=as_json)
