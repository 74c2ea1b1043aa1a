"""The page as a file."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import numpy as np

from uavssr._version import __version__
from uavssr.analysis import SpectralSource, Zone, ZoneRow
from uavssr.errors import printable
from uavssr.io.writers import replacing
from uavssr.reconstruction import RunVerdict
from uavssr.report.markup import html_of
from uavssr.report.packed_spectra import PackedSpectra
from uavssr.report.page_body import (
    IndexNote,
    body,
    layers,
    map_section,
    provenance_section,
    stf_section,
    verdict_section,
)
from uavssr.report.page_data import json_text, page_data
from uavssr.report.page_sample import PageSample

MAX_PAGE_BYTES: Final = 15_000_000
"""Most bytes of a page."""
MAX_SPECTRA_BYTES: Final = 6_500_000
"""Most bytes of all spectra, errors and indices of a page, before base64."""
SPECTRA_TOLERANCE: Final = 0.001
"""Largest difference of a page's spectra from the cube's, reflectance."""
ERROR_TOLERANCE: Final = 0.05
"""Largest difference of a page's standard errors from the cube's, relative."""
_LEAST_ERROR: Final = 1e-6
_STYLE_AND_SCRIPT: Final = ("page.css", "page.js", "page.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What a page says beside the sample of its scene."""

    title: str
    """Its heading."""
    verdict: RunVerdict | None
    """Of the run; None where it is not known."""
    notes: Sequence[IndexNote]
    """What it says of each index."""
    plots: Sequence[ZoneRow] = ()
    """The table of plots; empty without."""
    zones: Sequence[Zone] = ()
    """Their outlines; empty without."""
    options: Mapping[str, str]
    """How the page was made, by names for people."""


def write_page(
    source: SpectralSource,
    sample: PageSample,
    facts: PageFacts,
    path: Path,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write the page as one .html file that needs no other.

    Raises:
        OutputError: something stands in the way of the file.
    """
    text = page_text(source, sample, facts).encode()
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=len(text)) as part:
        part.write_bytes(text)
    return path


def page_text(source: SpectralSource, sample: PageSample, facts: PageFacts) -> str:
    """The page as HTML."""
    sample, spectra, errors = _packed(sample, len(facts.notes))
    figures = list(layers(sample, facts.notes))
    sections = [
        verdict_section(facts.verdict),
        map_section(source, figures, _accuracy(source, sample, spectra, errors)),
        stf_section(source),
        provenance_section(source.tags, facts.options),
    ]
    names = [note.name for note in facts.notes]
    style, script, template = (_part(name) for name in _STYLE_AND_SCRIPT)
    return Template(template).substitute(
        policy=_policy(style, script),
        generator=f"uavssr {__version__}",
        title=escape(printable(facts.title)),
        style=style,
        script=script,
        data=json_text(page_data(source, sample, spectra, errors, names, facts.zones)),
        body=html_of(body(facts.title, _subtitle(source), sections, facts.plots)).removesuffix(
            "</body>"
        ),
    )


def _subtitle(source: SpectralSource) -> str:
    """Camera and size of the image."""
    height, width = source.height, source.width
    along_x, along_y = source.pixel_size
    camera = "" if source.sensor is None else f"{source.sensor.title or source.sensor.name}. "
    size = f"{height} x {width} pixels of {_length(along_x)}"
    if not math.isfinite(along_x * along_y):
        return camera + size
    return f"{camera}{size}: {width * along_x:.0f} m by {height * along_y:.0f} m"


def _packed(
    sample: PageSample, indices: int
) -> tuple[PageSample, PackedSpectra, PackedSpectra | None]:
    """Spectra and errors in at most `MAX_SPECTRA_BYTES`, with fewer cells where needed."""
    while True:
        spectra = PackedSpectra.of(sample.spectra, tolerance=SPECTRA_TOLERANCE)
        errors = None
        if sample.spectra_errors is not None:
            logarithm = np.log(np.maximum(sample.spectra_errors, _LEAST_ERROR))
            errors = PackedSpectra.of(logarithm, tolerance=math.log1p(ERROR_TOLERANCE))
        each = spectra.bytes_each + (0 if errors is None else errors.bytes_each) + 4 * indices
        if each * sample.spectra.shape[1] <= MAX_SPECTRA_BYTES or sample.valid.size == 1:
            return sample, spectra, errors
        sample = sample.coarser()


def _accuracy(
    source: SpectralSource,
    sample: PageSample,
    spectra: PackedSpectra,
    errors: PackedSpectra | None,
) -> list[str]:
    """The page's resolution and accuracy, a sentence each."""
    maps, cells, pixel = sample.map_grid.step, sample.cell_grid.step, source.pixel_size[0]
    shown = (
        f"Maps show {_one_of(maps)} ({_length(maps * pixel)}), spectra {_one_of(cells)} "
        f"({_length(cells * pixel)}). It is the pixel in the middle, not a mean: its numbers are "
        "those of the cube."
    )
    lines = [
        shown,
        f"Spectra differ from the cube's by at most {spectra.error:.4f} reflectance.",
    ]
    if errors is None:
        return [*lines, "Standard errors are not known, because the STF of the run is not there."]
    relative = (
        f"Standard errors differ by at most {100 * math.expm1(errors.error):.1f} % from those "
        "computed from the coefficients, which are within about 1 % of the cube's own."
    )
    return [
        *lines,
        relative,
        "Numbers after ± are standard errors; bands are 90 % intervals.",
    ]


def _one_of(step: int) -> str:
    return "every pixel" if step == 1 else f"one pixel of each {step} x {step}"


def _length(metres: float) -> str:
    return f"{metres:.2g} m" if metres >= 1 else f"{100 * metres:.2g} cm"


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style, this script and images inside the page."""
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; img-src data:; style-src {hashes[0]}; script-src {hashes[1]}; "
        "base-uri 'none'; form-action 'none'"
    )


def _part(name: str) -> str:
    return files("uavssr.report").joinpath(name).read_text(encoding="utf-8")
