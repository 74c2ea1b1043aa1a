"""Zones in: polygons of vector files, and maps of the classes of ground.

Nothing here knows what is measured in a zone.
"""

from uavssr.io.zones.class_map import ClassMap, open_class_map
from uavssr.io.zones.polygons import PolygonLayer, check_outlines, read_polygons, reprojected

__all__ = [
    "ClassMap",
    "PolygonLayer",
    "check_outlines",
    "open_class_map",
    "read_polygons",
    "reprojected",
]
