"""One self-contained HTML page on a scene: maps, spectra, STF, verdict, plots and provenance.

Nothing here estimates spectra or evaluates formulas.
"""

from uavssr.report.page import PageFacts, write_page
from uavssr.report.page_body import IndexNote
from uavssr.report.page_sample import PageSample, sample_spectra

__all__ = [
    "IndexNote",
    "PageFacts",
    "PageSample",
    "sample_spectra",
    "write_page",
]
