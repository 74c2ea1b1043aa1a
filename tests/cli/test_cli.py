"""The command line: what it prints where, how it exits, and that its advice works."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr

import uavssr
from tests.helpers.commands import Ran, Run
from tests.helpers.models import GRID, P4M, tiny_model, tiny_msi
from tests.helpers.places import REPO
from tests.helpers.rasters import TRANSFORM, write
from uavssr.cli.app import check_outputs
from uavssr.cli.gdal_settings import ignore_gdal_settings
from uavssr.errors import Interrupted
from uavssr.io.checks import BLOCK_CACHE
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.io.writers.journal import Journal
from uavssr.io.writers.part_folder import remove_stale_parts
from uavssr.model.proximal import ZNet
from uavssr.sensors import SATELLITES, SENSORS

HEIGHT, WIDTH = 40, 48


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def reflectance() -> np.ndarray:
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, 5:9, 20:30] = np.nan
    return image


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A scene with all tags that are needed, in a folder of its own."""
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "field.tif", reflectance(), tags={"sensor": "p4m"})


@pytest.fixture
def go(tmp_path: Path, field: Path, model: Path, run: Run) -> Run:
    """Runs `reconstruct field.tif -o out.tif` with more options; the last of a kind wins."""

    def ran(*options: object) -> Ran:
        base = ("--model", model, "--tile", 32, "--workers", 2)
        return run("reconstruct", field, "-o", tmp_path / "out.tif", *base, *options)

    return ran


def outputs(folder: Path) -> set[str]:
    """Every file in the folder, hidden ones too, but for the input's own folder."""
    return {path.name for path in folder.iterdir()} - {"in"}


FOUR = {"out.tif", "out.qml", "out.stf.nc", "out.tiles.gpkg"}


def one_line(ran: Ran) -> str:
    """The one line that an error is, after the check that it is all there is."""
    assert ran.out == ""
    assert re.fullmatch(r"uavssr: error: .+\n", ran.err), ran.err
    return ran.err


def cube_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(masked=True).astype("f4").filled(np.nan) * np.float32(file.scales[0])


# --- what is printed where -----------------------------------------------------------------------


def test_reconstruct_writes_and_says_so_on_stderr(tmp_path: Path, go: Run) -> None:
    ran = go()
    assert ran.code == 0
    assert ran.out == ""
    assert ran.err.splitlines()[-1].startswith("wrote ")
    assert "writing the cube" in ran.err
    assert "\x1b" not in ran.err  # no colours and no cursor movements without a terminal
    assert outputs(tmp_path) == FOUR
    assert np.array_equal(np.isnan(cube_of(tmp_path / "out.tif")[0]), np.isnan(reflectance()[0]))


def test_json_is_all_there_is_on_stdout(tmp_path: Path, go: Run) -> None:
    ran = go("--json", "--quicklook", tmp_path / "out.png")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert ran.out == json.dumps(found) + "\n"
    facts = {key: found.pop(key) for key in ("bytes", "warnings", "seconds", "versions")}
    verdict = found.pop("verdict")
    assert set(facts["bytes"]) == set(found)
    assert verdict["valid"] == np.isfinite(reflectance()[0]).mean()
    assert f"{100 * verdict['valid']:.0f} % of the pixels are valid" in ran.err
    assert set(found) == {"cube", "stf", "tiles", "quicklook", "style"}
    assert {Path(path).name for path in found.values()} == FOUR | {"out.png"}
    assert outputs(tmp_path) == FOUR | {"out.png"}
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_is_silent_before_and_after_the_command(
    tmp_path: Path, field: Path, model: Path, run: Run, place: str
) -> None:
    before = place == "before"
    command = ["reconstruct", field, "-o", tmp_path / "out.tif", "--model", model, "--tile", 32]
    assert run(*(["-q", *command] if before else [*command, "-q"])) == Ran(0, "", "")
    stf = ["estimate-stf", field, "--out", tmp_path / "o.stf.nc", "--model", model, "--json"]
    ran = run(*(["--quiet", *stf] if before else [*stf, "--quiet"]))
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["sensor"] == "p4m"


def test_quiet_still_prints_errors(go: Run) -> None:
    assert go().code == 0
    ran = go("-q")
    assert ran.code == 8
    assert "exists" in one_line(ran)


@pytest.mark.parametrize(
    ("options", "code", "kind"),
    [
        (["--tile", 5], 2, "UsageError"),
        (["--bands", "blue,red"], 3, "InputRefused"),
        (["--model", "nosuch"], 4, "ModelRefused"),
        (["--mem-limit", "1MB"], 5, "OutputError"),
        (["--nosuch"], 2, "UsageError"),
    ],
)
def test_errors_are_json_where_results_are(
    go: Run, options: list[object], code: int, kind: str
) -> None:
    plain, ran = go(*options), go(*options, "--json")
    found = json.loads(ran.err.splitlines()[-1])
    assert ran.out == ""
    assert plain.code == ran.code == found["exit_code"] == code
    assert found["error"] == kind
    assert plain.err.endswith(f"{found['fact']}; {found['remedy']}\n" if found["remedy"] else "\n")
    assert found["fact"] in plain.err


def test_help_and_version(run: Run) -> None:
    assert run("--version") == Ran(0, f"uavssr {uavssr.__version__}\n", "")
    for words in ((), ("reconstruct",), ("estimate-stf",), ("inspect",), ("sensors",), ("train",)):
        ran = run(*words, "--help")
        assert (ran.code, ran.err) == (0, "")
        assert "Usage" in ran.out
    assert "reconstruct" in run().out  # no arguments: help, but no success
    assert run().code == 2


def test_dry_run_prints_the_estimate_and_writes_nothing(tmp_path: Path, go: Run) -> None:
    """In words, and as JSON for a program: what it needs, what there is, how long it takes."""
    ran = go("--dry-run", "--tile", 16, "--workers", 3)
    assert ran.code == 0
    for word in ("16 x 16 pixels", "3 workers", "B program", "of journal", "are free"):
        assert word in ran.out
    plan = json.loads(go("--dry-run", "--json", "--tile", 16, "--format", "coefficients").out)
    assert plan["fits"]
    assert plan["tiles"] == -(-HEIGHT // 16) * -(-WIDTH // 16)
    assert 0 < plan["compute_seconds"] < plan["seconds"]
    whole = json.loads(go("--dry-run", "--json").out)
    assert plan["output_bytes"] < whole["output_bytes"]
    errors = ("--uncertainty", tmp_path / "sigma.tif", "--quality", tmp_path / "quality.tif")
    more = json.loads(go("--dry-run", "--json", *errors).out)
    assert more["output_bytes"] > 1.9 * whole["output_bytes"]
    assert more["journal_bytes"] > 1.5 * whole["journal_bytes"]
    assert more["memory_bytes"] > whole["memory_bytes"]
    assert outputs(tmp_path) == set()


def test_memory_limit_leaves_out_workers_or_is_refused(tmp_path: Path, go: Run) -> None:
    """Row 30: and says what one worker needs."""
    plan = json.loads(go("--dry-run", "--json", "--workers", 64).out)
    limit = int(plan["memory_bytes"] / 1.02)
    fewer = json.loads(go("--dry-run", "--json", "--workers", 64, "--mem-limit", limit).out)
    assert 1 <= fewer["workers"] < 64
    assert fewer["memory_bytes"] <= limit
    ran = go("--mem-limit", "100MB")
    assert ran.code == 5
    assert "one worker needs" in one_line(ran)
    assert "and --mem-limit is 100 MB (" in one_line(ran)
    assert "use a smaller --tile, or --mem-limit " in ran.err
    assert outputs(tmp_path) == set()


def test_sensors_as_json_are_the_known_ones(run: Run) -> None:
    ran = run("sensors", "--json")
    found = json.loads(ran.out)
    assert set(found) == {*SENSORS, *SATELLITES}
    assert [band["role"] for band in found["p4m"]] == list(P4M.roles)
    assert found["p4m"][4] == {"role": "nir", "centre": 840, "fwhm": 52}
    assert all(name in run("sensors").out for name in SENSORS)


def test_inspect_as_json_is_the_input_summary(field: Path, run: Run) -> None:
    ran = run("inspect", field, "--json")
    assert (ran.code, ran.err) == (0, "")
    summary = json.loads(ran.out)
    assert (summary["width"], summary["height"], summary["sensor"]) == (WIDTH, HEIGHT, "p4m")
    assert [band["role"] for band in summary["bands"]] == list(P4M.roles)
    assert summary["valid_fraction"] == pytest.approx(1 - 40 / (HEIGHT * WIDTH))
    text = run("inspect", field)
    assert (text.code, text.err) == (0, "")
    assert all(word in text.out for word in (*P4M.roles, "EPSG:32650", f"{WIDTH} x {HEIGHT}"))


def test_estimate_stf_prints_writes_and_draws(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    nc, png = tmp_path / "o.stf.nc", tmp_path / "o.png"
    command = ("estimate-stf", field, "--model", model, "--tile", 32)
    ran = run(*command, "--json", "--out", nc, "--plot", png)
    assert ran.code == 0
    found = json.loads(ran.out)
    assert [row["band"] for row in found["scene"]] == list(P4M.roles)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert outputs(tmp_path) == {"o.stf.nc", "o.png"}
    stf = xr.load_dataset(nc, engine="h5netcdf")
    assert stf.sizes["tile"] == 4
    for i, row in enumerate(found["scene"]):
        for name in ("centre", "centre_se", "fwhm", "gain", "gain_se", "residual"):
            assert row[name] == pytest.approx(float(stf[f"scene_{name}"][i]), abs=1e-6), name
        assert row["prior_driven"] is bool(stf["scene_prior_driven"][i])
    table = run(*command)
    assert all(role in table.out for role in P4M.roles)
    assert outputs(tmp_path) == {"o.stf.nc", "o.png"}


# --- how it exits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--tile", "100"), "--tile must be a multiple of 256, or of 16 below that, got 100"),
        (("--tile", "many"), "--tile"),
        (("--stages", "3"), "stages must be 0-2 for this model, got 3"),
        (("--stages", "-1"), "stages must be 0-2 for this model, got -1"),
        (("--overlap", "64"), "--overlap must be 0-32"),
        (("--workers", "0"), "--workers must be positive"),
        (("--stf-scope", "pixel"), "--stf-scope must be scene or tile, got 'pixel'"),
        (("--stf", "a.stf.nc", "--stf-scope", "tile"), "choose one"),
        (("--dtype", "uint8"), "--dtype must be uint16 or float32, got 'uint8'"),
        (("--co", "COMPRESS"), "--co must be K=V, got 'COMPRESS'"),
        (("--co", "COMPRESS=JPEG"), "COMPRESS=JPEG"),
        (("--format", "jpeg"), "--format must be one of gtiff"),
        (("--format", "zarr"), "does not go with the suffix '.tif'"),
        (("--precision", "int8"), "--precision must be float32 or bf16, got 'int8'"),
        (("--batch", "many"), "--batch must be auto or a positive number, got 'many'"),
        (("--batch", "0"), "--batch must be auto or a positive number, got '0'"),
        (("--dry-run", "--cluster", "local:1"), "leave out --cluster"),
        (("--dry-run", "--scheduler", "tcp://x:1"), "leave out --scheduler"),
        (("--mem-limit", "lots"), "--mem-limit must be a size such as 4GB, got 'lots'"),
        (("--co", "BLOCKXSIZE=512"), "creation option BLOCKXSIZE cannot be set"),
        (("--device", "gpu"), "device"),
        (("--sensor", "p5m"), "unknown sensor 'p5m'; use one of p4m"),
        (("--scale", "x"), "scale 'x' is no number"),
        (("--bidx", "1,two"), "--bidx must be whole numbers"),
        (("--bands", "blue,green,purple"), "'purple' is no band of p4m"),
        (("--resolution", "1"), "No such option"),
    ],
)
def test_usage_errors_are_one_line_and_2(
    tmp_path: Path, go: Run, options: tuple[str, ...], fact: str
) -> None:
    """Promise P4."""
    ran = go(*options)
    assert ran.code == 2
    assert fact in one_line(ran)
    assert outputs(tmp_path) == set()


def test_wrong_commands_are_one_line_and_2(field: Path, run: Run) -> None:
    """Promise P4: what Click has to say, in our form and with the way to the help."""
    missing = run("reconstruct", field)
    assert missing.code == 2
    assert "--out" in one_line(missing)
    assert "see uavssr reconstruct --help" in missing.err
    unknown = run("reconstrct", field)
    assert unknown.code == 2
    assert "reconstrct" in one_line(unknown)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_gpu_is_2_and_the_cpu_is_not_taken_in_its_place(tmp_path: Path, go: Run) -> None:
    ran = go("--device", "cuda")
    assert ran.code == 2
    assert "use --device cpu" in one_line(ran)
    assert outputs(tmp_path) == set()


def test_refused_inputs_are_one_line_and_3(tmp_path: Path, model: Path, run: Run) -> None:
    """Rows 2, 3, 10, promise P4."""
    (tmp_path / "in").mkdir()
    text, pipe = tmp_path / "in" / "text.tif", tmp_path / "in" / "pipe.tif"
    text.write_text("hello, world")
    os.mkfifo(pipe)
    facts = {
        "gone.tif": "gone.tif: no such file",
        text: "text.tif: begins with b'hell', not a TIFF",
        pipe: "pipe.tif: is a FIFO",
        tmp_path: f"{tmp_path}: is a directory",
        "/vsicurl/http://127.0.0.1:9/y.tif": "virtual file systems are not opened",
        "http://127.0.0.1:9/y.tif": "URLs are not opened",
        "GTIFF_DIR:1:f.tif": "driver prefix",
        "": "is a directory",
    }
    for path, fact in facts.items():
        for command in (("reconstruct", "-o", tmp_path / "out.tif"), ("estimate-stf",)):
            ran = run(*command, path, "--model", model)
            assert ran.code == 3, path
            assert fact in one_line(ran)
    assert outputs(tmp_path) == set()


def test_empty_scene_is_3(tmp_path: Path, model: Path, run: Run) -> None:
    """Row 17."""
    (tmp_path / "in").mkdir()
    empty = np.full((5, 20, 30), -9999, np.float32)
    path = write(tmp_path / "in" / "e.tif", empty, nodata=-9999, tags={"sensor": "p4m"})
    ran = run("reconstruct", path, "-o", tmp_path / "out.tif", "--model", model)
    assert ran.code == 3
    assert "no valid pixel in 30 x 20" in one_line(ran)
    assert outputs(tmp_path) == set()


def test_refused_models_are_one_line_and_4(tmp_path: Path, go: Run, model: Path) -> None:
    """Rows 34, 35."""
    broken = tmp_path / "in" / "broken"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    (tmp_path / "in" / "model.pt").write_bytes(b"\x80\x04.")
    for name, fact in (
        (broken, "SHA-256"),
        ("nosuch", "released models"),
        (tmp_path / "in" / "model.pt", "folder"),
    ):
        ran = go("--model", name)
        assert ran.code == 4
        assert fact in one_line(ran)
    assert outputs(tmp_path) == set()


def test_nan_from_the_network_is_6(
    tmp_path: Path, go: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 32, with the STF estimated and held."""
    assert go().code == 0
    held = tmp_path / "in" / "held.stf.nc"
    (tmp_path / "out.stf.nc").rename(held)
    for name in ("out.tif", "out.qml", "out.tiles.gpkg"):
        (tmp_path / name).unlink()
    real = ZNet.forward
    monkeypatch.setattr(ZNet, "forward", lambda *args: real(*args) * float("nan"))
    ran = go()
    assert ran.code == 6
    assert "NaN or infinity" in one_line(ran)
    ran = go("--stf", held)
    assert ran.code == 6
    assert "NaN or infinity" in one_line(ran)
    assert "Traceback" not in ran.err
    assert outputs(tmp_path) == set()


def test_a_bug_is_one_line_and_1_and_verbose_shows_it(
    tmp_path: Path, go: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P4."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("uavssr.reconstruction.plan_reconstruction", broken)
    ran = go()
    assert ran.code == 1
    assert "ZeroDivisionError: oops; a bug" in one_line(ran)
    loud = go("-vv")
    assert loud.code == 1
    assert loud.err.startswith("Traceback")
    assert "ZeroDivisionError: oops; a bug" in loud.err.splitlines()[-1]


def test_out_of_memory_is_5(go: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 30, in part: with advice."""

    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("uavssr.reconstruction.plan_reconstruction", broken)
    ran = go()
    assert ran.code == 5
    assert "use a smaller --tile" in one_line(ran)


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_very_verbose_adds_a_traceback(tmp_path: Path, field: Path, go: Run, code: int) -> None:
    options = {
        2: ("--tile", 100),
        3: ("--bidx", "1,2,3,4,9"),
        4: ("--model", "nosuch"),
        5: ("-o", field),
    }
    ran = go(*options[code], "-vv")
    assert ran.code == code
    assert "Traceback (most recent call last)" in ran.err
    assert ran.err.splitlines()[-1].startswith("uavssr: error: ")
    assert "Traceback" not in go(*options[code], "-v").err


def test_interrupt_is_130(go: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 23."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uavssr.reconstruction.plan_reconstruction", interrupted)
    ran = go()
    assert ran.code == 130
    assert ran.err == "uavssr: interrupted; nothing was left half-written\n"
    said = json.loads(go("--json").err)
    assert said == Interrupted("interrupted; nothing was left half-written").to_dict()
    assert outputs(tmp_path) == set()


def test_interrupt_at_the_end_says_how_to_go_on(
    go: Run, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 23, promise P2: the command is the one that was given, and --resume."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GeoTiffWriter, "finish", interrupted)
        ran = go()
    assert ran.code == 130
    start = r"uavssr: interrupted; (\d+) of \1 tiles are kept, go on with: uavssr reconstruct "
    assert re.fullmatch(rf"{start}.* --resume", ran.err.splitlines()[-1])
    assert outputs(tmp_path) == {".out.tif.uavssr"}
    with monkeypatch.context() as patch:
        patch.setattr(GeoTiffWriter, "finish", interrupted)
        said = json.loads(go("--resume", "--json").err.splitlines()[-1])
    assert (said["error"], said["exit_code"]) == ("Interrupted", 130)
    assert said["fact"].endswith(" tiles are kept")
    assert run(*shlex.split(ran.err.partition("go on with: uavssr ")[2])).code == 0
    assert outputs(tmp_path) == FOUR


def command_line(*arguments: object, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(REPO)} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "uavssr", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_ctrl_c_stops_a_real_run_and_leaves_no_output(tmp_path: Path, model: Path) -> None:
    """Row 23, promise P1: whether or not a tile was finished by then."""
    (tmp_path / "in").mkdir()
    large = np.tile(reflectance(), (1, 12, 10))
    path = write(tmp_path / "in" / "large.tif", large, tags={"sensor": "p4m"})
    out = tmp_path / "out.tif"
    process = command_line("reconstruct", path, "-o", out, "--model", model, "--tile", 16, "-q")
    try:
        while process.poll() is None and not outputs(tmp_path):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert printed == ""
    assert said.startswith("uavssr: interrupted; ")
    assert len(said.splitlines()) == 1
    assert all(name.startswith(".out.tif.") for name in outputs(tmp_path))
    if "kept" not in said:  # what is left of a start is in nobody's way
        remove_stale_parts(out)
        with Journal(out) as journal:
            assert not journal.begun
        assert outputs(tmp_path) == set()


def test_ctrl_c_again_and_again_ends_in_one_line(tmp_path: Path, model: Path) -> None:
    """Row 23: an impatient user gets no traceback and no abort."""
    (tmp_path / "in").mkdir()
    large = np.tile(reflectance(), (1, 12, 10))
    path = write(tmp_path / "in" / "large.tif", large, tags={"sensor": "p4m"})
    out = tmp_path / "out.tif"
    process = command_line("reconstruct", path, "-o", out, "--model", model, "--tile", 64, "-q")
    journal = tmp_path / ".out.tif.uavssr"
    try:
        while process.poll() is None and not list(journal.glob("tile-*.npz")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        message = process.stderr.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert message.startswith("uavssr: interrupted; ")
    assert rest == ""
    assert process.returncode == 130


STRUCK = """
import signal, sys, time
from uavssr.cli import run_and_exit
from uavssr.cli.app import STOP, app

class Struck:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

@app.command()
def wait():
    STOP.raise_from_now_on()
    Struck()
    time.sleep(30)

sys.argv[1:] = ["wait"]
run_and_exit()
"""
SWALLOWED = """
import signal, sys, time
from uavssr.cli import run_and_exit
from uavssr.cli.app import STOP, app

@app.command()
def wait():
    STOP.raise_from_now_on()
    for _ in range(3000):
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.01)
        except BaseException:
            pass
        else:
            continue
        break
    time.sleep(30)

sys.argv[1:] = ["wait"]
run_and_exit()
"""
CONVERTED = """
import signal, sys, time
from uavssr.cli import run_and_exit
from uavssr.cli.app import STOP, app

@app.command()
def wait():
    STOP.raise_from_now_on()
    try:
        signal.raise_signal(signal.SIGHUP)
        time.sleep(30)
    except BaseException as err:
        raise RuntimeError("a library's own error") from err

sys.argv[1:] = ["wait"]
run_and_exit()
"""
LOADING = """
import signal, sys
from uavssr.__main__ import run

class Loading:
    def find_spec(self, name, *_):
        if name == "MODULE":
            signal.raise_signal(signal.SIGINT)

assert "MODULE" not in sys.modules
sys.meta_path.insert(0, Loading())
sys.argv[1:] = ["reconstruct", "no.tif", "-o", "out.tif"]
run()
"""


def test_ctrl_c_while_it_loads_is_json_too() -> None:
    script = LOADING.replace("MODULE", "typer").replace('"out.tif"', '"o", "--json"')
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=20
    )
    assert json.loads(done.stderr)["error"] == "Interrupted"
    assert (done.returncode, done.stdout) == (130, "")


@pytest.mark.parametrize(
    "script",
    [
        *(STRUCK, SWALLOWED, CONVERTED),
        *(LOADING.replace("MODULE", name) for name in ("uavssr.cli.entry", "typer", "torch")),
    ],
    ids=["in a destructor", "swallowed", "made another error", "first", "early", "while it loads"],
)
def test_ctrl_c_at_a_bad_moment_stops_the_run_all_the_same(script: str) -> None:
    """Row 23."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=20
    )
    assert done.stderr == "uavssr: interrupted; nothing was left half-written\n"
    assert done.returncode == 130


@pytest.mark.parametrize("command", ["reconstruct", "inspect", "estimate-stf"])
def test_cube_in_place_of_an_image_is_recognised(
    tmp_path: Path, go: Run, run: Run, command: str
) -> None:
    assert go().code == 0
    ran = run(command, tmp_path / "out.tif", *(["-o", "x.tif"] if command == "reconstruct" else []))
    assert ran.code == 3
    said = ran.out if command == "inspect" else one_line(ran)
    assert "hyperspectral cube, or its coefficients" in said
    assert "uavssr expand" in said


# --- outputs that stand in the way (row 26) ------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FOUR))
def test_existing_output_needs_overwrite(tmp_path: Path, go: Run, name: str) -> None:
    """Row 26."""
    (tmp_path / name).write_bytes(b"old")
    ran = go()
    assert ran.code == 8
    assert f"{name}: exists; pass --overwrite" in one_line(ran)
    assert outputs(tmp_path) == {name}
    assert (tmp_path / name).read_bytes() == b"old"


def test_overwrite_replaces_all_four(tmp_path: Path, go: Run) -> None:
    """Row 26."""
    for name in FOUR:
        (tmp_path / name).write_bytes(b"old")
    assert go("--overwrite").code == 0
    assert outputs(tmp_path) == FOUR
    assert not [name for name in FOUR if (tmp_path / name).read_bytes() == b"old"]


def test_no_output_option_can_destroy_an_input(
    tmp_path: Path, field: Path, model: Path, go: Run, run: Run
) -> None:
    """Row 26: by name, hard link or symbolic link, through every option that names a file."""
    (tmp_path / "in" / "hard.tif").hardlink_to(field)
    (tmp_path / "in" / "soft.tif").symlink_to(field)
    before = field.read_bytes()
    for path in (field, tmp_path / "in" / "hard.tif", tmp_path / "in" / "soft.tif"):
        for ran in (
            go("-o", path, "--overwrite"),
            go("--quicklook", path, "--overwrite"),
            run("estimate-stf", field, "--out", path, "--overwrite", "--model", model),
            run("estimate-stf", field, "--plot", path, "--overwrite", "--model", model),
        ):
            assert ran.code == 5
            assert "is the input" in one_line(ran)
    assert field.read_bytes() == before
    assert outputs(tmp_path) == set()


def test_outputs_are_checked_before_the_model_is_loaded(
    tmp_path: Path, field: Path, go: Run, run: Run
) -> None:
    """Row 26: a name that is taken is reported at once."""
    for options in (("-o", field), ("--quicklook", field), ("-o", tmp_path / "gone" / "out.tif")):
        assert go(*options, "--model", "nosuch").code == 5
    assert run("estimate-stf", field, "--plot", field, "--model", "nosuch").code == 5


def test_stf_that_is_held_fixed_is_an_input_too(tmp_path: Path, go: Run) -> None:
    """Row 26."""
    assert go().code == 0
    before = {name: (tmp_path / name).read_bytes() for name in FOUR}
    ran = go("--stf", tmp_path / "out.stf.nc", "--overwrite")
    assert ran.code == 5
    assert "out.stf.nc: is the input" in one_line(ran)
    assert {name: (tmp_path / name).read_bytes() for name in FOUR} == before


def test_two_outputs_of_one_name_are_refused(
    tmp_path: Path, field: Path, model: Path, go: Run, run: Run
) -> None:
    for name in FOUR:
        assert "two outputs" in one_line(go("--quicklook", tmp_path / name, "--overwrite"))
    path = tmp_path / "x.nc"
    ran = run("estimate-stf", field, "--out", path, "--plot", path, "--model", model)
    assert ran.code == 2
    assert outputs(tmp_path) == set()


def test_output_names_must_fit_their_format(
    tmp_path: Path, field: Path, model: Path, go: Run, run: Run
) -> None:
    for ran, name in (
        (go("-o", tmp_path / "plot.1"), "use one of .dat .img .tif .tiff .zarr"),
        (go("--quicklook", tmp_path / "q.jpg"), "name it .png"),
        (run("estimate-stf", field, "--out", tmp_path / "a.tif", "--model", model), "name it .nc"),
    ):
        assert ran.code == 2
        assert name in one_line(ran)
    assert outputs(tmp_path) == set()


def test_output_that_cannot_be_written_is_5(tmp_path: Path, go: Run) -> None:
    """Row 26; /proc stands for a folder that even root may not write to."""
    (tmp_path / "in" / "folder.tif").mkdir()
    (tmp_path / "in" / "file").write_text("")
    places = {
        tmp_path / "gone" / "out.tif": "no folder",
        tmp_path / "in" / "folder.tif": "is a folder",
        tmp_path / "in" / "file" / "out.tif": "",
        Path("/proc/out.tif"): "cannot write in /proc",
    }
    for path, fact in places.items():
        ran = go("-o", path)
        assert ran.code == 5, (path, ran.err)
        assert fact in one_line(ran)
    assert outputs(tmp_path) == set()


# --- advice that works ---------------------------------------------------------------------------


def advised(said: str) -> list[str]:
    """The arguments of the command at the end of a refusal, with its blanks filled in."""
    command = re.search(r"uavssr (reconstruct .*?)$", said.strip().splitlines()[-1])
    assert command, said
    filled = re.sub(r"ROLE(,ROLE)+(,\.\.\.)?", ",".join(P4M.roles), command[1])
    filled = filled.replace("NAME", "p4m")
    return shlex.split(filled.replace("NUMBER", "1/32768"))


def follow(run: Run, model: Path, *arguments: object) -> list[Ran]:
    """Run a command, then what each refusal advises, until it works; every answer on the way."""
    done = [run(*arguments)]
    while done[-1].code == 3 and len(done) < 6:
        said = done[-1].out or done[-1].err
        assert said not in [ran.err for ran in done[:-1]]
        done.append(run(*advised(said), "--model", model))
    return done


@pytest.mark.parametrize("name", ["field.tif", "my field ü.tif", "-field.tif"])
def test_refusals_lead_a_field_without_tags_to_a_cube(
    tmp_path: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Rows 14, 16, 33: the example field, stripped of all but its pixels and its place."""
    with rasterio.open(REPO / "examples" / "field.tif") as file:
        stored = file.read(window=((100, 140), (100, 150)))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, stored, names=None, nodata=0)
    done = follow(run, model, "inspect", "--", name)
    assert [ran.code for ran in done] == [3, 0]
    assert done[0].err == ""
    assert all(word in done[0].out for word in ("--sensor", "--bands", "--scale"))
    found = Path(f"{Path(name).stem}_cube.tif")
    with rasterio.open(f"./{found}") as cube:
        assert (cube.count, cube.height, cube.width) == (len(GRID), 40, 50)


def test_advice_for_bands_in_no_order_works(
    tmp_path: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 14: the camera is known, the order is not."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f.tif", reflectance(), names=None, tags={"sensor": "p4m"})
    done = follow(run, model, "reconstruct", "f.tif", "-o", "x.tif")
    assert [ran.code for ran in done] == [3, 0]
    assert "found band 1 = unnamed" in done[0].err
    assert "expected each of blue, green, red, rededge, nir of p4m once" in done[0].err


# --- inputs of all sorts, end to end -------------------------------------------------------------


def reconstructed(run: Run, model: Path, out: Path, *arguments: object) -> np.ndarray:
    options = ("--model", model, "--tile", 32, "--overwrite", "-q")
    ran = run("reconstruct", *arguments, "-o", out, *options)
    assert (ran.code, ran.err) == (0, "")
    return cube_of(out)


def test_bands_in_another_order_give_the_same_cube(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    """Row 14: by description, by --bands, and with a band too many."""
    expected = reconstructed(run, model, tmp_path / "out.tif", field)
    image, order = reflectance(), [4, 2, 0, 3, 1]
    names = [("Blue", "Green", "Red", "RedEdge", "NIR")[i] for i in order]
    described = write(tmp_path / "in" / "d.tif", image[order], names=names, tags={"sensor": "p4m"})
    found = reconstructed(run, model, tmp_path / "out.tif", described)
    assert np.allclose(found, expected, atol=2e-4, equal_nan=True)
    more = np.concatenate([image[order], image[:1] * 0.5])
    plain = write(tmp_path / "in" / "p.tif", more, names=None)
    roles = ",".join([*(P4M.roles[i] for i in order), "skip"])
    found = reconstructed(
        run, model, tmp_path / "out.tif", plain, "--sensor", "p4m", "--bands", roles
    )
    assert np.allclose(found, expected, atol=2e-4, equal_nan=True)


def test_wrong_sets_of_bands_are_refused_with_found_and_expected(
    tmp_path: Path, model: Path, run: Run
) -> None:
    """Row 14: four bands, an RGB image, and two bands of one name."""
    (tmp_path / "in").mkdir()
    image = reflectance()
    four = write(tmp_path / "in" / "4.tif", image[:4], names=("Blue", "Green", "Red", "NIR"))
    rgb = write(
        tmp_path / "in" / "rgb.tif", image[:3], names=None, colours=("red", "green", "blue")
    )
    twice = write(
        tmp_path / "in" / "twice.tif", image, names=("Blue", "Blue", "Red", "RedEdge", "NIR")
    )
    for path in (four, rgb, twice):
        ran = run(
            "reconstruct", path, "--sensor", "p4m", "-o", tmp_path / "o.tif", "--model", model
        )
        assert ran.code == 3
        said = one_line(ran)
        assert f"{path}: found band 1 = " in said
        assert "expected each of blue, green, red, rededge, nir of p4m once" in said
    assert outputs(tmp_path) == set()


def test_a_file_per_band_gives_the_same_cube_and_the_odd_one_is_named(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    """Row 15."""
    expected = reconstructed(run, model, tmp_path / "out.tif", field)
    image = reflectance()
    paths = [
        write(tmp_path / "in" / f"result_{role}.tif", band[None], names=None)
        for role, band in zip(
            ("NIR", "Blue", "Red", "Green", "RedEdge"), image[[4, 0, 2, 1, 3]], strict=True
        )
    ]
    found = reconstructed(run, model, tmp_path / "out.tif", *paths, "--sensor", "p4m")
    assert np.allclose(found, expected, atol=2e-4, equal_nan=True)
    shift = TRANSFORM * TRANSFORM.translation(0.5, 0)
    for change in ({"transform": shift}, {"crs": "EPSG:32651"}, {"cut": 1}):
        odd = image[2:3, : HEIGHT - change.pop("cut", 0)]
        write(tmp_path / "in" / "result_Red.tif", odd, names=None, **change)
        out = tmp_path / "odd.tif"
        ran = run("reconstruct", *paths, "--sensor", "p4m", "-o", out, "--model", model)
        assert ran.code == 3
        assert "result_Red.tif: " in one_line(ran)
    assert outputs(tmp_path) == FOUR


def test_numbers_of_all_types_give_the_same_cube(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    """Row 16: float64, uint16 scaled by tags, int16 by --scale."""
    expected = reconstructed(run, model, tmp_path / "out.tif", field)
    image = reflectance()
    counts = np.nan_to_num(np.round(image / 1e-4), nan=0)
    tags = {"sensor": "p4m"}
    cases = {
        "f8.tif": ({"numbers": image.astype("f8"), "tags": tags}, ()),
        "u2.tif": ({"numbers": counts.astype("u2"), "scales": [1e-4] * 5, "nodata": 0}, ()),
        "i2.tif": ({"numbers": counts.astype("i2"), "nodata": 0}, ("--scale", "1/10000")),
    }
    for name, (given, options) in cases.items():
        path = write(tmp_path / "in" / name, **({"tags": tags} | given))
        found = reconstructed(run, model, tmp_path / "out.tif", path, *options)
        assert np.nanmax(np.abs(found - expected)) < 0.01, name
        assert np.array_equal(np.isnan(found), np.isnan(expected)), name


def test_numbers_that_say_too_little_are_refused(tmp_path: Path, model: Path, run: Run) -> None:
    """Row 16: bytes and plain counts, and complex numbers."""
    (tmp_path / "in").mkdir()
    image = np.nan_to_num(reflectance(), nan=0.1)
    for numbers, fact in (
        ((image * 255).astype("u1"), "--scale"),
        ((image * 1e4).astype("u2"), "scale 0.0001 would make it"),
        (image.astype("c8"), "complex"),
    ):
        path = write(tmp_path / "in" / f"{numbers.dtype}.tif", numbers, tags={"sensor": "p4m"})
        ran = run("reconstruct", path, "-o", tmp_path / "o.tif", "--model", model)
        assert ran.code == 3
        assert fact in one_line(ran)
    assert outputs(tmp_path) == set()


# --- options that change the output --------------------------------------------------------------


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_every_number_of_stages_runs(tmp_path: Path, go: Run, stages: int) -> None:
    assert go("--stages", stages).code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags()["uavssr_stages"] == str(stages)


def test_small_tiles_need_no_word_on_overlap(tmp_path: Path, go: Run) -> None:
    assert go("--tile", 16).code == 0
    assert go("--tile", 16, "--stf-scope", "tile", "--overwrite").code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.tags()["uavssr_tile"], file.tags()["uavssr_overlap"]) == ("16", "16")


def test_creation_options_and_type_reach_the_file(tmp_path: Path, go: Run) -> None:
    assert go("--co", "compress=DEFLATE", "--co", "ZLEVEL=1", "--dtype", "float32").code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.profile["compress"] == "deflate"
        assert file.profile["dtype"] == "float32"
        assert np.isnan(file.nodata)
        assert np.isfinite(file.read(1)).sum() == np.isfinite(reflectance()[0]).sum()


def test_tile_scope_and_held_stf_reach_the_run(tmp_path: Path, go: Run) -> None:
    assert go().code == 0
    first = cube_of(tmp_path / "out.tif")
    held = tmp_path / "in" / "held.stf.nc"
    (tmp_path / "out.stf.nc").rename(held)
    assert go("--overwrite", "--stf", held).code == 0
    assert np.nanmax(np.abs(cube_of(tmp_path / "out.tif") - first)) <= 1.1e-4
    assert go("--overwrite", "--stf-scope", "tile").code == 0
    assert np.nanmax(np.abs(cube_of(tmp_path / "out.tif") - first)) > 2e-4


# --- names and surroundings (row 33) -------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a field.tif", "поле ü 田.tif", "-v.tif", "--help.tif", "a'b$c.tif"]
)
def test_odd_names_work(
    tmp_path: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Row 33: as input after --, and as output."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write(tmp_path / "in" / name, reflectance(), tags={"sensor": "p4m"})
    monkeypatch.chdir(tmp_path / "in")
    assert run("inspect", "--json", "--", name).code == 0
    out = tmp_path / name
    ran = run("reconstruct", "-o", out, "--model", model, "--tile", 32, "-q", "--", name)
    assert ran == Ran(0, "", "")
    stem = name.removesuffix(".tif")
    assert outputs(tmp_path) == {f"{stem}.{end}" for end in ("tif", "qml", "stf.nc", "tiles.gpkg")}


def test_bare_surroundings_do_not_matter(tmp_path: Path, field: Path, model: Path) -> None:
    """Row 33: LANG=C, a HOME that cannot be written, no terminal, odd names; figures too."""
    out = tmp_path / "cube ü.tif"
    process = command_line(
        *("reconstruct", field, "-o", out, "--model", model, "--tile", 32, "--json"),
        *("--quicklook", tmp_path / "look ü.png"),
        env={"LANG": "C", "LC_ALL": "C", "HOME": "/proc/none", "XDG_CACHE_HOME": ""},
        stdin=subprocess.DEVNULL,
    )
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert json.loads(printed)["cube"] == str(out)
    assert "Traceback" not in said
    assert outputs(tmp_path) == {
        *("cube ü.tif", "cube ü.qml", "cube ü.stf.nc", "cube ü.tiles.gpkg", "look ü.png")
    }


@pytest.mark.parametrize("command", ["sensors", "sensors --json", "--help"])
def test_reader_that_leaves_early_is_no_error(command: str) -> None:
    """Row 33: `| head`; `true` has gone before the first byte."""
    python = shlex.quote(sys.executable)
    for reader in ("head -n 1", "true"):
        done = subprocess.run(
            ["bash", "-c", f"{python} -m uavssr {command} | {reader}"],
            env=os.environ | {"PYTHONPATH": str(REPO)},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0
        assert done.stderr == ""


def test_garbage_is_collected_as_usual_once_a_command_writes(tmp_path: Path) -> None:
    usual = gc.get_threshold()
    gc.set_threshold(100_000)
    try:
        check_outputs([tmp_path / "out.tif"], [], overwrite=False)
        assert gc.get_threshold() == usual
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def test_options_of_gdal_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 5."""
    dangerous = ("GTIFF_IGNORE_READ_ERRORS", "GDAL_TIFF_ENDIANNESS", "PROJ_NETWORK", "CPL_LOG")
    kept = ("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB")
    for name in (*dangerous, *kept):
        monkeypatch.setenv(name, "anything")
    monkeypatch.setenv("GDAL_CONFIG_FILE", "my.gdalrc")
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    ignore_gdal_settings()
    assert not set(dangerous) & set(os.environ)
    assert set(kept) <= set(os.environ)
    assert os.environ["GDAL_CONFIG_FILE"] == os.devnull
    assert int(os.environ["GDAL_CACHEMAX"]) * 2**20 == BLOCK_CACHE
