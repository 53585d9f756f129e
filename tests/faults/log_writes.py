"""What dm-log-writes recorded: the order in which storage was told to make writes durable.

The log holds each completed write only when a later flush, or its own FUA, made it durable. So the image made
of all entries up to a flush is what a power cut just after that flush leaves at least; of the writes that
follow, any may have reached the disk, in any order and in part. `after_flushes` gives the first kind of
image, `torn` and `ahead` give some of the second.

Format (kernel: drivers/md/dm-log-writes.c, and Documentation/admin-guide/device-mapper/log-writes.rst), all
little-endian: a super block in sector 0, then entries, each a header in a sector of its own followed by its
data. Sectors are those of the super block's `sectorsize`. A discard has no data; a mark has its name in the
header's sector, and a length of 0.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import BinaryIO

SUPER = struct.Struct("<QQQI")  # magic, version, entries, sector size
HEADER = struct.Struct("<QQQQ")  # sector, sectors, flags, length of a mark's name
MAGIC = 0x6A736677736872
VERSION = 1

FLUSH = 1
FUA = 2
DISCARD = 4
MARK = 8

ATOM = 4096  # bytes that a disk writes whole or not at all; file systems rely on it for their super block


class Garbled(Exception):  # noqa: N818 (a verdict on the log)
    """This is no log of dm-log-writes, or it ends in the middle."""


@dataclass(frozen=True)
class Entry:
    """One write. `start` is its offset on the device, `length` its bytes; `data` is empty for a discard."""

    start: int
    length: int
    flags: int
    data: bytes = b""
    name: str = ""

    @property
    def durable(self) -> bool:
        """With this entry, everything before it is on the disk."""
        return bool(self.flags & (FLUSH | FUA))

    def apply(self, image: bytearray, *, limit: int | None = None) -> None:
        """Write it, or no more than its first `limit` bytes. Discarded bytes keep their old value."""
        if self.start + len(self.data) > len(image):
            raise Garbled(f"a write to {self.start} is outside the device")
        part = self.data[:limit]
        image[self.start : self.start + len(part)] = part


def read(log: BinaryIO) -> Iterator[Entry]:
    """All entries in their order."""
    magic, version, count, sector = SUPER.unpack(_exactly(log, SUPER.size))
    if magic != MAGIC or version != VERSION or sector not in {512, 4096}:
        raise Garbled("no super block")
    position = sector
    for _ in range(count):
        log.seek(position)
        start, sectors, flags, name = HEADER.unpack(_exactly(log, HEADER.size))
        position += sector
        if flags & MARK:
            yield Entry(0, 0, flags, name=_exactly(log, min(name, sector)).decode(errors="replace"))
            continue
        length = sectors * sector
        data = b""
        if length and not flags & DISCARD:
            log.seek(position)
            data = _exactly(log, length)
            position += length
        yield Entry(start * sector, length, flags, data)


def after_flushes(base: bytes, entries: Sequence[Entry]) -> Iterator[tuple[int, bytearray]]:
    """The image behind each durable entry, with how many entries it holds. One buffer, changed in place.

    A flush with nothing to flush is left out: its image was there already.
    """
    image = bytearray(base)
    changed = False
    for number, entry in enumerate(entries, start=1):
        entry.apply(image)
        changed = changed or bool(entry.data)
        if entry.durable and changed:
            yield number, image
            changed = False


def loose(following: Sequence[Entry]) -> list[Entry]:
    """Of the entries behind a durable one, those that nothing has made durable yet."""
    return list(itertools.takewhile(lambda entry: not entry.durable, following))


def torn(image: bytearray, following: Sequence[Entry], chance: Random) -> bytearray:
    """`image`, and of the loose writes some whole, some in part, some not at all, in any order."""
    result = bytearray(image)
    writes = loose(following)
    for entry in chance.sample(writes, len(writes)):
        end = chance.randint(entry.start, entry.start + entry.length) // ATOM * ATOM
        entry.apply(result, limit=chance.choice([0, entry.length, max(end - entry.start, 0)]))
    return result


def ahead(image: bytearray, following: Sequence[Entry], start: int) -> bytearray:
    """`image`, and of the loose writes those alone that lie at `start` or beyond."""
    result = bytearray(image)
    for entry in loose(following):
        if entry.start >= start:
            entry.apply(result)
    return result


def _exactly(log: BinaryIO, count: int) -> bytes:
    data = log.read(count)
    if len(data) < count:
        raise Garbled("the log ends early")
    return data
