"""The page inside a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from uavssr.io.writers import replacing


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """A page that a notebook shows in a frame, without widgets and without any network."""

    html: str
    """The page."""
    height: int
    """Height of the frame in pixels."""

    def _repr_html_(self) -> str:
        """The frame: the page runs its own script, and cannot reach the notebook."""
        return (
            f'<iframe sandbox="allow-scripts" title="uavssr" srcdoc="{escape(self.html)}" '
            f'style="width:100%;height:{self.height}px;border:0"></iframe>'
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page as a .html file that needs no other.

        Raises:
            OutputError: something stands in the way of the file.
        """
        text = self.html.encode()
        with replacing(path, overwrite=overwrite, inputs=(), needed_bytes=len(text)) as part:
            part.write_bytes(text)
        return Path(path)
