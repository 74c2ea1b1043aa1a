"""The spectral basis that turns coefficients into reflectance, and its form in a file's tags."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.checks import MAX_BANDS
from uavssr.sensors import Float32Array, WavelengthGrid, subset

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter


_MARK: Final = {"uavssr_product": "coefficients"}
"""The tag that distinguishes a file of coefficients from a cube."""
_PREFIX: Final = "uavssr_basis_"
_STORED: Final = {"wavelength": "<f8", "fwhm": "<f8", "mean": "<f4", "components": "<f4"}
"""The arrays, each a tag of its own: base64 of numbers in this type."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubeBasis:
    """Reflectance = mean + components @ coefficients, at each pixel."""

    grid: WavelengthGrid
    """The C wavelengths."""
    mean: Float32Array
    """(C,) reflectance at coefficients zero."""
    components: Float32Array
    """(C, r) change of reflectance per unit of each coefficient."""
    sha256: str = ""
    """SHA-256 of the model weights that the coefficients come from; empty where unknown."""

    def __post_init__(self) -> None:
        count, mean, components = len(self.grid), self.mean.shape, self.components.shape
        if mean != (count,) or len(components) != 2 or components[0] != count:
            shapes = f"mean {mean}, components {components}"
            raise InputRefused(f"a basis of {shapes} does not fit {count} wavelengths")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.components).all()):
            raise InputRefused("the basis holds NaN or infinity")

    @property
    def rank(self) -> int:
        """Number of coefficients r."""
        return int(self.components.shape[1])

    def subset(self, indices: Sequence[int]) -> CubeBasis:
        """The basis of some of the wavelengths."""
        chosen = list(indices)
        mean, components = self.mean[chosen], self.components[chosen]
        return replace(self, grid=subset(self.grid, chosen), mean=mean, components=components)

    def expand(
        self, coefficients: Float32Array, *, bands: Sequence[int] | None = None
    ) -> Float32Array:
        """Reflectance (C, h, w) of coefficients (r, h, w); NaN where a coefficient is NaN.

        Args:
            coefficients: (r, h, w).
            bands: indices of the wavelengths to give, in any order; all by default.
        """
        chosen = slice(None) if bands is None else list(bands)
        # x = mean + E a, for all pixels at once
        with np.errstate(invalid="ignore"):  # BLAS may report its padding of small matrices
            cube = self.components[chosen] @ coefficients.reshape(self.rank, -1)
        cube += self.mean[chosen, None]
        return cube.reshape(-1, *coefficients.shape[1:])

    def tags(self) -> dict[str, str]:
        """The basis as tags."""
        arrays = (self.grid.centres, self.grid.fwhm, self.mean, self.components)
        raw = {
            key: np.asarray(array, dtype).tobytes()
            for (key, dtype), array in zip(_STORED.items(), arrays, strict=True)
        }
        texts = {key: base64.b64encode(data).decode() for key, data in raw.items()}
        texts |= {"grid": self.grid.name, "model_sha256": self.sha256}
        texts["crc32"] = f"{zlib.crc32(b''.join(raw.values())):08x}"
        return {f"{_PREFIX}{key}": text for key, text in texts.items() if text} | _MARK

    @classmethod
    def of_tags(cls, tags: Mapping[str, str], *, rank: int, path: Path) -> CubeBasis:
        """The basis that a file of `rank` coefficient bands holds.

        Raises:
            InputRefused: it is not there, or damaged.
        """
        try:
            raw = {key: base64.b64decode(tags[f"{_PREFIX}{key}"], validate=True) for key in _STORED}
            if zlib.crc32(b"".join(raw.values())) != int(tags[f"{_PREFIX}crc32"], 16):
                raise ValueError("its checksum differs")
            arrays = {key: np.frombuffer(data, _STORED[key]) for key, data in raw.items()}
            count = arrays["wavelength"].size
            if count > MAX_BANDS or arrays["components"].size != count * rank:
                raise ValueError(f"{count} wavelengths for {rank} coefficient bands")
            name = tags.get(f"{_PREFIX}grid", path.name)
            return cls(
                grid=WavelengthGrid(name, arrays["wavelength"], arrays["fwhm"]),
                mean=arrays["mean"].astype(np.float32),
                components=arrays["components"].astype(np.float32).reshape(count, rank),
                sha256=tags.get(f"{_PREFIX}model_sha256", ""),
            )
        except (KeyError, ValueError, InputRefused) as err:
            reason = f"no {err}" if isinstance(err, KeyError) else err
            raise InputRefused(
                f"the basis in its tags is damaged ({reason})",
                path=path,
                remedy="write the coefficients again; "
                "some programs cut long tags when they copy a file",
            ) from err


def holds_coefficients(tags: Mapping[str, str]) -> bool:
    """Whether a file's tags say that its bands are coefficients."""
    return _MARK.items() <= tags.items()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoefficientMetadata:
    """Tags and band names of a file of coefficients."""

    basis: CubeBasis
    """The basis of its coefficients."""
    tags: Mapping[str, str]
    """Provenance for the dataset's default domain."""

    def apply(self, dataset: DatasetWriter) -> None:
        """Write the basis, the provenance and the bands' names into an open dataset."""
        dataset.update_tags(**self.tags, **self.basis.tags())
        dataset.descriptions = self._names()

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `apply` wrote, or None."""
        if not (dict(self.tags) | self.basis.tags()).items() <= dataset.tags().items():
            return "the spectral basis and the provenance"
        return None if dataset.descriptions == self._names() else "band names"

    def _names(self) -> tuple[str, ...]:
        return tuple(f"coefficient {k + 1}" for k in range(self.basis.rank))
