"""What a journal says: its format, and the rules by which it is read. Pure.

    file     magic line, then records
    record   u32 length, u32 CRC-32 of the body, body = one byte of kind + payload (integers little-endian)

    H  JSON: what is copied, onto what      B  blocks: (u64 index, 32 bytes digest)*
    Z  zero runs: (u64 first, u64 count)*   F  forgotten runs: (u64 first, u64 count)*
    D  the source's extents lied: forget all
    P  JSON: what follows is as the source was at this point in time
    S  JSON: sealed, every block is as the source was at the last point

Blocks that were recorded before the last P, and not since, may be stale; those that an unfinished round
did not reach are as old as `base`, the point of the last seal. What changed since `base` is therefore all
that can be wrong with any of them.

A record that the file ends in the middle of was being written when the power went: it is dropped. Damage
anywhere before the end is something else; then nothing in the journal is believed. Tests hold these rules
against random and damaged input.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, BinaryIO, Self

from transferd.blocks import Blocks
from transferd.digest import WIDTH, Digests
from transferd.plan import BLOCK, LARGEST
from transferd.units import MiB

MAGIC = b"transferd journal 1\n"
HEAD = struct.Struct("<II")
BLOCK_ENTRY = struct.Struct(f"<Q{WIDTH}s")
RUN_ENTRY = struct.Struct("<QQ")
MAX_RECORD = 16 * MiB  # bytes; far above what one commit writes

Point = Mapping[str, Any]  # names a moment of the source's life; equal points, equal bytes
STILL: Point = {}  # of a source that does not change as long as it keeps its identity


class Trust(Enum):
    """What a journal's records are worth."""

    WHOLE = "whole"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Header:
    """What the journal is about. `blank`: the target read zero wherever nothing was written."""

    size: int
    source: Mapping[str, Any]
    target: Mapping[str, Any]
    blank: bool

    def as_json(self) -> bytes:
        fields = {"size": self.size, "block": BLOCK, "source": dict(self.source)}
        return json.dumps({**fields, "target": dict(self.target), "blank": self.blank}).encode()

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """ValueError for anything but what `as_json` writes."""
        try:
            fields = json.loads(payload)
            header = cls(fields["size"], fields["source"], fields["target"], fields["blank"])
            block = fields["block"]
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("no header") from error
        sound = (
            type(header.size) is int
            and 0 < header.size <= LARGEST
            and block == BLOCK
            and isinstance(header.source, dict)
            and isinstance(header.target, dict)
            and isinstance(header.blank, bool)
        )
        if not sound:
            raise ValueError("no header")
        return header


@dataclass(slots=True)
class Replayed:
    """What a journal says. `end`: where the next record goes."""

    header: Header
    digests: Digests
    blank: bool  # unlike the header's: false once a block was found to be wrong
    trust: Trust = Trust.WHOLE
    sealed: bool = False
    distrusted: bool = False
    point: Point = field(default_factory=dict)
    base: Point = field(default_factory=dict)
    recent: Blocks = field(init=False)  # as the source was at `point`; others, at `base` or later
    end: int = 0

    def __post_init__(self) -> None:
        self.recent = Blocks(len(self.digests))


def is_journal(begin: bytes) -> bool:
    """Whether a file that begins like this may be overwritten as a journal."""
    return MAGIC.startswith(begin[: len(MAGIC)])


def replay(file: BinaryIO) -> Replayed | None:
    """Read a journal; None if its header was never finished. ValueError if it is none."""
    magic = file.read(len(MAGIC))
    if not is_journal(magic):
        raise ValueError("it does not begin as one")
    records = _records(file)
    kind, payload, end = next(records, (None, b"", 0))
    if magic != MAGIC or kind is None:
        return None
    if kind != b"H":
        raise ValueError("its header is damaged")
    header = Header.parse(payload)
    found = Replayed(header, Digests(header.size), header.blank, end=end)
    for kind, payload, end in records:
        if kind == b"" or not _apply(found, kind, payload):
            found.trust = Trust.DAMAGED
            break
        found.end = end
    return found


def _records(file: BinaryIO) -> Iterator[tuple[bytes, bytes, int]]:
    """(kind, payload, offset behind it) of each record; kind is empty for damage, which is the last."""
    total = os.fstat(file.fileno()).st_size
    position = len(MAGIC)
    while head := file.read(HEAD.size):
        length, crc = HEAD.unpack(head) if len(head) == HEAD.size else (MAX_RECORD + 1, 0)
        left = total - position - len(head)
        body = file.read(length) if 0 < length <= min(left, MAX_RECORD) else b""
        if not body or zlib.crc32(body) != crc:
            if not _torn(head, length, left, file):
                yield b"", b"", position
            return
        position += HEAD.size + length
        yield body[:1], body[1:], position


def _torn(head: bytes, length: int, left: int, file: BinaryIO) -> bool:
    """True for what a power cut leaves of the last record: it reaches past the end, or is only zeros."""
    if len(head) < HEAD.size or left <= length <= MAX_RECORD:
        return True
    return not any(head) and not any(file.read(MAX_RECORD))


def _apply(found: Replayed, kind: bytes, payload: bytes) -> bool:
    """False for a record that no journal of this disk can hold."""
    match kind:
        case b"B":
            return _blocks(found, payload)
        case b"Z" | b"F":
            return _runs(found, payload, zero=kind == b"Z")
        case b"P":
            return _begin_round(found, payload)
        case b"D":
            found.distrusted = True
            found.digests.forget(0, len(found.digests))  # any of them may hold zeros that were never read
            found.recent = Blocks(len(found.digests))
        case b"S":
            found.sealed = True
            found.base = found.point
            found.recent = found.digests.blocks()
        case _:
            return False
    return True


def _blocks(found: Replayed, payload: bytes) -> bool:
    if len(payload) % BLOCK_ENTRY.size:
        return False
    for index, digest in BLOCK_ENTRY.iter_unpack(payload):
        if index >= len(found.digests):
            return False
        found.digests[index] = digest
        found.recent.add(index)
    return True


def _runs(found: Replayed, payload: bytes, *, zero: bool) -> bool:
    if len(payload) % RUN_ENTRY.size:
        return False
    for first, length in RUN_ENTRY.iter_unpack(payload):
        if first + length > len(found.digests):
            return False
        (found.digests.set_zero if zero else found.digests.forget)(first, length)
        (found.recent.add if zero else found.recent.discard)(first, length)
    if not zero:  # what lies there was found to be wrong: it may be anything but zeros
        found.blank = False
    return True


def _begin_round(found: Replayed, payload: bytes) -> bool:
    try:
        point = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    if not isinstance(point, dict):
        return False
    if not found.digests.any_known():
        found.base = point
    found.point = point
    found.recent = Blocks(len(found.digests))
    found.sealed = False
    return True


def framed(kind: bytes, payload: bytes) -> bytes:
    body = kind + payload
    return HEAD.pack(len(body), zlib.crc32(body)) + body
