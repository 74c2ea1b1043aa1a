"""The shape of the package, as docs/design.md draws it: who imports whom, and who may do what.

cli, console -> inference, training, evaluation -> raster, model, data -> bands, errors
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "uavssr"
MODULES = sorted(PACKAGE.rglob("*.py"))

CORE = {"bands", "errors"}
PARTS = {"raster", "model", "data"}
TOOLS = {
    "provenance",
    "inference",
    "cluster",
    "workbench",
    "budget",
    "engine",
    "estimation",
    "files",
    "forecast",
    "inputs",
    "memory",
    "pipeline",
    "preparation",
    "products",
    "records",
    "doubts",
    "expand",
    "calibration",
    "objective",
    "config",
    "parallel",
    "feed",
    "trainstate",
    "training",
    "modelcard",
    "adaptation",
    "runs",
    "checkpoints",
    "evaluation",
}
ALLOWED = {
    "errors": set(),
    "memory": set(),
    "interrupts": set(),
    "bands": {"errors"},
    "raster": CORE | {"interrupts"},
    "model": CORE,
    "data": CORE | {"raster", "model"},
    "estimation": CORE | PARTS,
    "calibration": CORE | PARTS | {"estimation"},
    "inputs": CORE | PARTS | {"estimation"},
    "records": CORE | PARTS,
    "doubts": CORE | PARTS,
    "engine": CORE | PARTS | {"doubts", "estimation", "inputs", "records"},
    "pipeline": CORE | PARTS | {"inputs", "records"},
    "budget": CORE | PARTS | {"pipeline"},
    "products": CORE | PARTS,
    "provenance": CORE | PARTS,
    "preparation": CORE
    | PARTS
    | {
        "budget",
        "doubts",
        "engine",
        "estimation",
        "inputs",
        "pipeline",
        "products",
        "provenance",
        "records",
    },
    "workbench": CORE | PARTS | {"memory", "preparation", "products", "records"},
    "cluster": CORE
    | PARTS
    | {"engine", "inputs", "pipeline", "preparation", "products", "records", "workbench"},
    "files": CORE
    | PARTS
    | {"budget", "doubts", "engine", "pipeline", "preparation", "products", "provenance"}
    | {"memory", "records"},
    "forecast": CORE | PARTS | {"engine", "files", "preparation"},
    "inference": CORE
    | PARTS
    | {"budget", "doubts", "engine", "files", "forecast", "pipeline", "preparation", "products"}
    | {"cluster", "provenance"},
    "evaluation": CORE | PARTS | {"calibration", "engine", "estimation", "inference"},
    "checkpoints": CORE | {"raster"},
    "objective": CORE | PARTS,
    "config": CORE | PARTS,
    "parallel": CORE,
    "modelcard": set(),
    "adaptation": CORE | PARTS | {"modelcard"},
    "feed": CORE | PARTS | {"config"},
    "trainstate": CORE | PARTS | {"evaluation"},
    "training": CORE
    | PARTS
    | {"checkpoints", "config", "evaluation", "feed", "objective", "parallel", "trainstate"},
    "runs": CORE | PARTS | {"config", "engine", "evaluation", "modelcard", "parallel", "training"},
    "testing": CORE | PARTS | TOOLS,
    "expand": CORE | PARTS | {"engine", "products"},
    "console": CORE | {"raster"},
    "cli": CORE | PARTS | TOOLS | {"console"},
    "__init__": CORE | PARTS | TOOLS,
    "__main__": {"cli"},
}
"""What each part may import besides itself and `uavssr.__version__`; none is below itself."""

ONLY_IN = {
    "rasterio": {"raster/", "testing.py"},
    "rioxarray": {"raster/", "testing.py"},
    "dask": {"inference.py"},
    "zarr": {"raster/"},
    "numcodecs": {"raster/"},
    "zstandard": {"raster/"},
    "distributed": {"cluster.py", "workbench.py"},
    "hypothesis": {"testing.py"},
    "rich": {"console.py"},
    "typer": {"cli/"},
}
"""The only places (folders or files) that may import a library."""

NEVER_TORCH = ("raster/", "bands.py", "errors.py")

MAX_LINES = 350
LONGER = {"bands.py": 460}
"""Files over the limit, by the length they may have: bands.py holds the table of sensors."""

every_module = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES]
)


def place(path: Path) -> str:
    """A module's path in the package: `raster/grid.py`."""
    return path.relative_to(PACKAGE).as_posix()


def part(path: Path) -> str:
    """The part of the architecture that a module belongs to: `raster`, `cli`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.Module, own: tuple[str, ...]) -> Iterator[str]:
    """Full dotted names that a module imports anywhere in it, `a.b` for `from a import b`.

    Args:
        tree: the module.
        own: its own dotted name in pieces, against which relative imports are resolved.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = ast.unparse(node.func)
            if name.endswith(("import_module", "__import__")):
                yield str(node.args[0].value)


def imported(path: Path) -> set[str]:
    own = ("uavssr", *path.relative_to(PACKAGE).with_suffix("").parts)
    return set(imports(parsed(path), own))


def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


EVERYTHING = {"Exception", "BaseException"}


def swallowed(tree: ast.Module) -> Iterator[str]:
    """Handlers that catch everything and say nothing, and `suppress(Exception)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            silent = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
            if silent and EVERYTHING & set(re.findall(r"\w+", caught)):
                yield f"line {node.lineno}: except {caught}: pass"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            given = {ast.unparse(arg) for arg in node.args}
            yield from (f"line {node.lineno}: suppress" for _ in given & EVERYTHING)


@every_module
def test_imports_go_one_way(path: Path) -> None:
    assert part(path) in ALLOWED, f"{place(path)}: give it a place in ALLOWED of {__file__}"
    inner = {name.split(".")[1] for name in imported(path) if name.startswith("uavssr.")}
    wrong = inner - ALLOWED[part(path)] - {part(path), "__version__"}
    assert not wrong, f"{place(path)} must not import {sorted(wrong)}"


def test_allowed_imports_hold_no_cycle() -> None:
    open_parts = {name: set(below) for name, below in ALLOWED.items()}
    while open_parts:
        done = {name for name, below in open_parts.items() if not below & set(open_parts)}
        assert done, f"a cycle among {sorted(open_parts)}"
        open_parts = {name: below for name, below in open_parts.items() if name not in done}


@every_module
def test_library_is_imported_only_in_its_place(path: Path) -> None:
    for library in libraries(path) & set(ONLY_IN):
        allowed = tuple(ONLY_IN[library])
        assert place(path).startswith(allowed), f"{place(path)} imports {library}"


@every_module
def test_rasters_bands_and_errors_know_nothing_of_torch(path: Path) -> None:
    if place(path).startswith(NEVER_TORCH):
        assert "torch" not in libraries(path)


def test_grid_needs_the_standard_library_only() -> None:
    assert libraries(PACKAGE / "raster" / "grid.py") <= set(sys.stdlib_module_names)


@every_module
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    prints = [
        node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints or place(path).startswith("cli/"), f"{place(path)} prints at {prints}"


@every_module
def test_nothing_is_asserted(path: Path) -> None:
    found = [node.lineno for node in ast.walk(parsed(path)) if isinstance(node, ast.Assert)]
    assert not found, f"{place(path)} asserts at lines {found}: raise an error that says the value"


@every_module
def test_no_exception_is_swallowed(path: Path) -> None:
    assert not list(swallowed(parsed(path))), place(path)


@every_module
def test_module_begins_with_its_responsibility(path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring, f"{place(path)} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":"))


@every_module
def test_module_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(place(path), MAX_LINES), f"{place(path)} has {lines} lines"


@every_module
def test_no_path_of_a_workplace_is_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"/work\b|\bshared/", text), place(path)


HELP = """
import contextlib, io, json, sys
from uavssr.cli import main

out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        code = main(["--help"])
    except SystemExit as stop:
        code = stop.code
json.dump({"code": code or 0, "help": out.getvalue(), "loaded": sorted(sys.modules)}, sys.stdout)
"""

HEAVY = {
    "dask",
    "distributed",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "pandas",
    "pyogrio",
    "rasterio",
    "rioxarray",
    "scipy",
    "shapely",
    "torch",
    "xarray",
}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_shown_without_loading_anything_heavy() -> None:
    shown = json.loads(run_python(HELP))
    assert shown["code"] == 0
    assert "reconstruct" in shown["help"]
    assert not HEAVY & set(shown["loaded"])


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = json.loads(
        run_python("import json, sys, uavssr; print(json.dumps(list(sys.modules)))")
    )
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("from dask import array", {"dask.array"}),
        ("def f():\n    from . import grid", {"uavssr.raster.grid"}),
        ("from ..model import basis", {"uavssr.model.basis"}),
        ("import importlib\nimportlib.import_module('torch')", {"importlib", "torch"}),
    ],
)
def test_imports_are_found_wherever_they_hide(code: str, expected: set[str]) -> None:
    assert set(imports(ast.parse(code), ("uavssr", "raster", "source"))) == expected


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("try:\n    f()\nexcept Exception:\n    pass", 1),
        ("try:\n    f()\nexcept:\n    pass", 1),
        (
            "for x in y:\n  try:\n    f()\n  except (OSError, Exception):\n    continue",
            1,
        ),
        ("with contextlib.suppress(Exception):\n    f()", 1),
        ("with contextlib.suppress(FileNotFoundError):\n    f()", 0),
        ("try:\n    f()\nexcept Exception as err:\n    raise ValueError from err", 0),
        ("try:\n    f()\nexcept OSError:\n    pass", 0),
    ],
)
def test_swallowed_exceptions_are_found(code: str, count: int) -> None:
    assert len(list(swallowed(ast.parse(code)))) == count
