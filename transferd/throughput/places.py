"""Where laps read: blocks of data, none twice while there are others.

A lap reads onward from where it begins, as a copy does, and every lap begins elsewhere: at steps of the
golden ratio, which spread evenly however many laps there will be. Blocks are only numbers here, so a disk of
64 TiB costs a byte for each 4 MiB of its data.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from transferd.extents import Extent, Range, data_bytes
from transferd.plan import BLOCK, extent_of_block

GOLDEN = 0.618034
MOST = 0.5  # share of the data that whole blocks must hold for the rest to be left out


def data_blocks(extents: Sequence[Extent]) -> list[range]:
    """Numbers of the blocks that are data all over; of all that have data, where those are too few."""
    data = [extent for extent in extents if not extent.zero]
    whole = [range(-(-extent.start // BLOCK), extent.end // BLOCK) for extent in data]
    if sum(map(len, whole)) * BLOCK >= MOST * data_bytes(data):
        return [each for each in whole if each]
    touched: list[range] = []
    for extent in data:
        first = max(extent.start // BLOCK, touched[-1].stop if touched else 0)
        touched.append(range(first, max(first, -(-extent.end // BLOCK))))
    return [each for each in touched if each]


class Places:
    """Hands out ranges to read; from any thread. `again`: everything was read once, caches may answer now."""

    def __init__(self, extents: Sequence[Extent], size: int) -> None:
        self._size = size
        self._runs = data_blocks(extents)
        self._ends = [*accumulate(map(len, self._runs))]
        self.count = self._ends[-1] if self._ends else 0
        self.again = False
        self._unread = bytearray(b"\1" * self.count)
        self._at = 0
        self._laps = 0
        self._rest = Range(0, 0)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A new lap."""
        with self._lock:
            self._at = int(self._laps * GOLDEN % 1 * self.count)
            self._laps += 1
            self._rest = Range(0, 0)

    def take(self, length: int) -> Range:
        """The next `length` bytes, or fewer at the end of a block."""
        with self._lock:
            if not self._rest.length:
                self._rest = extent_of_block(self._block(self._next()), self._size)
            taken = Range(self._rest.start, min(length, self._rest.length))
            self._rest = Range(taken.end, self._rest.length - taken.length)
            return taken

    def stretch(self, length: int) -> Range:
        """About `length` bytes in one piece, for somebody who reads from a start to an end."""
        with self._lock:
            first = self._next()
            run = bisect_right(self._ends, first)
            blocks = min(max(length // BLOCK, 1), self._ends[run] - first)
            self._unread[first : first + blocks] = bytes(blocks)
            start = self._block(first) * BLOCK
            return Range(start, min(blocks * BLOCK, self._size - start))

    def _next(self) -> int:
        """The first block not yet read from here on, by its place among the data's blocks; now it is read."""
        found = self._unread.find(1, self._at)
        if found < 0:
            found = self._unread.find(1)
        if found < 0:
            self.again = True
            self._unread = bytearray(b"\1" * self.count)
            found = self._at % self.count
        self._unread[found] = 0
        self._at = found + 1
        return found

    def _block(self, place: int) -> int:
        run = bisect_right(self._ends, place)
        return self._runs[run][place - (self._ends[run - 1] if run else 0)]
