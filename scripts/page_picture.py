"""Make a picture of a page of `uavssr report`: as on a desk, and beside it as on a phone.

    python scripts/page_picture.py PAGE.html OUT.png [JAVASCRIPT]

JAVASCRIPT runs in the page first: "document.querySelectorAll('#layers input')[1].click()" chooses
the second layer. Needs Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, Python looks here

from tests.helpers.browser import opened_page

SCREENS: Final = ((1280, 900), (390, 844))
HEIGHT: Final = 1720
"""Pixels of a page that the picture shows."""
WIDTH: Final = 1000


def main(page_file: str, out: str, script: str = "1") -> None:
    """Open the page on two screens, and write both side by side."""
    pictures = []
    for width, height in SCREENS:
        with (
            tempfile.TemporaryDirectory() as profile,
            opened_page(Path(page_file), Path(profile), width=width, height=height) as page,
        ):
            page.value(script)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            pictures.append(picture.crop((0, 0, width, min(HEIGHT, picture.height))))
    whole = Image.new("RGB", (sum(p.width for p in pictures) + 24, HEIGHT), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + 24
    reduced = whole.resize((WIDTH, round(HEIGHT * WIDTH / whole.width)), Image.Resampling.LANCZOS)
    reduced.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
