"""The disk of the vCenter double's own tests: small, mostly a hole, with a little at two places."""

from __future__ import annotations

from pathlib import Path

from transferd.units import KiB, MiB

SIZE = 8 * MiB
BLOCK = 64 * KiB


def write(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(b"A" * BLOCK)
        file.seek(3 * MiB)
        file.write(b"B" * 100)
    return path
