"""Time and memory of one forward pass, camera bands to cube bands, with the STF fixed.

    python benchmarks/forward.py [--model NAME] [--sensor p4m] [--size 256] [--threads 2]

Prints parameters, multiply-adds, seconds (median, extremes) and the peak of resident memory above
the level with the weights loaded and a small pass done (Linux). The pass includes the expansion to
all bands of the cube.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from uavssr.bands import load_sensor
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Stf
from uavssr.model.weights import load_model


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--sensor", default="p4m")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stages", type=int)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, sensor = load_model(options.model), load_sensor(options.sensor)
    network = model.network
    stf = Stf.expected(ResponseFamily.of(sensor, model.grid))

    @torch.inference_mode()
    def run(size: int) -> tuple[int, ...]:
        image = torch.full((1, len(sensor), size, size), 0.2)
        result = network(image, stf, blind=False, stages=options.stages)
        return tuple(network.basis.expand(result.coefficients).shape)

    run(32)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    shape = run(options.size)
    peak = _memory("VmHWM") - before
    times = [_timed(run, options.size) for _ in range(options.runs)]
    with FlopCounterMode(display=False) as counter:
        run(options.size)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{model.name} ({model.sha256[:12]}), {sensor.name}: {len(sensor)} bands -> {shape}")
    print(f"machine     {platform.processor() or platform.machine()}, {options.threads} threads")
    print(f"parameters  {parameters:,}, buffers {sum(b.numel() for b in network.buffers()):,}")
    print(f"mult-adds   {counter.get_total_flops() / 2e9:.2f} G")
    print(
        f"seconds     {statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f}, "
        f"{options.runs} runs)"
    )
    print(f"memory      {peak / 1024:.0f} MB above the weights")
    return 0


def _timed(run: object, size: int) -> float:
    start = time.perf_counter()
    run(size)  # type: ignore[operator]
    return time.perf_counter() - start


def _memory(key: str) -> int:
    """Kilobytes from /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    raise SystemExit(main())
