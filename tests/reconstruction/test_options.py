"""Options are checked when they are given."""

from __future__ import annotations

import pytest

from tests.helpers.models import GRID
from uavssr.errors import UsageError
from uavssr.reconstruction.options import OutputOptions


def test_wavelengths_in_nm_are_the_nearest_bands() -> None:
    texts = (f"{GRID.centres[3]},{GRID.centres[9] + 1}", [GRID.centres[9] + 1, GRID.centres[3]])
    for wavelengths in texts:
        output = OutputOptions(cube="a.tif", wavelengths=wavelengths)
        assert output.wavelength_indices(GRID) == (3, 9)
    with pytest.raises(UsageError, match="--wavelengths"):
        OutputOptions(cube="a.tif", wavelengths=[550]).wavelength_indices(GRID)


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"format": "envi"}, "--format envi does not go with the suffix '.tif'"),
        ({"dtype": "int8"}, "--dtype must be uint16 or float32, got 'int8'"),
    ],
)
def test_output_options_that_make_no_sense_are_refused(
    options: dict[str, object], fact: str
) -> None:
    with pytest.raises(UsageError, match=fact):
        OutputOptions(cube="a.tif", **options)
