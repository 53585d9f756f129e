"""How busy the CPUs were: this process with its children (nbdkit reads for us), and everybody on them.

Children that still run are in no counter of their parent, so /proc is asked for each of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transferd.throughput.points import Load

TICK = os.sysconf("SC_CLK_TCK")  # per second; the unit of /proc
IDLE, IOWAIT = 3, 4  # fields of a CPU's line in /proc/stat (proc(5))
COUNTED = 8  # of those fields; what follows is counted in the first two already
USER_AND_SYSTEM = slice(11, 13)  # fields of /proc/PID/stat behind the name (proc(5))


def spent() -> float:
    """CPU seconds of this process and of its children that run."""
    return time.process_time() + sum(_seconds(pid) for pid in _descendants(os.getpid()))


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:
            continue  # the thread has ended meanwhile
        for child in map(int, found):
            yield child
            yield from _descendants(child)


def _seconds(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0  # it has ended meanwhile
    return sum(map(int, text.rpartition(")")[2].split()[USER_AND_SYSTEM])) / TICK


def machine() -> tuple[int, int]:
    """Ticks that the CPUs which we may use were busy, and all their ticks, since boot."""
    usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *words = line.split()
        if name in usable:
            ticks = [int(word) for word in words[:COUNTED]]
            total += sum(ticks)
            busy += sum(ticks) - ticks[IDLE] - ticks[IOWAIT]
    return busy, total


@dataclass(frozen=True, slots=True)
class Meter:
    """Reading it gives the load since it was made."""

    wall: float = field(default_factory=time.monotonic)
    ours: float = field(default_factory=spent)
    machine: tuple[int, int] = field(default_factory=machine)

    def load(self, thread_seconds: float) -> Load:
        """`thread_seconds`: CPU time of the busiest thread meanwhile."""
        now = Meter()
        wall = max(now.wall - self.wall, 1e-6)
        busy, total = (after - before for before, after in zip(self.machine, now.machine, strict=True))
        return Load(
            ours=(now.ours - self.ours) / (wall * len(os.sched_getaffinity(0))),
            thread=thread_seconds / wall,
            machine=busy / total if total else 0.0,
        )
