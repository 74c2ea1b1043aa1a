"""Many images in one process: each a reconstruction to files, one failing without the others.

Nothing here reads a manifest or prints; see `uavssr.cli.batch`.
"""

from uavssr.batch.estimate import BatchEstimate, estimate_batch
from uavssr.batch.field import Field, check_fields
from uavssr.batch.run import BatchRun
from uavssr.batch.status import FieldStatus, StatusFile, count_states, status_file

__all__ = [
    "BatchEstimate",
    "BatchRun",
    "Field",
    "FieldStatus",
    "StatusFile",
    "check_fields",
    "count_states",
    "estimate_batch",
    "status_file",
]
