"""Runs every sweep whole: `python -m tests.torture [--seed S]`; each appends a line to LOG.md."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.torture import copies, crashes, kills, places, warm

LOG = Path(__file__).parent / "LOG.md"
SWEEPS = {"copies": copies, "kills": kills, "crashes": crashes, "warm": warm, "places": places}


def main() -> int:
    options = argparse.ArgumentParser(description="Run every sweep whole.")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    seed = options.parse_args().seed
    return 1 if sum(sweep(name, seed) for name in SWEEPS) else 0


def sweep(name: str, seed: int) -> int:
    """The number of cases that failed; every failure is printed with its seed."""
    began, failed, count = time.monotonic(), 0, SWEEPS[name].FULL
    for number in range(count):
        try:
            SWEEPS[name].repeat(seed + number)
        except Exception as failure:  # noqa: BLE001 (a sweep goes on and reports every failure)
            failed += 1
            print(f"{name} seed {seed + number}: {type(failure).__name__}: {failure}", file=sys.stderr)
    duration = f"{time.monotonic() - began:.0f} s"
    record = (datetime.now(tz=UTC).date(), name, seed, commit(), count, failed, duration)
    with LOG.open("a") as log:
        log.write(f"| {' | '.join(map(str, record))} |\n")
    print(f"{name}: seed {seed}, {count} cases, {failed} failed, {duration}")
    return failed


def commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
