"""Proof of a copy: what the storage holds, read back past the page cache, against what was received.

The digests were computed on the bytes as they came from the source. Re-reading the target and hashing it
again finds what no return code tells: lost writes, misplaced writes, storage that lies. The first
difference ends the copy with its offset; a target that differs is never called done.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from transferd import digest
from transferd.backends import Target
from transferd.digest import Digests
from transferd.errors import IntegrityError
from transferd.model import Verify
from transferd.plan import BLOCK

READERS = 2  # threads: reading one block while hashing another keeps a disk busy


class _Reader:
    """One thread's share: every READERS-th block, through a page-aligned buffer of its own."""

    def __init__(self, target: Target, digests: Digests, advance: Callable[[int], None]) -> None:
        self._target = target
        self._digests = digests
        self._advance = advance

    def run(self, first: int, stop: Callable[[], bool]) -> None:
        buffer = memoryview(mmap.mmap(-1, BLOCK))
        for index in range(first, len(self._digests), READERS):
            if stop():
                return
            start = index * BLOCK
            length = min(BLOCK, self._digests.size - start)
            if self._read(start, buffer[:length]) != self._digests[index]:
                raise IntegrityError(
                    "the target does not hold what was received",
                    disk=self._target.name,
                    operation="verify",
                    offset=start,
                    remedy="do not use this copy: check the target's storage, then copy again",
                )
            self._advance(length)

    def _read(self, start: int, view: memoryview) -> bytes:
        if self._target.reads_zero(start, len(view)):
            return digest.of_zeros(len(view))
        self._target.reread(start, view)
        return digest.of_block(view)


async def target(target: Target, digests: Digests, advance: Callable[[int], None]) -> Verify:
    """Compare every block of the target with its digest. `advance(bytes)` is called from reader threads."""
    reader = _Reader(target, digests, advance)
    loop = asyncio.get_running_loop()
    ended = False
    with ThreadPoolExecutor(READERS, thread_name_prefix="verify") as pool:
        shares = [loop.run_in_executor(pool, reader.run, first, lambda: ended) for first in range(READERS)]
        try:
            await asyncio.gather(*shares)
        finally:
            ended = True
    return Verify(mode="target", blocks=len(digests))
