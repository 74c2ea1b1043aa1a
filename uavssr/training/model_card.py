"""The model card, README.md in a model's folder, written from the facts of config.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

CARD_FILE: Final = "README.md"

Facts = Mapping[str, Any]
"""A JSON object of config.json."""

_ADAPTED: Final = (
    "PGU-Net weights with Gaussians of local spectra in their spectral prior, made by `uavssr "
    "adapt`. The trained weights are those of the original model. Use this model for fields with "
    "spectra like those below. Its accuracy has not been measured.\n"
)
_BASELINE: Final = (
    "Weights of {arch}, a network that PGU-Net is compared with, trained by `uavssr train --arch "
    "{arch}`, which also wrote this card. It takes the bands of one camera and gives neither an "
    "STF nor standard errors, so `uavssr reconstruct` refuses it. In Python, "
    "`uavssr.evaluation.baselines.load_baseline` loads it.\n"
)


def model_card(name: str, digest: str, network: Facts, facts: Facts) -> str:
    """The card of a trained model, as Markdown.

    Args:
        name: of the model.
        digest: SHA-256 of its weights.
        network: sizes of the network.
        facts: the section `training` of config.json.
    """
    error, init = facts["residual"], facts["init"]
    added = f"{init}, with Gaussians of the training spectra added to its prior"
    rows = {
        "started from": added if init else "untrained weights",
        "weights": f"moving average after step {facts['step']} ({facts['kept']})",
        "grid": facts["data"]["grid"],
        "error of the training spectra in the spectral basis": f"{_relative(error)}; largest at "
        f"{error['worst_nm']:.1f} nm, {error['worst_rms']:.5f}",
        "made with": f"uavssr {facts['uavssr_version']}, torch {facts['torch_version']}",
        "command": f"`{facts['command']}`",
    }
    lines = [
        f"# {name}\n",
        "PGU-Net weights, trained by `uavssr train`, which also wrote this card.\n",
        *_summary(digest, network, rows),
        *_data(facts["data"]),
        *_validation(facts),
        "## Settings\n",
        *_table(("setting", "value"), facts["settings"].items()),
    ]
    return "\n".join(lines)


def adapted_card(name: str, digest: str, network: Facts, facts: Facts) -> str:
    """The card of a model adapted to local spectra, as Markdown; see `model_card`."""
    rows = {
        "adapted from": facts["adapted_from"],
        "local Gaussians": f"{facts['components']}, {facts['share']:.0%} of the prior's weight",
        "error of the local spectra in the spectral basis": _relative(facts["residual"]),
        "made with": f"uavssr {facts['uavssr_version']}",
    }
    files = [(file["file"], file["spectra"], f"`{file['sha256']}`") for file in facts["spectra"]]
    lines = [
        f"# {name}\n",
        _ADAPTED,
        *_summary(digest, network, rows),
        "## Local spectra\n",
        *_table(("file", "spectra", "SHA-256"), files),
    ]
    return "\n".join(lines)


def baseline_card(name: str, arch: str, digest: str, facts: Facts) -> str:
    """The card of a trained network of others, as Markdown; see `model_card`."""
    rows = {
        "network": f"{arch}, {facts['parameters']:,} parameters",
        "after": facts["reference"],
        "camera": f"{facts['sensor']}, see camera.yaml; of the pairs, {facts['real_pairs']} are "
        "of this camera",
        "told of the camera of an image": facts["knows"],
        "SHA-256 of `model.safetensors`": f"`{digest}`",
        "weights": f"moving average after step {facts['steps']} (the last)",
        "grid": facts["data"]["grid"],
        "made with": f"uavssr {facts['uavssr_version']}, torch {facts['torch_version']}",
        "command": f"`{facts['command']}`",
    }
    points = [(p["step"], f"{p['seconds']:.0f}", f"{p['rmse']:.4f}") for p in facts["curve"]]
    lines = [
        f"# {name}\n",
        _BASELINE.format(arch=arch),
        *_table(("", ""), rows.items()),
        *_data(facts["data"]),
        "## Learning curve\n",
        *_table(("step", "s of processor time", "RMSE of validation patches"), points),
        "## Settings\n",
        *_table(("setting", "value"), facts["settings"].items()),
    ]
    return "\n".join(lines)


def _summary(digest: str, network: Facts, rows: Mapping[str, str]) -> Iterator[str]:
    sizes = ", ".join(f"{key} {value}" for key, value in network.items())
    first = {"network": sizes, "SHA-256 of `model.safetensors`": f"`{digest}`"}
    return _table(("", ""), {**first, **rows}.items())


def _relative(error: Facts) -> str:
    return f"RMS {error['rms']:.5f}, {error['relative']:.2%} of the mean reflectance"


def _data(data: Facts) -> Iterator[str]:
    yield "## Data\n"
    yield f"Split into training and validation by: {data['validation']}.\n"
    counts = ("train", "validate", "guard")
    head = ("line", "kind", "files", *(f"patches: {key}" for key in counts), "spectra")
    rows = [
        [
            {**row, "files": ", ".join(row["files"])}.get(key.removeprefix("patches: "), "")
            for key in head
        ]
        for row in data["rows"]
    ]
    yield from _table(head, rows)
    for row in data["rows"]:
        if "kinds" in row:
            kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items())
            name = ", ".join(row["files"]) or "The library"
            yield f"{name}: {kinds}; from {', '.join(row['sources'])}.\n"
        if "registration" in row:
            yield from _registration(row)
        if "flight" in row:
            yield f"\nLine {row['line']}, flight {row['flight']}: {row['plots']} plots.\n"
            yield from _bands(row["bands"])
        yield from (f"* {warning}" for warning in row.get("warnings", ()))
    files = [(name, f"`{sha}`") for row in data["rows"] for name, sha in row["files"].items()]
    yield from _table(("file", "SHA-256"), dict.fromkeys(files))


def _registration(row: Facts) -> Iterator[str]:
    fit = row["registration"]
    measured = "which no window determines"
    if fit["spread"] is not None:
        measured = f"spread {fit['spread']:.2f}, remaining {fit['remaining']:.2f} pixels"
    yield (
        f"\nLine {row['line']}: the cube was moved by {fit['shift_rows']:+.2f} rows and "
        f"{fit['shift_columns']:+.2f} columns of the image ({fit['windows']} "
        f"windows, {measured}). Its "
        f"pixels are {fit['resolution_ratio']:g} times as large as the image's. Image = slope x "
        "integrated cube + offset:\n"
    )
    yield from _bands(fit["bands"])


def _bands(bands: Facts) -> Iterator[str]:
    names = {"ratio": ".3f", "slope": ".3f", "offset": "+.4f", "correlation": ".3f"}
    rows = [
        (role, *(format(band[name], digits) for name, digits in names.items()))
        for role, band in bands.items()
    ]
    yield from _table(("band", *names), rows)


def _validation(facts: Facts) -> Iterator[str]:
    yield "## Accuracy\n"
    if not facts["figures"]:
        yield "Not measured: no data were kept for validation.\n"
        return
    yield f"{facts['figures_note']}\n"
    rows = [
        (
            image["image"],
            f"{image['rmse']:.4f}",
            f"{image['ridge_rmse']:.4f}",
            f"{image['rmse'] / max(image['ridge_rmse'], 1e-9):.3f}",
            f"{image['sam']:.2f}",
            f"{image['ridge_sam']:.2f}",
        )
        for image in facts["figures"]
    ]
    yield from _table(("image", "RMSE", "RMSE of ridge", "ratio", "SAM deg", "SAM of ridge"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a table; bars in cells, which would end them, become slashes."""
    for cells in (head, ["---" for _ in head], *rows):
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
    yield ""
