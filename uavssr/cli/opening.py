"""Opening of the image and the cluster that several commands take."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from uavssr.cli.app import say
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource
    from uavssr.reconstruction.cluster import Cluster


def open_image(
    context: typer.Context,
    files: list[Path],
    sensor: str | None,
    bands: str | None,
    bidx: str | None,
    scale: str | None,
    assume_crs: str | None,
    max_pixels: int | None,
    *,
    warn: bool = True,
) -> MsiSource:
    """Open the image of a command's arguments, and print its warnings."""
    from uavssr.io.msi import open_msi

    msi = open_msi(
        files,
        sensor=sensor,
        bands=None if bands is None else [role.strip() for role in bands.split(",")],
        bidx=None if bidx is None else _whole_numbers(bidx),
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
    )
    if warn:
        for warning in msi.summary.warnings:
            say(context, f"uavssr: warning: {warning}")
    return msi


def open_cluster(
    scheduler: str | None, processes: str | None
) -> AbstractContextManager[Cluster | None]:
    """Open the cluster of `--scheduler` or `--cluster`; None without either."""
    if scheduler is None and processes is None:
        return nullcontext()
    if scheduler is not None and processes is not None:
        raise UsageError("--scheduler and --cluster name two clusters; choose one")
    try:
        from uavssr.reconstruction.cluster import connect, local_cluster
    except ModuleNotFoundError as err:
        raise UsageError(f"{err.name} is not installed", remedy="install uavssr[cluster]") from err
    if scheduler is not None:
        return connect(scheduler)
    kind, _, count = str(processes).partition(":")
    if kind != "local" or not count.isdecimal():
        raise UsageError(f"--cluster must be local:N, got {processes!r}")
    return local_cluster(int(count))


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as err:
        raise UsageError(f"--bidx must be whole numbers such as 1,2,3, got {text!r}") from err
