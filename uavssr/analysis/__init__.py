"""Answers from spectra: indices and other cameras' bands, with standard errors; image or cube in.

Formulas are in `indices`; nothing here estimates spectra.
"""

from uavssr.analysis.averaging_grid import AveragingGrid
from uavssr.analysis.band_choice import (
    BandChoice,
    ExpectedError,
    band_set_errors,
    choose_bands,
    covered_candidates,
    expected_error,
)
from uavssr.analysis.band_ranking import BandRanking, RankedBands, SetErrors, rank_bands
from uavssr.analysis.carried import (
    carried_indices,
    refuse_uncarried,
    trust_of_camera,
    trust_of_index,
    uncarried,
)
from uavssr.analysis.change import ChangeMaps, same_stf, write_change
from uavssr.analysis.conversion import BandValues, Conversion
from uavssr.analysis.converted_image import ImageConversion
from uavssr.analysis.cube_spectra import holds_spectra, of_array, of_cube
from uavssr.analysis.image_spectra import of_image
from uavssr.analysis.index_maps import (
    IndexEvaluation,
    IndexMaps,
    IndexRequest,
    index_tiles,
    write_index_maps,
)
from uavssr.analysis.pass_estimate import PassEstimate, estimate_pass
from uavssr.analysis.samples import (
    PosteriorSampler,
    SampleOptions,
    estimate_samples,
    write_samples,
)
from uavssr.analysis.spectral_source import (
    SpectralErrors,
    SpectralSource,
    SpectralTile,
)
from uavssr.analysis.zone_change import (
    FALSE_DISCOVERIES,
    ZoneChange,
    false_discovery_rates,
    write_zone_changes,
    zone_changes,
)
from uavssr.analysis.zone_spectra import SpectrumOfZone
from uavssr.analysis.zone_statistics import (
    IndexOfZone,
    ZoneRow,
    own_share_of_mean,
    zone_statistics,
)
from uavssr.analysis.zone_table import (
    read_zone_table,
    write_zone_spectra,
    write_zone_table,
    zone_columns,
    zone_records,
)
from uavssr.analysis.zones import (
    Zone,
    ZoneSet,
    outside_notice,
    read_zones,
    whole_image,
    zones_by_tile,
)

__all__ = [
    "FALSE_DISCOVERIES",
    "AveragingGrid",
    "BandChoice",
    "BandRanking",
    "BandValues",
    "ChangeMaps",
    "Conversion",
    "ExpectedError",
    "ImageConversion",
    "IndexEvaluation",
    "IndexMaps",
    "IndexOfZone",
    "IndexRequest",
    "PassEstimate",
    "PosteriorSampler",
    "RankedBands",
    "SampleOptions",
    "SetErrors",
    "SpectralErrors",
    "SpectralSource",
    "SpectralTile",
    "SpectrumOfZone",
    "Zone",
    "ZoneChange",
    "ZoneRow",
    "ZoneSet",
    "band_set_errors",
    "carried_indices",
    "choose_bands",
    "covered_candidates",
    "estimate_pass",
    "estimate_samples",
    "expected_error",
    "false_discovery_rates",
    "holds_spectra",
    "index_tiles",
    "of_array",
    "of_cube",
    "of_image",
    "outside_notice",
    "own_share_of_mean",
    "rank_bands",
    "read_zone_table",
    "read_zones",
    "refuse_uncarried",
    "same_stf",
    "trust_of_camera",
    "trust_of_index",
    "uncarried",
    "whole_image",
    "write_change",
    "write_index_maps",
    "write_samples",
    "write_zone_changes",
    "write_zone_spectra",
    "write_zone_table",
    "zone_changes",
    "zone_columns",
    "zone_records",
    "zone_statistics",
    "zones_by_tile",
]
