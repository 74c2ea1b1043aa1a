"""The command that reconstructs many images in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uavssr.cli import batch_tables, console
from uavssr.cli import options as shared
from uavssr.cli.app import app, say, start_writing
from uavssr.cli.batch_fields import BatchCommand, read_fields
from uavssr.cli.reconstruct import open_cluster, refuse_cluster
from uavssr.errors import IncompleteRun, UsageError

if TYPE_CHECKING:
    from uavssr.batch import Field, FieldStatus, StatusFile
    from uavssr.reconstruction.cluster import Cluster


@app.command(cls=BatchCommand)
def batch(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="A manifest (.csv) with the columns path, out and those of options below; or "
            "images of several bands, each one field.",
            metavar="MANIFEST|FILE...",
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out-dir", help="Folder of the outputs; it is made if need be.")
    ],
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Fields at the same time; default: as many as cores, large ones alone."
        ),
    ] = None,
    status: Annotated[
        Path | None,
        typer.Option(help="The status file, JSON lines; default: batch.jsonl in --out-dir."),
    ] = None,
    workers: shared.Workers = None,
    mem_limit: shared.MemLimit = None,
    scheduler: shared.Scheduler = None,
    cluster: shared.LocalCluster = None,
    overwrite: shared.Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List the fields with their sizes, the disk space and the time; write nothing.",
        ),
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Reconstruct many fields in one process; the same command again does what is missing."""
    from uavssr.batch import check_fields
    from uavssr.reconstruction import parse_size

    if dry_run:
        refuse_cluster(scheduler=scheduler, cluster=cluster)
    if mem_limit is not None and jobs not in (None, 1):
        fact = "--mem-limit is for one field at a time, and --jobs asks for several"
        raise UsageError(fact, remedy="choose one")
    status = status or out_dir / "batch.jsonl"
    limit = None if mem_limit is None else parse_size(mem_limit)
    fields = read_fields(context, files, out_dir)
    check_fields(fields, status)
    with open_cluster(scheduler, cluster) as workers_elsewhere:
        fields = _completed(
            fields, workers_elsewhere, workers=workers, mem_limit=limit, overwrite=overwrite
        )
        if dry_run:
            _estimate(fields, out_dir, as_json=as_json)
        else:
            jobs = jobs if mem_limit is None else 1
            _run(context, fields, status, jobs=jobs, as_json=as_json)


def _completed(
    fields: Sequence[Field],
    cluster: Cluster | None,
    *,
    workers: int | None,
    mem_limit: int | None,
    overwrite: bool,
) -> list[Field]:
    """The fields with what all of them share; each model is loaded once."""
    from uavssr.model import load_model

    names = dict.fromkeys(str(field.options.model) for field in fields)
    models = {name: load_model(name) for name in names}
    return [
        replace(
            field,
            options=replace(
                field.options,
                model=models[str(field.options.model)],
                workers=workers,
                mem_limit=mem_limit,
                cluster=cluster,
            ),
            output=replace(field.output, resume=True, overwrite=overwrite),
        )
        for field in fields
    ]


def _estimate(fields: Sequence[Field], out_dir: Path, *, as_json: bool) -> None:
    """Print what the batch needs.

    Raises:
        IncompleteRun: fields cannot be opened or planned.
    """
    from uavssr.batch import estimate_batch
    from uavssr.cli.entry import as_uavssr_error

    folder = next(path for path in (out_dir, *out_dir.absolute().parents) if path.is_dir())
    estimate = estimate_batch(fields, folder, as_error=as_uavssr_error)
    console.show(estimate.to_dict(), *batch_tables.estimate_parts(estimate), as_json=as_json)
    failed = sum(field.error is not None for field in estimate.fields)
    if failed:
        fact = f"{failed} of {len(fields)} fields would fail"
        raise IncompleteRun(fact, remedy="mend them, or leave them out")


def _run(
    context: typer.Context,
    fields: Sequence[Field],
    path: Path,
    *,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Reconstruct the fields, and print how each ended.

    Raises:
        IncompleteRun: fields failed.
    """
    from uavssr.batch import BatchRun, count_states, status_file
    from uavssr.cli.entry import as_uavssr_error

    start_writing()
    for folder in {path.parent, *(field.cube.parent for field in fields)}:
        folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with status_file(path, fields=len(fields)) as file:
        report = _report(context, file, len(fields), as_json=as_json)
        run = BatchRun(fields=fields, jobs=jobs, report=report, as_error=as_uavssr_error)
        statuses = run.run()
        seconds = round(time.perf_counter() - start, 2)
        summary = {"fields": len(fields), **count_states(statuses), "seconds": seconds}
        file.write({"summary": summary})
    parts = batch_tables.result_parts(statuses, seconds)
    console.show({"summary": summary}, *parts, as_json=as_json)
    failed = [status.image for status in statuses if status.state == "failed"]
    if failed:
        named = ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
        fact = f"{len(failed)} of {len(fields)} fields failed: {named}"
        remedy = f"the errors are in {path}; the same command again does these fields only"
        raise IncompleteRun(fact, remedy=remedy)


def _report(
    context: typer.Context, file: StatusFile, count: int, *, as_json: bool
) -> Callable[[FieldStatus], None]:
    """What writes each change of state to the status file, and prints it."""
    ended, start = 0, time.perf_counter()

    def report(status: FieldStatus) -> None:
        nonlocal ended
        file.write(status.to_dict())
        if as_json:
            console.show(status.to_dict(), as_json=True)
        if status.state == "running":
            return
        ended += 1
        left = (time.perf_counter() - start) / ended * (count - ended)
        why = f": {status.error}" if status.error else f" in {status.seconds:.1f} s"
        text = f"[{ended}/{count}] {status.image}: {status.state}{why}"
        say(context, text + (f", {left:.0f} s left" if ended < count else ""))
        for warning in status.warnings:
            say(context, f"uavssr: warning: {status.image}: {warning}")

    return report
