"""Test reliability for long: kill runs, flip bits, fill disks, start runs at the same time.

    python scripts/long_run.py [--kills 200] [--flips 10000] [--steps 500] [--seed 0]

From the repository's root. After every step the output is absent or equals that of a run without
faults, and every run has ended with 0, or with one line and its exit code. Short versions are in
tests/reliability/. A count of 0 skips a part. Exit code 1 on any violation.
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

from tests.helpers.faults import (
    TILES,
    RunResult,
    Workspace,
    expected_digests,
    in_subprocess,
    new_workspace,
    run_result,
)
from tests.helpers.flips import KINDS, count_flips
from uavssr.io.writers.journal import journal_path

BATCH = 500
"""Flips in one process."""
STEPS_PER_SEQUENCE = 10
"""Steps until the output of a sequence is completed."""
Digests = tuple[str | None, str | None]
Row = tuple[str, int, str]


class Violation(AssertionError):
    """An output is wrong, or a run ended in an unexpected way."""


def main() -> int:
    """Run all parts and print their results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts: list[tuple[str, int, Callable[[int, int], list[Row]]]] = [
        ("kills", options.kills, random_kills),
        ("flips", options.flips, random_flips),
        ("steps", options.steps, random_steps),
    ]
    failed = 0
    for name, number, part in parts:
        begun = time.monotonic()
        try:
            rows = part(number, options.seed) if number else []
        except Exception:  # noqa: BLE001 - a violation, or what a reader should not have raised
            traceback.print_exc()
            rows, failed = [(name, number, "VIOLATED, see above")], failed + 1
        for what, count, results in rows:
            print(f"{what:22}{count:7}  {results}", flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s\n", flush=True)
    print("violations" if failed else "no violation")
    return int(bool(failed))


def check(workspace: Workspace, expected: Digests) -> None:
    """Check that each output is absent or as expected.

    Raises:
        Violation: an output differs.
    """
    for found, wanted in ((workspace.digest(), expected[0]), (workspace.stf_digest(), expected[1])):
        if found not in (None, wanted):
            raise Violation(f"an output in {workspace.folder} is not whole")


def complete(workspace: Workspace, expected: Digests) -> None:
    """Resume a run to its end, and check the outputs.

    Raises:
        Violation: it failed, left other files, or the outputs differ.
    """
    done = workspace.run("--resume")
    if done.code == 5 and "run.json: the record" in done.stderr:  # as the message says
        done = workspace.run("--overwrite")
    outputs = {"out.tif", "out.stf.nc", "out.tiles.gpkg"}
    whole = (
        workspace.digest(),
        workspace.stf_digest(),
    ) == expected and workspace.files() == outputs
    if not whole or (done.code != 0 and "exists" not in done.stderr):
        raise Violation(f"not completed: {done}, {workspace.files()}")


# --- kills ---------------------------------------------------------------------------------------


def random_kills(count: int, number: int) -> list[Row]:
    """Kill runs at random tiles and resume them, until one succeeds; then start again."""
    rng, counts = random.Random(number), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        workspace = new_workspace(Path(folder) / "workspace")
        with expected_digests(workspace) as expected:
            pass
        for done in range(1, count + 1):
            process, _ = workspace.start("--resume")
            wanted = rng.randrange(len(workspace.finished_tiles()), TILES + 1)
            while process.is_alive() and len(workspace.finished_tiles()) < wanted:
                time.sleep(0.002)
            process.join(rng.uniform(0, 0.3) if rng.random() < 0.5 else 0)
            process.kill()
            process.join()
            check(workspace, expected)
            counts["succeeded" if process.exitcode == 0 else "killed"] += 1
            if rng.random() < 0.5 or workspace.out.exists() or done == count:
                complete(workspace, expected)
                workspace.clear()
                counts["completed"] += 1
    return [("kill -9", count, ", ".join(f"{word} {n}" for word, n in sorted(counts.items())))]


# --- flips ---------------------------------------------------------------------------------------


def random_flips(count: int, number: int) -> list[Row]:
    """Flip bits, the same number in every kind of file."""
    rows = []
    each = -(-count // len(KINDS))
    for kind in KINDS:
        found = Counter[str]()
        for start in range(0, each, BATCH):
            with tempfile.TemporaryDirectory() as folder:
                size = min(BATCH, each - start)
                seeded = 1000 * number + start
                found += Counter(
                    in_subprocess(count_flips, kind, Path(folder), size, seeded, timeout=600)
                )
        rows.append((kind, each, ", ".join(f"{word} {n}" for word, n in sorted(found.items()))))
    return rows


# --- random sequences ----------------------------------------------------------------------------

Running = tuple[BaseProcess, Path]


class RandomSequence:
    """Random starts, kills, resumes, damages and full disks of up to two runs at once.

    The possible steps depend on the progress of the runs, so a seed gives no fixed sequence.
    """

    def __init__(
        self, workspace: Workspace, expected: Digests, rng: random.Random, counts: Counter[str]
    ) -> None:
        self.workspace, self.expected, self.rng, self.counts = workspace, expected, rng, counts
        self.running: list[Running] = []
        workspace.clear()

    def step(self) -> None:
        """Take a random possible step, then check the outputs."""
        possible = [self.start, self.fill_disk] if len(self.running) < 2 else []
        possible += [self.wait, self.let_end] if self.running else []
        possible += [self.stop] if self.running and self.workspace.finished_tiles() else []
        possible += [self.corrupt] if not self.running and self.workspace.finished_tiles() else []
        possible += [self.resume] if not self.running and self.workspace.files() else []
        self.rng.choice(possible)()
        check(self.workspace, self.expected)

    def start(self) -> None:
        """Start a run, perhaps beside another."""
        self.counts["start"] += 1
        option = self.rng.choice([(), ("--resume",), ("--overwrite",)])
        self.running.append(self.workspace.start(*option))

    def fill_disk(self) -> None:
        """Start a run whose files cannot grow beyond a random size."""
        self.counts["fill disk"] += 1
        largest = self.rng.choice([1000, 3000, 8000, 12_000, 30_000, 60_000])
        self.running.append(self.workspace.start("--resume", largest=largest))

    def wait(self) -> None:
        """Wait until the journal has a random number of tiles, and a random time."""
        process, _ = self.running[-1]
        tiles = self.rng.randint(1, TILES)
        while process.is_alive() and len(self.workspace.finished_tiles()) < tiles:
            time.sleep(0.002)
        process.join(self.rng.uniform(0, 0.3))

    def stop(self) -> None:
        """Stop a run with SIGTERM or SIGKILL."""
        hard = self.rng.random() < 0.5
        self.counts["kill -9" if hard else "SIGTERM"] += 1
        process, stderr = self.running.pop(self.rng.randrange(len(self.running)))
        (process.kill if hard else process.terminate)()
        self._check_result(run_result(process, stderr))

    def let_end(self) -> None:
        """Wait for the end of a run."""
        self._check_result(run_result(*self.running.pop(0)))

    def corrupt(self) -> None:
        """Cut a file of the journal short, or flip one of its bits."""
        self.counts["corrupt"] += 1
        folder = journal_path(self.workspace.out)
        path = self.rng.choice(sorted({*folder.iterdir()} - {folder / "lock"}))
        content = bytearray(path.read_bytes())
        place = self.rng.randrange(max(len(content), 1))
        if not content or self.rng.random() < 0.5:
            path.write_bytes(content[:place])
        else:
            content[place] ^= 1 << self.rng.randrange(8)
            path.write_bytes(content)

    def resume(self) -> None:
        """Resume to the end."""
        self.counts["resume to the end"] += 1
        complete(self.workspace, self.expected)
        self.workspace.clear()

    def end(self) -> None:
        """Kill what still runs, and complete the output."""
        for process, stderr in self.running:
            process.kill()
            self._check_result(run_result(process, stderr))
        complete(self.workspace, self.expected)
        self.workspace.clear()

    def _check_result(self, done: RunResult) -> None:
        self.counts[f"exit {done.code}"] += 1
        if not done.as_promised and done.code != -15:
            raise Violation(done)


def random_steps(steps: int, number: int) -> list[Row]:
    """Sequences of `steps` random steps in all."""
    rng, counts = random.Random(number), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        workspace = new_workspace(Path(folder) / "workspace")
        with expected_digests(workspace) as expected:
            pass
        for _ in range(-(-steps // STEPS_PER_SEQUENCE)):
            sequence = RandomSequence(workspace, expected, rng, counts)
            for _ in range(STEPS_PER_SEQUENCE):
                sequence.step()
            sequence.end()
    return [(what, count, "") for what, count in sorted(counts.items())]


if __name__ == "__main__":
    sys.exit(main())
