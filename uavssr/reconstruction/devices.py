"""What a process computes with: devices, cores, threads, GPU streams and memory."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from uavssr.errors import OutputError, UsageError
from uavssr.io.writers import usable_cores
from uavssr.sensors import Float32Array

_CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of groups of processes, such as those of a container."""


def cpu_count(cgroups: Path = _CGROUPS, own_group: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that affinity and the quota of a container, rounded up, leave to this process."""
    cores = usable_cores()
    with suppress(OSError, ValueError):  # version 2 of cgroups; its quota may be `max`
        group = own_group.read_text().strip().rpartition(":")[2].strip("/")
        quota, period = map(int, (cgroups / group / "cpu.max").read_text().split())
        cores = min(cores, max(1, math.ceil(quota / period)))
    with suppress(OSError, ValueError):  # version 1; its quota may be -1
        quota, period = (
            int((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text())
            for name in ("quota", "period")
        )
        cores = min(cores, math.ceil(quota / period)) if quota > 0 else cores
    return cores


CPU_COUNT: Final = cpu_count()
"""Cores that affinity and cgroups leave to this process."""
TORCH_THREADS: Final = 1
"""Threads of torch in one operation: with more, last digits depend on the cores, and tiles take
longer."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt, from glibc's malloc.h."""
_REUSE_BELOW: Final = 2**30
"""Arrays smaller than this (bytes) are kept for the next tile; tiles need no larger ones."""
_DEFAULT_BELOW: Final = 2**25
"""The largest threshold (bytes) that glibc chooses by itself."""
_REMEDY: Final = "use auto, cpu or cuda[:i]"
_THREAD: Final = threading.local()
_COUNTING: Final = threading.Lock()
_CALLERS_COUNT: Final[list[int]] = []
"""Torch's threads before the first body of `torch_threads` began, once for each that runs."""


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda[:i]` names.

    Raises:
        UsageError: this machine has no such device; no other device is used in its place.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise UsageError(f"unknown device {name!r}", remedy=_REMEDY) from err
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"unsupported device {name!r}", remedy=_REMEDY)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name} asked for, {torch.cuda.device_count()} CUDA devices found",
            remedy="use --device cpu, or install a CUDA build of torch",
        )
    return device


@contextmanager
def torch_threads(count: int = TORCH_THREADS) -> Iterator[None]:
    """Limit torch to `count` threads in one operation, so that workers do not share cores.

    Torch has one number for new threads and one for each thread. Bodies may run at the same time
    in several threads; the last to end has set all numbers back.
    """
    local = vars(_THREAD)
    with _COUNTING:
        before = torch.get_num_threads()
        _CALLERS_COUNT.append(_CALLERS_COUNT[0] if _CALLERS_COUNT else before)
        if not local.get("limited"):  # else another thread's body may have set it already
            before = _CALLERS_COUNT[0]
        torch.set_num_threads(max(1, count))
    local["limited"] = local.get("limited", 0) + 1
    try:
        yield
    finally:
        local["limited"] -= 1
        with _COUNTING:
            _CALLERS_COUNT.pop()
            torch.set_num_threads(before)


class _FullFloat32:
    """Switches TF32 off while any thread is inside; then the caller's settings return."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.before = ("highest", False)

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                cudnn = torch.backends.cudnn
                self.before = (torch.get_float32_matmul_precision(), cudnn.allow_tf32)
                torch.set_float32_matmul_precision("highest")
                cudnn.allow_tf32 = False
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                matmul, torch.backends.cudnn.allow_tf32 = self.before
                torch.set_float32_matmul_precision(matmul)


full_float32: Final = _FullFloat32()
"""Context without TF32, which rounds factors to 10 bits: `bf16` is the setting for speed."""


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run the body in this thread's GPU stream, so that copies run beside others' kernels.

    float32 is not rounded to TF32 there.
    """
    if device.type != "cuda":
        yield
        return
    streams: dict[torch.device, torch.cuda.Stream] = vars(_THREAD).setdefault("streams", {})
    if device not in streams:  # one for each thread: torch hands out the same few again
        streams[device] = torch.cuda.Stream(device)
    stream = streams[device]
    stream.wait_stream(torch.cuda.default_stream(device))  # for the weights and the STF
    with full_float32, torch.cuda.stream(stream):
        yield
        stream.synchronize()


def to_host(maps: Tensor) -> Float32Array:
    """Maps in the host's memory; those of a GPU are complete when `own_stream` ends."""
    if maps.device.type != "cuda":
        return maps.numpy()
    pinned = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True)
    return pinned.copy_(maps, non_blocking=True).numpy()


def is_out_of_memory(err: Exception) -> bool:
    """Whether an error means that memory ran out: on the CPU only torch's message says so."""
    known = isinstance(err, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(err)


@contextmanager
def out_of_memory_as_error(fact: str) -> Iterator[None]:
    """Raise an OutputError that states `fact` if the body runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        raise OutputError(fact, remedy="use a smaller --tile or fewer --workers") from err


@contextmanager
def freed_memory_reused() -> Iterator[None]:
    """Reuse memory that the body frees, and return it to the system at the end."""
    reuse_freed_memory()
    try:
        yield
    finally:
        return_freed_memory()


def reuse_freed_memory() -> None:
    """Keep memory that is freed in the process, for the next array; does nothing without glibc.

    By default glibc requests an array of megabytes from the system and returns it, which costs a
    page fault for each 4 KB, and gives each thread an arena that others cannot use.
    """
    _keep_freed_memory(_REUSE_BELOW)


def return_freed_memory() -> None:
    """Return free memory to the system, now and whenever more is freed."""
    _keep_freed_memory(_DEFAULT_BELOW)


def _keep_freed_memory(most: int) -> None:
    """Keep arrays up to `most` bytes for the process, in one arena of all threads."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, most), (_MMAP_THRESHOLD, most)):
            library.mallopt(parameter, value)
        library.malloc_trim(0)
