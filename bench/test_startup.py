"""Start-up: from exec to the first NBD read, which is Python, its imports, the connection and the extents.

The end is when nbdkit's log filter notes the first read, the beginning when `bench/lap.py` starts the tool;
both are the wall clock of one machine. strace would give the same two moments and slow down what it watches.
Eleven rounds after one that warms the caches.
"""

from datetime import datetime
from pathlib import Path
from statistics import median

from bench import entrants
from bench.disks import size_of, write_data
from bench.race import Lap, content_of, lap, race, record
from tests.nbd import NbdServer
from transferd.units import MiB

SIZE = 64 * MiB
ROUNDS = 11


def test_first_read(benchmark, folder: Path):
    size, disk, log = size_of(SIZE), folder / "disk.img", folder / "nbdkit.log"
    write_data(disk, size, holes=False)
    content = content_of(disk)
    with NbdServer(folder, "--readonly", "--filter=log", "file", str(disk), f"logfile={log}") as server:
        tools = [entrants.transferd(server, "--verify", "none"), entrants.nbdcopy(server)]
        for tool in tools:
            lap(tool, folder, content)
        laps = race(benchmark, tools, folder, content, rounds=ROUNDS)
        reads = reads_in(log)
    first = {name: [first_read(reads, one) for one in of] for name, of in laps.items()}
    record(
        benchmark, "start-up", size, laps,
        content=content, first_read_s={name: median(of) for name, of in first.items()},
    )  # fmt: skip
    print(f"\nexec to first read: {benchmark.extra_info['first_read_s']}", end="")


def reads_in(log: Path) -> list[float]:
    """When each read came in. A line is `DATE TIME connection=N Read id=...`, in local time."""
    lines = [line.split() for line in log.read_text().splitlines()]
    stamps = [f"{words[0]} {words[1]}" for words in lines if "Read" in words]
    return [datetime.fromisoformat(stamp).astimezone().timestamp() for stamp in stamps]


def first_read(reads: list[float], run: Lap) -> float:
    return min(at for at in reads if at >= run.started) - run.started
