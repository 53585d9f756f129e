"""Sealing: after conversion, prove that nothing changed but what conversion says it wrote.

A block that conversion did not write must still have the digest it had when it was received; all of them
together give the converted disk's own digest. Reading every block costs a reading of the disk while nobody
can use it, so a warm migration reads only what was written, unless it is asked for more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transferd import digest
from transferd.digest import Digests
from transferd.extents import Range
from transferd.plan import BLOCK


@dataclass(frozen=True, slots=True)
class Seal:
    """`checked` blocks were not written by conversion; `mismatched` lists those that changed all the same."""

    digest: str
    checked: int
    mismatched: tuple[int, ...]


def touched(written: Iterable[Range]) -> set[int]:
    """Numbers of the blocks that `written` overlaps."""
    return {
        index
        for each in written
        if each.length
        for index in range(each.start // BLOCK, (each.end - 1) // BLOCK + 1)
    }


def seal(path: Path, received: Digests, written: Iterable[Range], *, whole: bool) -> Seal:
    """Read `path` and compare; if not `whole`, only the blocks that conversion wrote. Run it in a thread."""
    changed = touched(written)
    indexes = range(len(received)) if whole else sorted(changed)
    now = received.copy()
    mismatched = []
    for index, found in zip(indexes, digest.blocks_of(path, received.size, indexes), strict=True):
        now[index] = found
        if index not in changed and found != received[index]:
            mismatched.append(index)
    return Seal(now.disk(), len(indexes) - len(changed), tuple(mismatched))
