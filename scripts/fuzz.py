"""Change files of every kind at random, and read them: sound, or refused in one line.

    python scripts/fuzz.py [--count 10000] [--seed 0] [--kind NAME]

From the repository's root. Every change is made and read in a forked process with a limit of time
and of memory. Exit code 1 on a violation: a traceback, a crash, a hang, or too much memory. What
an output must hold after damage is tested by scripts/long_run.py.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the helpers of the tests

from tests.helpers.fuzz_kinds import Kind, make_kinds
from uavssr.errors import UavssrError

SECONDS = 20.0
"""Time for one file on a busy machine; a hang takes for ever."""
MEMORY = 3 * 2**30
"""Bytes of address space on top of those of the process before it reads."""
NUMBERS = (b"0", b"-1", b"1e308", b"1e999", b"nan", b"-inf", b"18446744073709551616", b"9" * 5000)
WORDS = (b"null", b"[]", b"{}", b'""', b"true", b"*a", b"&a", b"!!binary", b"\0", b"\xff", b"\n")
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\1\0")


# --- changes ---------------------------------------------------------------------------------

Change = Callable[[bytearray, random.Random], bytearray]


def flip(data: bytearray, rng: random.Random) -> bytearray:
    """Some bits."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(data: bytearray, rng: random.Random) -> bytearray:
    """Without its end, or a piece in the middle."""
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 64) :] if rng.random() < 0.5 else data[:start]


def splice(data: bytearray, rng: random.Random) -> bytearray:
    """A piece of it repeated, or copied over another."""
    start, place = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice([1, 8, 64, 512])]
    piece *= rng.choice([1, 2, 1000]) if len(piece) < 100 else 1
    return data[:place] + piece + data[place + rng.choice([0, len(piece)]) :]


def extreme(data: bytearray, rng: random.Random) -> bytearray:
    """Four bytes that are a large or small number, most often in its first or last kilobyte."""
    near = rng.randrange(min(len(data), 1024))
    place = rng.choice([near, len(data) - 1 - near, rng.randrange(len(data))])
    data[place : place + 4] = rng.choice(EXTREMES)
    return data


def number(data: bytearray, rng: random.Random) -> bytearray:
    """Another number in the place of one that is written in digits."""
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data[: 2**20])]
    start, end = rng.choice(found) if found else (0, 0)
    return data[:start] + rng.choice(NUMBERS) + data[end:]


def word(data: bytearray, rng: random.Random) -> bytearray:
    """A word between or instead of others."""
    found = [match.span() for match in re.finditer(rb"\w+", data[: 2**20])]
    start, end = rng.choice(found) if found else (0, 0)
    return data[:start] + rng.choice(WORDS) + data[rng.choice([start, end]) :]


def swap(data: bytearray, rng: random.Random) -> bytearray:
    """Two lines exchanged, or one twice."""
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[rng.choice([one, other])]
    return bytearray(b"\n").join(lines)


def nest(data: bytearray, rng: random.Random) -> bytearray:
    """Very many brackets, blanks or separators."""
    place = rng.randrange(len(data))
    piece = rng.choice([b"[", b'{"a":', b"- ", b"{a: ", b" ", b"\t", b",", b"(", b"\n", b"x = {\n"])
    return data[:place] + piece * rng.choice([100, 10_000, 600_000 // len(piece)]) + data[place:]


CHANGES: Sequence[Change] = (flip, cut, splice, extreme, number, word, swap, nest)


def changed(whole: bytes, rng: random.Random) -> bytes:
    """The content after one to three changes."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if data:
            data = rng.choice(CHANGES)(data, rng)
    return bytes(data)


# --- reading ---------------------------------------------------------------------------------


def outcome(kind: Kind) -> str:
    """`read`, `refused`, or what is wrong with the way it failed."""
    try:
        kind.read()
    except UavssrError as err:
        first, *more = str(err).splitlines()
        if type(err) is UavssrError or (more and not all(line[:2] == "  " for line in more)):
            return f"bad error {type(err).__name__}: {first[:200]}"
        return "refused"
    except Exception as err:  # noqa: BLE001 - whatever else is raised is a violation
        *_, last = traceback.extract_tb(err.__traceback__)
        where = f"{Path(last.filename).name}:{last.lineno}"
        return f"{type(err).__name__} at {where}: {' '.join(str(err).split())[:200]}"
    return "read"


def work(kinds: dict[str, Kind], jobs: Sequence[tuple[str, int]], answers: Connection) -> None:
    """Change and read one file after another; sends each outcome."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    whole = {name: kind.path.read_bytes() for name, kind in kinds.items()}
    for name, seed in jobs:
        path = kinds[name].path
        path.write_bytes(changed(whole[name], random.Random(f"{name} {seed}")))
        answer = outcome(kinds[name])
        path.unlink(missing_ok=True)
        path.write_bytes(whole[name])
        answers.send(answer)


def run(kinds: dict[str, Kind], jobs: Sequence[tuple[str, int]]) -> list[str]:
    """The outcomes of all jobs; a process that hangs or dies is replaced."""
    whole = {name: kind.path.read_bytes() for name, kind in kinds.items()}
    context, outcomes = multiprocessing.get_context("fork"), list[str]()
    while len(outcomes) < len(jobs):
        answers, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(kinds, jobs[len(outcomes) :], sender))
        process.start()
        sender.close()
        try:
            while len(outcomes) < len(jobs):
                if not answers.poll(SECONDS):
                    outcomes.append("hangs")
                    break
                outcomes.append(answers.recv())
        except EOFError:
            process.join()
            outcomes.append(f"crashes with {process.exitcode}")
        process.kill()
        process.join()
        for name, kind in kinds.items():
            kind.path.write_bytes(whole[name])
    return outcomes


def main() -> int:
    """Run all changes and print a table by kind; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only this kind")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    sys.unraisablehook = sys.excepthook = lambda *_: None  # GDAL's messages that are not UTF-8
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kinds = make_kinds(Path(folder))
        chosen = [options.kind] if options.kind else list(kinds)
        jobs = [(chosen[i % len(chosen)], options.seed + i) for i in range(options.count)]
        unchanged = {name: outcome(kinds[name]) for name in chosen}
        outcomes = run(kinds, jobs)
    counts = Counter(zip((name for name, _ in jobs), outcomes, strict=True))
    print(f"{'kind':28}{'read':>7}{'refused':>9}{'violations':>12}")
    for name in chosen:
        total = sum(count for (kind, _), count in counts.items() if kind == name)
        read, refused = counts[name, "read"], counts[name, "refused"]
        print(f"{name:28}{read:7}{refused:9}{total - read - refused:12}")
    bad = [f"{name}, unchanged: {found}" for name, found in unchanged.items() if found != "read"]
    bad += [
        f"{name}, seed {seed}: {found}"
        for (name, seed), found in zip(jobs, outcomes, strict=True)
        if found not in ("read", "refused")
    ]
    print("\n".join([f"{len(jobs)} files in {time.monotonic() - begun:.0f} s", *bad]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
