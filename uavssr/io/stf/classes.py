"""STFs of classes of ground as variables of the STF product, with the test of their differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from uavssr.io.stf.dataset import QUANTITIES, LabelledArray, StfArrays, StfEstimate
from uavssr.sensors import FloatArray, IndexArray, NumberArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassDifference:
    """Log gains of K classes in c bands, each class minus the mean of the others."""

    value: FloatArray
    """(K, c) the difference."""
    se: FloatArray
    """(K, c) its standard error where all classes have one STF."""
    p: FloatArray
    """(K, c) p-value, corrected for all classes and bands."""
    significant_from: FloatArray
    """(K, c) size from which a difference is significant at 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassStfs:
    """The STFs of K classes of ground in an image of c bands."""

    names: tuple[str, ...]
    """(K,) of the classes."""
    pixels: IndexArray
    """(K,) pixels or reference spectra that the STF follows from."""
    msi: FloatArray
    """(K, c) mean reflectance in the image."""
    estimates: tuple[StfEstimate, ...]
    """(K,) the STFs."""
    difference: ClassDifference
    """Of the logarithm of the gain, relative to the mean of the bands."""
    left_out: Mapping[str, str]
    """Classes without an STF, and why."""
    source: str
    """Where the classes are from."""

    @property
    def p_any(self) -> float:
        """Probability that one common STF gives a largest difference of that size."""
        return float(self.difference.p.min())


def with_class_stfs(arrays: StfArrays, classes: ClassStfs, verdict: str) -> StfArrays:
    """The product with `class_*` variables along `class`, see docs/formats.md."""
    attrs = {
        "uavssr_classes": classes.source,
        "uavssr_classes_left_out": "; ".join(
            f"{name}: {why}" for name, why in classes.left_out.items()
        ),
        "uavssr_classes_p": f"{classes.p_any:.4g}",
        "uavssr_classes_verdict": verdict,
    }
    names = LabelledArray(("class",), np.array(classes.names), {"long_name": "class of ground"})
    return replace(
        arrays,
        variables=arrays.variables | dict(_variables(classes)),
        coordinates=arrays.coordinates | {"class": names},
        attrs=arrays.attrs | attrs,
    )


def _variables(classes: ClassStfs) -> Iterable[tuple[str, LabelledArray]]:
    for name, quantity in QUANTITIES.items():
        values = np.array([getattr(estimate, name) for estimate in classes.estimates])
        yield _labelled(f"class_{name}", values, quantity.units, quantity.long_name, quantity.dims)
    band = ("band",)
    yield _labelled("class_pixels", classes.pixels, "1", "pixels or references used")
    yield _labelled("class_msi", classes.msi, "1", "mean reflectance in the image", band)
    labels = {
        "value": "log gain, class minus the mean of the others",
        "se": "standard error of the difference under one STF",
        "p": "p-value of the difference, corrected for classes and bands",
        "significant_from": "size from which the difference is significant at 5 %",
    }
    for name, label in labels.items():
        stem = "class_gain_difference" + ("" if name == "value" else f"_{name}")
        yield _labelled(stem, getattr(classes.difference, name), "1", label, band)


def _labelled(
    name: str, values: NumberArray, units: str, label: str, dims: tuple[str, ...] = ()
) -> tuple[str, LabelledArray]:
    attrs = {"units": units} if units else {}
    return name, LabelledArray(("class", *dims), values, attrs | {"long_name": label})
