"""Tables of a batch: how its fields ended, and what they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uavssr.cli.tables import _text, add_row, fact_lines, new_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uavssr.batch import BatchEstimate, FieldStatus


def result_parts(statuses: Sequence[FieldStatus], seconds: float) -> list[RenderableType]:
    """The fields that failed or have an odd verdict, and how many ended in each state."""
    table = new_table("field", "image", "state", "")
    for status in statuses:
        odd = "; ".join(status.verdict.odd) if status.verdict else ""
        if note := str(status.error) if status.error else odd:
            add_row(table, str(status.number), status.image, status.state, note)
    counts = Counter(status.state for status in statuses)
    total = f"{len(statuses)} fields in {seconds:.1f} s: "
    total += ", ".join(f"{count} {state}" for state, count in counts.items())
    return [table, _text(total)] if table.row_count else [_text(total)]


def estimate_parts(estimate: BatchEstimate) -> list[RenderableType]:
    """The fields with their sizes, and the disk space and time of all."""
    from uavssr.io.checks import size_text

    table = new_table("field", "image", "pixels", "tiles", "size", "cube, or why not")
    for number, field in enumerate(estimate.fields, start=1):
        size = f"{field.width} x {field.height}" if field.tiles else ""
        space = size_text(field.output_bytes) if field.tiles else ""
        note = field.error or (f"{field.cube}: finished" if field.finished else field.cube)
        add_row(table, str(number), field.image, size, str(field.tiles or ""), space, note)
    facts = {
        "disk": f"at most {size_text(estimate.output_bytes)} before compression, "
        f"{size_text(estimate.free_bytes)} are free",
        "time": f"{estimate.seconds:.0f} s",
    }
    return [table, *fact_lines(facts)]
