"""Disks, ranges and extents for property tests, and the naive model that holds them to account.

The model is a picture: one byte for each cell (a byte or a sector), painted range by range. It is slow and
cannot be wrong in the same way as an algorithm on intervals.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st

from transferd.extents import Extent, Range

SECTOR = 512
UNIVERSE = 96  # cells of the small world in which range algebra is tried


def painted(ranges: Iterable[Range], size: int, grain: int = 1) -> bytearray:
    """How often each cell of `grain` bytes is covered; ranges must lie in the disk and on the grain."""
    picture = bytearray(-(-size // grain))
    for each in ranges:
        assert 0 <= each.start < each.end <= size
        assert each.start % grain == 0
        for cell in range(each.start // grain, -(-each.end // grain)):
            picture[cell] += 1
    return picture


def union(ranges: Iterable[Range], size: int = UNIVERSE) -> set[int]:
    return {place for place, count in enumerate(painted(ranges, size)) if count}


@st.composite
def any_ranges(draw: st.DrawFn) -> list[Range]:
    """Ranges of at least a byte, in any order, overlapping as they like."""
    found = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, UNIVERSE - 1))
        found.append(Range(start, draw(st.integers(1, UNIVERSE - start))))
    return found


@st.composite
def apart(draw: st.DrawFn, size: int = UNIVERSE, grain: int = 1) -> list[Range]:
    """Ordered ranges without overlaps; they may touch."""
    most = size // grain
    borders = sorted(draw(st.sets(st.integers(0, most), max_size=16)))
    return [
        Range(start * grain, (end - start) * grain) for start, end in pairwise(borders) if draw(st.booleans())
    ]


@st.composite
def disks(draw: st.DrawFn) -> tuple[int, list[Extent]]:
    """A size and extents that cover it, in sectors: never a multiple of anything convenient."""
    lengths = draw(st.lists(st.integers(1, 40_000), min_size=1, max_size=10))
    extents, start = [], 0
    for length in lengths:
        extents.append(Extent(start, length * SECTOR, draw(st.booleans())))
        start += length * SECTOR
    return start, extents
