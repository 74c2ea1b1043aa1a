"""The report on pairs: footprints, shift, ratios and what `--accept` would take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.grounds import EAST, PIXEL, write_field_cube, write_image
from tests.helpers.models import tiny_library
from uavssr.cli.commands import app
from uavssr.data import DataConfig, check_pairs

TEXT = """msi,hsi,kind,sensor,msi_scale
msi.tif,cube,,p4m,1
msi.tif,far,,p4m,1
bright.tif,off,,p4m,1
,lib.npz,spectra,,
,cube,,,
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_image(folder / "msi.tif")
    write_image(folder / "bright.tif", gain=3.28)
    write_field_cube(folder / "cube", shift=(0.07, -0.05), degrees=True)
    write_field_cube(folder / "off", east=EAST + 4, shift=(0.9, 0.0), pixel=0.2)
    write_field_cube(folder / "far", east=EAST + 900)
    tiny_library().save(folder / "lib.npz")
    path = folder / "pairs.csv"
    path.write_text(TEXT)
    return path


def test_each_row_is_reported_with_its_figures(manifest: Path) -> None:
    good, far, odd, cube = check_pairs(manifest, DataConfig())
    assert [bool(report.problems) for report in (good, far, odd, cube)] == [
        False,
        True,
        True,
        False,
    ]
    assert good.footprints is not None
    assert good.footprints.overlap == pytest.approx(1, abs=0.02)
    assert good.footprints.image_gsd == pytest.approx(PIXEL, rel=1e-3)
    assert good.footprints.cube_gsd == pytest.approx(PIXEL, rel=2e-3)
    assert good.registration is not None
    assert good.registration.shift == pytest.approx((0.7, 0.5), abs=0.1)
    arrows = good.panel().arrows
    assert arrows[:, 2].mean() == pytest.approx(0.05, abs=0.01)  # metres to the east
    assert arrows[:, 3].mean() == pytest.approx(-0.07, abs=0.01)
    assert far.footprints is not None
    assert far.footprints.overlap == 0
    assert "share no window" in far.problems[0]
    assert odd.footprints is not None
    assert odd.footprints.overlap == pytest.approx(1 - 4 / 14.4, abs=0.02)
    assert odd.footprints.cube_gsd == pytest.approx(0.2, rel=2e-3)


def test_all_that_is_odd_of_a_row_is_told_at_once(manifest: Path) -> None:
    """A wrong scale does not hide the shift."""
    odd = check_pairs(manifest, DataConfig())[2]
    assert odd.registration is not None
    assert odd.registration.shift == pytest.approx((9, 0), abs=0.3)
    shifted, bright = odd.problems
    assert "9.0" in shifted
    assert "the image is blue 3.2" in bright
    assert odd.accepts == ("ratio",)
    accepted = check_pairs(manifest, DataConfig(accept=("ratio",), max_shift=10))[2]
    assert not accepted.problems
    assert any("accepted: the image is blue 3.2" in text for text in accepted.warnings)


def test_the_command_draws_prints_and_exits_with_3(manifest: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pairs.png"
    words = ["pairs", "check", str(manifest), "--json", "--out", str(picture)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    assert picture.stat().st_size > 10_000
    rows = json.loads(done.stdout.splitlines()[-1])["pairs"]
    assert [row["line"] for row in rows] == [2, 3, 4, 6]
    assert rows[2]["accepts"] == ["ratio"]
    assert rows[0]["registration"]["bands"]["nir"]["ratio"] == pytest.approx(1, abs=0.02)
    usable = manifest.with_name("usable.csv")
    usable.write_text("\n".join(TEXT.splitlines()[:2]))
    done = CliRunner().invoke(app, ["pairs", "check", str(usable)])
    assert done.exit_code == 0
    assert "usable" in done.stdout
