"""The card of a trained model, README.md of its folder: filled in by the run. Computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Facts = Mapping[str, Any]


_ADAPTED: Final = (
    "PGU-Net weights whose spectral prior was joined by Gaussians of local spectra, by `uavssr "
    "adapt`. The learned weights are those of the model it was adapted from. Nothing was measured "
    "of how well it does; it is for fields that hold spectra like those below.\n"
)


def model_card(name: str, digest: str, network: Facts, facts: Facts) -> str:
    """The card as Markdown.

    Args:
        name: of the model.
        digest: SHA-256 of its weights.
        network: its sizes.
        facts: what config.json holds under `training`.
    """
    return "\n".join(
        [
            f"# {name}\n",
            "PGU-Net weights. This card was written by the run that made them.\n",
            *_table(("", ""), _summary(digest, network, facts)),
            *_data(facts["data"]),
            *_validation(facts),
            "## Settings\n",
            *_table(("setting", "value"), facts["settings"].items()),
        ]
    )


def adapted_card(name: str, digest: str, network: Facts, facts: Facts) -> str:
    """The card of a model that was told of local spectra; `facts` as in config.json."""
    left = facts["residual"]
    rows = [
        ("network", ", ".join(f"{key} {value}" for key, value in network.items())),
        ("SHA-256 of `model.safetensors`", f"`{digest}`"),
        ("adapted from", facts["adapted_from"]),
        ("local Gaussians", f"{facts['components']}, {facts['share']:.0%} of the prior's weight"),
        (
            "what the spectral basis leaves of the local spectra",
            f"RMS {left['rms']:.5f}, {left['relative']:.2%} of the mean",
        ),
        ("made with", f"uavssr {facts['uavssr_version']}"),
    ]
    files = [(each["file"], each["spectra"], f"`{each['sha256']}`") for each in facts["spectra"]]
    return "\n".join(
        [
            f"# {name}\n",
            _ADAPTED,
            *_table(("", ""), rows),
            "## Local spectra\n",
            *_table(("file", "spectra", "SHA-256"), files),
        ]
    )


def _summary(digest: str, network: Facts, facts: Facts) -> list[tuple[str, object]]:
    left = facts["residual"]
    worst = f"worst at {left['worst_nm']:.1f} nm, {left['worst_rms']:.5f}"
    return [
        ("network", ", ".join(f"{key} {value}" for key, value in network.items())),
        ("SHA-256 of `model.safetensors`", f"`{digest}`"),
        ("started from", _start(facts["init"])),
        ("weights kept", f"moving average after step {facts['step']} ({facts['kept']})"),
        ("grid", facts["data"]["grid"]),
        (
            "what the spectral basis leaves of the training spectra",
            f"RMS {left['rms']:.5f}, {left['relative']:.2%} of the mean; {worst}",
        ),
        ("made with", f"uavssr {facts['uavssr_version']}, torch {facts['torch_version']}"),
        ("command", f"`{facts['command']}`"),
    ]


def _start(init: str) -> str:
    if not init:
        return "untrained weights"
    return f"{init}, its prior joined by Gaussians of the training spectra"


def _data(data: Facts) -> Iterator[str]:
    yield "## Data\n"
    yield f"Validation was set apart by: {data['validation']}.\n"
    counts = ("train", "validate", "guard")
    rows = [
        (
            row.get("line", ""),
            row["kind"],
            ", ".join(row["files"]),
            *(row.get(key, "") for key in counts),
            row.get("spectra", ""),
        )
        for row in data["rows"]
    ]
    yield from _table(
        ("line", "kind", "files", *(f"patches: {key}" for key in counts), "spectra"), rows
    )
    for row in data["rows"]:
        if "kinds" in row:
            kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items())
            of = ", ".join(row["files"]) or "The library"
            yield f"{of}: {kinds}; from {', '.join(row['sources'])}.\n"
        if "registration" in row:
            yield from _registration(row)
        yield from (f"* {warned}" for warned in row.get("warnings", ()))
    files = [(name, f"`{sha}`") for row in data["rows"] for name, sha in row["files"].items()]
    yield from _table(("file", "SHA-256"), dict.fromkeys(files))


def _registration(row: Facts) -> Iterator[str]:
    fit = row["registration"]
    yield (
        f"\nLine {row['line']}: the cube was moved by {fit['shift_rows']:+.2f} rows and "
        f"{fit['shift_columns']:+.2f} columns of the image ({fit['windows']} "
        f"windows, spread {fit['spread']:.2f}, remaining {fit['remaining']:.2f} pixels); its "
        f"pixels are {fit['resolution_ratio']:g} of the image's. Image = slope x integrated "
        "cube + offset:\n"
    )
    rows = [
        (role, f"{b['slope']:.3f}", f"{b['offset']:+.4f}", f"{b['correlation']:.3f}")
        for role, b in fit["bands"].items()
    ]
    yield from _table(("band", "slope", "offset", "correlation"), rows)


def _validation(facts: Facts) -> Iterator[str]:
    yield "## Figures\n"
    found: Sequence[Facts] = facts["figures"]
    if not found:
        yield "None: nothing was set apart for validation.\n"
        return
    yield f"{facts['figures_note']}\n"
    rows = [
        (
            each["image"],
            f"{each['rmse']:.4f}",
            f"{each['ridge_rmse']:.4f}",
            f"{each['rmse'] / max(each['ridge_rmse'], 1e-9):.3f}",
            f"{each['sam']:.2f}",
            f"{each['ridge_sam']:.2f}",
        )
        for each in found
    ]
    yield from _table(("image", "RMSE", "ridge", "ratio", "SAM deg", "ridge"), rows)


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    """A table, its cells freed of what would end them."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
    yield ""
