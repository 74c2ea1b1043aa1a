"""The verdict at the end of a run: shares of its pixels, and a sentence for each that is odd."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from uavssr.io.writers import TileRecord

MIN_VALID: Final = 0.01
"""Share of valid pixels below which a scene is odd: the flight of one strip still fills a tenth."""
MAX_UNUSUAL: Final = 0.15
"""Share of unusual pixels above which a scene is odd.

On ten development scenes it is under 0.01 as random cameras near P4M and RedEdge-3 see them
(`benchmarks/verdict.py`). With red and red edge swapped it is above 0.15 but on one beach, with
red edge and near infrared on most; swaps of visible bands do not show.
"""
MAX_SATURATED: Final = 0.05
"""Share of saturated pixels above which a scene is odd: glints and roofs are fewer."""
MAX_CLIPPED: Final = 0.5
"""Share of clipped pixels above which a scene is odd: in dark forest a tenth is usual."""

_SHARES: Final = ("valid", "unusual", "outlier", "saturated", "clipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVerdict:
    """Shares of a run's pixels, 0..1, and what is odd about them."""

    valid: float
    """Share of valid pixels in the scene; the other shares are of these."""
    unusual: float
    """Beyond the 90 % quantile of every component of the prior: some are in every scene."""
    outlier: float
    """Unlike all training spectra: flagged in the quality layer, as are saturated pixels."""
    saturated: float
    """With the largest number of its type in some band."""
    clipped: float
    """Of which the cube holds the least or the largest number of its type; 0 for float32."""
    prior_driven: tuple[str, ...]
    """Bands whose STF follows from the data sheet, hardly from the image."""
    odd: tuple[str, ...]
    """What is odd, a sentence each; none for a usual scene."""

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> RunVerdict:
        """The verdict of `tags`, to six digits; KeyError or ValueError if they have none."""
        shares = {name: float(tags[f"uavssr_{name}"]) for name in _SHARES}
        bands, odd = tags.get("uavssr_prior_driven", ""), tags.get("uavssr_odd", "")
        return cls(
            **shares,
            prior_driven=tuple(bands.split(", ")) if bands else (),
            odd=tuple(odd.split("; ")) if odd else (),
        )

    def to_dict(self) -> dict[str, float | list[str]]:
        """The fields for JSON."""
        plain: dict[str, float | list[str]] = {name: getattr(self, name) for name in _SHARES}
        return plain | {"prior_driven": list(self.prior_driven), "odd": list(self.odd)}

    def tags(self) -> dict[str, str]:
        """The fields as attributes `uavssr_...` of a file; empty ones are left out."""
        lists = {"prior_driven": ", ".join(self.prior_driven), "odd": "; ".join(self.odd)}
        texts = {
            name: f"{value:.6g}" for name, value in self.to_dict().items() if name not in lists
        }
        return {f"uavssr_{name}": text for name, text in (texts | lists).items() if text}

    def summary(self) -> str:
        """The shares in one line."""
        bands = ", ".join(self.prior_driven) or "no band"
        return (
            f"{_percent(self.valid)} of the pixels are valid; of these {_percent(self.outlier)} "
            f"are outliers, {_percent(self.saturated)} saturated, {_percent(self.clipped)} "
            f"clipped; prior-driven STF: {bands}"
        )


@dataclass(slots=True, kw_only=True)
class PixelCounts:
    """Counts over the tiles of a run; tiles may be added from any thread."""

    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: TileRecord, *, clipped: int) -> None:
        """Add a tile, with the number of its pixels that were clipped."""
        with self._lock:
            self._counts.update(record.counts)
            self._counts.update(
                pixels=record.valid.size, valid=int(record.valid.sum()), clipped=clipped
            )

    def verdict(self, prior_driven: tuple[str, ...]) -> RunVerdict:
        """The shares in all tiles that were added, and what is odd about them."""
        counts, valid = self._counts, max(self._counts["valid"], 1)
        shares = {"valid": counts["valid"] / max(counts["pixels"], 1)}
        shares |= {name: counts[name] / valid for name in _SHARES[1:]}
        return RunVerdict(**shares, prior_driven=prior_driven, odd=tuple(_odd(shares)))


def _odd(shares: Mapping[str, float]) -> Iterator[str]:
    pixels = {name: f"{_percent(share)} of the pixels are" for name, share in shares.items()}
    if shares["valid"] < MIN_VALID:
        yield f"{pixels['valid']} valid: check the nodata value"
    if shares["unusual"] > MAX_UNUSUAL:
        yield f"{pixels['unusual']} unlike anything in training: check the band order and the scale"
    if shares["saturated"] > MAX_SATURATED:
        yield f"{pixels['saturated']} saturated: check the exposure and the scale"
    if shares["clipped"] > MAX_CLIPPED:
        yield f"{pixels['clipped']} darker than black or too bright to store: check the scale"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{100 * share:.2g} %"
