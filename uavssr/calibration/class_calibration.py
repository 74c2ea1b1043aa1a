"""The STFs of the classes of ground of an image from reference spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.calibration.band_coverage import on_grid, reference_bands
from uavssr.calibration.class_fit import KnownGround, known_ground_test
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.references import Reference, plausible_places
from uavssr.errors import InputRefused
from uavssr.io.stf import ClassDifference, ClassStfs, StfEstimate
from uavssr.model import ContrastTest, Model, ResponseFamily
from uavssr.reconstruction import LandCover, classes_at, usable_classes, with_own_gains
from uavssr.sensors import BoolArray, FloatArray

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

MIN_CLASS_REFERENCES: Final = 10
"""Least references of a class that gets an STF."""


def calibrate_classes(
    msi: MsiSource, reference: Reference, cover: LandCover, scene: StfEstimate, *, model: Model
) -> ClassStfs:
    """The STFs of classes, the scene's with gains of a class's own, from an opened reference.

    Args:
        msi: the image.
        reference: spectra at places in the image.
        cover: its classes of ground.
        scene: the STF of all references.
        model: on whose wavelengths the STF is.

    Raises:
        InputRefused: the reference has no places or covers one band alone, or fewer than two
            classes have enough references.
    """
    usable, used = plausible_places(reference), reference_bands(msi.sensor, reference)
    _check_reference(reference, used)
    names = np.array(classes_at(cover, msi, usable.places))
    seen = {str(name): usable.msi[names == name] for name in np.unique(names) if name}
    least, unit = MIN_CLASS_REFERENCES, "references"
    samples = usable_classes(seen, cover.source, least=least, unit=unit)
    spectra = on_grid(usable.spectra, usable.nm, model.network.basis)
    ground = [
        KnownGround(
            spectra=spectra[names == name],
            msi=usable.msi[names == name],
            patterns=usable.patterns[names == name],
        )
        for name in samples.pixels
    ]
    instrument = Instrument.of(ResponseFamily.of(msi.sensor, model.grid))
    test = known_ground_test(instrument, ground, used)
    own = (_all_bands(values, used, 0.0) for values in (test.deviation, test.deviation_se))
    return ClassStfs(
        names=tuple(samples.pixels),
        pixels=np.array([len(each.msi) for each in ground]),
        msi=np.stack([each.msi.mean(0) for each in ground]),
        estimates=tuple(with_own_gains(scene, *change) for change in zip(*own, strict=True)),
        difference=_difference(test, used),
        left_out=samples.left_out,
        source=cover.source,
    )


def _check_reference(reference: Reference, used: BoolArray) -> None:
    if reference.kind not in ("cube", "spectra"):
        problem = f"holds {reference.kind}, which are not at places of classes"
    elif used.sum() < 2:
        problem = "covers one band alone, so that gains of bands cannot be compared"
    else:
        return
    remedy = "give a cube or spectra at coordinates, or leave --zones out"
    raise InputRefused(problem, path=reference.path, remedy=remedy)


def _difference(test: ContrastTest, used: BoolArray) -> ClassDifference:
    """The test for all bands: nothing is known of those that are not covered."""
    return ClassDifference(
        value=_all_bands(test.value, used, 0.0),
        se=_all_bands(test.se, used, np.inf),
        p=_all_bands(test.p, used, 1.0),
        significant_from=_all_bands(test.significant_from, used, np.inf),
    )


def _all_bands(values: FloatArray, used: BoolArray, other: float) -> FloatArray:
    """(K, c) of values (K, b) of the used bands, `other` in the rest."""
    whole = np.full((len(values), len(used)), other)
    whole[:, used] = values
    return whole
