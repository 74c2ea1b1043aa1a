"""A spectrum with its interval, drawn into the axes of a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uavssr.sensors import Float32Array, FloatArray
from uavssr.viz.figures import NINETY

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_spectrum(
    centres: FloatArray,
    spectrum: Float32Array,
    se: Float32Array | None,
    *,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw a spectrum (C,) over its wavelengths (C,) in nm, with the 90 % interval of `se` (C,)."""
    from matplotlib import pyplot as plt

    axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1] if ax is None else ax
    (line,) = axes.plot(centres, spectrum, linewidth=1.6)
    if se is not None:
        half = NINETY * se
        label = "90 % interval"
        axes.fill_between(
            centres,
            spectrum - half,
            spectrum + half,
            color=line.get_color(),
            alpha=0.25,
            lw=0,
            label=label,
        )
        axes.legend(frameon=False)
    axes.set(xlabel="Wavelength (nm)", ylabel="Reflectance", title=title)
    axes.grid(visible=True, alpha=0.3)
    return axes
