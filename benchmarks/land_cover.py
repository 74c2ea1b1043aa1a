"""STFs of classes of ground: false alarms under one STF, and planted differences that are found.

    python benchmarks/land_cover.py LIBRARY.npz CUBE.npz... [--sensors p4m,rededge3] [--cameras 8]
    python benchmarks/land_cover.py ... --known [--pixels 600]

A random camera sees a cube. The classes are those of `--zones auto` in its image. Under one STF
each alarm is false; planted is a gain, or a shift of a band's centre, in one class and one band.
First form: the image alone. Second form (`--known`): the spectra of pixels are known, from a cube
that is `CUBE_SHIFT` off and blurred by `CUBE_BLUR`, of an image whose bands are `BAND_SHIFT` off.
`--record` keeps the p-values and goes on from them. Prints Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from heldout import HeldOut, options_of
from scipy.ndimage import gaussian_filter

from uavssr.calibration import Instrument, KnownGround, known_ground_test, shift_image
from uavssr.calibration.lucas_kanade import misregistration_patterns
from uavssr.data import draw_cameras, observe
from uavssr.errors import InputRefused
from uavssr.model import SHIFT, ContrastTest, ResponseFamily, Stf, find_materials
from uavssr.reconstruction import found_land_cover, gain_test, sample_classes
from uavssr.sensors import BoolArray, Float32Array, NumberArray, Sensor, load_sensor
from uavssr.tiling import Window

PLANTED = {
    "blind": [("gain", size) for size in (0.1, 0.2, 0.3, 0.5)]
    + [("shift", size) for size in (5.0, 10.0, 20.0)],
    "known": [("gain", 0.05), ("gain", 0.1), ("gain", 0.2), ("shift", 5.0), ("shift", 10.0)],
}
"""Differences of logarithmic gain, and of centre in nm."""
CUBE_SHIFT, CUBE_BLUR, BAND_SHIFT = 0.3, 0.4, 0.2
"""Pixels: standard deviations of shifts along y and x, and of a Gaussian."""
ALARM = 0.05
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class ArrayImage:
    """An image in memory, as far as classes are found in it."""

    sensor: Sensor
    values: Float32Array

    @property
    def height(self) -> int:
        """Rows."""
        return self.values.shape[1]

    @property
    def width(self) -> int:
        """Columns."""
        return self.values.shape[2]

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance and valid pixels, as `MsiSource.read`."""
        part = self.values[:, window.rows, window.cols]
        return part, np.ones(part.shape[1:], bool)


@dataclass(frozen=True, kw_only=True)
class View:
    """A scene seen by a camera, with its classes."""

    cube: Float32Array
    image: Float32Array
    """(c, y, x) under one STF."""
    labels: NumberArray
    """(y, x) position of each pixel's class in `classes`, -1 for none."""
    classes: tuple[str, ...]
    theta: np.ndarray
    """(c, 3) of the camera."""
    family: ResponseFamily
    seed: int

    def planted(self, kind: str, size: float) -> tuple[Float32Array, int, int]:
        """The image with a difference, its class and its band."""
        rng = np.random.default_rng([self.seed, 7])
        k, band = int(rng.integers(len(self.classes))), int(rng.integers(len(self.image)))
        change, image = size * rng.choice([-1, 1]), self.image.copy()
        inside = self.labels == k
        if kind == "gain":
            image[band][inside] *= np.exp(change)
            return image, k, band
        theta = torch.from_numpy(self.theta[None]).float()
        before = self.family.rows(theta)[0, band].numpy()
        theta[0, band, SHIFT] += change
        row = self.family.rows(theta)[0, band].numpy() - before
        image[band][inside] += np.tensordot(row, self.cube[:, inside], 1).astype(np.float32)
        return image, k, band


Test = Callable[[View, Float32Array], ContrastTest]
"""Tests an image of a view."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--sensors", default="p4m")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--pixels", type=int, default=600)
    parser.add_argument("--samples", type=int, help="replaces CLASS_SAMPLES")
    options = parser.parse_args()
    if options.samples:
        from uavssr.model import class_gains

        class_gains.class_gain_test.__kwdefaults__["samples"] = options.samples
    given = HeldOut.of(options)
    record: dict[str, list[float]] = {}
    if options.record is not None and options.record.is_file():
        record = json.loads(options.record.read_text(encoding="utf-8"))
    for name in options.sensors.split(","):
        sensor = load_sensor(name)
        for number, (scene, cube) in enumerate(given.cubes.items()):
            for seed in given.seeds(number):
                key = f"{name}|{scene}|{seed}"
                if key not in record:
                    test = (
                        partial(_known, options.pixels) if options.known else partial(_blind, given)
                    )
                    record[key] = list(_p_values(given, cube, sensor, seed, test))
            if options.record is not None:
                options.record.write_text(json.dumps(record), encoding="utf-8")
    given.print_header()
    planted = PLANTED["known" if options.known else "blind"]
    _print_table(record, options.sensors.split(","), planted)
    return 0


def _p_values(
    given: HeldOut, cube: Float32Array, sensor: Sensor, seed: int, test: Test
) -> Iterator[float]:
    """The p-value under one STF; of each planted difference p, and p of its class and band."""
    view = _view(given, cube, sensor, seed)
    if view is None:
        return
    known = getattr(test, "func", None) is _known
    yield test(view, view.image).p_any
    for kind, size in PLANTED["known" if known else "blind"]:
        image, k, band = view.planted(kind, size)
        result = test(view, image)
        yield from (result.p_any, float(result.p[k, band]))


def _view(given: HeldOut, cube: Float32Array, sensor: Sensor, seed: int) -> View | None:
    """None where the scene has fewer than two classes."""
    rng = np.random.default_rng([seed, 5])
    camera = draw_cameras(rng, [sensor], given.model.grid)
    image = observe(rng, cube[None], camera.rows)[0]
    source = ArrayImage(sensor=sensor, values=image)
    cover = found_land_cover(source)
    try:
        classes = tuple(sample_classes(source, cover).pixels)
    except InputRefused:
        return None
    codes, known = cover.labels(Window(0, 0, source.height, source.width), image)
    labels = np.full(codes.shape, -1)
    for code in np.unique(codes[known]).tolist():
        if cover.name(code) in classes:
            labels[known & (codes == code)] = classes.index(cover.name(code))
    return View(
        cube=cube,
        image=image,
        labels=labels,
        classes=classes,
        theta=camera.theta[0].astype(float),
        family=ResponseFamily.of(sensor, given.model.grid),
        seed=seed,
    )


def _known(pixels: int, view: View, image: Float32Array) -> ContrastTest:
    """The test with the spectra of up to `pixels` pixels, as a cube of its own flaws shows them."""
    rng = np.random.default_rng([view.seed, 9])
    shift = rng.normal(size=(len(image) + 1, 2)) * ([[CUBE_SHIFT]] + [[BAND_SHIFT]] * len(image))
    cube = _moved(gaussian_filter(view.cube, (0, CUBE_BLUR, CUBE_BLUR)), shift[0])
    seen = np.concatenate([_moved(b[None], s) for b, s in zip(image, shift[1:], strict=True)])
    family = view.family
    predicted = np.tensordot(family.rows(family.prior)[0].numpy(), cube, 1)
    patterns = misregistration_patterns(predicted)
    inner = np.zeros(view.labels.shape, bool)
    inner[3:-3, 3:-3] = True
    places = np.flatnonzero(inner & (view.labels >= 0))
    places = rng.choice(places, min(pixels, len(places)), replace=False)
    label = view.labels.ravel()[places]
    flat = [part.reshape(*part.shape[:-2], -1)[..., places] for part in (cube, seen, patterns)]
    classes = [
        KnownGround(
            spectra=x[:, label == k].T, msi=y[:, label == k].T, patterns=g[..., label == k].T
        )
        for x, y, g in [flat]
        for k in range(len(view.classes))
    ]
    return known_ground_test(Instrument.of(family), classes, np.ones(len(image), bool))


def _moved(image: Float32Array, shift: np.ndarray) -> Float32Array:
    """An image (band, y, x) moved by (down, right) pixels; unchanged at the edges."""
    moved = shift_image(shift_image(image, shift[0], 1), shift[1], 2)
    return np.where(np.isfinite(moved), moved, image)


@torch.inference_mode()
def _blind(given: HeldOut, view: View, image: Float32Array) -> ContrastTest:
    network, pixels = given.model.network, torch.from_numpy(image)[None]
    materials = find_materials(pixels.flatten(2), None, pooled=True)
    stf = network.estimate_stf(materials, Stf.from_prior(view.family))[-1]
    members = [view.labels == k for k in range(len(view.classes))]
    return gain_test(network, [image[:, inside].T for inside in members], stf)


def _print_table(
    record: dict[str, list[float]], sensors: list[str], planted: list[tuple[str, float]]
) -> None:
    keys = [key for key, values in record.items() if values and key.split("|")[0] in sensors]
    scenes = [key.split("|")[1] for key in keys]
    table = np.array([record[key] for key in keys]) <= ALARM
    left = len({key.split("|")[1] for key in record}) - len(set(scenes))
    print(f"{len(keys)} images of {len(set(scenes))} scenes; {left} scenes have one class alone.\n")
    print("| planted in one class and band | found | in the right class and band |\n|---|---|---|")
    print(f"| nothing: false alarms | {_share(table[:, 0], scenes)} | |")
    for number, (kind, size) in enumerate(planted):
        label = f"gain x {np.exp(size):.2f}" if kind == "gain" else f"centre + {size:g} nm"
        found, right = table[:, 1 + 2 * number], table[:, 2 + 2 * number]
        print(f"| {label} | {_share(found, scenes)} | {right.mean():.0%} |")
    alarms = {s: table[[x == s for x in scenes], 0].mean() for s in dict.fromkeys(scenes)}
    print("\nFalse alarms by scene: " + ", ".join(f"{s} {a:.0%}" for s, a in alarms.items()) + ".")


def _share(found: np.ndarray, scenes: list[str]) -> str:
    """A share with its 90 % interval: scenes are drawn with replacement, then their images."""
    rng = np.random.default_rng(0)
    by_scene = [found[[s == scene for s in scenes]] for scene in dict.fromkeys(scenes)]
    shares = []
    for _ in range(RESAMPLES):
        drawn = [by_scene[i] for i in rng.integers(len(by_scene), size=len(by_scene))]
        shares.append(np.concatenate([rng.choice(x, len(x)) for x in drawn]).mean())
    low, high = np.quantile(shares, [0.05, 0.95])
    return f"{found.mean():.1%} ({low:.0%}-{high:.0%})"


if __name__ == "__main__":
    raise SystemExit(main())
