"""The public calls: plan a reconstruction, then get a lazy dataset, files, or the STFs alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from uavssr.io.msi import Image, ImageKeywords, as_image
from uavssr.reconstruction.dry_run import RunEstimate, estimate_run
from uavssr.reconstruction.fitted_scene import FittedScene, fit_scene
from uavssr.reconstruction.options import OutputOptions, ReconstructionOptions
from uavssr.reconstruction.output_files import Outputs, finished_outputs, write_files
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.plan import Plan, make_plan
from uavssr.reconstruction.products import OutputWriters
from uavssr.reconstruction.provenance import provenance
from uavssr.tiling import Progress

if TYPE_CHECKING:
    import xarray as xr

    from uavssr.io.stf import StfArrays

_log = logging.getLogger(__name__)


class PlannedReconstruction:
    """A reconstruction that is ready to run; made by `plan_reconstruction`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @cached_property
    def scene(self) -> FittedScene:
        """The plan with the scene's STF, which is estimated when it is first needed.

        Raises:
            InputRefused: the scene has no valid pixel.
            IncompleteRun: the network gave NaN or infinity.
        """
        start = time.perf_counter()
        scene = fit_scene(self.plan)
        _log.info("estimating the scene's STF: %.2f s", time.perf_counter() - start)
        return scene

    def dataset(self, *, uncertainty: bool = False, progress: Progress | None = None) -> xr.Dataset:
        """The cube as a lazy dataset, one dask chunk per tile.

        With `stf_scope="tile"` the tiles' STFs are estimated at once, the cube when it is computed.

        Args:
            uncertainty: add `reflectance_se`, the standard error of every band and pixel.
            progress: called with each tile whose STF is estimated.

        Returns:
            `reflectance` (wavelength, y, x) float32, NaN where invalid; `fwhm` (wavelength) in nm;
            the scene's STF (`scene_stf` (band, wavelength), `scene_centre` (band) ... with `_se`);
            coordinates wavelength (nm), band, spatial_ref, and y, x unless the raster is rotated.
        """
        from uavssr.reconstruction.lazy_cube import lazy_dataset  # dask.array takes 0.5 s to load

        return lazy_dataset(self.scene, uncertainty=uncertainty, progress=progress)

    def stf(self, *, progress: Progress | None = None) -> xr.Dataset:
        """The STFs of the scene and of every tile, without a cube; see `estimate_stf`."""
        return self.stf_arrays(progress=progress).dataset()

    def stf_arrays(self, *, progress: Progress | None = None) -> StfArrays:
        """What `stf` returns, as arrays: xarray, which takes time to load, is not needed."""
        if self.plan.options.tile_stf == "off":
            return self.scene.stf_arrays()
        store = MemoryStore()
        self.scene.estimate_tile_stfs(store, progress)
        records = (store.load("stf", index) for index in sorted(store.finished("stf")))
        return self.scene.stf_arrays(record for record in records if record is not None)

    def write(
        self, out: str | Path | OutputOptions, *, progress: Progress | None = None
    ) -> Outputs:
        """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`; see `output_files.write_files`.

        `out` is the cube, or all options of the output.
        """
        output = out if isinstance(out, OutputOptions) else OutputOptions(cube=out)
        return write_files(self.plan, output, fit=lambda: self.scene, progress=progress)

    def finished(self, output: OutputOptions) -> Outputs | None:
        """The outputs that `output.resume` finds finished; see `output_files.finished_outputs`."""
        return finished_outputs(self.plan, output)

    def output_bytes(self, output: OutputOptions) -> int:
        """Bytes of cube, standard errors and flags without compression."""
        return OutputWriters.of(self.plan, output, overwrite=True).output_bytes

    def estimate_run(self, output: OutputOptions) -> RunEstimate:
        """Estimate the memory, disk and time that `write` would take, by a trial on one tile."""
        return estimate_run(self.plan, output, fit=lambda: self.scene)

    def provenance(self) -> dict[str, str]:
        """How the cube is made, as tags `uavssr_...` of a file."""
        return provenance(self.plan)

    def reference_notes(self) -> Iterator[str]:
        """Messages on the reference spectra that correct the cube; none without them."""
        references, stf = self.plan.references, self.plan.options.stf
        if references is None or stf is None:
            return
        name, image = Path(stf).name, references.image
        yield f"correcting the cube with the {len(references.msi)} reference spectra in {name}"
        if image not in ("", provenance(self.plan)["uavssr_input"]):
            yield (
                f"warning: the reference spectra in {name} are of another image, {image}; "
                "if this image shows other ground, pass --stf-only"
            )


def plan_reconstruction(
    image: Image,
    options: ReconstructionOptions | None = None,
    **keywords: Unpack[ImageKeywords],
) -> PlannedReconstruction:
    """Load the model and check the options; the scene's STF is estimated when it is needed.

    Args:
        image: a path, paths of single-band files, what `open_msi` returns, or an array of xarray.
        options: settings of the computation.
        keywords: options of `open_msi`, such as `sensor="p4m"`, for an image that is not open yet.

    Raises:
        UsageError: an option is out of range.
        ModelRefused: the model is missing, damaged or of another camera.
        InputRefused: the image is refused, or the file of a fixed STF cannot be used.

    Examples:
        >>> import uavssr
        >>> plan = uavssr.plan_reconstruction("examples/field.tif", sensor="p4m")
        >>> plan.provenance()["uavssr_bands"].split(",")[0]
        'blue: field.tif no. 1'
        >>> outputs = plan.write("new.tif")  # doctest: +SKIP
    """
    source = as_image(image, **keywords)
    return PlannedReconstruction(make_plan(source, options or ReconstructionOptions()))


def reconstruct(
    image: Image,
    options: ReconstructionOptions | None = None,
    *,
    uncertainty: bool = False,
    **keywords: Unpack[ImageKeywords],
) -> xr.Dataset:
    """The hyperspectral cube of an image as a lazy dataset; see `PlannedReconstruction.dataset`.

    Args:
        image: as of `plan_reconstruction`.
        options: settings of the computation.
        uncertainty: add `reflectance_se`, the standard error of every band and pixel.
        keywords: options of `open_msi` for an image that is not open yet.

    Raises:
        UavssrError: see `plan_reconstruction` and `PlannedReconstruction.scene`.

    Examples:
        >>> import uavssr
        >>> cube = uavssr.reconstruct("examples/field.tif", uncertainty=True)
        >>> spectrum = cube.isel(y=20, x=15)  # nothing is computed before .compute()
        >>> spectrum.reflectance.shape, spectrum.reflectance_se.shape
        ((270,), (270,))
    """
    planned = plan_reconstruction(image, options, **keywords)
    return planned.dataset(uncertainty=uncertainty)


def estimate_stf(
    image: Image,
    options: ReconstructionOptions | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[ImageKeywords],
) -> xr.Dataset:
    """The STFs of a scene and of its tiles, without a cube; docs/formats.md lists the variables.

    Args:
        image: as of `plan_reconstruction`.
        options: settings of the computation.
        progress: called with each tile.
        keywords: options of `open_msi` for an image that is not open yet.

    Raises:
        UavssrError: see `plan_reconstruction` and `PlannedReconstruction.scene`.

    Examples:
        >>> import uavssr
        >>> options = uavssr.ReconstructionOptions(tile_stf="off")  # the scene's alone
        >>> stf = uavssr.estimate_stf("examples/field.tif", options)
        >>> stf.scene_centre.sel(band="red").round().item()  # nm
        650.0
    """
    return plan_reconstruction(image, options, **keywords).stf(progress=progress)
