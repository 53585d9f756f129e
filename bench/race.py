"""Tools side by side: the same disk, the same machine, the same minutes.

A race is ROUNDS rounds; in each, every entrant runs once as a whole process, in an order drawn anew, so that
whatever the machine does to one it does to all. A target is new for each lap, its content is compared with
the source's after the lap, and it is gone before the next begins. What is not on disk when a lap begins is
written first, so nobody pays for another's dirty pages.

pytest-benchmark's clock is a stopwatch that runs during the laps of the first entrant only: its `stats` are
that entrant's. All entrants are in `extra_info`, which is what `bench.table` reads.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

ROOT = Path(__file__).parent.parent
ROUNDS = 5
LAP_DEADLINE = 2400  # s; the slowest peer, virt-v2v without KVM, needs 700
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Entrant:
    """A tool. `argv` is asked for the command that writes a target.

    `server` is the PID of the nbdkit that it reads from. `size`: make the target, of this size, before the
    clock starts, for a tool that does not make it. `writes`: there is a target, which must be on disk when
    the clock stops. `copies`: the target must be the source.
    """

    name: str
    argv: Callable[[Path], Sequence[str]]
    server: int | None = None
    size: int | None = None
    writes: bool = True
    copies: bool = True


@dataclass(frozen=True, slots=True)
class Lap:
    """What one run took: seconds, CPU seconds of the tool and of its nbdkit, bytes of memory at the peak.

    `started` is the wall clock's time, in seconds, when the tool was started.
    """

    started: float
    seconds: float
    cpu: float
    peak: int
    server_cpu: float = 0.0


class Stopwatch:
    """A clock that stands still except while it is told to run: pytest-benchmark's `timer`."""

    def __init__(self) -> None:
        self._reads = 0.0

    def __call__(self) -> float:
        return self._reads

    def run(self, seconds: float) -> None:
        self._reads += seconds


STOPWATCH = Stopwatch()


def race(
    benchmark: Any, entrants: Sequence[Entrant], folder: Path, content: str | None, rounds: int = ROUNDS
) -> dict[str, list[Lap]]:
    """The laps of every entrant, by name. `content` is what `content_of` says of the source."""
    laps: dict[str, list[Lap]] = {entrant.name: [] for entrant in entrants}
    draw = random.Random(0)  # noqa: S311 (an order, not a secret; the same in every run)

    def one_round() -> None:
        for entrant in draw.sample(entrants, len(entrants)):
            laps[entrant.name].append(lap(entrant, folder, content))
        STOPWATCH.run(laps[entrants[0].name][-1].seconds)

    benchmark.pedantic(one_round, rounds=rounds)
    return laps


def lap(entrant: Entrant, folder: Path, content: str | None) -> Lap:
    """One run of one entrant; AssertionError if it fails or if its target is not `content`."""
    with place(folder, entrant.size) as target:
        before = cpu_of(entrant.server)
        done = finish(start(entrant.argv(target), target if entrant.writes else None))
        server_cpu = cpu_of(entrant.server) - before
        if entrant.copies:
            assert content_of(target) == content, f"{entrant.name}: the target is not the source"
    return Lap(**done, server_cpu=server_cpu)


@contextmanager
def place(folder: Path, size: int | None = None) -> Iterator[Path]:
    """Where a new target goes, journal and all; nothing is left of it afterwards."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="target-") as own:
        target = Path(own) / "disk.img"
        if size is not None:
            target.touch()
            os.truncate(target, size)
        os.sync()
        yield target


def start(command: Sequence[str], target: Path | None) -> subprocess.Popen[str]:
    """`command` under `bench/lap.py`, in the checkout's root so that it runs the code beside this file."""
    timer = [sys.executable, "-I", "-S", str(ROOT / "bench" / "lap.py"), str(LAP_DEADLINE)]
    return subprocess.Popen(
        [*timer, str(target or "-"), *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(running: subprocess.Popen[str]) -> dict[str, Any]:
    """What `bench/lap.py` measured; AssertionError with the command's last words if it failed."""
    said, complaints = running.communicate(timeout=LAP_DEADLINE + 60)
    assert running.returncode == 0, f"{running.args!r}: exit {running.returncode}: {complaints[-2000:]}"
    measured: dict[str, Any] = json.loads(said)
    return measured


def cpu_of(pid: int | None) -> float:
    """CPU seconds that a living process has used, 0 for no process. Source: proc(5), fields 14 and 15."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def content_of(path: Path) -> str:
    """BLAKE3 of the whole file. Not transferd's digest: a judge must not share code with a contestant."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def record(benchmark: Any, case: str, size: int, laps: dict[str, list[Lap]], **facts: Any) -> None:
    """Store a race with its result: medians of times, the highest of the memory peaks, and every lap."""
    benchmark.extra_info |= {
        "case": case,
        "size": size,
        "tools": {name: summary(runs) for name, runs in laps.items()},
        **facts,
    }
    for name, tool in benchmark.extra_info["tools"].items():
        print(f"\n{case} | {name}: {tool['median_s']:.2f} s, CPU {tool['cpu_s']:.2f} s", end="")


def summary(runs: Sequence[Lap]) -> dict[str, Any]:
    return {
        "median_s": statistics.median(run.seconds for run in runs),
        "cpu_s": statistics.median(run.cpu for run in runs),
        "server_cpu_s": statistics.median(run.server_cpu for run in runs),
        "peak_bytes": max(run.peak for run in runs),
        "rounds_s": [round(run.seconds, 4) for run in runs],
    }
