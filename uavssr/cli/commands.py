"""The application with all commands; `--help` lists them in the order of these imports."""

from uavssr.cli import reconstruct  # isort: skip
from uavssr.cli import (
    batch,
    benchmark,
    camera,
    compare,
    config,
    convert,
    estimate,
    evaluate,
    index,
    pairs,
    plots,
    qgis,
    report,
    sample,
    sensors,
    train,
)
from uavssr.cli.app import app

__all__ = [
    "app",
    "batch",
    "benchmark",
    "camera",
    "compare",
    "config",
    "convert",
    "estimate",
    "evaluate",
    "index",
    "pairs",
    "plots",
    "qgis",
    "reconstruct",
    "report",
    "sample",
    "sensors",
    "train",
]
