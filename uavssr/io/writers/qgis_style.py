"""QGIS styles (.qml): a file beside a raster of the same name is loaded with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import quoteattr

from uavssr.io.checks import PathLike
from uavssr.io.writers.atomic import replacing

VIRIDIS: Final = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Colours at even steps of the map viridis (van der Walt and Smith 2015, CC0)."""

_STYLE: Final = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 <pipe>
  <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1"
    classificationMin={low} classificationMax={high}>
   <rastershader>
    <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0"
      minimumValue={low} maximumValue={high}>
{items}
    </colorrampshader>
   </rastershader>
  </rasterrenderer>
 </pipe>
</qgis>
"""


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
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=2**14) as part:
        part.write_text(_STYLE.format(items=items, **ends), encoding="utf-8")
    return Path(path)
