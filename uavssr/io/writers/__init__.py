"""Files out: cubes in every format, quality layers, images; complete before they get their name.

Nothing here computes what is written.
"""

from uavssr.io.writers.atomic import (
    check_free_space,
    check_names,
    check_output,
    publish_folder,
    replacing,
    sync,
    write_failed,
)
from uavssr.io.writers.block_codec import usable_cores
from uavssr.io.writers.encoding import NODATA, SCALE, CubeDtype, cube_bytes, quantise
from uavssr.io.writers.formats import SUFFIXES, check_format, open_writer
from uavssr.io.writers.journal import Journal, RecordKind, journal_path, output_locked
from uavssr.io.writers.layers import Layer, MapTarget
from uavssr.io.writers.lock import Lock
from uavssr.io.writers.metadata import TRUE_COLOUR_NM
from uavssr.io.writers.msi_image import (
    IMAGE_BLOCK,
    ImageErrorTarget,
    ImageTarget,
    Part,
    write_image,
)
from uavssr.io.writers.ownership import Replaceable, move_away
from uavssr.io.writers.part_folder import part_folder, restore_replaced
from uavssr.io.writers.published import PublishedFiles
from uavssr.io.writers.qgis_folder import FolderProject, project_of_folder
from uavssr.io.writers.qgis_style import (
    CHANGE_COLOURS,
    Category,
    style_path,
    write_category_style,
    write_colour_style,
    write_map_style,
)
from uavssr.io.writers.quality import Quality, QualityTarget
from uavssr.io.writers.sensor_yaml import write_sensor
from uavssr.io.writers.target import FORMATS, CubeTarget, Format
from uavssr.io.writers.tile_record import TileRecord
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.io.writers.true_colour import TrueColour

__all__ = [
    "CHANGE_COLOURS",
    "FORMATS",
    "IMAGE_BLOCK",
    "NODATA",
    "SCALE",
    "SUFFIXES",
    "TRUE_COLOUR_NM",
    "Category",
    "CubeDtype",
    "CubeTarget",
    "FolderProject",
    "Format",
    "ImageErrorTarget",
    "ImageTarget",
    "Journal",
    "Layer",
    "Lock",
    "MapTarget",
    "Part",
    "PublishedFiles",
    "Quality",
    "QualityTarget",
    "RecordKind",
    "Replaceable",
    "TileRecord",
    "TileWriter",
    "TrueColour",
    "check_format",
    "check_free_space",
    "check_names",
    "check_output",
    "cube_bytes",
    "journal_path",
    "move_away",
    "open_writer",
    "output_locked",
    "part_folder",
    "project_of_folder",
    "publish_folder",
    "quantise",
    "replacing",
    "restore_replaced",
    "style_path",
    "sync",
    "usable_cores",
    "write_category_style",
    "write_colour_style",
    "write_failed",
    "write_image",
    "write_map_style",
    "write_sensor",
]
