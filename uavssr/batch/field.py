"""A field: an image to reconstruct, with its options and the names of its outputs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import OutputError, UsageError
from uavssr.io.checks import PathLike
from uavssr.io.msi import Request
from uavssr.io.writers import PublishedFiles, check_names, check_output
from uavssr.reconstruction import (
    OutputOptions,
    Outputs,
    PlannedReconstruction,
    ReconstructionOptions,
)
from uavssr.tiling import Progress

_DRAWING: Final = threading.Lock()
"""matplotlib draws in one thread at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An image to reconstruct, with all of its options; nothing is opened yet."""

    request: Request
    """The image."""
    options: ReconstructionOptions
    """Settings of the computation."""
    output: OutputOptions
    """Names and storage of the files."""
    quicklook: Path | None = None
    """A picture of the cube, .png; None: not drawn."""

    @property
    def cube(self) -> Path:
        """The cube to write."""
        return Path(self.output.cube)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read."""
        stf = () if self.options.stf is None else (Path(self.options.stf),)
        return (*self.request.paths, *stf)

    @property
    def names(self) -> Outputs:
        """Names of the cube and of its files of STFs."""
        return Outputs.beside(self.cube, tile_stf=self.options.tile_stf == "on")

    @property
    def outputs(self) -> dict[str, Path]:
        """The files that are written, by kind."""
        names, output = self.names, self.output
        files: dict[str, PathLike | None] = {
            "cube": names.cube,
            "stf": names.stf,
            "tiles": names.tiles,
            "uncertainty": output.uncertainty,
            "quality": output.quality,
            "quicklook": self.quicklook,
            "style": output.cube_style,
            "quality_style": output.quality_style,
        }
        return {kind: Path(path) for kind, path in files.items() if path is not None}

    def write(
        self, planned: PlannedReconstruction, progress: Progress | None
    ) -> tuple[Outputs, bool]:
        """Write what is missing; the outputs, and whether the very same run wrote them before.

        Raises:
            UavssrError: see `uavssr.reconstruction.output_files.write_files`.
        """
        finished = planned.finished(self.output)
        output, inputs = self.output, planned.plan.inputs
        if self.quicklook is not None and finished is None:
            rule = PublishedFiles(cube=self.cube, overwrite=output.overwrite, resume=output.resume)
            check_output(self.quicklook, overwrite=rule, inputs=inputs)
        outputs = finished or planned.write(output, progress=progress)
        if self.quicklook is not None and not (finished and self.quicklook.exists()):
            from uavssr.viz import draw_quicklook  # matplotlib takes half a second to load

            inputs = (*inputs, *outputs)
            with _DRAWING:
                draw_quicklook(self.cube, self.quicklook, overwrite=output.overwrite, inputs=inputs)
        return outputs, finished is not None


def check_fields(fields: Sequence[Field], *further: Path) -> None:
    """Refuse outputs that two fields write, or that are the input of any, before the first begins.

    Args:
        fields: the fields.
        further: other files that the batch writes.

    Raises:
        UsageError: two fields write the same file.
        OutputError: an output is an input, or its name is too long.
    """
    owners: dict[Path, Field | None] = {path.absolute(): None for path in further}
    for field, path in _outputs(fields):
        if path.absolute() in owners:
            first = owners[path.absolute()]
            fact = f"is an output of {_named(first)} and of {_named(field)}"
            remedy = "name the cubes in the column out of a manifest"
            raise UsageError(fact, path=path, remedy=remedy)
        owners[path.absolute()] = field
    check_names(owners)
    inputs = {path.absolute(): field for field in fields for path in field.inputs}
    for path in owners:
        if path in inputs:
            raise OutputError("is an input", path=path, remedy="choose another name or --out-dir")


def _outputs(fields: Sequence[Field]) -> Iterator[tuple[Field, Path]]:
    yield from ((field, path) for field in fields for path in field.outputs.values())


def _named(field: Field | None) -> str:
    return "the batch" if field is None else str(field.request.paths[0])
