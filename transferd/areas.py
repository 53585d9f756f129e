"""What changed on a disk since an earlier moment, as vSphere tells it: a million areas in a few megabytes.

vSphere answers in pages. Each becomes two arrays of 64-bit integers as soon as it has arrived, so that what
is held is 16 bytes an area, whatever it took to parse it; a `Range` exists only while somebody looks at it.

A service may report areas in any order, overlapping, touching, and hanging over the end of the disk by a
part of the unit in which it tracks. That is put right here. What no disk of this size can have is refused: a
service that says such things about changes must not be believed about what did not change.

Nor may silence be taken for "nothing changed". Where there is no answer the error is `ChangesUnknown`, and
whoever asked compares the whole disk.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transferd.errors import SourceError
from transferd.extents import Range
from transferd.units import MiB

OPERATION = "changed areas"
OVERHANG = MiB  # bytes past the end; changes are tracked in units of 64 KiB, on large disks of more
MOST = 8_000_000  # areas: 128 MB of arrays; above that reading the whole disk is no longer the worse choice

# As vSphere writes it: the sixteen bytes of a UUID in two groups of eight, then the number of the change.
_EIGHT = "[0-9A-Fa-f]{2}(?: [0-9A-Fa-f]{2}){7}"
_CHANGE_ID = re.compile(f"({_EIGHT}-{_EIGHT})/([0-9]{{1,20}})")
SHOWN = 80  # characters of a malformed changeId that an error repeats


class ChangesUnknown(SourceError):  # noqa: N818 (an answer, not a fault: compare everything)
    """vSphere cannot say what changed since then. It never means that nothing did."""


@dataclass(frozen=True, slots=True)
class ChangeId:
    """A moment in the history of a disk's changes. Another `uuid` is another history: nothing in common."""

    uuid: str
    sequence: int


def parse_change_id(text: str) -> ChangeId:
    """SourceError for anything but a whole changeId; `*` is a question, not a moment."""
    match = _CHANGE_ID.fullmatch(text)
    if match is None:
        raise SourceError(
            f"{text[:SHOWN]!r} is not a changeId",
            operation=OPERATION,
            remedy="give one as vSphere prints it: 52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81",
        )
    return ChangeId(match[1].lower(), int(match[2]))


class Areas:
    """Ranges of a disk of `capacity` bytes: ordered, apart from each other, within the disk."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._starts = array("q")
        self._lengths = array("q")

    def add(self, starts: Iterable[int], lengths: Iterable[int]) -> None:
        """One page more. SourceError for an area that no such disk has, ChangesUnknown for too many."""
        page = sorted(zip(starts, lengths, strict=True))
        while page and self._starts and self._starts[-1] > page[0][0]:  # pages rise, but nobody promises it
            page.append((self._starts.pop(), self._lengths.pop()))
        page.sort()
        last = self._starts[-1] + self._lengths[-1] if self._starts else -1
        for start, length in page:
            if start < 0 or length < 0 or start + length > self.capacity + OVERHANG:
                raise self._outside(start, length)
            end = min(start + length, self.capacity)
            if end <= start:
                continue
            if start > last:
                self._starts.append(start)
                self._lengths.append(end - start)
                last = end
            elif end > last:
                self._lengths[-1] += end - last
                last = end
        if len(self) > MOST:
            raise ChangesUnknown(f"more than {MOST} changed areas", operation=OPERATION)

    def _outside(self, start: int, length: int) -> SourceError:
        return SourceError(
            f"a changed area of {length} bytes does not lie in the disk of {self.capacity} bytes",
            operation=OPERATION,
            offset=start,
            remedy="copy the disk whole",
        )

    def __iter__(self) -> Iterator[Range]:
        return map(Range, self._starts, self._lengths)

    def __len__(self) -> int:
        """Number of areas, joined where they touch."""
        return len(self._starts)

    @property
    def total(self) -> int:
        """Bytes in all of them."""
        return sum(self._lengths)
