"""Runs every sweep whole: `python -m tests.torture [--seed S] [SWEEP...]`; each appends a line to LOG.md."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.torture import commits, copies, crashes, flips, guests, images, kills, places, warm

LOG = Path(__file__).parent / "LOG.md"
SWEEPS = {
    "copies": copies,
    "kills": kills,
    "crashes": crashes,
    "warm": warm,
    "places": places,
    "guests": guests,
    "commits": commits,
    "flips": flips,
    "images": images,
}


def main() -> int:
    options = argparse.ArgumentParser(description="Run every sweep whole, or those that are named.")
    options.add_argument("sweeps", nargs="*", metavar="SWEEP", help=f"of {', '.join(SWEEPS)}")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = options.parse_args()
    if unknown := {*chosen.sweeps} - {*SWEEPS}:
        options.error(f"no such sweep: {', '.join(sorted(unknown))}")
    return 1 if sum(sweep(name, chosen.seed) for name in chosen.sweeps or SWEEPS) else 0


def sweep(name: str, seed: int) -> int:
    """The number of cases that failed, each printed with its seed. Two at a time: most of it is waiting."""
    began, count = time.monotonic(), SWEEPS[name].FULL
    with ThreadPoolExecutor(2) as pool:
        failures = [*pool.map(lambda number: failure_of(name, number), range(seed, seed + count))]
    failed = sum(failure is not None for failure in failures)
    duration = f"{time.monotonic() - began:.0f} s"
    record = (datetime.now(tz=UTC).date(), name, seed, commit(), count, failed, duration)
    with LOG.open("a") as log:
        log.write(f"| {' | '.join(map(str, record))} |\n")
    print(f"{name}: seed {seed}, {count} cases, {failed} failed, {duration}")
    return failed


def failure_of(name: str, seed: int) -> Exception | None:
    try:
        SWEEPS[name].repeat(seed)
    except Exception as failure:  # noqa: BLE001 (a sweep goes on and reports every failure)
        print(f"{name} seed {seed}: {type(failure).__name__}: {failure}", file=sys.stderr)
        return failure
    return None


def commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
