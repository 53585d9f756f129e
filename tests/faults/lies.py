"""What a hostile NBD server may send instead of an answer: one small function for each lie.

A lie takes the honest answer apart and gives what is sent; a trailing HANG_UP closes the connection after it.
No lie makes wrong bytes look right: data that comes whole, under its cookie and in its place, is the disk's,
and the zero bit of an extent is never wrong. So a client that ends well must hold the disk, and a test may
demand it. (One protocol violation is left out for that reason: chunks that overlap and so leave a gap. libnbd
counts the bytes of a read and not which they were, so such a gap cannot be told from data.)
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from tests.faults import wire
from tests.faults.wire import Chunk, Request

HANG_UP = b""  # as a part of an answer: close the connection here
CONTEXT = 7  # the id under which base:allocation is offered
ESCAPES = b"\x1b[2J\x07\r\n'; drop \xff\xfe \xe2\x80\xae" + b"x" * 300
GRAIN = 512  # bytes; extents of the disk are whole grains


@dataclass(frozen=True)
class Question:
    """A request, and what is needed to answer it. `disk` may be shorter than the export: the rest is zero."""

    request: Request
    disk: bytes
    structured: bool

    @property
    def data(self) -> bytes:
        part = self.disk[self.request.offset : self.request.offset + self.request.length]
        return part + bytes(self.request.length - len(part))

    @property
    def extents(self) -> list[tuple[int, int]]:
        """(length, flags), at most 64 of them; what follows is for the next request."""
        zeros = [
            not any(self.data[start : start + GRAIN])
            for start in range(0, min(len(self.data), 1 << 20), GRAIN)
        ]
        lengths = [(len([*run]) * GRAIN, wire.STATE_ZERO * zero) for zero, run in itertools.groupby(zeros)]
        if sum(length for length, _ in lengths) > len(self.data):
            lengths[-1] = (lengths[-1][0] - (-len(self.data) % GRAIN), lengths[-1][1])
        return lengths[:64]


def extent_chunk(question: Question, extents: Iterable[tuple[int, int]], context: int = CONTEXT) -> bytes:
    entries = b"".join(struct.pack(">II", *extent) for extent in extents)
    payload = struct.pack(">I", context) + entries
    return wire.chunk(Chunk.BLOCK_STATUS, question.request.cookie, payload, done=True)


def data_chunk(question: Question, start: int, stop: int, *, done: bool) -> bytes:
    """Bytes `start` to `stop` of the answer, in their place."""
    payload = struct.pack(">Q", question.request.offset + start) + question.data[start:stop]
    return wire.chunk(Chunk.OFFSET_DATA, question.request.cookie, payload, done=done)


def honest(question: Question) -> bytes:
    if question.request.kind == wire.Cmd.BLOCK_STATUS:
        return extent_chunk(question, question.extents)
    if question.request.kind != wire.Cmd.READ:
        return wire.simple(question.request.cookie, error=22)
    if question.structured:
        return data_chunk(question, 0, question.request.length, done=True)
    return wire.simple(question.request.cookie, question.data)


# --- any answer --------------------------------------------------------------------------------------------


def wrong_cookie(question: Question, chance: Random) -> list[bytes]:
    """One that no request ever had: under another's cookie whole data would be in its place."""
    answer = bytearray(honest(question))
    answer[8 + chance.randrange(3)] ^= 0x80
    return [bytes(answer)]


def wrong_magic(question: Question, chance: Random) -> list[bytes]:
    answer = bytearray(honest(question))
    answer[chance.randrange(4)] ^= 1 << chance.randrange(8)
    return [bytes(answer)]


def truncated(question: Question, chance: Random) -> list[bytes]:
    answer = honest(question)
    return [answer[: chance.randrange(len(answer))], HANG_UP]


def in_crumbs(question: Question, chance: Random) -> list[bytes]:
    """Correct, but torn into writes of any length."""
    answer = honest(question)
    cuts = sorted(chance.randrange(len(answer)) for _ in range(40))
    return [answer[a:b] for a, b in itertools.pairwise([0, *cuts, len(answer)]) if a < b]


def twice(question: Question, _: Random) -> list[bytes]:
    return [honest(question) * 2]


def noise(_: Question, chance: Random) -> list[bytes]:
    return [chance.randbytes(chance.randint(1, 4096)), HANG_UP]


def refused(question: Question, chance: Random) -> list[bytes]:
    """An error reply; errno 0 with an error's chunk type, and errnos that no kernel has, are among them."""
    code = chance.choice([1, 5, 12, 22, 28, 75, 95, 108, 0x7FFFFFFF, 0xFFFFFFFF])
    if not question.structured:
        return [wire.simple(question.request.cookie, error=code)]
    if chance.random() < 0.2:
        code = 0
    text = ESCAPES[: chance.randrange(len(ESCAPES))]
    claimed = len(text) if chance.random() < 0.5 else chance.choice([0, len(text) + 1, 0xFFFF])
    payload = struct.pack(">IH", code, claimed) + text
    kind = chance.choice([Chunk.ERROR, Chunk.ERROR_OFFSET, Chunk.ERROR + 77])
    if kind == Chunk.ERROR_OFFSET:
        payload += struct.pack(">Q", chance.choice([question.request.offset, 0, 1 << 63]))
    return [wire.chunk(kind, question.request.cookie, payload, done=True)]


# --- structured answers ------------------------------------------------------------------------------------


def oversize(question: Question, chance: Random) -> list[bytes]:
    """The header claims more than the request allows."""
    answer = bytearray(honest(question))
    length = chance.choice([question.request.length + 9, 1 << 25, 0x7FFFFFFF, 0xFFFFFFFF])
    answer[16:20] = struct.pack(">I", length)
    return [bytes(answer), HANG_UP]


def undersize(question: Question, chance: Random) -> list[bytes]:
    """The header claims less than its kind must have."""
    kind = chance.choice([*Chunk])
    return [wire.chunk(kind, question.request.cookie, bytes(chance.randrange(4)), done=True), HANG_UP]


def unknown_kind(question: Question, chance: Random) -> list[bytes]:
    kind = chance.choice([3, 4, 6, 1000, 0x7FFF])
    return [wire.chunk(kind, question.request.cookie, chance.randbytes(20), done=True)]


def only_done(question: Question, _: Random) -> list[bytes]:
    """A success without a single byte, or a single extent."""
    return [wire.chunk(Chunk.NONE, question.request.cookie, done=True)]


def never_done(question: Question, _: Random) -> list[bytes]:
    answer = bytearray(honest(question))
    answer[4:6] = b"\0\0"
    return [bytes(answer), HANG_UP]


def of_the_other_kind(question: Question, _: Random) -> list[bytes]:
    """Extents for a read, data for a question about extents."""
    if question.request.kind == wire.Cmd.READ:
        return [extent_chunk(question, [(question.request.length, wire.STATE_ZERO)])]
    return [data_chunk(question, 0, min(4096, question.request.length), done=True)]


# --- structured reads --------------------------------------------------------------------------------------


def shuffled(question: Question, chance: Random) -> list[bytes]:
    """Correct: the chunks of a read may come in any order."""
    cuts = sorted(
        {0, question.request.length, *(chance.randrange(question.request.length) for _ in range(6))}
    )
    chunks = [data_chunk(question, a, b, done=False) for a, b in itertools.pairwise(cuts)]
    chance.shuffle(chunks)
    return [*chunks, wire.chunk(Chunk.NONE, question.request.cookie, done=True)]


def short(question: Question, chance: Random) -> list[bytes]:
    return [data_chunk(question, 0, chance.randrange(1, question.request.length + 1) // 2 + 1, done=True)]


def out_of_range(question: Question, chance: Random) -> list[bytes]:
    """Data for a place that was not asked for; the last one's end wraps around 2^64."""
    by = chance.choice([1, question.request.length, 1 << 40, (1 << 64) - 1 - question.request.offset])
    payload = struct.pack(">Q", (question.request.offset + by) % (1 << 64)) + question.data
    return [wire.chunk(Chunk.OFFSET_DATA, question.request.cookie, payload, done=True)]


def hole_out_of_range(question: Question, chance: Random) -> list[bytes]:
    length = chance.choice([0, question.request.length + 1, 0xFFFFFFFF])
    payload = struct.pack(">QI", question.request.offset, length)
    return [wire.chunk(Chunk.OFFSET_HOLE, question.request.cookie, payload, done=True)]


# --- extents -----------------------------------------------------------------------------------------------


def no_extents(question: Question, _: Random) -> list[bytes]:
    return [extent_chunk(question, [])]


def extent_of_nothing(question: Question, chance: Random) -> list[bytes]:
    extents = question.extents
    extents.insert(chance.randrange(len(extents) + 1), (0, 0))
    return [extent_chunk(question, extents)]


def extent_without_end(question: Question, _: Random) -> list[bytes]:
    """Data as far as 32 bits reach, whatever was asked and however small the disk."""
    return [extent_chunk(question, [(0xFFFFFFFF, 0)] * 3)]


def unknown_flags(question: Question, chance: Random) -> list[bytes]:
    odd = chance.getrandbits(32) & ~wire.STATE_ZERO
    return [extent_chunk(question, [(length, flags | odd) for length, flags in question.extents])]


def grudging(question: Question, _: Random) -> list[bytes]:
    """Correct: an answer may end early."""
    length, flags = question.extents[0]
    return [extent_chunk(question, [(min(GRAIN, length), flags)])]


def foreign_context(question: Question, chance: Random) -> list[bytes]:
    return [extent_chunk(question, question.extents, context=chance.getrandbits(32) | 8)]


def repeated(question: Question, _: Random) -> list[bytes]:
    once = bytearray(extent_chunk(question, question.extents))
    once[4:6] = b"\0\0"
    return [bytes(once), extent_chunk(question, question.extents)]


def ragged(question: Question, chance: Random) -> list[bytes]:
    """An array that ends inside an entry."""
    payload = struct.pack(">I", CONTEXT) + bytes(8) + bytes(chance.randrange(1, 8))
    return [wire.chunk(Chunk.BLOCK_STATUS, question.request.cookie, payload, done=True)]


Lie = Callable[[Question, Random], list[bytes]]

ANY: tuple[Lie, ...] = (wrong_cookie, wrong_magic, truncated, in_crumbs, twice, noise, refused)
STRUCTURED: tuple[Lie, ...] = (oversize, undersize, unknown_kind, only_done, never_done, of_the_other_kind)
READS: tuple[Lie, ...] = (shuffled, short, out_of_range, hole_out_of_range)
EXTENTS: tuple[Lie, ...] = (
    no_extents,
    extent_of_nothing,
    extent_without_end,
    unknown_flags,
    grudging,
    foreign_context,
    repeated,
    ragged,
)


def fitting(question: Question) -> tuple[Lie, ...]:
    """The lies that can be told to this question."""
    if question.request.kind == wire.Cmd.BLOCK_STATUS:
        return (*ANY, *STRUCTURED, *EXTENTS)
    return (*ANY, *STRUCTURED, *READS) if question.structured else ANY
