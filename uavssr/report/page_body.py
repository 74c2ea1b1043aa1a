"""The visible parts of a page as a tree of elements; its script fills in what moves."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np

from uavssr.analysis import IndexRequest, SpectralSource, ZoneRow, trust_of_index
from uavssr.indices import Trust, load_indices
from uavssr.reconstruction import RunVerdict
from uavssr.report.markup import Content, node, table
from uavssr.report.page_sample import PageSample
from uavssr.report.plot_table import plot_section
from uavssr.report.verdict_words import headline, sentences, trust_words
from uavssr.sensors import Float32Array, Sensor
from uavssr.viz import MapImage, colour_image, map_image, webp

_USUAL, _OUTLIER = "#9fb8ad", "#d55e00"
"""Colours of the quality layer."""
LABELS: Final = {
    "uavssr_input": "Image",
    "uavssr_version": "uavssr",
    "uavssr_model": "Model",
    "uavssr_model_sha256": "SHA-256 of its weights",
    "uavssr_sensor": "Camera",
    "uavssr_bands": "Bands",
    "uavssr_scale": "Scale",
    "uavssr_stf_held": "STF taken from",
    "uavssr_references": "Reference spectra",
}
"""Names of tags in words, in the order of the page; other tags follow under their own names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexNote:
    """What a page says of an index."""

    name: str
    """NDVI."""
    title: str
    """Its name in words; empty for a formula of the user."""
    formula: str
    """Its formula."""
    trust: Trust | None = None
    """How far to trust it; None where that was not measured."""

    @classmethod
    def of(
        cls,
        request: IndexRequest,
        source: SpectralSource,
        sensor: str | Path | Sensor | None,
        model: str | Path | None,
    ) -> IndexNote:
        """What is known of an index, or of a formula of the user."""
        known = load_indices().get(request.name)
        return cls(
            name=request.name,
            title="" if known is None else known.title,
            formula=request.formula.text,
            trust=trust_of_index(request.name, source, sensor, model),
        )


def layers(sample: PageSample, notes: Sequence[IndexNote]) -> Iterator[Element]:
    """The figures of the maps: true colour, each index with its standard error, quality."""
    colour = webp(colour_image(sample.colour), lossless=False)
    caption = node("div", "As the eye would see it, from 650, 560 and 450 nm.", class_="small soft")
    yield _figure("True colour", "The field in true colour", colour, sample.colour.shape, caption)
    for number, note in enumerate(notes):
        values = sample.indices[number]
        shown = map_image(values, is_error=False)
        text = f"Map of {note.name}, from {shown.low:.3g} (dark) to {shown.high:.3g} (light)"
        yield _map(note.name, text, shown, _index_caption(note), f"v{number}")
        if sample.index_errors is not None:
            errors = sample.index_errors[number]
            shown = map_image(errors, is_error=True)
            name = f"{note.name} error"
            words = f"How uncertain {note.name} is: its standard error, {_typical(errors)}."
            yield _map(name, words, shown, [node("span", words)], f"e{number}")
    yield _quality(sample)


def _typical(errors: Float32Array) -> str:
    known = errors[np.isfinite(errors)]
    return f"typically {np.median(known):.2g}" if known.size else "nowhere known"


def _index_caption(note: IndexNote) -> list[Content]:
    title = f"{note.title}: " if note.title else ""
    parts: list[Content] = [title, node("code", note.formula), ". "]
    return [*parts, trust_words(note.trust)]


def _map(name: str, alt: str, shown: MapImage, caption: Sequence[Content], key: str) -> Element:
    image = webp(shown.pixels, lossless=True)
    text = node("div", *caption, class_="small soft")
    return _figure(name, alt, image, (0, *shown.pixels.shape[:2]), _ramp(shown, key), text)


def _ramp(shown: MapImage, key: str) -> Element:
    """The legend of a map: its colours between its lowest and highest value."""
    count = len(shown.stops) - 1
    stops = [
        node("stop", offset=f"{at / count:.3f}", stop_color=stop)
        for at, stop in enumerate(shown.stops)
    ]
    gradient = node("linearGradient", *stops, id=f"ramp-{key}")
    bar = node("rect", width="100", height="14", fill=f"url(#ramp-{key})")
    svg = node("svg", gradient, bar, viewBox="0 0 100 14", preserveAspectRatio="none")
    svg.set("aria-hidden", "true")
    digits = max(0, 2 - math.floor(math.log10(shown.high - shown.low) + 0.5))
    ends = [node("span", f"{end:.{digits}f}") for end in (shown.low, shown.high)]
    return node("div", ends[0], svg, ends[1], class_="ramp small")


def _quality(sample: PageSample) -> Element:
    pixels = np.zeros((*sample.map_grid.shape, 4), np.uint8)
    valid = np.isfinite(sample.colour).all(0)
    pixels[valid] = _rgba(_USUAL)
    keys = [_key(_USUAL, "data")]
    if sample.outlier is not None:
        pixels[sample.outlier] = _rgba(_OUTLIER)
        keys = [_key(_USUAL, "usual"), _key(_OUTLIER, "unlike all spectra of the training data")]
    caption = node("div", *keys, node("span", "Chequered: no data."), class_="key small")
    image = webp(pixels, lossless=True)
    alt = "Quality: pixels to trust, pixels unlike the training data, and pixels without data"
    return _figure("Quality", alt, image, (0, *valid.shape), caption)


def _rgba(colour: str) -> tuple[int, ...]:
    return (*bytes.fromhex(colour[1:]), 255)


def _key(colour: str, text: str) -> Element:
    square = node("rect", width="16", height="16", rx="3", fill=colour)
    return node("span", node("svg", square, viewBox="0 0 16 16", aria_hidden="true"), text)


def _figure(
    name: str, alt: str, image: bytes, shape: tuple[int, ...], *caption: Element
) -> Element:
    picture = node(
        "img",
        src="data:image/webp;base64," + base64.b64encode(image).decode(),
        alt=alt,
        width=str(shape[-1]),
        height=str(shape[-2]),
        draggable="false",
    )
    frame = node("div", node("div", picture, class_="stage"), class_="frame")
    heading = node("h3", name.strip(), class_="small")
    return node(
        "figure",
        frame,
        node("figcaption", heading, *caption),
        class_="layer",
        data_name=name.strip(),
    )


def verdict_section(verdict: RunVerdict | None) -> Element:
    """The verdict in plain words."""
    style, words = headline(verdict)
    mark = {"good": "✓ ", "odd": "! ", "unknown": "? "}[style]
    items = [node("li", sentence) for sentence in sentences(verdict)]
    whole = node("section", node("h2", "Verdict"), class_=f"verdict {style}")
    whole.append(node("p", mark + words))
    if items:
        whole.append(node("ul", *items))
    return whole


def map_section(
    source: SpectralSource, figures: Sequence[Element], accuracy: Sequence[str]
) -> Element:
    """Maps on the left, the chosen pixel on the right."""
    buttons = node(
        "div",
        node(
            "button",
            "\N{MINUS SIGN}",
            type="button",
            id="zoom-out",
            aria_label="zoom out",
            disabled="",
        ),
        node("button", "+", type="button", id="zoom-in", aria_label="zoom in"),
        class_="buttons only-live",
    )
    picker = node("fieldset", node("legend", "Layer"), id="layers", class_="only-live")
    below = node("div", node("div", id="scale", class_="scale"), buttons, class_="under-map")
    left = node("div", picker, node("div", *figures, class_="layers"), below)
    return node(
        "section", node("div", left, _pixel(source, accuracy), class_="columns"), class_="long"
    )


def _pixel(source: SpectralSource, accuracy: Sequence[str]) -> Element:
    head = node("tr", *(node("th", text, scope="col") for text in _SPECTRUM_COLUMNS))
    values = node("table", node("thead", head), node("tbody", id="values"))
    values.insert(0, node("caption", "Spectrum of the chosen pixel", class_="small soft"))
    scroll = node("div", values, class_="tall", tabindex="0", role="region")
    scroll.set("aria-label", "spectrum as a table")
    actions = [
        node("button", "Keep to compare", type="button", id="keep"),
        node("button", "Clear", type="button", id="clear", disabled=""),
        node("button", "Save as CSV", type="button", id="save"),
    ]
    hint = "Click the map (or use the arrow keys on it) to see the spectrum of a place."
    return node(
        "div",
        node("h2", "Spectrum of a place"),
        node("p", hint, class_="small soft only-live"),
        node("noscript", node("p", "Spectra need JavaScript, which is part of this file.")),
        node(
            "div",
            node("p", id="where", class_="where"),
            node("p", id="note", class_="warn"),
            node("ul", id="numbers", class_="numbers"),
            aria_live="polite",
        ),
        node("div", id="spectrum", class_="chart"),
        _spectrum_key(source),
        node("div", *actions, class_="under-map only-live"),
        node(
            "details", node("summary", "All numbers of this spectrum"), scroll, class_="only-live"
        ),
        node(
            "details",
            node("summary", "How exact is this?"),
            node("ul", *(node("li", text, class_="small") for text in accuracy)),
        ),
    )


_SPECTRUM_COLUMNS = ("Wavelength (nm)", "Reflectance", "Standard error")


def _spectrum_key(source: SpectralSource) -> Element:
    words = ["Line: reconstructed spectrum."]
    if source.errors is None:
        words.append("Its error is not known, because the STF of the run is not there.")
    else:
        words.append("Band around it: the truth lies in it in 90 of 100 cases.")
    if source.scene_stf is not None:
        words.append("Grey strips: what the camera measured; between them it is inferred.")
    return node("p", " ".join(words), class_="small soft")


def stf_section(source: SpectralSource) -> Element | None:
    """The camera's bands: curves, and the table against the data sheet."""
    sensor, stf = source.sensor, source.scene_stf
    if sensor is None or stf is None:
        return None
    rows = []
    for band, *numbers in zip(
        sensor.bands, stf.centre, stf.centre_se, stf.fwhm, stf.fwhm_se, stf.gain, stf.gain_se,
        stf.prior_driven, strict=True,
    ):  # fmt: skip
        centre, centre_se, fwhm, fwhm_se, gain, gain_se, driven = (float(n) for n in numbers)
        rows.append(
            [
                band.role,
                f"{band.centre:.0f}, {band.fwhm:.0f}",
                f"{centre:.1f} ± {centre_se:.1f}",
                f"{fwhm:.1f} ± {fwhm_se:.1f}",
                f"{gain:.3f} ± {gain_se:.3f}",
                "data sheet" if driven else "image",
            ]
        )
    header = (
        "Band", "Data sheet: centre, width (nm)", "Centre (nm)", "Width (nm)", "Gain", "Known from"
    )  # fmt: skip
    words = (
        "The camera's bands as estimated for this image (lines, with 90 % bands), and as in the "
        "data sheet (dashed). Numbers after ± are standard errors. A gain of 1.05 means that the "
        "band is 5 % brighter than the data sheet says."
    )
    return node(
        "section",
        node("h2", f"Camera response ({sensor.title or sensor.name})"),
        node("p", words, class_="small soft"),
        node("div", id="stf-chart", class_="chart"),
        table(header, rows),
    )


def provenance_section(tags: Mapping[str, str], facts: Mapping[str, str]) -> Element:
    """How the numbers were made."""
    named = {LABELS[key]: tags[key] for key in LABELS if key in tags}
    others = {key.removeprefix("uavssr_"): tags[key] for key in sorted(tags) if key not in LABELS}
    settings = node("details", node("summary", "All settings"), _definitions(others))
    heading, known = node("h2", "How it was made"), _definitions(named | dict(facts))
    return node("section", heading, known, settings, class_="long")


def _definitions(rows: Mapping[str, str]) -> Element:
    parts = ((node("dt", name), node("dd", text)) for name, text in rows.items())
    return node("dl", *(part for pair in parts for part in pair))


def body(
    title: str, subtitle: str, sections: Sequence[Element | None], plots: Sequence[ZoneRow]
) -> Element:
    """The whole body."""
    header = node("header", node("h1", title), node("p", subtitle, class_="soft"))
    parts = [part for part in sections if part is not None]
    if plots:
        parts.insert(2, plot_section(plots))
    words = (
        "Made by uavssr. This file works offline: it asks no network for anything. Spectra are "
        "reconstructions from a few camera bands, not measurements."
    )
    return node("body", header, node("main", *parts), node("footer", node("p", words)))
