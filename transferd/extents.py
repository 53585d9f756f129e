"""What a source says about its bytes before any is read: extents that are zero, extents that may be data.

An extent is *zero* only when the source promises that it reads as zeros (NBD `base:allocation` bit
NBD_STATE_ZERO). A hole without that promise is data: VMware and nbdkit may call a range a hole whose
content is undefined, and treating it as zeros has corrupted copies elsewhere.

Everything here is one pass over ordered input: a disk may have a million extents or changed areas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """`length` bytes from `start`."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Extent(Range):
    """A range with the promise that it reads as zeros, or without it."""

    zero: bool


def merge(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Neighbours of one kind joined. The input must be ordered and without gaps."""
    last: Extent | None = None
    for extent in extents:
        if last is not None and last.zero == extent.zero:
            last = Extent(last.start, last.length + extent.length, last.zero)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last


def data_bytes(extents: Iterable[Extent]) -> int:
    """Bytes that have to be read."""
    return sum(extent.length for extent in extents if not extent.zero)


def joined(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """Ordered ranges, neighbours joined where at most `gap` bytes lie between them."""
    found: list[Range] = []
    for each in ranges:
        if found and each.start - found[-1].end <= gap:
            last = found.pop()
            found.append(Range(last.start, max(last.end, each.end) - last.start))
        else:
            found.append(Range(each.start, each.length))
    return found


def intersect(left: Sequence[Range], right: Sequence[Range]) -> list[Range]:
    """What both have; each ordered and without overlaps."""
    found: list[Range] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i].start, right[j].start)
        end = min(left[i].end, right[j].end)
        if start < end:
            found.append(Range(start, end - start))
        if left[i].end <= right[j].end:
            i += 1
        else:
            j += 1
    return found


def subtract(left: Sequence[Range], right: Sequence[Range]) -> list[Range]:
    """What `left` has and `right` has not; each ordered and without overlaps."""
    found: list[Range] = []
    j = 0
    for each in left:
        start = each.start
        while j < len(right) and right[j].end <= start:
            j += 1
        k = j
        while k < len(right) and right[k].start < each.end:
            if right[k].start > start:
                found.append(Range(start, right[k].start - start))
            start = max(start, right[k].end)
            k += 1
        if start < each.end:
            found.append(Range(start, each.end - start))
    return found
