"""The command that compares methods on known ground: runs, tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uavssr.cli import console
from uavssr.cli import options as shared
from uavssr.cli.app import app, say
from uavssr.cli.stop_signals import STOP
from uavssr.errors import UsageError


@app.command()
def benchmark(
    context: typer.Context,
    protocol: Annotated[
        str, typer.Argument(help="cave, vnir, ntire2022 or pairs.", metavar="PROTOCOL")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the protocol's data, or a file of pairs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs, tables and pictures.")],
    methods: Annotated[
        str | None, typer.Option(help="Names of methods: ridge,mst++,pgunet; default: all.")
    ] = None,
    cases: Annotated[
        str | None, typer.Option(help="Names of the protocol's cases; default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network.")] = 3,
    budget: Annotated[
        float, typer.Option(min=0.01, help="Processor time of each training, in minutes.")
    ] = 5.0,
    split: Annotated[
        str | None, typer.Option(help="Split of cave: ours, or dian (that of the literature).")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="List of the training scenes of ntire2022, one a line.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="List of the scenes of ntire2022 to judge on.")
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help="Camera of a table of pairs: a name or a file.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Its bands to use: b2,g2,r1; default: all.")
    ] = None,
    flights: Annotated[
        str | None, typer.Option(help="Flights of pairs to use; default: all.")
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Flights of pairs to judge on; default: each, from all others."),
    ] = None,
    zones: Annotated[
        str | None,
        typer.Option(help="Classes of ground of pairs of rasters: a file, or auto; their gains."),
    ] = None,
    repeat: Annotated[
        Path | None,
        typer.Option(help="An earlier --out whose numbers of training steps are taken again."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each run.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    as_json: shared.AsJson = False,
) -> None:
    """Compare methods on known ground; the same command again makes what is missing."""
    from uavssr.benchmark import (
        Budget,
        Protocol,
        cover_gains,
        results_as_dict,
        run_benchmark,
        write_benchmark_report,
        write_cover_gains,
    )

    STOP.raise_from_now_on()
    if zones is not None and protocol != "pairs":
        raise UsageError(f"the protocol {protocol} has no option --zones")
    given = {"split": split, "training": training, "validation": validation, "sensor": sensor}
    lists = {"bands": bands, "flights": flights, "test": test}
    options: dict[str, object] = {
        **{name: value for name, value in given.items() if value is not None},
        **{name: tuple(_names(words)) for name, words in lists.items() if words},
    }
    gains = None if zones is None else cover_gains(data, zones=zones)
    with console.progress(quiet=context.obj["quiet"], unit="runs") as progress:
        results = run_benchmark(
            Protocol(name=protocol, data=data, options=options),
            out,
            methods=_names(methods),
            cases=_names(cases),
            budget=Budget(seeds=seeds, minutes=budget, threads=threads, jobs=jobs, repeat=repeat),
            progress=progress,
        )
    if gains is not None:
        write_cover_gains(gains, out)
        write_benchmark_report(out)
    if as_json:
        console.show(results_as_dict(results), as_json=True)
    else:
        say(context, f"wrote {out / 'results.md'}")


def _names(words: str | None) -> list[str]:
    return [] if words is None else [word for word in words.split(",") if word]
