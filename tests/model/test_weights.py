"""Model folders: the round trip, and every way in which one may be broken or hostile.

Rows 34 to 36 of the fault table: a pickle, a damaged file, a folder that lies about its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from tests.helpers.models import CONFIG, GRID, expected_stf, tiny_model, tiny_msi, tiny_network
from uavssr.errors import ModelRefused
from uavssr.model import weights
from uavssr.model.weights import (
    MAX_CONFIG_BYTES,
    MAX_WEIGHTS_BYTES,
    find_model,
    load_model,
    model_folders,
    save_model,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that hypothesis damages; `damaged` puts the bytes back."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def refused(folder: str | Path, *parts: str) -> ModelRefused:
    """The refusal to load, which must be one line that holds all of `parts`."""
    with pytest.raises(ModelRefused) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 4
    for part in parts:
        assert part in message
    return caught.value


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change config.json in place."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def sign(folder: Path, raw: bytes) -> None:
    """Put other weights into the folder, with a digest that agrees with them."""
    (folder / "model.safetensors").write_bytes(raw)
    rewrite(folder, lambda config: config.update(sha256=hashlib.sha256(raw).hexdigest()))


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load((folder / "model.safetensors").read_bytes())


# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [False, True], ids=["subspace", "full band"])
def test_a_saved_network_loads_and_gives_the_same_cube(*, identity: bool, tmp_path: Path) -> None:
    network = tiny_network(identity=identity)
    digest = save_model(network, tmp_path / "m", name="mine", training={"seed": 7})
    model = load_model(tmp_path / "m")
    assert (model.name, model.sha256, model.training) == ("mine", digest, {"seed": 7})
    raw = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert hashlib.sha256(raw).hexdigest() == digest
    assert model.grid.matches(GRID, tolerance=1e-3)
    assert model.network.config == network.config
    network.requires_grad_(False)  # as the loaded one: torch takes other paths with gradients
    with torch.no_grad():
        before, after = (
            each(tiny_msi(), expected_stf(), estimate_stf=True) for each in (network, model.network)
        )
    assert torch.equal(before.coefficients, after.coefficients)
    assert torch.equal(before.stf.rows, after.stf.rows)
    assert torch.equal(before.stf.theta_se, after.stf.theta_se)


def test_a_loaded_network_is_ready_to_run_and_not_to_train(folder: Path) -> None:
    network = load_model(folder).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(value.device.type == "cpu" for value in network.state_dict().values())


def test_saving_twice_gives_the_same_bytes_and_leaves_no_litter(tmp_path: Path) -> None:
    network = tiny_network()
    digests = {save_model(network, tmp_path / n, name="m", training={}) for n in ("a", "b", "a")}
    assert len(digests) == 1
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert found == ["config.json", "model.safetensors"]


# --- finding --------------------------------------------------------------------------------------


@pytest.fixture
def released(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake release that holds `tiny`."""
    monkeypatch.setattr(weights, "model_folders", lambda: [folder.parent])
    return folder.parent


def test_a_released_model_is_found_by_its_name(released: Path) -> None:
    assert find_model("tiny") == released / "tiny"
    assert load_model("tiny").name == "tiny"


def test_an_unknown_name_lists_the_released_models(released: Path) -> None:
    tiny_model(released / "other")
    refused("huge", "huge: no such model folder", "released models: other, tiny")


def test_without_a_release_an_unknown_name_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "model_folders", lambda: [tmp_path / "nothing"])
    refused("huge", "released models: none")


def test_models_of_a_clone_are_found(repo: Path) -> None:
    if (repo / "models").is_dir():
        assert repo / "models" in model_folders()


def test_a_released_name_wins_over_a_folder_of_that_name(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert find_model("tiny") == released / "tiny"
    assert find_model("./tiny") == Path("tiny")


def test_a_file_is_no_model_folder(folder: Path) -> None:
    refused(folder / "model.safetensors", "is a file, and models are folders")


@pytest.mark.parametrize("text", ["https://host/model", "file:///tmp/model", "mod\0el"])
def test_what_is_no_local_path_is_refused(text: str) -> None:
    refused(text, "not a local model folder")


@pytest.mark.parametrize("text", ["m" * 300, "./" + "m" * 5000, "\udcff", "a\nb"])
def test_a_path_that_no_folder_can_have_is_refused(text: str) -> None:
    with pytest.raises(ModelRefused):
        load_model(text)


def test_the_folder_of_a_training_is_told_where_its_model_is(folder: Path) -> None:
    with pytest.raises(ModelRefused, match=f"name the model in it: .*{folder.name}$"):
        load_model(folder.parent)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_or_irregular_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    refused(folder, name, "missing or not a regular file")
    os.mkfifo(folder / name)  # would block a reader for ever
    refused(folder, name, "missing or not a regular file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, name, "missing or not a regular file")


# --- row 34: no code is run -----------------------------------------------------------------------


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def pickles(target: Path) -> dict[str, bytes]:
    torch.save({"model": Bomb(target)}, target.with_name("saved.pt"))
    return {
        "pickle": pickle.dumps(Bomb(target)),
        "torch.save": target.with_name("saved.pt").read_bytes(),
    }


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pickle_by_any_name_runs_no_code(
    kind: str, name: str, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "exploded"
    raw = pickles(target)[kind]
    pickle.loads(pickles(target)["pickle"])  # noqa: S301  # that the bomb works at all
    assert target.exists()
    target.unlink()
    if name == "config.json":
        (folder / name).write_bytes(raw)
        refused(folder, "config.json", "not valid JSON")
    else:
        (folder / name).write_bytes(raw)
        refused(folder, "model.safetensors", "SHA-256")
        sign(folder, raw)
        refused(folder, "model.safetensors", "not a safetensors file")
    assert not target.exists()


def test_a_pickle_beside_the_weights_is_not_looked_at(folder: Path, tmp_path: Path) -> None:
    for name in ("model.pt", "pytorch_model.bin", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    load_model(folder)
    assert not (tmp_path / "exploded").exists()
    refused(folder / "model.pt", "is a file, and models are folders")
    assert not (tmp_path / "exploded").exists()


# --- row 35: damage -------------------------------------------------------------------------------


def cuts(length: int) -> list[int]:
    return [0, 1, 7, 8, 9, 100, length // 4, length // 2, length * 999 // 1000, length - 1]


@pytest.mark.parametrize("signed", [False, True], ids=["old digest", "new digest"])
def test_truncated_weights_are_refused_at_any_length(*, signed: bool, folder: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    for length in cuts(len(raw)):
        if signed:
            sign(folder, raw[:length])
            refused(folder, "model.safetensors", "not a safetensors file")
        else:
            (folder / "model.safetensors").write_bytes(raw[:length])
            refused(folder, "model.safetensors", "SHA-256", "get the model folder again")


@given(data=st.data())
def test_one_flipped_bit_anywhere_in_the_weights_is_refused(
    data: st.DataObject, shared_folder: Path
) -> None:
    path = shared_folder / "model.safetensors"
    raw = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(damaged)
        refused(shared_folder, "SHA-256")
    finally:
        path.write_bytes(raw)


@given(data=st.data())
def test_a_header_changed_and_signed_is_refused_or_loads(
    data: st.DataObject, shared_folder: Path
) -> None:
    """A byte of the safetensors header replaced, the digest made to agree: never a traceback."""
    path, config = shared_folder / "model.safetensors", shared_folder / "config.json"
    raw, text = path.read_bytes(), config.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    damaged = bytearray(raw)
    damaged[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    try:
        sign(shared_folder, bytes(damaged))
        load_or_refuse(shared_folder)
    finally:
        path.write_bytes(raw)
        config.write_bytes(text)


@given(data=st.data())
def test_one_changed_byte_of_the_config_is_refused_or_loads(
    data: st.DataObject, shared_folder: Path
) -> None:
    path = shared_folder / "config.json"
    raw = path.read_bytes()
    damaged = bytearray(raw)
    place = data.draw(st.integers(0, len(raw) - 1))
    damaged[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789"{}[],e-.'))
    try:
        path.write_bytes(damaged)
        load_or_refuse(shared_folder)
    finally:
        path.write_bytes(raw)


def load_or_refuse(folder: Path) -> None:
    message = ""
    try:
        load_model(folder)
    except ModelRefused as err:
        message = str(err)
    assert "\n" not in message


HEADERS = {
    "absurd length": (2**63).to_bytes(8, "little") + b"{}",
    "length past the end": (3).to_bytes(8, "little") + b"{}",
    "a list": (2).to_bytes(8, "little") + b"[]",
    "no JSON": (4).to_bytes(8, "little") + b"\xff\xfe{}",
    "deep": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "no dtype": (9).to_bytes(8, "little") + b'{"a": {}}',
}


@pytest.mark.parametrize("raw", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_none_is_refused(raw: bytes, folder: Path) -> None:
    sign(folder, raw)
    refused(folder, "model.safetensors", "not a safetensors file")


def with_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The folder's weights with another header."""
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


@pytest.mark.parametrize(
    "offsets",
    [[0, 1], [10**12, 10**12 + 24], [-24, 0], [0, 10**30], "none", None, [8, 0], [1.5, 2]],
)
def test_tensors_that_point_elsewhere_are_refused(offsets: object, folder: Path) -> None:
    """Names, shapes and types are as they should be; only the places in the file are not."""
    sign(folder, with_header(folder, lambda h: h["weight"].update(data_offsets=offsets)))
    refused(folder, "model.safetensors", "not a safetensors file")


def test_overlapping_tensors_are_refused(folder: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        header["mean"]["data_offsets"] = header["residual"]["data_offsets"]

    sign(folder, with_header(folder, overlap))
    refused(folder, "model.safetensors", "not a safetensors file")


# --- row 36: a folder that lies -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "key", ["mean", "stages.1.znet.stem.weight", "response_stages.1.pnet.head.bias"]
)
def test_weights_that_are_not_finite_are_refused_by_name(
    bad: float, key: str, folder: Path
) -> None:
    tensors = tensors_of(folder)
    tensors[key].view(-1)[-1] = bad
    sign(folder, save(tensors))
    refused(folder, "model.safetensors", key, "NaN or infinity")


TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "missing": (lambda t: t.pop("covariance"), "covariance"),
    "unknown": (lambda t: t.update({"stages.0.backdoor": torch.zeros(3)}), "stages.0.backdoor"),
    "one band less": (lambda t: t.update(mean=t["mean"][:-1].clone()), "mean"),
    "transposed": (lambda t: t.update(components=t["components"].T.contiguous()), "components"),
    "scalar as a vector": (
        lambda t: t.update({"stages.1.log_alpha": t["stages.1.log_alpha"][None].clone()}),
        "stages.1.log_alpha",
    ),
    "half precision": (lambda t: t.update(residual=t["residual"].half()), "residual"),
    "double precision": (lambda t: t.update(weight=t["weight"].double()), "weight"),
    "integers": (lambda t: t.update(mean=t["mean"].int()), "mean"),
    "a third stage": (
        lambda t: t.update({"stages.2.log_alpha": torch.zeros(())}),
        "stages.2.log_alpha",
    ),
    "a tensor of the STF less": (
        lambda t: t.pop("response_stages.1.pnet.head.bias"),
        "response_stages.1.pnet.head.bias",
    ),
    "another network of the same name": (
        lambda t: t.update({"stages.0.pnet.head.bias": torch.zeros(6)}),
        "stages.0.pnet.head.bias",
    ),
    "nothing at all": (lambda t: t.clear(), "components"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_other_than_the_config_calls_for_are_refused_by_name(
    case: str, folder: Path
) -> None:
    change, key = TENSORS[case]
    tensors = tensors_of(folder)
    change(tensors)
    sign(folder, save(tensors))
    refused(folder, "model.safetensors", f"tensor {key}: config.json calls for")


def test_metadata_of_the_safetensors_file_does_no_harm(folder: Path) -> None:
    sign(folder, save(tensors_of(folder), metadata={"by": "another tool"}))
    load_model(folder)


Change = Callable[[dict[str, Any]], object]
NUMBERS = [0, -1, 10**9, 10**400, 2.0, 1e400, True, None, "4", [4], {}]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    "key", [key for key, size in CONFIG.to_dict().items() if type(size) is int]
)
def test_sizes_that_are_no_sizes_are_refused_by_name(key: str, value: object, folder: Path) -> None:
    if (key, value) == ("local_components", 0):
        value = -7  # a model without local spectra is one
    rewrite(folder, lambda config: config["network"].update({key: value}))
    refused(folder, "config.json", "key network", f"config {key} must be a whole number")


CONFIGS: dict[str, tuple[Change, str]] = {
    "unknown size": (lambda c: c["network"].update(depth=3), "depth"),
    "STF of another sort": (
        lambda c: c["network"].update(stf="exact"),
        "config stf must be parametric or free, got 'exact'",
    ),
    "STF a list": (lambda c: c["network"].update(stf=["free"]), "config stf must be"),
    "variance of another sort": (
        lambda c: c["network"].update(prior_variance="none"),
        "config prior_variance must be unit or pixel, got 'none'",
    ),
    "network a list": (lambda c: c.update(network=[40, 6]), "network"),
    "network none": (lambda c: c.update(network=None), "network"),
    "rank over bands": (lambda c: c["network"].update(rank=41), "rank 41 exceeds bands 40"),
    "width not of 8": (lambda c: c["network"].update(width=9), "multiples of 8"),
    "one wavelength less": (
        lambda c: [c["grid"][key].pop() for key in ("centres_nm", "fwhm_nm")],
        "grid has 39 wavelengths, network.bands says 40",
    ),
    "bands of another grid": (
        lambda c: c["network"].update(bands=41),
        "grid has 40 wavelengths, network.bands says 41",
    ),
    "grid a number": (lambda c: c.update(grid=3), "key grid"),
    "grid without widths": (lambda c: c["grid"].pop("fwhm_nm"), "key grid: 'fwhm_nm'"),
    "grid without a name": (lambda c: c["grid"].pop("name"), "key grid: 'name'"),
    "grid of nothing": (lambda c: c["grid"].update(centres_nm=[], fwhm_nm=[]), "key grid"),
    "grid falls": (lambda c: c["grid"]["centres_nm"].reverse(), "must increase"),
    "grid of text": (lambda c: c["grid"].update(centres_nm=["a"] * 40), "key grid"),
    "grid of lists": (lambda c: c["grid"].update(centres_nm=[[1], [2, 3]]), "key grid"),
    "grid of infinity": (lambda c: c["grid"]["centres_nm"].append(1e400), "key grid"),
    "grid of giants": (lambda c: c["grid"]["centres_nm"].append(10**400), "key grid"),
    "grid of NaN": (
        lambda c: c["grid"]["fwhm_nm"].__setitem__(3, float("nan")),
        "from 0 to 100000 nm",
    ),
    "widths missing": (lambda c: c["grid"]["fwhm_nm"].pop(), "one width each"),
    "missing digest": (lambda c: c.pop("sha256"), "missing keys ['sha256']"),
    "digest a number": (lambda c: c.update(sha256=12), "SHA-256"),
    "digest none": (lambda c: c.update(sha256=None), "SHA-256"),
    "missing network": (lambda c: c.pop("network"), "missing keys ['network']"),
    "unknown key": (lambda c: c.update(code="import os"), "unknown keys ['code']"),
    "newer format": (lambda c: c.update(format=3), "format is 3, this version reads 2"),
    "older format": (lambda c: c.update(format=1), "format is 1, this version reads 2"),
    "format a text": (lambda c: c.update(format="1"), "format is '1'"),
    "training a number": (lambda c: c.update(training=5), "training"),
    "training none": (lambda c: c.update(training=None), "training"),
    "training a list": (lambda c: c.update(training=[1, 2]), "training"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_none_is_refused_by_its_key(case: str, folder: Path) -> None:
    change, part = CONFIGS[case]
    rewrite(folder, change)
    refused(folder, part)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", '"text"', "{", "[" * 100_000, "\xff", '{"format": 1e']
)
def test_a_config_that_is_no_json_object_is_refused(text: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, "config.json", "not ")


def test_training_facts_may_be_left_out(folder: Path) -> None:
    rewrite(folder, lambda config: config.pop("training"))
    assert load_model(folder).training == {}


@pytest.mark.parametrize(
    ("name", "limit"),
    [("model.safetensors", MAX_WEIGHTS_BYTES), ("config.json", MAX_CONFIG_BYTES)],
)
def test_a_file_over_its_limit_is_refused_unread(name: str, limit: int, folder: Path) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(limit + 1)  # sparse: no disk is used
    refused(folder, name, f"{limit + 1} bytes, more than the {limit} allowed")


MEASURE = """
import resource, sys
from uavssr.errors import ModelRefused
from uavssr.model.weights import load_model

load_model(sys.argv[1])  # whatever a first load costs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[2:]:
    try:
        load_model(folder)
    except ModelRefused as err:
        print(err)
print("grew by", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
LARGEST = {
    "bands": 4096,
    "rank": 4096,
    "components": 512,
    "stages": 32,
    "response_stages": 32,
    "width": 1024,
    "stf_width": 1024,
}


def test_absurd_sizes_are_refused_before_anything_is_allocated(
    folder: Path, tmp_path: Path
) -> None:
    """The largest sizes that config.json may name call for 40 GB: 34 of them the covariances."""
    sparse = tiny_model(tmp_path / "sparse")
    with (sparse / "model.safetensors").open("r+b") as file:
        file.truncate(MAX_WEIGHTS_BYTES + 1)
    everything = tiny_model(tmp_path / "everything")
    rewrite(everything, lambda c: c["network"].update(LARGEST))
    nm = np.linspace(400, 1000, LARGEST["bands"]).tolist()
    rewrite(everything, lambda c: c["grid"].update(centres_nm=nm, fwhm_nm=nm))
    folders = [folder, sparse, everything]
    for key, value in LARGEST.items():
        if key not in ("bands", "rank"):
            one = tiny_model(tmp_path / key)
            rewrite(one, lambda c, key=key, value=value: c["network"].update({key: value}))
            folders.append(one)
    command = [sys.executable, "-c", MEASURE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    *messages, last = done.stdout.splitlines()
    assert len(messages) == len(folders) - 1
    assert "bytes, more than" in messages[0]
    assert all("config.json calls for" in message for message in messages[1:])
    assert int(last.removeprefix("grew by ")) < 100 * 1024  # KiB; one covariance alone is 64 MiB
