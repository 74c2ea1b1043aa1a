"""Kill runs, flip bits, fill disks and start runs beside each other, for as long as it pays.

    python scripts/long_run.py [--kills 200] [--flips 10000] [--steps 500] [--seed 0]

From the repository's root. After every step the final name is absent or its pixels are those of a
run that nothing disturbed, and every run has ended with 0 or one line and a code of its own. The
small versions are in tests/reliability/; 0 leaves a part out. Exit code 1 on any violation.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the helpers of the tests

from tests.helpers.faults import TILES, Ended, Lab, apart, ended, laboratory, undisturbed
from tests.helpers.flips import KINDS, counted
from uavssr.io.writers.journal import journal_path

BATCH = 500
"""Flips in one process."""
LENGTH = 10
"""Steps of one life."""
Golden = tuple[str | None, str | None]
Row = tuple[str, int, str]


class Violation(AssertionError):
    """A promise that was not kept."""


def main() -> int:
    """Do harm, print what came of it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts: list[tuple[str, int, Callable[[int, int], list[Row]]]] = [
        ("kills", options.kills, kill),
        ("flips", options.flips, flip),
        ("steps", options.steps, live),
    ]
    failed = 0
    for name, number, part in parts:
        begun = time.monotonic()
        try:
            rows = part(number, options.seed) if number else []
        except Exception:  # noqa: BLE001 - a violation, or what a reader should not have raised
            traceback.print_exc()
            rows, failed = [(name, number, "VIOLATED, see above")], failed + 1
        for what, count, came in rows:
            print(f"{what:22}{count:7}  {came}", flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s\n", flush=True)
    print("violations" if failed else "no violation")
    return int(bool(failed))


def check(lab: Lab, golden: Golden) -> None:
    """The invariant.

    Raises:
        Violation: an output is there that is not what it should be.
    """
    for found, wanted in ((lab.digest(), golden[0]), (lab.stf_digest(), golden[1])):
        if found not in (None, wanted):
            raise Violation(f"an output in {lab.folder} is not whole")


def complete(lab: Lab, golden: Golden) -> None:
    """Go on until all is done, and be left with the outputs alone.

    Raises:
        Violation: that could not be done, or the pixels are others.
    """
    done = lab.run("--resume")
    if done.code == 5 and "run.json: the record" in done.said:  # as the message says
        done = lab.run("--overwrite")
    outputs = {"out.tif", "out.stf.nc", "out.tiles.gpkg"}
    whole = (lab.digest(), lab.stf_digest()) == golden and lab.files() == outputs
    if not whole or (done.code != 0 and "exists" not in done.said):
        raise Violation(f"not completed: {done}, {lab.files()}")


# --- kills ---------------------------------------------------------------------------------------


def kill(count: int, number: int) -> list[Row]:
    """Kill a run at a random tile, and what goes on with it, until one comes through; then anew."""
    rng, came = random.Random(number), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        lab = laboratory(Path(folder) / "lab")
        with undisturbed(lab) as golden:
            pass
        for done in range(1, count + 1):
            process, _ = lab.start("--resume")
            wanted = rng.randrange(len(lab.kept()), TILES + 1)
            while process.is_alive() and len(lab.kept()) < wanted:
                time.sleep(0.002)
            process.join(rng.uniform(0, 0.3) if rng.random() < 0.5 else 0)
            process.kill()
            process.join()
            check(lab, golden)
            came["came through" if process.exitcode == 0 else "killed"] += 1
            if rng.random() < 0.5 or lab.out.exists() or done == count:
                complete(lab, golden)
                lab.clear()
                came["completed"] += 1
    return [("kill -9", count, ", ".join(f"{word} {n}" for word, n in sorted(came.items())))]


# --- flips ---------------------------------------------------------------------------------------


def flip(count: int, number: int) -> list[Row]:
    """Share the flips among the kinds of files."""
    rows = []
    each = -(-count // len(KINDS))
    for kind in KINDS:
        found = Counter[str]()
        for start in range(0, each, BATCH):
            with tempfile.TemporaryDirectory() as folder:
                size = min(BATCH, each - start)
                seeded = 1000 * number + start
                found += Counter(apart(counted, kind, Path(folder), size, seeded, timeout=600))
        rows.append((kind, each, ", ".join(f"{word} {n}" for word, n in sorted(found.items()))))
    return rows


# --- the life of an output -----------------------------------------------------------------------

Running = tuple[BaseProcess, Path]


class Life:
    """Start, kill, resume, corrupt, fill the disk, two runs at once, in any order that is possible.

    What is possible depends on how far the runs have come: the same seed does not give the same
    life twice.
    """

    def __init__(self, lab: Lab, golden: Golden, rng: random.Random, came: Counter[str]) -> None:
        self.lab, self.golden, self.rng, self.came = lab, golden, rng, came
        self.running: list[Running] = []
        lab.clear()

    def step(self) -> None:
        """One of the things that may happen now; after it the final name is absent or golden."""
        may = [self.start, self.fill_disk] if len(self.running) < 2 else []
        may += [self.wait, self.let_end] if self.running else []
        may += [self.stop] if self.running and self.lab.kept() else []
        may += [self.corrupt] if not self.running and self.lab.kept() else []
        may += [self.resume] if not self.running and self.lab.files() else []
        self.rng.choice(may)()
        check(self.lab, self.golden)

    def start(self) -> None:
        """Begin a run, perhaps beside another."""
        self.came["start"] += 1
        option = self.rng.choice([(), ("--resume",), ("--overwrite",)])
        self.running.append(self.lab.start(*option))

    def fill_disk(self) -> None:
        """Begin a run that finds no room for a file beyond some size."""
        self.came["fill disk"] += 1
        largest = self.rng.choice([1000, 3000, 8000, 12_000, 30_000, 60_000])
        self.running.append(self.lab.start("--resume", largest=largest))

    def wait(self) -> None:
        """Until the journal has some tiles, and a while."""
        process, _ = self.running[-1]
        tiles = self.rng.randint(1, TILES)
        while process.is_alive() and len(self.lab.kept()) < tiles:
            time.sleep(0.002)
        process.join(self.rng.uniform(0, 0.3))

    def stop(self) -> None:
        """With a signal that it can or cannot catch."""
        hard = self.rng.random() < 0.5
        self.came["kill -9" if hard else "SIGTERM"] += 1
        process, said = self.running.pop(self.rng.randrange(len(self.running)))
        (process.kill if hard else process.terminate)()
        self._judge(ended(process, said))

    def let_end(self) -> None:
        """Wait for a run."""
        self._judge(ended(*self.running.pop(0)))

    def corrupt(self) -> None:
        """Cut a file of the journal short, or flip one of its bits."""
        self.came["corrupt"] += 1
        path = self.rng.choice(sorted(journal_path(self.lab.out).iterdir()))
        content = bytearray(path.read_bytes())
        place = self.rng.randrange(max(len(content), 1))
        if not content or self.rng.random() < 0.5:
            path.write_bytes(content[:place])
        else:
            content[place] ^= 1 << self.rng.randrange(8)
            path.write_bytes(content)

    def resume(self) -> None:
        """Go on to the end, from whatever is there."""
        self.came["resume to the end"] += 1
        complete(self.lab, self.golden)
        self.lab.clear()

    def end(self) -> None:
        """A life ends with all that it should have come to."""
        for process, said in self.running:
            process.kill()
            self._judge(ended(process, said))
        complete(self.lab, self.golden)
        self.lab.clear()

    def _judge(self, done: Ended) -> None:
        self.came[f"exit {done.code}"] += 1
        if not done.decent and done.code != -15:
            raise Violation(done)


def live(steps: int, number: int) -> list[Row]:
    """Lives of so many steps together."""
    rng, came = random.Random(number), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        lab = laboratory(Path(folder) / "lab")
        with undisturbed(lab) as golden:
            pass
        for _ in range(-(-steps // LENGTH)):
            life = Life(lab, golden, rng, came)
            for _ in range(LENGTH):
                life.step()
            life.end()
    return [(what, count, "") for what, count in sorted(came.items())]


if __name__ == "__main__":
    sys.exit(main())
