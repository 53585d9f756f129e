"""The copy engine: blocks in, bytes on the target, a digest per block out.

    plan -> Block -> [slot of the ring] -> reads in flight -> writer thread: hash, find zeros, write -> done
                      bounded by slots      bounded by depth

Back-pressure comes from two limits: a block starts only with a free slot of the ring, a read only with a
free place in flight. Buffers are page-aligned slices of one anonymous mapping, so memory is fixed and
replies are received where they are hashed and written from. Hashing, zero search and writing run in
threads (all release the GIL): the network thread only moves requests.

Structured: every task lives in one TaskGroup, the first error cancels the rest and is raised alone. A slot
is returned only after its block ended well, because a cancelled read may still be received into it.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transferd import digest
from transferd.backends import Source, Target
from transferd.extents import Range
from transferd.plan import BLOCK, Block
from transferd.units import KiB, MiB

ZERO_GRAIN = 64 * KiB  # zeros are found at this grain: VMware's own allocation unit

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_zeros = ctypes.create_string_buffer(ZERO_GRAIN)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a copy of one disk may hold. Defaults: 16 MiB in flight covers 1.2 GiB/s at 10 ms."""

    request_size: int = MiB  # bytes per read: large enough for Python, small enough for NFC's 2 MiB
    depth: int = 16  # reads in flight; nbdkit is started with as many threads
    slots: int = 8  # blocks in memory, 4 MiB each
    writers: int = 2  # threads that hash and write


@dataclass(slots=True)
class Counters:
    """Bytes of one copy. `zero` counts zeros wherever they came from, `skipped` those never written."""

    read: int = 0
    written: int = 0
    zero: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What a writer thread did with one block."""

    digest: bytes
    written: int
    zero: int
    skipped: int


class Ring:
    """A fixed number of page-aligned block buffers. repr says how many are in use."""

    def __init__(self, slots: int) -> None:
        memory = memoryview(mmap.mmap(-1, slots * BLOCK))
        self._slots = slots
        self._free: asyncio.Queue[memoryview] = asyncio.Queue()
        for index in range(slots):
            self._free.put_nowait(memory[index * BLOCK : (index + 1) * BLOCK])

    def __repr__(self) -> str:
        return f"<Ring {self._slots - self._free.qsize()}/{self._slots} slots in use>"

    async def acquire(self) -> memoryview:
        return await self._free.get()

    def release(self, slot: memoryview) -> None:
        self._free.put_nowait(slot)


def zero_runs(view: memoryview) -> Iterator[tuple[Range, bool]]:
    """`view` as runs of zero and other bytes, at ZERO_GRAIN. Releases the GIL while it looks."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(view))
    start, kind = 0, None
    for offset in range(0, len(view), ZERO_GRAIN):
        length = min(ZERO_GRAIN, len(view) - offset)
        zero = _memcmp(base + offset, _zeros, length) == 0
        if kind is not None and zero != kind:
            yield Range(start, offset - start), kind
            start = offset
        kind = zero
    if kind is not None:
        yield Range(start, len(view) - start), kind


def _blank_gaps(block: Block, view: memoryview) -> None:
    """Zero what no read fills: the slot still holds an older block."""
    position = 0
    for read in (*block.reads, Range(block.end, 0)):
        gap = read.start - block.start - position
        if gap > 0:
            ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(view, position)), 0, gap)
        position = read.end - block.start


def settle(block: Block, view: memoryview, target: Target) -> Settled:
    """Hash a received block and write it; runs in a writer thread."""
    _blank_gaps(block, view)
    name = digest.of_block(view)
    written = zero = skipped = 0
    for run, is_zero in zero_runs(view):
        if not is_zero:
            target.pwrite(block.start + run.start, view[run.start : run.end])
            written += run.length
            continue
        zero += run.length
        if target.fresh:
            skipped += run.length
        else:
            target.zero(block.start + run.start, run.length)
    return Settled(name, written, zero, skipped)


def settle_zero(block: Block, target: Target) -> Settled:
    """A block that the extents call zero: nothing to read, perhaps nothing to write."""
    if not target.fresh:
        target.zero(block.start, block.length)
    skipped = block.length if target.fresh else 0
    return Settled(digest.of_zeros(block.length), 0, block.length, skipped)


class Copy:
    """One run over a plan. `done(block, digest)` is called on the loop as each block is on the target."""

    def __init__(
        self, source: Source, target: Target, limits: Limits, done: Callable[[Block, bytes], None]
    ) -> None:
        self._source = source
        self._target = target
        self._done = done
        self._ring = Ring(limits.slots)
        self._in_flight = asyncio.Semaphore(limits.depth)
        self._pool = ThreadPoolExecutor(limits.writers, thread_name_prefix="writer")
        self.counters = Counters()

    async def run(self, blocks: Iterable[Block]) -> Counters:
        """Copy every block, flush the target, return what was moved. The first error is raised alone."""
        try:
            async with asyncio.TaskGroup() as group:
                for block in blocks:
                    if not block.reads:
                        await self._finish(block, settle_zero, block, self._target)
                        continue
                    slot = await self._ring.acquire()
                    group.create_task(self._block(block, slot))
            await asyncio.get_running_loop().run_in_executor(self._pool, self._target.flush)
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        finally:
            self._pool.shutdown()
        return self.counters

    async def _block(self, block: Block, slot: memoryview) -> None:
        view = slot[: block.length]
        async with asyncio.TaskGroup() as group:
            for read in block.reads:
                offset = read.start - block.start
                await self._in_flight.acquire()
                group.create_task(self._read(read, view[offset : offset + read.length]))
        await self._finish(block, settle, block, view, self._target)
        self._ring.release(slot)

    async def _read(self, read: Range, view: memoryview) -> None:
        try:
            await self._source.pread(read.start, view)
        finally:
            self._in_flight.release()
        self.counters.read += read.length

    async def _finish(self, block: Block, work: Callable[..., Settled], *arguments: object) -> None:
        loop = asyncio.get_running_loop()
        settled = await loop.run_in_executor(self._pool, work, *arguments)
        self.counters.written += settled.written
        self.counters.zero += settled.zero
        self.counters.skipped += settled.skipped
        self._done(block, settled.digest)


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that started it: the first leaf that is no cancellation."""
    for error in errors.exceptions:
        leaf = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(leaf, asyncio.CancelledError):
            return leaf
    return errors.exceptions[0]
