"""The documentation's pages: their blocks run, their commands exist, the site names them all."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from scripts.docs_blocks import Block, PageRun, blocks_of, pages_that_run
from scripts.docs_site import COPIED, commands, map_as_table, sensors_page, with_links_of_page
from tests.docs.setups import SETUPS
from uavssr.reconstruction.devices import torch_threads
from uavssr.sensors import SATELLITES, SENSORS

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"
TABLES = DOCS / "tables"  # printed by benchmarks, which need data that is not in the repository
RUNNING = pages_that_run(DOCS)
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def name_of(item: Path | Block) -> str:
    if isinstance(item, Block):
        return f"{name_of(item.page)}:{item.line}"
    return item.relative_to(REPO).as_posix()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_blocks_of_the_page_run(page: Path, tmp_path: Path) -> None:
    shutil.copytree(REPO / "examples", tmp_path / "examples")
    if setup := SETUPS.get(page.relative_to(REPO).as_posix()):
        setup(tmp_path)
    PageRun(folder=tmp_path).run_page(page)


WITH_COMMANDS = [block for block in BLOCKS if block.commands]


@pytest.mark.parametrize("block", WITH_COMMANDS, ids=name_of)
def test_commands_parse(block: Block) -> None:
    known = dict(commands())
    for arguments in block.commands:
        words = [word for word in arguments if word not in ("-v", "-vv", "-q")]
        for common in ("--config", "--log-file"):
            if common in words and words[0] != "train":
                at = words.index(common)
                del words[at : at + 2]
        if words in (["--version"], ["--help"]):
            continue
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
        assert name is not None, f"no command {words[0]}"
        known[name].make_context(name, words[len(name.split()) :], obj={"quiet": True})


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python" and not b.runs], ids=name_of
)
def test_python_that_does_not_run_compiles(block: Block) -> None:
    compile(block.text, name_of(block), "exec")


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.runs and b.page.parent != TABLES], ids=name_of
)
def test_code_is_on_a_page_that_runs_or_says_why_not(block: Block) -> None:
    remedy = "put <!-- not run: REASON --> before the block, or under the title"
    assert block.page in RUNNING, remedy


def test_every_page_is_in_the_navigation() -> None:
    text = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(_leaves(yaml.safe_load(text)["nav"]))
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert written <= listed
    made = {"reference/cli/", "reference/python.md", "reference/sensors.md", *COPIED.values()}
    assert listed - written == made


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[union-attr]
            yield from _leaves(item)


def test_page_of_sensors_has_every_camera_and_satellite() -> None:
    rows = [line for line in sensors_page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [*SENSORS, *SATELLITES]
    assert "| `p4m` | DJI Phantom 4 Multispectral | blue 450/32, green 560/32, " in rows[0]


def test_map_becomes_a_table() -> None:
    flowchart = 'flowchart TD\n    a["alpha: first"] --> b & io\n    b["beta: second"]\n'
    table = map_as_table(flowchart).splitlines()
    assert table[2:] == ["| `alpha` | first | `beta`, `io` |", "| `beta` | second |  |"]


def test_links_of_copied_files_lead_to_pages() -> None:
    text = "[a](../../docs/trust.md#x) [b](config.json) [c](#d) [e](https://f) [g](../../README.md)"
    page = with_links_of_page(text, "models/p4m-nano/README.md", "reference/p4m-nano.md")
    assert page == "[a](../trust.md#x) b [c](#d) [e](https://f) g"


@pytest.mark.parametrize(
    ("text", "same"),
    [("one ... three", True), ("one   2.6 three", True), ("one 3.5", False), ("one three", False)],
)
def test_text_after_a_block_is_compared(text: str, *, same: bool, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```python\nprint('one 2.5 three')\n```\n\n```text\n{text}\n```\n")
    with nullcontext() if same else pytest.raises(AssertionError, match="the page says"):
        PageRun(folder=tmp_path).run_page(page)
