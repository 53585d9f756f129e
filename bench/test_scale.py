"""d. Many disks at once: as many processes, each from a source of its own that gives 8 MB/s.

The source is the bottleneck by construction, as a busy ESXi host is; the question is whether the machine
holds the rate, and whether all disks get their share. nbdkit's rate filter saves up half a second of it while
idle, 6 % of the smallest disk. CPU and memory of a copy at full speed are in suite a.
"""

import random
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench import entrants
from bench.disks import size_of, write_data
from bench.race import ROUNDS, STOPWATCH, Entrant, content_of, finish, place, start
from tests.nbd import NbdServer
from transferd.nbdkit import THREADS
from transferd.units import MiB

RATE = 8_000_000  # bytes a second
LARGE = 32  # disks, from which start-up is long enough to ask for four times the copy


@pytest.mark.parametrize("disks", [1, 2, 4, 8, 16, 32])
def test_disks_at_once(benchmark, folder: Path, disks: int):
    size, image = size_of((256 if disks >= LARGE else 64) * MiB), folder / "disk.img"
    write_data(image, size, holes=False)
    content = content_of(image)
    runs: dict[str, list[dict[str, Any]]] = {}
    draw = random.Random(0)  # noqa: S311 (an order, not a secret)
    with ExitStack() as stack:
        servers = [stack.enter_context(limited(folder / f"{disks}-{n}", image)) for n in range(disks)]
        tools = {
            "transferd": [entrants.transferd(server, "--verify", "none") for server in servers],
            "nbdcopy": [entrants.nbdcopy(server) for server in servers],
        }

        def one_round() -> None:
            for name in draw.sample(sorted(tools), len(tools)):
                runs.setdefault(name, []).append(at_once(tools[name], folder, content, size))
            STOPWATCH.run(runs["transferd"][-1]["slowest_s"])

        benchmark.pedantic(one_round, rounds=ROUNDS)
    benchmark.extra_info |= {
        "case": "disks at once",
        "size": size,
        "disks": disks,
        "rate": RATE,
        "content": content,
        "tools": {name: {key: median(run[key] for run in of) for key in of[0]} for name, of in runs.items()},
    }
    print(f"\n{disks} disks: {benchmark.extra_info['tools']}", end="")


def limited(place: Path, image: Path) -> NbdServer:
    place.mkdir()
    limits = [f"rate={RATE * 8}", "burstiness=0.5"]
    return NbdServer(
        place, "--readonly", "--threads", str(THREADS), "--filter=rate", "file", str(image), *limits
    )


def at_once(copies: list[Entrant], folder: Path, content: str, size: int) -> dict[str, float]:
    """Start every copy, wait for all. `fairness` is the slowest disk's rate as a part of the fastest's."""
    with ExitStack() as stack:
        targets = [stack.enter_context(place(folder)) for _ in copies]
        running = [start(copy.argv(at), at) for copy, at in zip(copies, targets, strict=True)]
        laps = [finish(one) for one in running]
        for target in targets:
            assert content_of(target) == content, "a target is not the source"
    seconds = [lap["seconds"] for lap in laps]
    span = max(lap["started"] + lap["seconds"] for lap in laps) - min(lap["started"] for lap in laps)
    return {
        "slowest_s": max(seconds),
        "fairness": min(seconds) / max(seconds),
        "rate_held": len(laps) * size / span / (RATE * len(laps)),
        "cpu_s": sum(lap["cpu"] for lap in laps),
        "peak_bytes": max(lap["peak"] for lap in laps),
    }
