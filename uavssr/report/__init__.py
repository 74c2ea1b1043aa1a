"""One self-contained HTML page on a scene: maps, spectra, STF, verdict, plots and provenance.

Nothing here estimates spectra or evaluates formulas.
"""

from uavssr.report.page import MAX_PAGE_BYTES, PageFacts, page_text, write_page
from uavssr.report.page_body import IndexNote
from uavssr.report.page_sample import PageSample, sample_spectra
from uavssr.report.page_view import PageView

__all__ = [
    "MAX_PAGE_BYTES",
    "IndexNote",
    "PageFacts",
    "PageSample",
    "PageView",
    "page_text",
    "sample_spectra",
    "write_page",
]
