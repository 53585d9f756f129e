"""A set of block numbers of one disk, a byte for each: a disk of 62 TiB has 16 million blocks."""

from __future__ import annotations

import random
from collections.abc import Iterator

MARK, CLEAR = b"\1", b"\0"


class Blocks:
    """Numbers from 0 to `count` - 1, none of them at first."""

    def __init__(self, count: int, marks: bytes | None = None) -> None:
        """`marks`: 1 for each that is in it, 0 for the others."""
        self._marks = bytearray(count if marks is None else marks)

    def add(self, first: int, count: int = 1) -> None:
        self._marks[first : first + count] = MARK * count

    def discard(self, first: int, count: int = 1) -> None:
        self._marks[first : first + count] = CLEAR * count

    def __contains__(self, index: int) -> bool:
        return self._marks[index] == 1

    def __len__(self) -> int:
        return self._marks.count(MARK)

    def __iter__(self) -> Iterator[int]:
        for run in self.runs():
            yield from run

    def runs(self, most: int | None = None) -> Iterator[range]:
        """Neighbours together, at most `most` of them."""
        first = self._marks.find(MARK)
        while first >= 0:
            end = self._marks.find(CLEAR, first)
            end = len(self._marks) if end < 0 else end
            for start in range(first, end, most or end - first):
                yield range(start, min(start + (most or end), end))
            first = self._marks.find(MARK, end)

    def sample(self, dice: random.Random, count: int) -> list[int]:
        """Up to `count` of them by chance, in order."""
        wanted = sorted(dice.sample(range(len(self)), min(count, len(self))))
        found: list[int] = []
        before = 0
        for run in self.runs():
            while len(found) < len(wanted) and wanted[len(found)] < before + len(run):
                found.append(run[wanted[len(found)] - before])
            before += len(run)
        return found
