"""The files that describe the package to pip, conda and those who cite it agree."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.helpers.places import REPO
from uavssr import __version__

CONDA_NAMES = {"torch": "pytorch", "dask": "dask-core", "matplotlib": "matplotlib-base"}
"""What conda-forge calls a package of another name on PyPI."""
PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return yaml.safe_load((REPO / "packaging" / "conda" / "recipe.yaml").read_text())


def pins(requirements: list[str]) -> dict[str, str]:
    """Versions by conda's name, such as {"numpy": ">=2.0"}."""
    parsed = [Requirement(text) for text in requirements]
    return {CONDA_NAMES.get(item.name, item.name): str(item.specifier) for item in parsed}


def test_conda_recipe_has_the_dependencies_of_the_package(recipe: dict[str, Any]) -> None:
    requirements = [text.replace(" ", "", 1) for text in recipe["requirements"]["run"]]
    conda = pins(requirements)
    assert conda.pop("python") == str(Requirement(f"x{PROJECT['requires-python']}").specifier)
    assert conda == pins(PROJECT["dependencies"])


def test_versions_agree(recipe: dict[str, Any]) -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["version"] == recipe["context"]["version"] == __version__
    assert citation["license"] == recipe["about"]["license"] == PROJECT["license"]


def test_dockerfile_takes_the_tested_torch() -> None:
    torch = next(text for text in PROJECT["dependencies"] if text.startswith("torch"))
    assert f'"{torch}"' in (REPO / "packaging" / "Dockerfile").read_text()
