"""What the disk allows: O_DIRECT writes of ready data from memory, then fsync. No source, no hash.

The ceiling beside which the copies to a file are read: 4 MiB a write from one thread, which is as fast as
two, four or eight where this was written. It leaves out every fourth 16 MiB, as `disks.write_data` does.

    python -m bench.direct TARGET SIZE     TARGET exists and is SIZE long
"""

import mmap
import os
import sys

from bench.disks import PIECE
from transferd.units import MiB

WRITE = 4 * MiB


def main(target: str, size: str) -> None:
    piece = min(PIECE, int(size) // 4)
    step = min(WRITE, piece)
    buffer = mmap.mmap(-1, step)  # page-aligned, as O_DIRECT wants it
    buffer[:] = os.urandom(step)
    file = os.open(target, os.O_WRONLY | os.O_DIRECT)
    for start in range(0, int(size), step):
        if start // piece % 4 != 3:
            os.pwrite(file, buffer, start)
    os.fsync(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
