"""Proof of a copy: what the storage holds, read back past the page cache, against what was received.

The digests were computed on the bytes as they came from the source. Re-reading the target and hashing it
again finds what no return code tells: lost writes, misplaced writes, storage that lies. Blocks are proven
as soon as they are durable, while later ones are still being copied, so on a slow source the proof is free.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from transferd import digest
from transferd.backends import Target
from transferd.digest import Digests
from transferd.plan import BLOCK, extent_of_block
from transferd.stats import Stats


@dataclass(slots=True)
class Verifier:
    """Compares blocks of the target with their digests; call from any thread."""

    target: Target
    digests: Digests
    stats: Stats
    differs: Callable[[int], None]
    _local: threading.local = field(default_factory=threading.local)

    def blocks(self, indexes: range) -> None:
        """`differs` is called with each block that does not hold what was received."""
        if self._empty(indexes):
            return
        for index in indexes:
            if not self._holds(index):
                self.differs(index)

    def _empty(self, indexes: range) -> bool:
        """Zeros at one look: they were received, and the target's file system knows that nothing is there."""
        first, last = (extent_of_block(index, self.digests.size) for index in (indexes[0], indexes[-1]))
        length = last.end - first.start
        if not self.digests.are_zero(indexes) or not self.target.reads_zero(first.start, length):
            return False
        self.stats.add(verified=length)
        return True

    def _holds(self, index: int) -> bool:
        place = extent_of_block(index, self.digests.size)
        began = time.monotonic()
        if self.target.reads_zero(place.start, place.length):
            found = digest.of_zeros(place.length)
        else:
            view = self._buffer()[: place.length]
            self.target.reread(place.start, view)
            found = digest.of_block(view)
        self.stats.took("verify", time.monotonic() - began)
        self.stats.add(verified=place.length)
        return found == self.digests[index]

    def _buffer(self) -> memoryview:
        """Page aligned, one for each thread."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(mmap.mmap(-1, BLOCK))
        buffer: memoryview = self._local.buffer
        return buffer
