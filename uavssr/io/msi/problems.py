"""All problems of one image, collected so that the user sees them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from uavssr.errors import InputRefused
from uavssr.io.msi.request import Request
from uavssr.io.raster import OptionNeeded

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ImageRefused(InputRefused):
    """An image with several problems, each on a line with path, fact and remedy.

    Args:
        path: the image.
        problems: two or more.
        command: a command that answers all of them; empty if options cannot.
    """

    def __init__(self, path: Path, problems: Sequence[InputRefused], command: str) -> None:
        self.problems, self.command = tuple(problems), command
        super().__init__(f"{len(problems)} problems", path=path)

    def to_dict(self) -> dict[str, object]:
        """The error as plain values, with each of its problems and the command."""
        problems = [problem.to_dict() for problem in self.problems]
        return super().to_dict() | {"problems": problems, "command": self.command}

    def __str__(self) -> str:
        lines = [super().__str__(), *map(str, self.problems)]
        lines += [f"all at once: {self.command}"] if self.command else []
        return "\n  ".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """The problems found so far in one input."""

    request: Request
    """The options of the input."""
    refusals: list[InputRefused] = field(default_factory=list)
    """The problems, in the order of the checks."""

    def attempt(
        self, step: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        """The result of a step, or None if it refuses the input."""
        try:
            return step(*args, **kwargs)
        except InputRefused as err:
            self.refusals.append(err)
            return None

    @property
    def command(self) -> str:
        """The command that answers all problems; empty if options cannot answer one of them."""
        request = self.request
        for problem in self.refusals:
            if not isinstance(problem, OptionNeeded):
                return ""
            request = replace(request, **cast("dict[str, Any]", problem.options))
        return request.command()

    def refusal(self) -> InputRefused:
        """One error for all problems, of which there is at least one."""
        if len(self.refusals) > 1:
            return ImageRefused(self.request.paths[0], self.refusals, self.command)
        (problem,) = self.refusals
        if not self.command:
            return problem
        remedy = f"{problem.remedy}, as in: {self.command}"
        return InputRefused(problem.fact, path=problem.path, remedy=remedy)
