"""What a writer thread does with a block that was received: find zeros, hash, write. All release the GIL.

The digest is taken of the buffer as received, before anything is written: what the target holds afterwards
can only be compared with that, never quietly become it.

Three ways to settle, one for each purpose of reading a block:

    Write     a copy: data is written, zeros cost what they cost on the target
    Refresh   the target may already hold this block: read it back first, write only a difference
    Compare   a check of the source against the digests of the copy: nothing is written
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from transferd import digest
from transferd.backends import Target
from transferd.digest import Digests
from transferd.errors import IntegrityError
from transferd.extents import Range
from transferd.plan import BLOCK, Block, Run
from transferd.stats import Stats
from transferd.units import KiB

ZERO_GRAIN = 64 * KiB  # zeros are found at this grain: VMware's own allocation unit
WORD = 8  # bytes

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_zeros = ctypes.create_string_buffer(ZERO_GRAIN)


@dataclass(frozen=True, slots=True)
class Settled:
    """A block or run that is on the target, though perhaps not yet durable. `digest` None: a run of zeros."""

    work: Block | Run
    digest: bytes | None


class ExtentsLiedError(IntegrityError):
    """The source called a range empty that holds data."""


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def is_zero(view: memoryview) -> bool:
    base = address(view)
    return all(
        _memcmp(base + offset, _zeros, min(ZERO_GRAIN, len(view) - offset)) == 0
        for offset in range(0, len(view), ZERO_GRAIN)
    )


def zero_runs(view: memoryview) -> Iterator[tuple[Range, bool]]:
    """`view` as runs of zero and other bytes, at ZERO_GRAIN.

    One look at the first word of every grain rules out nearly all that hold data.
    """
    base = address(view)
    words = view[: len(view) // WORD * WORD].cast("Q")[:: ZERO_GRAIN // WORD].tolist()
    start, kind = 0, None
    for number, offset in enumerate(range(0, len(view), ZERO_GRAIN)):
        length = min(ZERO_GRAIN, len(view) - offset)
        maybe = number >= len(words) or words[number] == 0
        zero = maybe and _memcmp(base + offset, _zeros, length) == 0
        if kind is not None and zero != kind:
            yield Range(start, offset - start), kind
            start = offset
        kind = zero
    if kind is not None:
        yield Range(start, len(view) - start), kind


def blank(block: Block, view: memoryview, ranges: tuple[Range, ...]) -> None:
    """Zero `ranges` of the disk in the block's buffer: the slot still holds an older block."""
    base = address(view)
    for each in ranges:
        ctypes.memset(base + each.start - block.start, 0, each.length)


def require_promise(block: Block, view: memoryview) -> None:
    """ExtentsLiedError if what the source called empty is not."""
    for each in block.promised:
        offset = each.start - block.start
        if not is_zero(view[offset : offset + each.length]):
            raise ExtentsLiedError(
                "the source calls a range empty that holds data",
                operation="audit of holes",
                offset=each.start,
                remedy="run the command again: what the source called empty will be read",
            )


@dataclass(slots=True)
class Write:
    """Bring received blocks onto the target. `digests`: what the target held before, for deltas.

    `differs` is called with a block that must be read whole, because the target lost what a delta builds on.
    """

    target: Target
    digests: Digests
    stats: Stats
    differs: Callable[[int], None]

    def block(self, block: Block, view: memoryview) -> Settled | None:
        """None: not settled, see `differs`."""
        require_promise(block, view)
        blank(block, view, block.zeros)
        if block.kept and not self._keep_old(block, view):
            self.differs(block.index)
            return None
        name = digest.of_block(view)
        self._put(block, view)
        self.stats.add(settled=block.length, audited=sum(each.length for each in block.promised))
        return Settled(block, name)

    def _put(self, block: Block, view: memoryview) -> None:
        began = time.monotonic()
        written = zero = skipped = 0
        for run, blank_run in zero_runs(view):
            if not blank_run:
                self.target.pwrite(block.start + run.start, view[run.start : run.end])
                written += run.length
                continue
            zero += run.length
            if self.target.fresh:
                skipped += run.length
            else:
                self.target.zero(block.start + run.start, run.length)
        self.stats.took("write", time.monotonic() - began)
        self.stats.add(written=written, zero=zero, skipped=skipped)

    def _keep_old(self, block: Block, view: memoryview) -> bool:
        """Fill what the delta did not read from the target, if the target still holds what was recorded.

        Without that check damage on the target would be given a digest of its own and pass for proven.
        """
        old = memoryview(mmap.mmap(-1, BLOCK))[: block.length]
        self.target.reread(block.start, old)
        if digest.of_block(old) != self.digests[block.index]:
            return False
        for each in (*block.reads, *block.zeros):
            offset = each.start - block.start
            old[offset : offset + each.length] = view[offset : offset + each.length]
        view[:] = old
        return True

    def run(self, run: Run) -> Settled:
        """Blocks that the extents call zero: nothing to read, perhaps nothing to write."""
        if not self.target.fresh:
            self.target.zero(run.start, run.length)
        self.stats.add(settled=run.length, zero=run.length, skipped=run.length if self.target.fresh else 0)
        return Settled(run, None)


@dataclass(slots=True)
class Refresh(Write):
    """Bring the target up to date, writing only blocks that differ."""

    def block(self, block: Block, view: memoryview) -> Settled | None:
        require_promise(block, view)
        blank(block, view, block.zeros)
        name = digest.of_block(view)
        held = memoryview(mmap.mmap(-1, BLOCK))[: block.length]
        self.target.reread(block.start, held)
        if digest.of_block(held) == name:
            self.stats.add(skipped=block.length)
        else:
            self._put(block, view)
        self.stats.add(settled=block.length)
        return Settled(block, name)


@dataclass(slots=True)
class Compare:
    """Hold the source against the digests of the copy; `differs` is called with blocks that do not agree."""

    digests: Digests
    stats: Stats
    differs: Callable[[int], None]

    def block(self, block: Block, view: memoryview) -> Settled:
        name = digest.of_block(view)
        if name != self.digests[block.index]:
            self.differs(block.index)
        return Settled(block, name)

    def run(self, run: Run) -> Settled:
        return Settled(run, None)


Settle = Write | Compare
