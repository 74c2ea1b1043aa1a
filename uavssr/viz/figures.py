"""Two figures: a cube in colour with a few spectra, and an STF beside its nominal SRF.

matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.io.checks import PathLike
from uavssr.io.writers import TRUE_COLOUR_NM, replacing
from uavssr.sensors import FloatArray, response_moments
from uavssr.viz.quicklook import CubePreview, Spot, read_preview

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEAR_NM: Final = 40.0
"""Distance in nm from a colour beyond which a band is not called by it."""
_COLOUR_INFRARED: Final = (860.0, 650.0, 560.0)
_SPOT_COLOURS: Final = ("#009e73", "#e69f00", "#d55e00", "#cc79a7", "#0072b2", "#56b4e9")
_BAND_COLOURS: Final = {
    400: "#5b2a86",
    450: "#1f4fd8",
    490: "#0891b2",
    530: "#14994a",
    560: "#3f9b0b",
    590: "#c9a400",
    620: "#e8710a",
    665: "#d62020",
    705: "#b8127e",
    740: "#7d2bb0",
    800: "#6b3e26",
    1000: "#403734",
}
"""Colours of bands by wavelength in nm: as the eye sees them; magenta, violet and brown beyond."""
NINETY: Final = 1.645
"""Half width of a 90 % interval in standard errors."""
_MOST_LINES: Final = 60
"""Most tiles whose STF is drawn."""
_DASHED: Final = (0, (4, 2))


def draw_quicklook(
    cube_path: PathLike,
    png_path: PathLike,
    *,
    title: str | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw a cube that uavssr wrote in true colour and colour infrared, with a few spectra.

    Raises:
        InputRefused: the cube has no wavelengths or no valid pixel.
        OutputError: something stands in the way of the figure.
    """
    preview = read_preview(Path(cube_path))
    spots = preview.spots(len(_SPOT_COLOURS))
    height, width = preview.bands.shape[1:]
    size = (12.0, min(max(3.9 * height / width + 0.9, 3.4), 6.5))
    with png_figure(png_path, size, overwrite=overwrite, inputs=inputs) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.95))
        _draw_image(left, preview, TRUE_COLOUR_NM, spots, "True colour")
        _draw_image(middle, preview, _COLOUR_INFRARED, spots, "Colour infrared")
        draw_scale_bar(left, preview.metres_per_pixel, preview.bands.shape[2])
        _draw_spectra(right, preview, spots)
        figure.suptitle(
            title or Path(cube_path).name, x=0.008, ha="left", fontsize=11, parse_math=False
        )
    return Path(png_path)


@contextmanager
def png_figure(
    path: PathLike, size: tuple[float, float], *, overwrite: bool, inputs: Sequence[Path]
) -> Iterator[Figure]:
    """A figure to fill in the body; it is saved when the body ends well."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=2**23) as part:
        figure = Figure(figsize=size, dpi=200, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(part, format="png")


def dress_axes(axes: Axes, title: str) -> None:
    """Set the title, grid and fonts that all panels share."""
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, width=0.7)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _draw_image(
    axes: Axes,
    preview: CubePreview,
    wavelengths: tuple[float, float, float],
    spots: Sequence[Spot],
    name: str,
) -> None:
    rgb, shown = preview.composite(wavelengths, joint=wavelengths == TRUE_COLOUR_NM)
    if max(abs(nm - wanted) for nm, wanted in zip(shown, wavelengths, strict=True)) > _NEAR_NM:
        name = f"Nearest to {name.lower()}"
    axes.imshow(rgb, interpolation="antialiased")
    for spot, colour in zip(spots, _SPOT_COLOURS, strict=False):
        axes.plot(spot.x, spot.y, "o", ms=8, mfc="none", mec="white", mew=2.6)
        axes.plot(spot.x, spot.y, "o", ms=8, mfc="none", mec=colour, mew=1.5)
    dress_axes(axes, f"{name} ({' / '.join(f'{nm:.0f}' for nm in shown)} nm)")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#b0b0b0")


def draw_scale_bar(axes: Axes, metres: float, width: int) -> None:
    """A bar below an image: a round number of metres, about a quarter of its width.

    Args:
        axes: of the image.
        metres: per pixel.
        width: of the image in pixels.
    """
    wanted = metres * width / 4
    step = 10 ** np.floor(np.log10(wanted))
    length = step * max(n for n in (1, 2, 5) if n * step <= wanted)
    y, end = -0.035, length / metres / width
    axes.plot([0, end], [y, y], "k-", lw=2, transform=axes.transAxes, clip_on=False)
    axes.text(end + 0.02, y, f"{length:g} m", va="center", fontsize=8.5, transform=axes.transAxes)


def _draw_spectra(axes: Axes, preview: CubePreview, spots: Sequence[Spot]) -> None:
    for spot, colour in zip(spots, _SPOT_COLOURS, strict=False):
        label = f"{spot.name}: {spot.ndvi:.2f}" if np.isfinite(spot.ndvi) else spot.name
        axes.plot(preview.wavelengths, spot.spectrum, color=colour, lw=1.3, label=label)
    highest = max((float(np.nanmax(spot.spectrum)) for spot in spots), default=0.0)
    axes.set(
        xlim=(preview.wavelengths[0], preview.wavelengths[-1]),
        ylim=(0, highest * 1.08 if highest > 0 else 1),
        xlabel="Wavelength (nm)",
        ylabel="Reflectance",
    )
    dress_axes(axes, "Spectra at the marked places")
    if spots:
        axes.legend(loc="upper left", fontsize=8, frameon=False)


def draw_stf(
    ds: xr.Dataset,
    png_path: PathLike,
    *,
    label: str = "scene",
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw an STF dataset: nominal SRF, scene STF with its 90 % interval, and the tiles' spread.

    Every band is scaled by its nominal peak, so a gain of 1.1 stands 10 % higher. The scene's lines
    get the `label`.

    Raises:
        OutputError: something stands in the way of the figure.
    """
    nm, nominal = ds["wavelength"].to_numpy(), ds["nominal_stf"].to_numpy()
    peaks = nominal.max(1, keepdims=True)
    colours = wavelength_colours(response_moments(nominal, nm)[0])
    stf, interval = ds["scene_stf"].to_numpy() / peaks, ds["scene_stf_se"].to_numpy() / peaks
    tiles = (ds["stf"].to_numpy() if "tile" in ds.sizes else stf[None][:0]) / peaks
    size = (10.0, max(4.6, 0.55 * len(peaks)))
    with png_figure(png_path, size, overwrite=overwrite, inputs=inputs) as figure:
        axes = figure.subplots()
        axes.axhline(0, color="#808080", lw=0.7)
        for k, colour in enumerate(colours):
            step = -(-len(tiles) // _MOST_LINES) or 1
            axes.plot(nm, tiles[::step, k].T, color=colour, lw=0.5, alpha=0.25, zorder=2)
            low, high = (stf[k] + sign * NINETY * interval[k] for sign in (-1, 1))
            low = np.maximum(low, np.minimum(stf[k], 0))  # no response is negative
            axes.fill_between(nm, low, high, color=colour, alpha=0.22, lw=0, zorder=3)
            axes.plot(nm, stf[k], color=colour, lw=1.9, zorder=4)
            scaled = nominal[k] / peaks[k]
            scaled[scaled < 0.005] = np.nan  # five lines on the zero line would hide it
            axes.plot(nm, scaled, color="#202020", lw=0.9, ls=_DASHED, zorder=5)
        axes.set(xlim=(nm[0], nm[-1]), xlabel="Wavelength (nm)")
        axes.set_ylabel("Response (1 = nominal peak)")
        dress_axes(axes, f"Spectral transformation function, {ds.attrs.get('sensor', 'camera')}")
        _draw_stf_legends(figure, ds, colours, label)
    return Path(png_path)


def _draw_stf_legends(figure: Figure, ds: xr.Dataset, colours: Sequence[str], label: str) -> None:
    """The meaning of the lines below the axes, the estimates beside them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    grey = "#404040"
    styles = [
        Line2D([], [], color=grey, lw=1.9, label=label),
        Patch(color=grey, alpha=0.22, lw=0, label="90 % interval"),
        Line2D([], [], color=grey, lw=0.9, ls=_DASHED, label="nominal"),
    ]
    if ds.sizes.get("tile"):
        styles.append(Line2D([], [], color=grey, lw=0.5, label=f"{ds.sizes['tile']} tiles"))
    bands = [
        Line2D([], [], color=colour, lw=3, label=label)
        for colour, label in zip(colours, _band_labels(ds), strict=True)
    ]
    figure.legend(
        handles=styles, loc="outside lower left", ncols=len(styles), fontsize=8, frameon=False
    )
    figure.legend(
        handles=bands, loc="outside right center", fontsize=8, labelspacing=0.9, frameon=False
    )


def _band_labels(ds: xr.Dataset) -> Iterator[str]:
    """Role, centre, width and gain with their standard errors, and whether the prior decided."""
    names = ("centre", "centre_se", "fwhm", "fwhm_se", "gain", "gain_se", "prior_driven")
    columns = [ds[f"scene_{name}"].to_numpy().tolist() for name in names]
    for role, *values in zip(ds["band"].to_numpy().tolist(), *columns, strict=True):
        centre, centre_se, fwhm, fwhm_se, gain, gain_se, prior_driven = values
        yield (
            f"{role}: {centre:.1f} ± {centre_se:.1f} nm, width {fwhm:.1f} ± {fwhm_se:.1f} nm\n"
            f"gain {gain:.3f} ± {gain_se:.3f}{', prior-driven' if prior_driven else ''}"
        )


def wavelength_colours(centres: FloatArray) -> list[str]:
    """Colours of wavelengths in nm as the eye sees them; magenta, violet and brown beyond."""
    from matplotlib.colors import to_hex, to_rgb

    table = np.array([to_rgb(colour) for colour in _BAND_COLOURS.values()])
    mixed = np.stack([np.interp(centres, list(_BAND_COLOURS), c) for c in table.T], axis=1)
    return [to_hex(tuple(row)) for row in mixed.tolist()]
