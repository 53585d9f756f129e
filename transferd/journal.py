"""The journal of one disk: which blocks are on the target for certain, and what they hold.

A restart reads it and goes on where the last attempt was. It is appended to only after the data it speaks of
is durable: data, fdatasync, record, fdatasync. So it may know less than the target holds, never more. Its
format and how it is read are `replay`'s.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from transferd.digest import Digests
from transferd.errors import OUT_OF_FILES, TargetError, UsageError
from transferd.replay import (
    BLOCK_ENTRY,
    MAGIC,
    RUN_ENTRY,
    Header,
    Point,
    Replayed,
    Trust,
    framed,
    is_journal,
    replay,
)

OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


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
            self._write(MAGIC + framed(b"H", header.as_json()))
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
        self._append((framed(b"B", named) if named else b"") + (framed(b"Z", runs) if runs else b""))

    def point(self, point: Point) -> None:
        """A round begins: what is recorded from here on is as the source was at `point`."""
        self._append(framed(b"P", json.dumps(dict(point)).encode()))

    def forget(self, indexes: Iterable[int]) -> None:
        """The target does not hold what was recorded for these."""
        self._append(framed(b"F", b"".join(RUN_ENTRY.pack(index, 1) for index in indexes)))

    def forget_all(self) -> None:
        """Somebody else has written to the target."""
        found = self.read()
        if found is not None:
            self._append(framed(b"F", RUN_ENTRY.pack(0, len(found.digests))))

    def require_sealed(self) -> Digests:
        """What the target holds, of a copy that is complete. UsageError for any other."""
        found = self.read()
        if found is None or not found.sealed or found.trust is Trust.DAMAGED:
            raise UsageError(
                "is not the journal of a finished copy", disk=str(self.path), remedy="copy the disk first"
            )
        return found.digests

    def distrust(self) -> None:
        """The source called a range empty that holds data: never believe its extents again."""
        self._append(framed(b"D", b""))

    def seal(self, digest: str) -> None:
        """The copy is complete and proven."""
        self._append(framed(b"S", json.dumps({"digest": digest}).encode()))

    def _append(self, records: bytes) -> None:
        with _errors_of(self.path, "write journal"):
            self._write(records)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)
