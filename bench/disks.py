"""The disks that are copied: made from a seed, so a stored result names content that can be made again.

TRANSFERD_BENCH_SIZE=64MiB makes every disk that large: a run that shows that the suites work. Its figures
mean nothing, and `conftest` does not store them.
"""

import os
import random
from pathlib import Path

from transferd import units
from transferd.units import GiB, KiB, MiB

REDUCED = "TRANSFERD_BENCH_SIZE"
PIECE = 16 * MiB
AREA = 64 * KiB  # of a scattered delta: VMware's own grain of changed-block tracking is 64 KiB or a multiple
AREAS_PER_GIB = 4096


def size_of(usual: int) -> int:
    """`usual`, or the reduced size that the environment asks for."""
    asked = os.environ.get(REDUCED)
    return units.size(asked) if asked else usual


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)  # noqa: S311 (the same in every run)


def write_data(path: Path, size: int, *, holes: bool) -> None:
    """A disk of random data, every fourth 16 MiB of it a hole if `holes`; left in the page cache."""
    piece = noise(min(PIECE, size // 4))
    with path.open("wb") as file:
        for number in range(size // len(piece)):
            if holes and number % 4 == 3:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(number.to_bytes(8, "big") + piece[8:])
        file.truncate(size)
        os.fsync(file.fileno())


def write_areas(path: Path, size: int) -> list[int]:
    """A disk that is empty but for areas of 64 KiB, 4096 in a GiB, no two of them touching; their offsets."""
    slots = size // (2 * AREA)
    chosen = random.Random(size).sample(range(slots), size * AREAS_PER_GIB // GiB)  # noqa: S311
    starts = sorted(slot * 2 * AREA for slot in chosen)
    content = noise(AREA)
    with path.open("wb") as file:
        file.truncate(size)
        for start in starts:
            file.seek(start)
            file.write(start.to_bytes(8, "big") + content[8:])
        os.fsync(file.fileno())
    return starts
