"""Shares of the prior variance that a calibration removed, as variables of the STF dataset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from uavssr.sensors import FloatArray

if TYPE_CHECKING:
    import xarray as xr

_LABELS: Final = {
    "learned": "share of the prior variance that image and satellite remove",
    "learned_image": "share of the prior variance that the image alone removes",
}
"""Prefix of a variable's name, and its label."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedShares:
    """Shares of the prior variance that are removed, 0..1, for c bands."""

    centre: FloatArray
    """(c,) of the centre."""
    fwhm: FloatArray
    """(c,) of the width's logarithm."""
    gain: FloatArray
    """(c,) of the gain's logarithm, with the factor that all bands share."""


def with_learned_shares(
    ds: xr.Dataset, shares: LearnedShares, *, image: LearnedShares
) -> xr.Dataset:
    """The same dataset with `learned_*` (band), and `learned_image_*` of the image alone."""
    return ds.assign(
        {
            f"{prefix}_{field.name}": (
                ("band",),
                getattr(values, field.name),
                {"units": "1", "long_name": f"{label}: {field.name}"},
            )
            for (prefix, label), values in zip(_LABELS.items(), (shares, image), strict=True)
            for field in fields(LearnedShares)
        }
    )
