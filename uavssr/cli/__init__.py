"""The command line: parse, call, print, turn errors into one line and an exit code. No logic."""

from __future__ import annotations

from uavssr.cli import images, judging, learning  # each adds its commands, in this order
from uavssr.cli.app import app
from uavssr.cli.entry import main

__all__ = ["app", "images", "judging", "learning", "main"]
