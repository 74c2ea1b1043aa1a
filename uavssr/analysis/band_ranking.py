"""The ranking of candidate bands with known and unknown responses, beside existing cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uavssr.analysis.band_choice import (
    BandChoice,
    ExpectedError,
    band_set_errors,
    choose_bands,
    covered_candidates,
    expected_error,
)
from uavssr.errors import InputRefused
from uavssr.model import PGUNet
from uavssr.sensors import Band, Sensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SetErrors:
    """The expected errors that a set of bands leaves, by what is known of its responses."""

    known: ExpectedError
    """The responses are known."""
    unknown: ExpectedError
    """They differ from the data sheet, and no image has informed them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedBands:
    """A choice of bands, made for known or for unknown responses."""

    choice: BandChoice
    steps: tuple[ExpectedError, ...]
    """After each band of the greedy choice, with the responses that the choice is made for."""
    errors: SetErrors
    """Of the set after all exchanges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRanking:
    """Which of the candidates to buy, and what existing cameras leave."""

    bands: tuple[Band, ...]
    """The candidates that the model's wavelengths cover; numbers in choices are theirs."""
    left_out: tuple[str, ...]
    """Roles of the other candidates."""
    known: RankedBands
    """Chosen for known responses."""
    unknown: RankedBands
    """Chosen for unknown ones."""
    cameras: dict[str, SetErrors]
    """Of existing cameras by name, with the bands that the wavelengths cover."""
    cameras_left_out: dict[str, tuple[str, ...]]
    """Roles of bands of cameras that the wavelengths do not cover."""


def rank_bands(
    network: PGUNet,
    candidates: Sequence[Band],
    *,
    count: int,
    cameras: Sequence[Sensor] = (),
    wavelengths: Sequence[int] | None = None,
) -> BandRanking:
    """The sets of `count` candidates that leave the least expected error of the cube.

    Args:
        network: of the spectral prior.
        candidates: bands to choose from, each with a role of its own.
        count: number of bands to choose.
        cameras: to compare with; those without a covered band are left out.
        wavelengths: numbers of the model's wavelengths whose error counts; all by default.

    Raises:
        UsageError: fewer candidates than bands are wanted, or no band is.
        InputRefused: the model's wavelengths cover no candidate.
    """
    bands, left_out = covered_candidates(candidates, network.grid)
    if not bands:
        first, last = network.grid.centres[[0, -1]]
        raise InputRefused(
            f"no candidate lies within the model's wavelengths, {first:g}-{last:g} nm",
            remedy="give other candidates, or another model with --model",
        )
    known, unknown = (
        band_set_errors(network, bands, known=known, wavelengths=wavelengths)
        for known in (True, False)
    )

    def ranked(*, for_known: bool) -> RankedBands:
        errors = known if for_known else unknown
        choice = choose_bands(errors, count)
        return RankedBands(
            choice=choice,
            steps=tuple(expected_error(errors, choice.greedy[: n + 1]) for n in range(count)),
            errors=SetErrors(
                known=expected_error(known, choice.chosen),
                unknown=expected_error(unknown, choice.chosen),
            ),
        )

    covered = {camera.name: covered_candidates(camera.bands, network.grid) for camera in cameras}
    return BandRanking(
        bands=bands,
        left_out=left_out,
        known=ranked(for_known=True),
        unknown=ranked(for_known=False),
        cameras={
            name: _errors_of(network, inside, wavelengths)
            for name, (inside, _) in covered.items()
            if inside
        },
        cameras_left_out={name: outside for name, (_, outside) in covered.items() if outside},
    )


def _errors_of(
    network: PGUNet, bands: Sequence[Band], wavelengths: Sequence[int] | None
) -> SetErrors:
    known, unknown = (
        band_set_errors(network, bands, known=known, wavelengths=wavelengths)
        for known in (True, False)
    )
    chosen = range(len(bands))
    return SetErrors(known=expected_error(known, chosen), unknown=expected_error(unknown, chosen))
