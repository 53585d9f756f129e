"""The journal of one disk: which blocks are on the target for certain, and what they hold.

A restart reads it and goes on where the last attempt was. It is appended to only after the data it speaks of
is durable: data, fdatasync, record, fdatasync. So it may know less than the target holds, never more.

    file     magic line, then records
    record   u32 length, u32 CRC-32 of the body, body = one byte of kind + payload (integers little-endian)

    H  JSON: what is copied, onto what      B  blocks: (u64 index, 32 bytes digest)*
    Z  zero runs: (u64 first, u64 count)*   F  forgotten runs: (u64 first, u64 count)*
    D  the source's extents lied: forget all  S  JSON: sealed, the copy is complete

A record that the file ends in the middle of was being written when the power went: it is dropped. Damage
anywhere before the end is something else; then nothing in the journal is believed. The rules of reading are
pure (`replay`) and are held against random and damaged input by tests.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Self

from transferd.digest import WIDTH, Digests
from transferd.errors import OUT_OF_FILES, TargetError, UsageError
from transferd.plan import BLOCK, LARGEST, block_count
from transferd.units import MiB

MAGIC = b"transferd journal 1\n"
HEAD = struct.Struct("<II")
BLOCK_ENTRY = struct.Struct(f"<Q{WIDTH}s")
RUN_ENTRY = struct.Struct("<QQ")
OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
MAX_RECORD = 16 * MiB  # bytes; far above what one commit writes


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
    end: int = 0


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
    count = block_count(found.header.size)
    if kind == b"B" and len(payload) % BLOCK_ENTRY.size == 0:
        for index, digest in BLOCK_ENTRY.iter_unpack(payload):
            if index >= count:
                return False
            found.digests[index] = digest
    elif kind in {b"Z", b"F"} and len(payload) % RUN_ENTRY.size == 0:
        for first, length in RUN_ENTRY.iter_unpack(payload):
            if first + length > count:
                return False
            (found.digests.set_zero if kind == b"Z" else found.digests.forget)(first, length)
        if kind == b"F":  # what lies there was found to be wrong: it may be anything but zeros
            found.blank = False
    elif kind == b"D":
        found.distrusted = True
        found.digests.forget(0, count)  # any of them may hold zeros that were never read
    elif kind == b"S":
        found.sealed = True
    else:
        return False
    return True


@contextlib.contextmanager
def _errors_of(path: Path, operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_FILES:
            raise
        raise TargetError(
            error.strerror or str(error),
            disk=str(path),
            operation=operation,
            remedy="the journal makes the copy resumable: free space or choose another place with --journal",
        ) from error


class Journal:
    """One open journal file; one process at a time (flock). Use as `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> Self:
        with _errors_of(self.path, "open journal"):
            try:
                self._fd = os.open(self.path, OPEN_FLAGS, 0o600)
            except IsADirectoryError as error:
                raise UsageError("is a folder", disk=str(self.path), remedy="name a file") from error
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENXIO}:  # a link; a socket or FIFO
                    raise
                problem = "is a symbolic link" if error.errno == errno.ELOOP else "is no regular file"
                raise UsageError(problem, disk=str(self.path), remedy="name a file") from error
        try:
            self._claim()
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def _claim(self) -> None:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise UsageError("is no regular file of its own", disk=str(self.path), remedy="name a file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetError(
                "another copy uses this journal", disk=str(self.path), remedy="wait for it to end"
            ) from error

    def read(self) -> Replayed | None:
        """What it says, or None if nothing was ever written. UsageError for a file that is something else."""
        with _errors_of(self.path, "read journal"), os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            try:
                found = replay(file)
            except ValueError as error:
                raise UsageError(
                    f"is not a journal that can be read: {error}",
                    disk=str(self.path),
                    remedy="choose another file with --journal, or, if it was one, begin anew with --fresh",
                ) from error
            if found is not None and found.trust is Trust.WHOLE:
                os.ftruncate(self._fd, found.end)  # what a power cut left of the last record
                os.lseek(self._fd, 0, os.SEEK_END)
            return found

    def require_own(self) -> None:
        """UsageError if the file is something else than a journal: --fresh must not destroy it."""
        with _errors_of(self.path, "read journal"):
            begin = os.pread(self._fd, len(MAGIC), 0)
        if not is_journal(begin):
            raise UsageError(
                "is no journal and is not overwritten",
                disk=str(self.path),
                remedy="choose another file with --journal",
            )

    def begin(self, header: Header, *, distrusted: bool = False) -> None:
        """Empty the file and write the header; durable when it returns, the file's name included."""
        with _errors_of(self.path, "write journal"):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._write(MAGIC + _framed(b"H", header.as_json()))
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        if distrusted:
            self.distrust()

    def blocks(self, blocks: Mapping[int, bytes], zeros: Iterable[tuple[int, int]]) -> None:
        """These blocks are durable on the target."""
        named = b"".join(BLOCK_ENTRY.pack(index, digest) for index, digest in blocks.items())
        runs = b"".join(RUN_ENTRY.pack(*run) for run in zeros)
        self._append((_framed(b"B", named) if named else b"") + (_framed(b"Z", runs) if runs else b""))

    def forget(self, indexes: Iterable[int]) -> None:
        """The target does not hold what was recorded for these."""
        self._append(_framed(b"F", b"".join(RUN_ENTRY.pack(index, 1) for index in indexes)))

    def distrust(self) -> None:
        """The source called a range empty that holds data: never believe its extents again."""
        self._append(_framed(b"D", b""))

    def seal(self, digest: str) -> None:
        """The copy is complete and proven."""
        self._append(_framed(b"S", json.dumps({"digest": digest}).encode()))

    def _append(self, records: bytes) -> None:
        with _errors_of(self.path, "write journal"):
            self._write(records)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)


def _framed(kind: bytes, payload: bytes) -> bytes:
    body = kind + payload
    return HEAD.pack(len(body), zlib.crc32(body)) + body
