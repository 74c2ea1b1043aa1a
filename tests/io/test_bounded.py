"""Bounded reading: what blocks, claims too much or nests too deep is refused at once."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.places import REPO
from uavssr.data.manifest import file_sha256, read_manifest
from uavssr.errors import InputRefused, ModelRefused, UavssrError, UsageError
from uavssr.io.bounded import (
    IrregularFileError,
    open_regular,
    opened_arrays,
    parse_json,
    parse_yaml,
    read_array,
    read_bytes,
    read_table,
    why_unread,
)
from uavssr.io.checks import check_raster, fingerprint
from uavssr.io.settings import Settings, read_settings
from uavssr.io.stf import read_stf
from uavssr.model.weights import load_model
from uavssr.sensors import HEADWALL_NANO, load_sensor, select_wavelengths
from uavssr.spectra import load_library
from uavssr.spectra.field_table import read_field_table

# --- what is no regular file -----------------------------------------------------------------

READERS: dict[str, Callable[[Path], object]] = {
    "image.tif": check_raster,
    "image.fingerprint": lambda path: fingerprint([path]),
    "sensor.yaml": load_sensor,
    "sensor.csv": load_sensor,
    "config.yaml": lambda path: read_settings(Settings, path, {}, []),
    "pairs.csv": read_manifest,
    "any.digest": file_sha256,
    "table.csv": read_field_table,
    "library.npz": lambda path: load_library(path, HEADWALL_NANO),
    "scene.stf.nc": lambda path: read_stf(path, sensor=None, grid=HEADWALL_NANO),
    "nm.txt": lambda path: select_wavelengths(HEADWALL_NANO, str(path)),
    "model/config.json": lambda path: load_model(path.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("linked", ["", "linked"])
def test_every_reader_refuses_a_fifo_at_once(tmp_path: Path, name: str, linked: str) -> None:
    """Row 10."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    fifo = tmp_path / "fifo" if linked else path
    os.mkfifo(fifo)
    if linked:
        path.symlink_to(fifo)
    with pytest.raises((InputRefused, ModelRefused, UsageError)) as caught:
        READERS[name](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_a_file_that_is_longer_than_any(tmp_path: Path, name: str) -> None:
    if name in ("any.digest", "image.fingerprint"):
        pytest.skip("reads in pieces, so any length will do")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, 2**36)  # sparse: no disk is used
    with pytest.raises(UavssrError):
        READERS[name](path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    assert read_bytes(tmp_path / "link", 3) == b"abc"
    with pytest.raises(IrregularFileError, match="is a link"):
        open_regular(tmp_path / "link", follow=False)
    with pytest.raises(IrregularFileError, match="is a device"):
        open_regular("/dev/zero")
    with pytest.raises(ValueError, match="3 bytes, more than the 2 allowed"):
        read_bytes(tmp_path / "file", 2)
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(tmp_path / "dangling")
    assert "link to 'nothing'" in why_unread(caught.value, tmp_path / "dangling")


def test_file_that_grows_is_read_to_its_bound_only() -> None:
    """Files in /proc have size 0, whatever they hold."""
    with pytest.raises(ValueError, match="more than the 4 allowed"):
        read_bytes("/proc/self/status", 4)


# --- text ------------------------------------------------------------------------------------

LAUGHS = "[&b0 [x,x,x,x,x,x,x,x,x,x]," + ",".join(
    f"&b{i} [{','.join([f'*b{i - 1}'] * 10)}]" for i in range(1, 9)
)


@pytest.mark.parametrize(
    "text",
    [
        f"a: {LAUGHS}]",
        "&a [*a]",
        "&a {b: *a}",
        "[" * 10_000,
        "- " * 10_000,
        "a: " + "[" * 40 + "]" * 40,
        "a: " + "1" * 5000,
        "a: 1" + ":1" * 100_000,
        "a: 2020-13-45",
        "a: [" + "1," * 600_000 + "]",
        "!!python/object/apply:os.getcwd []",
        "? [1]\n: 2",
        "a: *b",
        "a: 1\n---\nb: 2",
        "a: \x00",
    ],
    ids=lambda text: text[:20],
)
def test_yaml_is_bounded(text: str) -> None:
    """Row 9."""
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sensor.yaml", "name: a\nbands:\n- {role: red, centre: 650, fwhm: 10, centre: 660}\n"),
        ("config.yaml", "training: {steps: 1}\ntraining:\n  steps: 2\n"),
    ],
)
def test_key_that_comes_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """Row 37."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UavssrError, match=r"the key '(centre|training)' is given twice, .* line"):
        READERS[name](tmp_path / name)


def test_one_key_in_several_mappings_is_not_repeated() -> None:
    text = "a: &a {x: a, y: [x, x]}\nb: {<<: *a, <<: {z: 1}, x: x}\nc: [{x: 1}, {x: 2}]\n"
    assert parse_yaml(text)["b"] == {"x": "x", "y": ["x", "x"], "z": 1}


def test_yaml_keeps_what_people_write() -> None:
    text = "nm: &nm [400, 5e2, 6.5]\nb: {nm: *nm, on: yes}\nc: # none\n"
    nm = [400, 500.0, 6.5]
    assert parse_yaml(text) == {"nm": nm, "b": {"nm": nm, True: True}, "c": None}
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, "1" * 5000, "{", b"\xff"],
    ids=lambda text: str(text[:9]),
)
def test_json_is_bounded(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_json_is_that_of_the_library() -> None:
    value = {"a": [1, 2.5, None, {"b": "c"}], "d": [[[]]]}
    assert parse_json(json.dumps(value)) == value


def test_table_has_the_rows_of_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa,"b\nc"\r\n\r\n1,2'.encode())
    assert list(read_table(path, 100)) == [["a", "b\nc"], [], ["1", "2"]]
    path.write_text("," * 9_000_000)
    with pytest.raises(ValueError, match="cells"):
        list(read_table(path, 10**7))
    path.write_text(f'"{"x" * 200_000}"')
    with pytest.raises(ValueError, match="field"):
        list(read_table(path, 10**7))


# --- arrays ----------------------------------------------------------------------------------


def npz(header: bytes | None = None, **arrays: object) -> bytearray:
    """An .npz file; with `header` its only member is that text before 8 bytes."""
    raw = io.BytesIO()
    if header is None:
        np.savez_compressed(raw, **arrays)
    else:
        with zipfile.ZipFile(raw, "w") as archive:
            text = header.ljust(117) + b"\n"
            size = struct.pack("<H", len(text))
            archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + size + text + bytes(8))
    return bytearray(raw.getvalue())


def arrays_in(raw: bytes, most: int = 2**20) -> np.ndarray:
    with opened_arrays(io.BytesIO(raw), most) as archive:
        return read_array(archive, "a")


@pytest.mark.parametrize(
    "value", [np.arange(6.0).reshape(2, 3), np.array(["x", "yz"]), np.zeros(())]
)
def test_arrays_are_those_that_were_saved(value: np.ndarray) -> None:
    found = arrays_in(npz(a=value))
    assert found.dtype == value.dtype
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("'<f8'", "(1000000000000000000,)"),
        ("'<f8'", "(-1, -1)"),
        ("'<U0'", "(1000000000000000000,)"),
        ("'|O'", "(1,)"),
        ("'<f8'", "(2,)"),
        ("'<f8'", "(" * 5000),
        ("[('a', '<f8', (1000000000,))]", "(1,)"),
        ("'nonsense'", "(1,)"),
        ("3", "(1,)"),
    ],
)
def test_header_of_an_array_claims_no_more_than_there_is(descr: str, shape: str) -> None:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    with pytest.raises(ValueError, match=r"claims|damaged|descr|Header|dtype|shape|header"):
        arrays_in(bytes(npz(text.encode())))


def test_zip_bomb_and_long_list_of_members_are_refused() -> None:
    """Row 9."""
    with pytest.raises(ValueError, match=r"unpacks to 4\d+ bytes, more than the 1048576"):
        arrays_in(bytes(npz(a=np.zeros(5_000_000))))
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for i in range(1500):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(ValueError, match="lists members"):
        arrays_in(raw.getvalue())
    with pytest.raises(ValueError, match="lacks a"):
        arrays_in(bytes(npz(b=np.zeros(2))))


def test_any_damaged_byte_of_a_library_is_read_or_refused(tmp_path: Path) -> None:
    whole = npz(a=np.arange(3.0))
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        try:
            arrays_in(bytes(damaged))
        except ValueError:
            continue


# --- the place -------------------------------------------------------------------------------

UNBOUNDED = re.compile(
    r"json\.loads?|yaml\.(safe_)?load|csv\.reader|np\.(load|loadtxt|genfromtxt|fromfile)"
    r"|torch\.load|.*\.read_(text|bytes)|open|(?!.*checked|self|os|rasterio|H5NetCDFStore).*\.open"
)
WRITES = re.compile(r"\((.*, )?'(w|a|x|r\+)b?'")
ALLOWED = {
    ("io/manifests.py", "csv.reader"),  # of a text that was read within its bound
    ("indices/index.py", "files('uavssr.indices').joinpath('indices.yaml').read_text"),
    ("io/stf/files.py", "part.read_bytes"),
    ("io/pictures.py", "memory.open"),  # of bytes that were read within their bound
    ("io/writers/lock.py", "json.loads"),  # of 4096 bytes
    ("io/writers/envi.py", "self._part_header.read_text"),
    ("io/writers/sensor_yaml.py", "part.read_bytes"),
    ("io/writers/zarr.py", "(self._part / key).read_bytes"),
    ("report/page.py", "files('uavssr.report').joinpath(name).read_text"),
    ("reconstruction/devices.py", "own_group.read_text"),  # of the system
    ("reconstruction/devices.py", "(cgroups / group / 'cpu.max').read_text"),
    ("reconstruction/devices.py", "(cgroups / 'cpu' / f'cpu.cfs_{name}_us').read_text"),
    ("sensors/sensor_file.py", "files('uavssr.sensors').joinpath('cameras.yaml').read_text"),
    ("evaluation/baselines/network_fit.py", "torch.load"),  # a checkpoint of its own, weights only
    ("training/checkpoints.py", "torch.load"),  # checked before
}
"""Files and calls that read nothing of the user's, or what is bounded already."""


def test_files_are_read_in_one_place_only() -> None:
    found = set()
    for path in (REPO / "uavssr").rglob("*.py"):
        name = path.relative_to(REPO / "uavssr").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or WRITES.search(ast.unparse(node)):
                continue
            if UNBOUNDED.fullmatch(ast.unparse(node.func)):
                found.add((name, ast.unparse(node.func)))
    found -= {call for call in found if call[0] == "io/bounded.py"} | ALLOWED
    assert not found, "use uavssr.io.bounded"
