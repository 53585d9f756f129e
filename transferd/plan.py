"""Extents become blocks to copy: the whole plan of a copy, made before the first read.

The unit of work is the digest block (4 MiB): it is received, hashed, written and later verified as one.
A block's `reads` are the ranges to ask the source for, each at most `request_size` and never crossing the
block; whatever they leave out is known to be zero:

    extents   |####....|........|..######|##......|     # data   . zero
    blocks    |   0    |   1    |   2    |   3    |
    reads     [r1 ]     none      [ r2  ] [r3]

A full copy to a fresh target may skip zeros; anything else must write them. That decision belongs to the
target (it alone knows what it already holds), so the plan only says what is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transferd.extents import Extent, Range
from transferd.units import MiB

BLOCK = 4 * MiB  # the digest block: design section 6


@dataclass(frozen=True, slots=True)
class Block(Range):
    """Digest block number `index`; all of it that `reads` does not cover is zero."""

    index: int
    reads: tuple[Range, ...]


def block_count(size: int) -> int:
    """Number of digest blocks in `size` bytes; the last may be short."""
    return -(-size // BLOCK)


def _pieces(extents: Iterable[Extent], request_size: int) -> Iterator[Range]:
    """Data extents cut at block borders and at `request_size`."""
    for extent in extents:
        if extent.zero:
            continue
        start = extent.start
        while start < extent.end:
            end = min(extent.end, (start // BLOCK + 1) * BLOCK, start + request_size)
            yield Range(start, end - start)
            start = end


def full(size: int, extents: Iterable[Extent], request_size: int) -> Iterator[Block]:
    """Every block of a disk of `size` bytes, in order. One pass over ordered extents: O(blocks + extents)."""
    pieces = _pieces(extents, request_size)
    piece = next(pieces, None)
    for index in range(block_count(size)):
        start = index * BLOCK
        length = min(BLOCK, size - start)
        reads: list[Range] = []
        while piece is not None and piece.start < start + length:
            reads.append(piece)
            piece = next(pieces, None)
        yield Block(start, length, index, tuple(reads))
