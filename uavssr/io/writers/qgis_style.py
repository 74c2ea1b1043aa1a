"""QGIS styles (.qml): a file beside a raster of the same name is loaded with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import quoteattr

from uavssr.io.checks import PathLike
from uavssr.io.writers.atomic import replacing
from uavssr.io.writers.ownership import Replaceable
from uavssr.io.writers.true_colour import TrueColour

VIRIDIS: Final = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Colours at even steps of the map viridis (van der Walt and Smith 2015, CC0)."""

CHANGE_COLOURS: Final = (
    "#8c510a",
    "#d8b365",
    "#f6e8c3",
    "#f5f5f5",
    "#c7eae5",
    "#5ab4ac",
    "#01665e",
)
"""Colours at even steps of the map BrBG (Brewer and Harrower 2003): brown is less."""

_STYLE: Final = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 <pipe>
{renderer}
 </pipe>
</qgis>
"""
_RAMP: Final = """  <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1"
    classificationMin={low} classificationMax={high}>
   <rastershader>
    <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0"
      minimumValue={low} maximumValue={high}>
{items}
    </colorrampshader>
   </rastershader>
  </rasterrenderer>"""
_PALETTE: Final = """  <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1">
   <colorPalette>
{items}
   </colorPalette>
  </rasterrenderer>"""
_COLOUR: Final = """  <rasterrenderer type="multibandcolor" opacity="1" alphaBand="-1"
    redBand="{red}" greenBand="{green}" blueBand="{blue}">
{items}
  </rasterrenderer>"""
_CHANNEL: Final = """   <{name}ContrastEnhancement>
    <minValue>{low:.6g}</minValue>
    <maxValue>{high:.6g}</maxValue>
    <algorithm>StretchToMinimumMaximum</algorithm>
   </{name}ContrastEnhancement>"""


class Category(NamedTuple):
    """A value of a map of classes."""

    value: int
    """The number in the file."""
    label: str
    """What it means."""
    colour: str
    """Its colour, #rrggbb."""


def style_path(raster: PathLike) -> Path:
    """The file in which QGIS looks for the style of a raster."""
    return Path(raster).with_suffix(".qml")


def write_map_style(
    path: PathLike,
    *,
    low: float,
    high: float,
    colours: Sequence[str] = VIRIDIS,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a style that shows the first band of a map by colours from `low` to `high`.

    Args:
        path: the file, named like the raster but for `.qml`.
        low: value of the first colour.
        high: value of the last colour.
        colours: two or more, as #rrggbb, at even steps.
        overwrite: replace a style that exists.
        inputs: files that the style may not replace.

    Raises:
        OutputError: something stands in the way of the file.
    """
    step = (high - low) / (len(colours) - 1)
    values = [low + step * number for number in range(len(colours))]
    items = "\n".join(
        f"     <item value={quoteattr(f'{value:.6g}')} label={quoteattr(f'{value:.3g}')} "
        f'color={quoteattr(colour)} alpha="255"/>'
        for value, colour in zip(values, colours, strict=True)
    )
    ends = {name: quoteattr(f"{value:.6g}") for name, value in (("low", low), ("high", high))}
    renderer = _RAMP.format(items=items, **ends)
    return _write(path, renderer, overwrite=overwrite, inputs=inputs)


def write_category_style(
    path: PathLike,
    categories: Sequence[Category],
    *,
    overwrite: Replaceable = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a style that shows the values of the first band by colours with names.

    Raises:
        OutputError: something stands in the way of the file.
    """
    items = "\n".join(
        f'    <paletteEntry value="{value}" label={quoteattr(label)} color={quoteattr(colour)} '
        'alpha="255"/>'
        for value, label, colour in categories
    )
    return _write(path, _PALETTE.format(items=items), overwrite=overwrite, inputs=inputs)


def write_colour_style(
    path: PathLike,
    colours: TrueColour,
    *,
    overwrite: Replaceable = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a style that shows three bands as red, green and blue.

    QGIS 3.22 ignores the colour interpretation of bands, and shows the first three.

    Args:
        path: the file, named like the raster but for `.qml`.
        colours: the bands, and the values that are shown dark and bright.
        overwrite: whether a style that exists may be replaced.
        inputs: files that the style may not replace.

    Raises:
        OutputError: something stands in the way of the file.
    """
    return _write(path, colour_renderer(colours), overwrite=overwrite, inputs=inputs)


def colour_renderer(colours: TrueColour) -> str:
    """The renderer of `write_colour_style` as XML."""
    # QGIS multiplies stored numbers by the scale in the file: it shows reflectance
    names = ("red", "green", "blue")
    items = "\n".join(
        _CHANNEL.format(name=name, low=low, high=high)
        for name, (low, high) in zip(names, colours.limits, strict=True)
    )
    return _COLOUR.format(items=items, **dict(zip(names, colours.bands, strict=True)))


def _write(
    path: PathLike, renderer: str, *, overwrite: Replaceable, inputs: Sequence[Path]
) -> Path:
    text = _STYLE.format(renderer=renderer)
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=2**14) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)
