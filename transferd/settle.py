"""What a writer thread does with a block that was received: find zeros, hash, write. All release the GIL.

The digest is taken of the buffer as received, before anything is written: what the target holds afterwards
can only be compared with that, never quietly become it.

Four ways to settle, one for each purpose of reading a block:

    Write     a copy: data is written, zeros cost what they cost on the target
    Update    a round: what changed is laid over what the target holds; a block that did not change after
              all (changed-block tracking says too much) is not written
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


def _lay_over(block: Block, view: memoryview, held: memoryview) -> None:
    """`view` becomes the whole block: what was received, on what the target holds."""
    for each in (*block.reads, *block.zeros):
        offset = each.start - block.start
        held[offset : offset + each.length] = view[offset : offset + each.length]
    view[:] = held


@dataclass(slots=True)
class Write:
    """Bring received blocks onto the target."""

    target: Target
    digests: Digests
    stats: Stats

    def block(self, block: Block, view: memoryview) -> Settled | None:
        """None: not settled."""
        require_promise(block, view)
        blank(block, view, block.zeros)
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

    def _held(self, block: Block) -> memoryview:
        """What the target holds there, in a buffer of its own."""
        held = memoryview(mmap.mmap(-1, BLOCK))[: block.length]
        self.target.reread(block.start, held)
        return held

    def run(self, run: Run) -> Settled:
        """Blocks that the extents call zero: nothing to read, perhaps nothing to write."""
        if not self.target.fresh:
            self.target.zero(run.start, run.length)
        self.stats.add(settled=run.length, zero=run.length, skipped=run.length if self.target.fresh else 0)
        return Settled(run, None)


@dataclass(slots=True)
class Update(Write):
    """Lay what changed over what the target holds; `digests` say what that must be.

    `lost` is called with a block that must be read whole, because the target lost what a round builds on.
    What the target holds is looked at each time: an attempt that was killed may have half written a block.
    """

    lost: Callable[[int], None]

    def block(self, block: Block, view: memoryview) -> Settled | None:
        if block.index not in self.digests:
            return Write.block(self, block, view)
        require_promise(block, view)
        blank(block, view, block.zeros)
        recorded = self.digests[block.index]
        held = self._held(block) if block.kept else None
        if held is not None:
            if digest.of_block(held) != recorded:
                self.lost(block.index)
                return None
            _lay_over(block, view, held)
        name = digest.of_block(view)
        if name == recorded and (held is not None or digest.of_block(self._held(block)) == name):
            self.stats.add(skipped=block.length)
        else:
            self._put(block, view)
        self.stats.add(settled=block.length)
        return Settled(block, name)


@dataclass(slots=True)
class Refresh(Write):
    """Bring the target up to date, writing only blocks that differ."""

    def block(self, block: Block, view: memoryview) -> Settled | None:
        require_promise(block, view)
        blank(block, view, block.zeros)
        name = digest.of_block(view)
        if digest.of_block(self._held(block)) == name:
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
