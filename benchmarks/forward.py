"""Cost of one image: the network, ridge regression and a network like MST++ in one table.

    python benchmarks/forward.py [--model p4m-nano] [--sensor p4m] [--size 256] [--stages 0,1]
                                 [--threads 2] [--runs 9] [--batch 1] [--device cpu] [--json FILE]

Camera bands to cube bands with the STF fixed, expansion to all bands included. Multiply-adds are
those of convolutions and matrix products. The rows take turns, run by run, so that what else the
machine does falls on all alike. Memory is the peak above the level with the weights loaded and a
small pass done, the most of three passes, in a process for each row: of what is resident (Linux),
on a GPU of what torch has allocated. Ridge is one float32 matrix product with random weights, the
network like MST++ is not trained: cost alone. Where there is a GPU a second table compares bf16
with float32 on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uavssr.evaluation.baselines import MstPlusPlus
from uavssr.model import ResponseFamily, Stf, load_model
from uavssr.sensors import load_sensor

Forward = Callable[[Tensor], Tensor]
Figures = dict[str, str | float]
PASSES = 3
"""Passes of each row, of which the largest peak of memory counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Settings of all rows."""

    model: str
    """Name or folder."""
    sensor: str
    """The camera."""
    size: int
    """Side of the image in pixels."""
    batch: int
    """Images in a pass."""
    threads: int
    """Threads of torch."""
    device: str
    """cpu or cuda."""

    def image(self, size: int) -> Tensor:
        """An image (B, c, size, size) of this camera."""
        bands = len(load_sensor(self.sensor))
        return torch.full((self.batch, bands, size, size), 0.2, device=self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row."""

    name: str
    """Name in the table."""
    kind: Literal["network", "ridge", "mstpp"]
    """Method that maps the image to the cube."""
    stages: int | None = None
    """Unrolled stages of the network; None for all."""
    bfloat16: bool = False
    """Run the proximal networks in bfloat16."""

    def load(self, setting: Setting) -> tuple[Forward, int]:
        """The function from images (B, c, H, W) to cubes (B, C, H, W), and its parameters."""
        torch.set_num_threads(setting.threads)
        torch.manual_seed(0)
        model, sensor = load_model(setting.model), load_sensor(setting.sensor)
        if self.kind == "ridge":
            weight = torch.randn(len(model.grid), len(sensor) + 1, device=setting.device)
            return (lambda image: linear(weight, image)), weight.numel()
        if self.kind == "mstpp":
            mstpp = MstPlusPlus(len(sensor), len(model.grid)).eval().to(setting.device)
            return mstpp, _count(mstpp)
        network = model.network.to(setting.device)
        stf = Stf.from_prior(ResponseFamily.of(sensor, model.grid).to(torch.device(setting.device)))

        def forward(image: Tensor) -> Tensor:
            result = network(
                image, stf, estimate_stf=False, stages=self.stages, bfloat16=self.bfloat16
            )
            return network.basis.expand(result.coefficients)

        return forward, _count(network)


def main() -> int:
    """Print the tables; returns the exit code."""
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no GPU here")
        return 0
    shared = ("model", "sensor", "size", "batch", "threads", "device")
    setting = Setting(**{key: getattr(options, key) for key in shared})
    rows = compare(_cases(setting, options.stages), setting, runs=options.runs)
    report = {"machine": _machine(setting), "rows": rows, "gpu": []}
    print(f"{_described(setting)}\n{report['machine']}\n")
    print(_table(rows))
    if torch.cuda.is_available():
        report["gpu"] = compare_precisions(replace(setting, device="cuda"), runs=options.runs)
        print(f"\n{_gpu_table(report['gpu'])}")
    else:
        print("\nbf16 against float32 on a GPU: skipped, none here")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--sensor", default="p4m")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--stages", type=_numbers, default=[0, 1], help="rows beside all stages")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _cases(setting: Setting, fewer: Sequence[int]) -> list[Case]:
    model = load_model(setting.model)
    name, count = model.name, len(model.network.stages)
    return [
        Case(name=f"{name}, {count} stages", kind="network"),
        *(Case(name=f"{name}, {n} of {count}", kind="network", stages=n) for n in fewer),
        Case(name="ridge regression", kind="ridge"),
        Case(name="like MST++, untrained", kind="mstpp"),
    ]


@torch.inference_mode()
def compare(cases: Sequence[Case], setting: Setting, *, runs: int) -> list[Figures]:
    """Cost of each row; times are also given as ratios to the first."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as fresh:  # a process for each, whose peak is its own
        peaks = list(fresh.map(peak_memory, cases, [setting] * len(cases)))
    loaded = [case.load(setting) for case in cases]
    seconds = _in_turn([forward for forward, _ in loaded], setting, runs)
    rows: list[Figures] = []
    for case, (forward, learned), times, peak in zip(cases, loaded, seconds, peaks, strict=True):
        with FlopCounterMode(display=False) as counter:
            forward(setting.image(setting.size))
        rows.append(
            {
                "name": case.name,
                "parameters": learned,
                "multiply_adds": counter.get_total_flops() / 2,
                **_spread(times),
                "ratio": statistics.median(
                    one / first for one, first in zip(times, seconds[0], strict=True)
                ),
                "peak_bytes": peak,
            }
        )
    return rows


@torch.inference_mode()
def compare_precisions(setting: Setting, *, runs: int) -> list[Figures]:
    """The network in float32, and with its Z-Nets in bf16, on one random image."""
    cases = [
        Case(name=name, kind="network", bfloat16=name == "bf16") for name in ("float32", "bf16")
    ]
    forwards = [case.load(setting)[0] for case in cases]
    image = torch.rand_like(setting.image(setting.size))
    exact, *others = (forward(image) for forward in forwards)
    differences = [0.0, *(float((other - exact).abs().max()) for other in others)]
    pixels = setting.batch * setting.size**2
    return [
        {
            "name": case.name,
            **_spread(times),
            "pixels_per_second": pixels / statistics.median(times),
            "largest_difference": difference,
        }
        for case, times, difference in zip(
            cases, _in_turn(forwards, setting, runs), differences, strict=True
        )
    ]


@torch.inference_mode()
def peak_memory(case: Case, setting: Setting) -> int:
    """Bytes of a pass, the most of three, above the level with the weights loaded.

    To be asked once in a process.
    """
    forward, _ = case.load(setting)
    forward(setting.image(32))
    on_gpu = setting.device == "cuda"
    before = torch.cuda.memory_allocated() if on_gpu else _resident("VmRSS")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    for _ in range(PASSES):
        forward(setting.image(setting.size))
    return (torch.cuda.max_memory_allocated() if on_gpu else _resident("VmHWM")) - before


def _in_turn(forwards: Sequence[Forward], setting: Setting, runs: int) -> list[list[float]]:
    """Seconds of each, run by run; the first round warms up and does not count."""
    image = setting.image(setting.size)
    rounds = [[_timed(forward, image) for forward in forwards] for _ in range(runs + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def _timed(forward: Forward, image: Tensor) -> float:
    _wait(image)
    start = time.perf_counter()
    forward(image)
    _wait(image)
    return time.perf_counter() - start


def _wait(image: Tensor) -> None:
    if image.is_cuda:
        torch.cuda.synchronize()


def linear(weight: Tensor, image: Tensor) -> Tensor:
    """Ridge regression (C, c+1) of all pixels of images (B, c, H, W)."""
    cube = torch.baddbmm(
        weight[:, -1:], weight[:, :-1].expand(len(image), -1, -1), image.flatten(2)
    )
    return cube.unflatten(-1, image.shape[-2:])


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _spread(times: Sequence[float]) -> Figures:
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}


def _resident(key: str) -> int:
    """Bytes from /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def _described(setting: Setting) -> str:
    model, sensor = load_model(setting.model), load_sensor(setting.sensor)
    return (
        f"{model.name} ({model.sha256[:12]}), {sensor.name}: {setting.batch} x {len(sensor)} -> "
        f"{len(model.grid)} bands, {setting.size} x {setting.size} pixels, {setting.device}"
    )


def _machine(setting: Setting) -> str:
    """The processor or the GPU, and what else it does."""
    if setting.device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.machine()}, {setting.threads} of {os.cpu_count()} "
        f"cores, load {os.getloadavg()[0]:.1f} at the end, torch {torch.__version__}"
    )


def _table(rows: Sequence[Figures]) -> str:
    lines = [
        "| | parameters | multiply-adds, G | seconds, median (extremes) | time / first | peak MB |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['name']} | {row['parameters']:,} | {row['multiply_adds'] / 1e9:.2f} | "
            f"{row['median']:.3f} ({row['least']:.3f}-{row['most']:.3f}) | {row['ratio']:.2f} | "
            f"{row['peak_bytes'] / 1e6:.0f} |"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def _gpu_table(rows: Sequence[Figures]) -> str:
    name = torch.cuda.get_device_name()
    lines = [
        f"| {name} | seconds, median (extremes) | pixels / s | largest difference, reflectance |",
        "|---|---|---|---|",
        *(
            f"| {row['name']} | {row['median']:.4f} ({row['least']:.4f}-{row['most']:.4f}) | "
            f"{row['pixels_per_second']:,.0f} | {row['largest_difference']:.2g} |"
            for row in rows
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
