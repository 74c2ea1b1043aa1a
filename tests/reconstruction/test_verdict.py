"""The verdict of a run: its shares are those of the files, resumed or not, and what is odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from tests.helpers.models import P4M, tiny_msi
from tests.helpers.places import REPO, SHARED
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, open_msi, plan_reconstruction
from uavssr.errors import BadVerdict, IncompleteRun
from uavssr.io.writers.journal import journal_path
from uavssr.io.writers.quality import Quality
from uavssr.model.pgunet import PGUNet
from uavssr.model.weights import Model
from uavssr.reconstruction.api import PlannedReconstruction
from uavssr.reconstruction.verdict import RunVerdict

HEIGHT, WIDTH = 70, 90


def plan_of(folder: Path, model: Model, *, saturated: int = 3) -> PlannedReconstruction:
    """An image of counts with an empty tile, outliers, and some saturated rows."""
    counts = (tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy().clip(0.001, 0.9) * 60000).astype("u2")
    counts[:, :32, :40] = 0
    counts[::2, 40:50, 20:30] = 59000  # bright in every other band
    counts[1::2, 40:50, 20:30] = 60
    counts[2, HEIGHT - saturated :] = 65535
    path = write(folder / "field.tif", counts, nodata=0)
    msi = open_msi(path, sensor="p4m", scale="1/60000")
    return plan_reconstruction(msi, ReconstructionOptions(model=model, tile=32, workers=2))


def verdict_of(plan: PlannedReconstruction, **output: object) -> RunVerdict:
    verdict = plan.write(OutputOptions(**output)).verdict  # type: ignore[arg-type]
    assert verdict is not None
    return verdict


def test_shares_are_those_of_the_files(tmp_path: Path, model: Model) -> None:
    plan, quality = plan_of(tmp_path, model), tmp_path / "q.tif"
    found = verdict_of(plan, cube=tmp_path / "hsi.tif", quality=quality)
    with rasterio.open(quality) as file:
        flags = file.read(1)
    valid = (flags & Quality.DATA) > 0
    assert found.valid == valid.mean() == pytest.approx(1 - 32 * 40 / (HEIGHT * WIDTH))
    assert found.outlier == ((flags & Quality.OUTLIER) > 0)[valid].mean() > 0.01
    assert found.saturated == ((flags & Quality.SATURATED) > 0)[valid].mean() > 0.03
    assert found.unusual >= found.outlier
    with rasterio.open(tmp_path / "hsi.tif") as file:
        cube = file.read()[:, valid]
    assert found.clipped == ((cube == 0) | (cube == 65534)).any(0).mean() > 0
    stf = xr.open_dataset(tmp_path / "hsi.stf.nc", engine="h5netcdf")
    roles = stf["band"].values[stf["scene_prior_driven"].values]
    assert found.prior_driven == tuple(roles)
    assert float(stf.attrs["uavssr_outlier"]) == pytest.approx(found.outlier, rel=1e-5)


@pytest.mark.parametrize("name", ["hsi.zarr", "hsi.img"])
def test_verdict_is_the_same_without_the_quality_layer_and_in_every_format(
    tmp_path: Path, model: Model, name: str
) -> None:
    plan = plan_of(tmp_path, model)
    full = verdict_of(plan, cube=tmp_path / "hsi.tif", uncertainty=tmp_path / "s.tif")
    assert verdict_of(plan, cube=tmp_path / name, overwrite=True) == full
    floats = verdict_of(plan, cube=tmp_path / "f.tif", dtype="float32")
    assert (floats.outlier, floats.clipped) == (full.outlier, 0)


def test_verdict_survives_a_stop(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, model)
    golden = verdict_of(plan, cube=tmp_path / "golden.tif")

    def stop(*_: object) -> None:
        raise IncompleteRun("stopped", remedy="")

    with monkeypatch.context() as patched:
        patched.setattr("uavssr.reconstruction.output_files._is_unchanged", stop)
        with pytest.raises(IncompleteRun):
            plan.write(tmp_path / "hsi.tif")
    next(journal_path(tmp_path / "hsi.tif").glob("tile-*4.npz")).unlink()
    assert verdict_of(plan, cube=tmp_path / "hsi.tif", resume=True) == golden


def test_strict_publishes_nothing_odd_and_resume_accepts_it(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 43."""
    plan, out = plan_of(tmp_path, model, saturated=20), tmp_path / "hsi.tif"
    extra = {"cube": out, "quality": tmp_path / "q.tif"}
    with pytest.raises(BadVerdict, match="saturated: check the exposure") as caught:
        verdict_of(plan, **extra, strict=True)
    assert caught.value.exit_code == 7
    kept = {"field.tif", journal_path(out).name}
    assert {path.name for path in tmp_path.iterdir()} == kept
    monkeypatch.delattr(PGUNet, "forward")  # all tiles are kept
    with pytest.raises(BadVerdict):
        verdict_of(plan, **extra, strict=True, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert verdict_of(plan, **extra, resume=True).odd
    assert not journal_path(out).exists()


@pytest.mark.parametrize("image", ["field", "orchard"])
def test_swapped_bands_are_odd_and_the_true_order_is_not(tmp_path: Path, image: str) -> None:
    """Row 43."""
    path, sensor = REPO / "examples" / "field.tif", "p4m"
    if image == "orchard":
        path, sensor = SHARED / "fields" / "rededge3_orchard.tif", "rededge3"
        if not path.exists():
            pytest.skip("needs the orchard image")
    with rasterio.open(path) as file:
        window = rasterio.windows.Window(120, 120, 144, 144)
        numbers, nodata = file.read(window=window), file.nodata
    part = write(tmp_path / "part.tif", numbers, nodata=nodata, names=None)
    for order, odd in (((0, 1, 2, 3, 4), False), ((0, 1, 2, 4, 3), True)):
        bands = np.array(["blue", "green", "red", "rededge", "nir"])[list(order)].tolist()
        msi = open_msi(part, sensor=sensor, bands=bands, scale="1/32768")
        options = ReconstructionOptions(stages=1, workers=1)
        found = verdict_of(
            plan_reconstruction(msi, options), cube=tmp_path / "hsi.tif", overwrite=True
        )
        assert any("check the band order" in sentence for sentence in found.odd) == odd, found
