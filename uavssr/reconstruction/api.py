"""The public calls: plan a reconstruction, then get a lazy dataset, files, or the STFs alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from uavssr.reconstruction.dry_run import RunEstimate, estimate_run
from uavssr.reconstruction.fitted_scene import FittedScene, fit_scene
from uavssr.reconstruction.lazy_dataset import lazy_dataset
from uavssr.reconstruction.options import (
    OutputKeywords,
    OutputOptions,
    ReconstructionKeywords,
    ReconstructionOptions,
    output_options,
)
from uavssr.reconstruction.output_files import Outputs, write_files
from uavssr.reconstruction.pipeline import MemoryStore
from uavssr.reconstruction.plan import Plan, make_plan
from uavssr.reconstruction.provenance import provenance
from uavssr.reconstruction.tile_record import FittedStf
from uavssr.reconstruction.tile_stf_pass import estimate_tile_stfs

if TYPE_CHECKING:
    import xarray as xr

    from uavssr.io.msi import MsiSource
    from uavssr.tiling import Progress


class PlannedReconstruction:
    """A reconstruction that is ready to run: its options fit the image and the model.

    Args:
        plan: what is fixed.
        scene_stf: the scene's STF, if it is known already.
    """

    def __init__(self, plan: Plan, scene_stf: FittedStf | None = None) -> None:
        self.plan = plan
        self._scene_stf = scene_stf

    @property
    def scene(self) -> FittedScene:
        """The plan with the scene's STF, which is estimated when it is first needed.

        Raises:
            InputRefused: the scene has no valid pixel.
            IncompleteRun: the network gave NaN or infinity.
        """
        if self._scene_stf is None:
            self._scene_stf = fit_scene(self.plan).stf
        return FittedScene(plan=self.plan, stf=self._scene_stf)

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
        return lazy_dataset(self.scene, uncertainty=uncertainty, progress=progress)

    def stf(self, *, progress: Progress | None = None) -> xr.Dataset:
        """The STFs of the scene and of every tile, without a cube; see `estimate_stf`."""
        store = MemoryStore()
        estimate_tile_stfs(self.scene, store, progress)
        records = (store.load("stf", index) for index in sorted(store.finished("stf")))
        return self.scene.stf_dataset(record for record in records if record is not None)

    def write(
        self,
        out: str | Path | OutputOptions,
        *,
        progress: Progress | None = None,
        **keywords: Unpack[OutputKeywords],
    ) -> Outputs:
        """Write the cube, `<stem>.stf.nc` and `<stem>.tiles.gpkg`.

        Args:
            out: the cube, or all options of the output.
            progress: called with each finished tile.
            keywords: fields of `OutputOptions`.

        Raises:
            UavssrError: see `output_files.write_files`.
        """
        output = output_options(out, keywords)
        return write_files(self.plan, output, fit=lambda: self.scene, progress=progress)

    def estimate_run(
        self, out: str | Path | OutputOptions, **keywords: Unpack[OutputKeywords]
    ) -> RunEstimate:
        """Estimate the memory, disk and time that `write` would take, by a trial on one tile."""
        output = output_options(out, keywords)
        return estimate_run(self.plan, output, fit=lambda: self.scene)

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
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    **keywords: Unpack[ReconstructionKeywords],
) -> PlannedReconstruction:
    """Load the model and check the options; the scene's STF is estimated when it is needed.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Raises:
        UsageError: an option is out of range.
        ModelRefused: the model is missing, damaged or of another camera.
        InputRefused: the file of a fixed STF cannot be used.
    """
    chosen = replace(options or ReconstructionOptions(), **keywords)
    return PlannedReconstruction(make_plan(msi, chosen))


def reconstruct(
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    *,
    uncertainty: bool = False,
    **keywords: Unpack[ReconstructionKeywords],
) -> xr.Dataset:
    """The hyperspectral cube of an image as a lazy dataset.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        uncertainty: add the standard error of every band and pixel.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Returns:
        The dataset that `PlannedReconstruction.dataset` describes.

    Raises:
        UavssrError: see `plan_reconstruction` and `PlannedReconstruction.scene`.
    """
    return plan_reconstruction(msi, options, **keywords).dataset(uncertainty=uncertainty)


def estimate_stf(
    msi: MsiSource,
    options: ReconstructionOptions | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[ReconstructionKeywords],
) -> xr.Dataset:
    """The STFs of a scene and of its tiles, with standard errors; no cube is made.

    Args:
        msi: from `open_msi`.
        options: all settings; the defaults if None.
        progress: called with each finished tile.
        keywords: fields of `ReconstructionOptions`, in place of those in `options`.

    Returns:
        The dataset that `uavssr.io.stf.write_stf` writes; docs/formats.md lists its variables.

    Raises:
        UavssrError: see `plan_reconstruction` and `PlannedReconstruction.scene`.
    """
    return plan_reconstruction(msi, options, **keywords).stf(progress=progress)
