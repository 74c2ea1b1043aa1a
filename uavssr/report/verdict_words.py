"""The verdict on a run, and trust in an index, in plain words."""

from __future__ import annotations

from uavssr.indices import Trust
from uavssr.reconstruction import RunVerdict


def headline(verdict: RunVerdict | None) -> tuple[str, str]:
    """A word for the page's style (good, odd or unknown), and the verdict in one sentence."""
    if verdict is None:
        return "unknown", "No verdict: that of the run that made this file is not known."
    if verdict.odd:
        return "odd", "Check this before you use the numbers."
    return "good", "Nothing odd was found in this image."


def sentences(verdict: RunVerdict | None) -> list[str]:
    """What is odd, then the shares of pixels, a sentence each."""
    if verdict is None:
        return []
    shares = [f"{_percent(verdict.valid)} of the image holds data."]
    if verdict.outlier:
        shares.append(
            f"{_percent(verdict.outlier)} is unlike all spectra that the model learned from: "
            "do not trust the spectra there (orange in the layer Quality)."
        )
    else:
        shares.append("No pixel is unlike the spectra that the model learned from.")
    if verdict.saturated:
        shares.append(f"{_percent(verdict.saturated)} is overexposed in some band.")
    if verdict.clipped:
        shares.append(
            f"{_percent(verdict.clipped)} is too dark or too bright for a cube's numbers "
            "in some band."
        )
    if bands := verdict.prior_driven:
        names = ", ".join(bands)
        shares.append(
            f"The response of {names} is taken from the camera's data sheet: "
            "this image says little about it."
        )
    return [_capital(text) + "." for text in verdict.odd] + shares


def trust_words(trust: Trust | None) -> str:
    """How far to trust an index; empty where that was not measured."""
    if trust is None:
        return ""
    words = {
        "carried": "Places can be compared by it",
        "partly": "Places can be compared by it in part",
        "not carried": "Do not compare places by it",
    }
    rank = f"rank correlation with the truth {trust.rank:.2f}"
    return f"{words[trust.level]}: {rank} (simulated flights)."


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "Less than 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
