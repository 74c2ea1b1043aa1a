"""Standard errors and quality flags beside a cube: files, the lazy dataset, and resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.models import GRID, P4M, tiny_msi
from tests.helpers.rasters import TRANSFORM, UTM, write
from uavssr import OutputOptions, ReconstructionOptions, open_msi, plan_reconstruction
from uavssr.errors import IncompleteRun, InputRefused, OutputError
from uavssr.io.hsi import open_cube_source
from uavssr.io.writers.encoding import NODATA, SCALE
from uavssr.io.writers.formats import open_writer
from uavssr.io.writers.quality import Quality, QualityTarget
from uavssr.model.weights import Model
from uavssr.reconstruction.api import PlannedReconstruction
from uavssr.tiling import Window

HEIGHT, WIDTH = 70, 90
HOLE, FULL = (slice(0, 32), slice(0, 40)), (50, 60)


def plan_of(folder: Path, model: Model) -> PlannedReconstruction:
    """An image of counts with a hole and one saturated pixel."""
    counts = (tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy().clip(0.001, 0.9) * 60000).astype("u2")
    counts[:, HOLE[0], HOLE[1]] = 0
    counts[2, *FULL] = 65535
    path = write(folder / "field.tif", counts, nodata=0)
    msi = open_msi(path, sensor="p4m", scale="1/60000")
    return plan_reconstruction(msi, ReconstructionOptions(model=model, tile=32, workers=1))


def test_files_hold_what_the_dataset_holds(tmp_path: Path, model: Model) -> None:
    plan = plan_of(tmp_path, model)
    sigma, quality = tmp_path / "sigma.tif", tmp_path / "quality.tif"
    plan.write(OutputOptions(cube=tmp_path / "hsi.tif", uncertainty=sigma, quality=quality))
    with rasterio.open(sigma) as file:
        stored, described = file.read(), file.descriptions
        assert (file.count, file.nodata) == (len(GRID), NODATA)
    with rasterio.open(quality) as file:
        flags, legend = file.read(1), file.tags()["quality"]
        assert file.transform == rasterio.Affine(*TRANSFORM[:6])
    lazy = plan.dataset(uncertainty=True).reflectance_se.to_numpy()
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[HOLE] = True
    assert (stored[:, hole] == NODATA).all()
    assert np.isnan(lazy[:, hole]).all()
    np.testing.assert_allclose(stored[:, ~hole] * SCALE, lazy[:, ~hole], atol=SCALE)
    assert (lazy[:, ~hole] > 0).all()
    assert described[0] is not None
    assert (flags[hole] == 0).all()
    assert (flags[~hole] & Quality.DATA).all()
    saturated = (flags & Quality.SATURATED) > 0
    assert saturated[FULL]
    assert saturated.sum() == 1
    assert "2 saturated" in legend


def test_cube_is_the_same_with_and_without_error_maps(tmp_path: Path, model: Model) -> None:
    plan = plan_of(tmp_path, model)
    plan.write(tmp_path / "alone.tif")
    plan.write(
        OutputOptions(
            cube=tmp_path / "both.tif", uncertainty=tmp_path / "s.tif", quality=tmp_path / "q.tif"
        )
    )
    with rasterio.open(tmp_path / "alone.tif") as one, rasterio.open(tmp_path / "both.tif") as two:
        np.testing.assert_array_equal(one.read(), two.read())


def test_wavelengths_of_the_cube_are_those_of_its_errors(tmp_path: Path, model: Model) -> None:
    plan = plan_of(tmp_path, model)
    plan.write(
        OutputOptions(
            cube=tmp_path / "hsi.tif",
            uncertainty=tmp_path / "s.tif",
            wavelengths=GRID.centres[[3, 20]],
        )
    )
    lazy = plan.dataset(uncertainty=True).reflectance_se[[3, 20]].to_numpy()
    with rasterio.open(tmp_path / "s.tif") as file:
        stored = file.read()
    valid = np.isfinite(lazy)
    np.testing.assert_allclose(stored[valid] * SCALE, lazy[valid], atol=SCALE)


def test_coefficients_may_have_errors_beside_them(tmp_path: Path, model: Model) -> None:
    plan = plan_of(tmp_path, model)
    plan.write(
        OutputOptions(
            cube=tmp_path / "c.tif", format="coefficients", uncertainty=tmp_path / "s.tif"
        )
    )
    with rasterio.open(tmp_path / "s.tif") as file:
        assert file.count == len(GRID)


@pytest.mark.parametrize("suffix", [".tif", ".dat", ".zarr"])
def test_standard_errors_are_not_taken_for_a_cube(
    tmp_path: Path, model: Model, suffix: str
) -> None:
    cube, errors = tmp_path / f"c{suffix}", tmp_path / f"s{suffix}"
    plan_of(tmp_path, model).write(OutputOptions(cube=cube, uncertainty=errors))
    open_cube_source(cube)
    with pytest.raises(InputRefused, match="holds the standard error of reflectance"):
        open_cube_source(errors)


def test_run_without_error_maps_does_not_resume_with_them(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = plan_of(tmp_path, model), tmp_path / "hsi.tif"

    def stop(*_: object) -> None:
        raise IncompleteRun("stopped", remedy="")

    with monkeypatch.context() as patched:
        patched.setattr("uavssr.reconstruction.output_files._is_unchanged", stop)
        with pytest.raises(IncompleteRun):
            plan.write(out)
    with pytest.raises(OutputError, match="--uncertainty or --quality no, and this"):
        plan.write(OutputOptions(cube=out, uncertainty=tmp_path / "s.tif", resume=True))
    plan.write(OutputOptions(cube=out, resume=True))
    assert not (tmp_path / "s.tif").exists()


def test_an_existing_layer_is_not_replaced_without_overwrite(tmp_path: Path, model: Model) -> None:
    (tmp_path / "q.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        plan_of(tmp_path, model).write(
            OutputOptions(cube=tmp_path / "hsi.tif", quality=tmp_path / "q.tif")
        )
    assert (tmp_path / "q.tif").read_text() == "mine"
    assert not (tmp_path / "hsi.tif").exists()


def test_flags_that_are_not_as_written_are_found(tmp_path: Path) -> None:
    """Promise P1."""
    target = QualityTarget(
        path=tmp_path / "q.tif",
        height=32,
        width=32,
        crs_wkt=rasterio.crs.CRS.from_user_input(UTM).to_wkt(),
        transform=TRANSFORM[:6],
        block=16,
    )
    with open_writer(target) as sink:
        sink.write_quantised(Window(0, 0, 16, 16), np.ones((1, 16, 16), "u2"))
        sink._samples[0, 0] ^= 1
        with pytest.raises(OutputError, match="row 0, column 0"):
            sink.finish()
    assert list(tmp_path.iterdir()) == []
