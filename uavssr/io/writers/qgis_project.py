"""QGIS projects (.qgs): the files of a folder as layers, each with its style."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from uavssr.errors import InputRefused
from uavssr.io.bounded import parse_xml, read_bytes, why_unread
from uavssr.io.writers.atomic import replacing

_DOCTYPE: Final = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_DOCTYPE_PATTERN: Final = re.compile(rb"<!DOCTYPE qgis PUBLIC '[^'<>]*' '[^'<>]*'>")
"""The document type that QGIS writes, which defines no entities."""
_MAX_STYLE: Final = 2**20
"""Bytes of the largest style that is read."""
_OUTLINE: Final = {"line_color": "255,200,0,255", "line_width": "0.5", "line_style": "solid"}
"""How polygons are drawn: their outline, so that the map below stays visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLayer:
    """A file as a layer of a project."""

    path: Path
    """The file, in the project's folder."""
    title: str
    """Name of the layer."""
    crs_wkt: str
    """Its CRS."""
    is_vector: bool = False
    """Polygons, else a raster."""
    pipe: ET.Element | None = None
    """Renderer of a raster as of a .qml file, None for QGIS's own choice."""
    shown: bool = True
    """Whether it is switched on."""

    @property
    def key(self) -> str:
        """Its identifier in the project, the same at every run."""
        return f"layer_{hashlib.sha256(self.path.name.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QgisProject:
    """Layers from top to bottom, and what the map shows when it is opened."""

    title: str
    """Name of the project."""
    layers: Sequence[ProjectLayer]
    """From top to bottom."""
    crs_wkt: str
    """CRS of the map."""
    extent: tuple[float, float, float, float]
    """West, south, east, north of the map in that CRS."""

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the project; the paths of its layers are relative to it.

        Raises:
            OutputError: something stands in the way of the file.
        """
        inputs = [layer.path for layer in self.layers]
        with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=2**16) as part:
            part.write_bytes(_DOCTYPE + ET.tostring(self._document(), encoding="utf-8"))

    def _document(self) -> ET.Element:
        root = ET.Element("qgis", version="3.22.0", projectname=self.title)
        ET.SubElement(root, "title").text = self.title
        _add_crs(ET.SubElement(root, "projectCrs"), self.crs_wkt)
        tree = ET.SubElement(root, "layer-tree-group")
        canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
        ends = zip(("xmin", "ymin", "xmax", "ymax"), self.extent, strict=True)
        extent = ET.SubElement(canvas, "extent")
        for name, value in ends:
            ET.SubElement(extent, name).text = repr(value)
        _add_crs(ET.SubElement(canvas, "destinationsrs"), self.crs_wkt)
        settings = ET.SubElement(ET.SubElement(root, "properties"), "SpatialRefSys")
        ET.SubElement(settings, "ProjectionsEnabled", type="int").text = "1"  # or no CRS is read
        layers = ET.SubElement(root, "projectlayers")
        order = ET.SubElement(root, "layerorder")
        for layer in self.layers:
            provider = "ogr" if layer.is_vector else "gdal"
            ET.SubElement(
                tree,
                "layer-tree-layer",
                id=layer.key,
                name=layer.title,
                source=f"./{layer.path.name}",
                providerKey=provider,
                checked="Qt::Checked" if layer.shown else "Qt::Unchecked",
                expanded="0",
            )
            layers.append(_map_layer(layer, provider))
            ET.SubElement(order, "layer", id=layer.key)
        return root


def read_pipe(style: Path) -> ET.Element | None:
    """The raster renderer of a .qml file, None where there is none.

    Raises:
        InputRefused: the file is no XML.
    """
    try:
        text = _DOCTYPE_PATTERN.sub(b"", read_bytes(style, _MAX_STYLE), count=1)
        return parse_xml(text).find("pipe")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        remedy = "remove the style: QGIS then chooses its own"
        raise InputRefused(why_unread(err, style), path=style, remedy=remedy) from err


def _map_layer(layer: ProjectLayer, provider: str) -> ET.Element:
    kind = "vector" if layer.is_vector else "raster"
    element = ET.Element("maplayer", type=kind)
    ET.SubElement(element, "id").text = layer.key
    ET.SubElement(element, "datasource").text = f"./{layer.path.name}"
    ET.SubElement(element, "layername").text = layer.title
    ET.SubElement(element, "provider").text = provider
    _add_crs(ET.SubElement(element, "srs"), layer.crs_wkt)
    if layer.is_vector:
        element.append(_outline_renderer())
    elif layer.pipe is not None:
        element.append(layer.pipe)
    return element


def _add_crs(parent: ET.Element, wkt: str) -> None:
    crs = ET.SubElement(parent, "spatialrefsys", nativeFormat="Wkt")
    ET.SubElement(crs, "wkt").text = wkt


def _outline_renderer() -> ET.Element:
    renderer = ET.Element("renderer-v2", type="singleSymbol")
    symbol = ET.SubElement(ET.SubElement(renderer, "symbols"), "symbol", type="fill", name="0")
    line = ET.SubElement(symbol, "layer", {"class": "SimpleLine", "enabled": "1"})
    for name, value in _OUTLINE.items():
        ET.SubElement(line, "prop", k=name, v=value)
    return renderer
