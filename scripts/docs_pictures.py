"""Make the pictures of the pages that run, from the files that their blocks write.

    python scripts/docs_pictures.py [PAGE ...]

A picture `![...](STEM/NAME.png)` of the page STEM.md is the file NAME.png that its blocks have
written, reduced to WIDTH pixels and COLOURS colours. Without PAGE all pages are run.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in scripts/ only

from scripts.docs_blocks import PageRun, pages_that_run  # noqa: E402

WIDTH: Final = 900
COLOURS: Final = 96


def main(arguments: list[str]) -> None:
    """Run the pages and replace their pictures."""
    pages = [Path(name).resolve() for name in arguments] or pages_that_run(ROOT / "docs")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        names = re.findall(rf"!\[[^\]]*\]\({re.escape(page.stem)}/([\w-]+\.png)\)", text)
        if not names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ROOT / "examples", Path(folder, "examples"))
            PageRun(folder=Path(folder)).run_page(page)
            for name in dict.fromkeys(names):
                reduce_picture(Path(folder, name), page.with_suffix("") / name)


def reduce_picture(source: Path, target: Path) -> None:
    """Write a picture of at most `WIDTH` pixels and `COLOURS` colours."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        colours = picture.convert("RGB")
        if colours.width > WIDTH:
            height = round(colours.height * WIDTH / colours.width)
            colours = colours.resize((WIDTH, height), Image.Resampling.LANCZOS)
        colours.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
