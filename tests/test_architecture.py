"""The shape of the package, as the map in docs/design.md draws it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers.places import REPO

PACKAGE = REPO / "uavssr"
MODULES = sorted(PACKAGE.rglob("*.py"))

BELOW = (
    ("errors", "_version"),
    ("tiling", "io.bounded"),
    ("sensors",),
    ("io.checks", "io.settings"),
    ("io.raster", "io.manifests", "io.pictures", "io.matlab"),
    ("io.msi",),
    ("io.hsi",),
    ("io.writers", "io.satellite", "io.zones"),
    ("io.stf",),
    ("io.cube_dataset",),
    ("model", "spectra"),
    ("indices",),
    ("reconstruction", "viz"),
    ("calibration", "analysis", "batch"),
    ("data", "report"),
    ("evaluation",),
    ("evaluation.baselines",),
    ("training",),
    ("benchmark",),
    ("api",),
    ("io.xarray_backend",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""Packages and modules from the bottom up: each may import those of earlier rows."""

ROW = {name: row for row, names in enumerate(BELOW) for name in names}
TOP = {"__init__", "__main__", "_version", "errors", "tiling"}
"""The only modules that lie beside the packages."""

ONLY_IN = {
    "rasterio": {"io/"},
    "rioxarray": {"io/"},
    "dask": {"reconstruction/lazy_cube.py"},
    "zarr": {"io/"},
    "numcodecs": {"io/"},
    "zstandard": {"io/"},
    "distributed": {"reconstruction/cluster.py", "reconstruction/cluster_job.py"},
    "rich": {"cli/"},
    "typer": {"cli/"},
    "matplotlib": {"viz/", "api/accessor.py"},  # the latter for types
}
"""The only places (folders or files) that may import a library."""

NEVER_TORCH = ("io/", "sensors/", "spectra/", "viz/", "tiling.py", "errors.py")

OPTIONAL = {"reconstruction.cluster", "io.cube_dataset", "io.xarray_backend"}
"""Modules that other packages import directly: their libraries are optional, or must load late."""

MAX_LINES = 350


def every_module(check: Callable[[Path], None]) -> Callable[[], None]:
    """A check of a module as one test of all modules, which names each that fails.

    A test for each module and check would be thousands, and take minutes.
    """

    def test() -> None:
        failures = []
        for path in MODULES:
            try:
                check(path)
            except AssertionError as err:
                failures.append(f"{place(path)}: {err}")
        assert not failures, "\n".join(failures)

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test


def place(path: Path) -> str:
    """A module's path in the package: `io/msi/source.py`."""
    return path.relative_to(PACKAGE).as_posix()


def package_of(module: str) -> str:
    """The row's name that a dotted name inside uavssr belongs to: `io.msi` for `io.msi.source`."""
    parts = module.split(".")
    names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((name for name in names if name in ROW), parts[0])


def dotted(path: Path) -> str:
    """A module's name inside uavssr: `io.msi.source`; a package's for its `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


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


def own_imports(path: Path) -> set[str]:
    """Modules and packages of uavssr that a module imports from, as dotted names inside it."""
    from_imports = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom)]
    return {
        node.module.removeprefix("uavssr.")
        for node in from_imports
        if node.module and node.module.startswith("uavssr.")
    }


@every_module
def test_imports_go_down_the_table(path: Path) -> None:
    own = package_of(dotted(path))
    if own == "io":
        assert not own_imports(path)
        return
    assert own in ROW, f"{place(path)}: give its package a row in BELOW of {__file__}"
    others = {package_of(name) for name in own_imports(path)} - {own}
    wrong = sorted(name for name in others if ROW[name] >= ROW[own])
    assert not wrong, f"{place(path)} must not import {wrong}"


@every_module
def test_other_packages_are_entered_by_their_exports(path: Path) -> None:
    own = package_of(dotted(path))
    deep = {
        name
        for name in own_imports(path)
        if package_of(name) not in (own, name) and name not in OPTIONAL
    }
    assert not deep, f"{place(path)} imports from inside other packages: {sorted(deep)}"


def test_only_five_modules_lie_beside_the_packages() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == TOP


def test_packages_say_what_lives_in_them_and_what_does_not() -> None:
    for init in PACKAGE.rglob("*/__init__.py"):
        lines = (ast.get_docstring(parsed(init)) or "").splitlines()
        assert len(lines) >= 3, f"{place(init)}: what lives here, an empty line, what does not"


def test_exports_exist() -> None:
    for init in PACKAGE.rglob("__init__.py"):
        package = import_module(f"uavssr.{dotted(init)}".removesuffix(".__init__"))
        for name in getattr(package, "__all__", ()):
            assert hasattr(package, name), f"{place(init)} exports {name}, which it lacks"


def public_names(path: Path) -> Iterator[str]:
    """Classes, functions and constants that a module defines at its top, without commands."""
    for node in parsed(path).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.FunctionDef(name=name, decorator_list=decorators):
                if not any("command" in ast.unparse(decorator) for decorator in decorators):
                    yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def test_public_name_is_defined_once() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for name in set(public_names(path)):
            if not name.startswith("_") and name != "TYPE_CHECKING":
                places[name].append(place(path))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not twice, "give different things different names"


@every_module
def test_library_is_imported_only_in_its_place(path: Path) -> None:
    for library in libraries(path) & set(ONLY_IN):
        allowed = tuple(ONLY_IN[library])
        assert place(path).startswith(allowed), f"{place(path)} imports {library}"


@every_module
def test_torch_stays_out_of_files_and_cameras(path: Path) -> None:
    if place(path).startswith(NEVER_TORCH):
        assert "torch" not in libraries(path)


def test_tiling_needs_the_standard_library_only() -> None:
    assert libraries(PACKAGE / "tiling.py") <= set(sys.stdlib_module_names)


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
    assert lines <= MAX_LINES, f"{place(path)} has {lines} lines"


@every_module
def test_no_path_of_a_workplace_is_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"/work\b|\bshared/", text), place(path)


MAP = (REPO / "docs" / "design.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+)\.(\w+)`", MAP)))


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_what_the_map_names_exists(module: str, name: str) -> None:
    if name in ("py", "yaml"):
        path = f"{module}.{name}"
        assert (PACKAGE / path).is_file() or (REPO / path).is_file()
    else:
        assert hasattr(import_module(f"uavssr.{module.replace('/', '.')}"), name)


def test_the_map_draws_every_package() -> None:
    drawn = set(re.findall(r'\["([a-z.]+)[:"]', MAP))
    rows = [name for row in BELOW for name in row]
    packages = {name for name in rows if (PACKAGE / name.replace(".", "/")).is_dir()}
    assert packages <= drawn


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

COMMAND = """
import json, sys
from uavssr.cli import main

assert main(["-q", *sys.argv[2:]]) == 0
with open(sys.argv[1], "w") as file:
    json.dump(sorted(sys.modules), file)
"""

HEAVY = {
    "dask",
    "distributed",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "pandas",
    "pyogrio",
    "pydantic",
    "rasterio",
    "rioxarray",
    "scipy",
    "shapely",
    "torch",
    "xarray",
    "zarr",
}


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_is_shown_without_loading_anything_heavy() -> None:
    shown = json.loads(run_python(HELP))
    assert shown["code"] == 0
    assert "reconstruct" in shown["help"]
    assert not (HEAVY | {"numpy"}) & set(shown["loaded"])


NOT_FOR_A_RUN = HEAVY - {"h5py", "pydantic", "rasterio", "torch"}
"""Typer loads pydantic; h5py writes STF files."""
OWN = {f"uavssr.{name}" for name in ("calibration", "data", "evaluation", "indices", "training")}


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("reconstruct", NOT_FOR_A_RUN | OWN | {"rich.table", "sympy", "torch._dynamo"}),
        ("estimate-stf", NOT_FOR_A_RUN | OWN | {"sympy", "torch._dynamo"}),
        ("inspect", HEAVY - {"pydantic", "rasterio"} | {"uavssr.model", "uavssr.reconstruction"}),
    ],
)
def test_command_loads_no_library_that_it_does_not_need(
    tmp_path: Path, command: str, unneeded: set[str]
) -> None:
    outputs = {"reconstruct": "cube.tif", "estimate-stf": "stf.nc"}
    out = ["--out", str(tmp_path / outputs[command])] if command in outputs else []
    image, modules = REPO / "examples" / "field.tif", tmp_path / "modules.json"
    run_python(COMMAND, str(modules), command, str(image), *out)
    assert not unneeded & set(json.loads(modules.read_text()))


WITHOUT_POSIX = """
import importlib, os, signal, sys
import dask.array, distributed, h5netcdf, matplotlib.pyplot, rasterio, rioxarray, torch, zarr
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("SIGALRM", "SIGHUP", "setitimer", "ITIMER_REAL"):
    delattr(signal, name)
for name in ("sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
    delattr(os, name)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
"""Imports our modules, after the libraries, in a Python without what Windows does not have."""


def test_every_module_imports_without_posix() -> None:
    names = [str(path.relative_to(REPO).with_suffix("")) for path in MODULES]
    modules = [name.replace("/", ".").removesuffix(".__init__") for name in names]
    run_python(WITHOUT_POSIX, *modules)


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
        ("def f():\n    from . import grid", {"uavssr.io.grid"}),
        ("from ..model import basis", {"uavssr.model.basis"}),
        ("import importlib\nimportlib.import_module('torch')", {"importlib", "torch"}),
    ],
)
def test_imports_are_found_wherever_they_hide(code: str, expected: set[str]) -> None:
    assert set(imports(ast.parse(code), ("uavssr", "io", "source"))) == expected


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
