"""The sizes of the network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

from uavssr.errors import ModelRefused

MAX_COMPONENTS: Final = 512
"""Most Gaussians of a spectral prior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PGUNetConfig:
    """Sizes of the network; config.json of a model folder holds every field.

    Raises:
        ModelRefused: a size is not a whole number within its limits, or two do not fit together.
    """

    bands: int = 270
    """C, bands of the cube."""
    rank: int = 16
    """r, spectral coefficients."""
    components: int = 32
    """K, Gaussians of the spectral prior."""
    stages: int = 4
    """Unrolled stages of the cube."""
    response_stages: int = 2
    """Unrolled stages of the STF."""
    width: int = 32
    """Channels inside Z-Net."""
    stf_width: int = 48
    """Channels inside P-Net."""
    local_components: int = 0
    """Gaussians of the spectral prior that are of local spectra, see `add_local_prior`."""
    stf: Literal["parametric", "free"] = "parametric"
    """Form of an STF: its nominal curve shifted, stretched and scaled, or any curve."""
    prior_variance: Literal["unit", "pixel"] = "unit"
    """Variance of coefficients that an X-step expects: one, or a multiple of each pixel's own.

    A pixel's own is of the mixture's posterior: small on dark ground, where noise tells little.
    """

    def __post_init__(self) -> None:
        limits = {
            "bands": 4096,
            "rank": 4096,
            "components": MAX_COMPONENTS,
            "stages": 32,
            "response_stages": 32,
            "width": 1024,
            "stf_width": 1024,
        }
        if (
            type(self.local_components) is not int
            or not 0 <= self.local_components <= MAX_COMPONENTS
        ):
            fact = f"config local_components must be a whole number in 0-{MAX_COMPONENTS}"
            raise ModelRefused(f"{fact}, got {self.local_components!r}")
        for key, limit in limits.items():
            value = getattr(self, key)
            if type(value) is not int or not 1 <= value <= limit:
                raise ModelRefused(
                    f"config {key} must be a whole number in 1-{limit}, got {value!r}"
                )
        if self.stf not in ("parametric", "free"):
            raise ModelRefused(f"config stf must be parametric or free, got {self.stf!r}")
        if self.prior_variance not in ("unit", "pixel"):
            fact = "config prior_variance must be unit or pixel"
            raise ModelRefused(f"{fact}, got {self.prior_variance!r}")
        if self.width % 8 or self.stf_width % 8:
            raise ModelRefused("config width and stf_width must be multiples of 8")
        if self.rank > self.bands:
            raise ModelRefused(f"config rank {self.rank} exceeds bands {self.bands}")

    def to_dict(self) -> dict[str, int | str]:
        """The fields as plain values."""
        return asdict(self)
