"""What a source says about its bytes before any is read: extents that are zero, extents that may be data.

An extent is *zero* only when the source promises that it reads as zeros (NBD `base:allocation` bit
NBD_STATE_ZERO). A hole without that promise is data: VMware and nbdkit may call a range a hole whose
content is undefined, and treating it as zeros has corrupted copies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
