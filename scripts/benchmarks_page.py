"""Make docs/benchmarks.md from the results of benchmarks.

    python scripts/benchmarks_page.py [OUT ...]

OUT is the folder of a `uavssr benchmark`; its name is that of a section. Its records are packed
into benchmarks/results/NAME.json, and its pictures reduced into docs/benchmarks/: the learning
curves, and the examples of the last set of each case. The page is made from all packed results, so
without OUT it is made again from what the repository holds.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in scripts/ only

from scripts.docs_pictures import reduce_picture  # noqa: E402
from uavssr.benchmark import (  # noqa: E402
    NOTES,
    BenchmarkResults,
    Picture,
    pack_results,
    read_results,
    results_markdown,
    write_pictures,
)

PICTURES: Final = "benchmarks"
"""Folder of the pictures in docs/."""
HEAD: Final = """# Benchmarks

<!-- not run: benchmarks need data that the repository does not hold -->

Methods side by side: fitted to the same patches, cameras and seeds, each trained for the same
processor time, judged on scenes and cameras that were held out. No weights are the best of several.

Settings were chosen on training and development scenes. Six of them were looked for because of
earlier test results, so these results are not a blind test of them: that `pgunet` chooses its
number of stages, its number of Gaussians and of bags, the variance by pixel in its X-steps, the
brightness of the spectra of its prior, the weights of neighbours in `a+`, and that eight cameras
see each airborne scene instead of two.

`python scripts/benchmarks_page.py` makes this page from the records in `benchmarks/results/`; the
commands below make the records. [Claims](claims.md) says what follows from them.
"""


def main(arguments: list[str]) -> None:
    """Pack the results that are named, and make the page of all."""
    for name in arguments:
        add_results(Path(name).resolve(), ROOT)
    path = ROOT / "docs" / "benchmarks.md"
    path.write_text(page(ROOT / "benchmarks" / "results"), encoding="utf-8")
    print(path.relative_to(ROOT))


def add_results(out: Path, root: Path) -> None:
    """Pack the results of a folder, and reduce its pictures, below the root of the repository."""
    results, name = read_results(out), out.name
    shown = []
    for picture in write_pictures(results, out):
        if picture.case is None or picture.set == _last_set(results, picture.case):
            target = f"{PICTURES}/{name}_{picture.name}"
            reduce_picture(out / picture.name, root / "docs" / target)
            shown.append(picture._replace(name=target))
    facts = {**results.facts, "pictures": [list(picture) for picture in shown]}
    path = root / "benchmarks" / "results" / f"{name}.json"
    pack_results(replace(results, facts=facts), path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _last_set(results: BenchmarkResults, case: str) -> str:
    return [image.set for run in results.of(case) for image in run.images][-1]


def page(folder: Path) -> str:
    """The page of all packed results in a folder."""
    parts = [HEAD]
    for path in sorted(folder.glob("*.json")):
        results = read_results(path)
        pictures = [Picture(*fields) for fields in results.facts.get("pictures", [])]
        text = results_markdown(results, title=path.stem, pictures=pictures, level=2)
        parts.append(text)
    return "\n".join([*parts, "## Reading the tables\n", NOTES])


if __name__ == "__main__":
    main(sys.argv[1:])
