"""Extents become blocks to copy: the whole plan of a copy, made before the first read.

The unit of work is the digest block (4 MiB): it is received, hashed, written and later verified as one.
A block's `reads` are the ranges to ask the source for, each at most `request_size` and never crossing the
block; what is known to be zero is in `zeros`; what neither covers stays as the target has it (a delta):

    extents   |####....|........|..######|##......|     # data   . zero
    blocks    |   0    |  run   |   2    |   3    |
    reads     [r1 ]               [ r2  ] [r3]

Consecutive blocks that are zero as a whole are one `Run`: an empty disk of 62 TiB is a short plan.

Small gaps between data are read along with it when a request of their own would cost more: `gap` says how
many bytes, and is asked anew for each block because it follows what the copy measures. What was called zero
and is read all the same, in a gap or for the audit, is `promised`: it must arrive as zeros.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from transferd.extents import Extent, Range, intersect, joined, subtract
from transferd.units import MiB

BLOCK = 4 * MiB  # the digest block: design section 6
RUN = 64  # blocks of one Run at most: 256 MiB is a step that a progress bar and a deadline can follow
LARGEST = 1 << 47  # bytes: 128 TiB, twice what a VMware disk can have
AUDITED = 0.01  # share of the blocks with holes that are read to see whether the holes are empty
MOST_AUDITED = 2048  # blocks, 8 GiB: 98 % to meet one lie in 500; 1 % of 62 TiB would be 635 GiB


@dataclass(frozen=True, slots=True)
class Block(Range):
    """Digest block number `index`."""

    index: int
    reads: tuple[Range, ...]
    zeros: tuple[Range, ...] = ()
    promised: tuple[Range, ...] = ()

    @property
    def kept(self) -> int:
        """Bytes that stay as the target has them."""
        return self.length - sum(each.length for each in (*self.reads, *self.zeros))


@dataclass(frozen=True, slots=True)
class Run(Range):
    """`count` blocks from number `index`, all of them zero."""

    index: int
    count: int


Work = Block | Run


def block_count(size: int) -> int:
    """Number of digest blocks in `size` bytes; the last may be short."""
    return -(-size // BLOCK)


def extent_of_block(index: int, size: int) -> Range:
    start = index * BLOCK
    return Range(start, min(BLOCK, size - start))


def no_gap() -> int:
    return 0


def _block(
    index: int,
    size: int,
    data: Sequence[Range],
    zeros: Sequence[Range],
    request_size: int,
    gap: int,
    grain: int = 1,
) -> Block:
    place = extent_of_block(index, size)
    wanted = joined(data if grain == 1 else (_widened(each, grain, place.end) for each in data), gap)
    return Block(
        place.start,
        place.length,
        index,
        tuple(piece for each in wanted for piece in _pieces(each, request_size)),
        tuple(subtract(zeros, wanted)),
        tuple(intersect(zeros, wanted)),
    )


def _widened(each: Range, grain: int, end: int) -> Range:
    """`each` out to multiples of `grain`, which some servers insist on; the disk's end is where it is."""
    start = each.start // grain * grain
    return Range(start, min(-(-each.end // grain) * grain, end) - start)


def _pieces(each: Range, request_size: int) -> Iterator[Range]:
    if each.length <= request_size:
        yield each
        return
    for start in range(each.start, each.end, request_size):
        yield Range(start, min(request_size, each.end - start))


def whole(index: int, size: int, request_size: int) -> Block:
    """Block `index` read from end to end, whatever the extents say."""
    return _block(index, size, [extent_of_block(index, size)], [], request_size, 0)


def full(
    size: int,
    extents: Sequence[Extent],
    request_size: int,
    *,
    audited: Iterable[int] = (),
    gap: Callable[[], int] = no_gap,
    grain: int = 1,
) -> Iterator[Work]:
    """Every block of a disk of `size` bytes, in order. `audited` blocks (ordered) are read whole.

    Reads begin and end at multiples of `grain` (a power of two), or at the end of the disk.
    """
    pending = iter([*audited, block_count(size)])  # the last is never reached: it only ends a run
    audit = next(pending)
    index = position = 0
    while index < block_count(size):
        place = extent_of_block(index, size)
        while extents[position].end <= place.start:
            position += 1
        extent = extents[position]
        if index == audit:
            audit = next(pending)
            zeros = _within(extents, position, place, zero=True)
            yield _block(index, size, [place], zeros, request_size, 0)
            index += 1
        elif extent.zero and extent.end >= place.end:
            covered = block_count(size) if extent.end >= size else extent.end // BLOCK
            count = min(covered, audit, index + RUN) - index
            length = min(count * BLOCK, size - place.start)
            yield Run(place.start, length, index, count)
            index += count
        else:
            data = _within(extents, position, place, zero=False)
            zeros = _within(extents, position, place, zero=True)
            yield _block(index, size, data, zeros, request_size, gap(), grain)
            index += 1


def without(work: Iterable[Work], done: Callable[[int], bool]) -> Iterator[Work]:
    """`work` less the blocks that are done already."""
    for item in work:
        if isinstance(item, Block):
            if not done(item.index):
                yield item
            continue
        first: int | None = None
        for index in range(item.index, item.index + item.count + 1):
            open_ = index < item.index + item.count and not done(index)
            if open_ and first is None:
                first = index
            elif not open_ and first is not None:
                start = first * BLOCK
                yield Run(start, min(index * BLOCK, item.end) - start, first, index - first)
                first = None


def _within(extents: Sequence[Extent], position: int, place: Range, *, zero: bool) -> list[Range]:
    """The parts of `place` that are of one kind; `position` is the first extent that reaches into it."""
    found: list[Range] = []
    while position < len(extents) and extents[position].start < place.end:
        extent = extents[position]
        if extent.zero == zero:
            start = max(extent.start, place.start)
            found.append(Range(start, min(extent.end, place.end) - start))
        position += 1
    return found


def delta(
    size: int,
    changes: Iterable[Range],
    extents: Sequence[Extent],
    request_size: int,
    *,
    gap: Callable[[], int] = no_gap,
    grain: int = 1,
) -> Iterator[Block]:
    """The blocks that `changes` (ordered, joined) touch; only what changed is read or made zero.

    `changes` are looked at one by one: a million of them need no list.
    """
    position = 0
    for index, parts in _by_block(changes):
        place = extent_of_block(index, size)
        while extents[position].end <= place.start:
            position += 1
        extent = extents[position]
        if extent.start <= place.start and extent.end >= place.end:
            data, zeros = ([], parts) if extent.zero else (parts, [])
        else:
            data = intersect(parts, _within(extents, position, place, zero=False))
            zeros = intersect(parts, _within(extents, position, place, zero=True))
        yield _block(index, size, data, zeros, request_size, gap(), grain)


def _by_block(ranges: Iterable[Range]) -> Iterator[tuple[int, list[Range]]]:
    """The parts of `ranges` in each block that they touch, in order."""
    number, parts = -1, list[Range]()
    for each in ranges:
        first, last = each.start // BLOCK, (each.end - 1) // BLOCK
        for index in range(first, last + 1):
            if index != number:
                if parts:
                    yield number, parts
                number, parts = index, []
            if first == last:
                parts.append(each)
                continue
            start = max(each.start, index * BLOCK)
            parts.append(Range(start, min(each.end, (index + 1) * BLOCK) - start))
    if parts:
        yield number, parts


def audit(size: int, extents: Sequence[Extent], dice: random.Random, share: float = AUDITED) -> list[int]:
    """Numbers of the blocks to read whole, in order: `share` of those that have a zero extent, or enough."""
    holes: list[Range] = joined(
        Range(each.start // BLOCK, -(-min(each.end, size) // BLOCK) - each.start // BLOCK)
        for each in extents
        if each.zero
    )
    total = sum(hole.length for hole in holes)
    chosen = sorted(dice.sample(range(total), min(-int(-total * share // 1), MOST_AUDITED)))
    found: list[int] = []
    before = 0
    picks = iter([*chosen, total])
    pick = next(picks)
    for hole in holes:
        while pick < before + hole.length and pick < total:
            found.append(hole.start + pick - before)
            pick = next(picks)
        before += hole.length
    return found
