"""The accessor `cube.uavssr` of datasets: bands by wavelength, spectra and colours as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from uavssr.errors import InputRefused, UsageError
from uavssr.io.writers import TRUE_COLOUR_NM

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from uavssr.report import PageView


@xr.register_dataset_accessor("uavssr")
class CubeAccessor:
    """What a cube is asked most: `cube.uavssr` of a dataset with `reflectance(wavelength, y, x)`.

    Importing `uavssr` and using any of its functions that give a dataset registers it.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def sel_wavelength(self, nm: float) -> xr.Dataset:
        """The band nearest to a wavelength.

        Args:
            nm: the wavelength in nm.

        Raises:
            UsageError: the nearest band is farther away than the distance to its own neighbour.
            InputRefused: the dataset is no cube.

        Examples:
            >>> import uavssr
            >>> cube = uavssr.open_cube("hsi.tif")
            >>> cube.uavssr.sel_wavelength(660).wavelength.round(2).item()  # nm
            660.42
        """
        cube = self._cube()
        centres = cube["wavelength"].to_numpy()
        distance = np.abs(centres - nm)
        nearest = int(distance.argmin())
        spacing = np.abs(np.delete(centres, nearest) - centres[nearest]).min()
        if not distance[nearest] <= spacing:
            low, high = centres.min(), centres.max()
            raise UsageError(
                f"no band near {nm:g} nm: the nearest is at {centres[nearest]:g} nm",
                remedy=f"choose a wavelength within {low:g} to {high:g} nm",
            )
        return cube.isel(wavelength=nearest)

    def plot_spectrum(self, x: float, y: float, *, ax: Axes | None = None) -> Axes:
        """Draw the spectrum of the pixel at map coordinates, with its 90 % interval if known.

        Args:
            x: easting or longitude, in the cube's CRS.
            y: northing or latitude, in the cube's CRS.
            ax: axes of matplotlib; by default new ones.

        Raises:
            UsageError: the place lies outside the cube.
            InputRefused: the dataset is no cube, or has no coordinates.

        Examples:
            >>> import uavssr
            >>> cube = uavssr.open_cube("hsi.tif", uncertainty="se.tif")
            >>> axes = cube.uavssr.plot_spectrum(x=504215, y=4062475)
            >>> axes.get_xlabel()
            'Wavelength (nm)'
        """
        from uavssr.viz import plot_spectrum

        pixel = self._pixel(x, y)
        se = pixel["reflectance_se"].to_numpy() if "reflectance_se" in pixel else None
        centres, spectrum = pixel["wavelength"].to_numpy(), pixel["reflectance"].to_numpy()
        return plot_spectrum(centres, spectrum, se, title=f"x {x:.10g}, y {y:.10g}", ax=ax)

    def rgb(self) -> xr.DataArray:
        """Red, green and blue (y, x, rgb) 0..1 for `imshow`, stretched between 2 % and 98 %.

        Raises:
            InputRefused: the dataset is no cube, or holds no visible bands.

        Examples:
            >>> import uavssr
            >>> cube = uavssr.open_cube("hsi.tif").isel(y=slice(0, 50), x=slice(0, 60))
            >>> cube.uavssr.rgb().shape
            (50, 60, 3)
        """
        try:
            bands = [
                self.sel_wavelength(nm)["reflectance"].drop_vars("fwhm") for nm in TRUE_COLOUR_NM
            ]
        except UsageError as err:
            raise InputRefused(f"no true colours: {err.fact}") from err
        stacked = xr.concat([band.drop_vars("wavelength") for band in bands], "rgb").compute()
        low, high = (stacked.quantile(share) for share in (0.02, 0.98))
        colours = ((stacked - low) / (high - low)).clip(0, 1).transpose("y", "x", "rgb")
        return colours.drop_vars("quantile").assign_coords(rgb=["red", "green", "blue"])

    def explore(
        self,
        names: str | Sequence[str] = (),
        *,
        even_so: bool = False,
        model: str | Path | None = None,
        height: int = 900,
    ) -> PageView:
        """The cube as a page in a notebook: maps, and the spectrum of a pixel at a click.

        Args:
            names: indices to map; by default up to three that the camera's cube carries.
            even_so: also map indices that a cube of the camera does not carry.
            model: of the cube; by default the one that the cube names.
            height: of the frame, in pixels.

        Returns:
            What a notebook shows as a frame; `.save("page.html")` writes it as a file. It needs
            no widgets and no network.

        Raises:
            UsageError: no such index, or a cube of the camera does not carry it.
            InputRefused: the dataset is no cube.

        Example:
            >>> import uavssr
            >>> cube = uavssr.open_cube("hsi.tif").isel(y=slice(0, 60), x=slice(80, 140))
            >>> page = cube.uavssr.explore("NDVI")
            >>> page.html[:15]
            '<!DOCTYPE html>'
        """
        from uavssr.analysis import IndexRequest, carried_indices, refuse_uncarried
        from uavssr.api.inputs import spectra_of
        from uavssr.report import IndexNote, PageFacts, PageView, page_text, sample_spectra

        source = spectra_of(self._dataset, model=model)
        chosen = [names] if isinstance(names, str) else list(names)
        requests = IndexRequest.of(chosen or carried_indices(source, None, model), [])
        if not even_so:
            refuse_uncarried(requests, source, None, model)
        facts = PageFacts(
            title=source.tags.get("uavssr_input", "cube"),
            verdict=source.run_verdict,
            notes=[IndexNote.of(item, source, None, model) for item in requests],
            options={},
        )
        return PageView(
            html=page_text(source, sample_spectra(source, requests), facts), height=height
        )

    def _cube(self) -> xr.Dataset:
        """The variables over wavelength, y and x."""
        if "reflectance" not in self._dataset or "wavelength" not in self._dataset.coords:
            raise InputRefused("the dataset has no reflectance (wavelength, y, x)")
        names = [name for name in ("reflectance", "reflectance_se") if name in self._dataset]
        return self._dataset[names]

    def _pixel(self, x: float, y: float) -> xr.Dataset:
        """The pixel that holds a place."""
        cube = self._cube()
        if not {"x", "y"} <= cube.coords.keys():
            raise InputRefused("the cube has no coordinates x and y", remedy="use isel")
        pixel = cube.sel(x=x, y=y, method="nearest")
        for axis, value in (("x", x), ("y", y)):
            centres = cube[axis].to_numpy()
            step = abs(centres[-1] - centres[0]) / max(1, centres.size - 1)
            if not abs(float(pixel[axis]) - value) <= (0.501 * step or np.inf):
                low, high = centres.min(), centres.max()
                raise UsageError(
                    f"{axis} {value:.10g} lies outside the cube",
                    remedy=f"choose one within {low:.10g} to {high:.10g}",
                )
        return pixel.compute()
