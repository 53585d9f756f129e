"""Block buffers: page-aligned slices of one anonymous mapping; memory is fixed whatever the target does."""

from __future__ import annotations

import mmap
import queue

from transferd.plan import BLOCK


class Ring:
    """A fixed number of block buffers for threads to share. repr says how many are in use."""

    def __init__(self, slots: int) -> None:
        memory = memoryview(mmap.mmap(-1, slots * BLOCK))
        self._slots = slots
        self._free: queue.LifoQueue[memoryview] = (
            queue.LifoQueue()
        )  # the slot last used is still in the cache
        for index in range(slots):
            self._free.put(memory[index * BLOCK : (index + 1) * BLOCK])

    def __repr__(self) -> str:
        return f"<Ring {self._slots - self._free.qsize()}/{self._slots} slots in use>"

    def acquire(self, timeout: float) -> memoryview | None:
        """A free slot, waiting for it up to `timeout` seconds."""
        try:
            return self._free.get(timeout=timeout) if timeout > 0 else self._free.get_nowait()
        except queue.Empty:
            return None

    def release(self, slot: memoryview) -> None:
        self._free.put(slot)
