"""A raw file or block device to read. Format is never probed: the bytes are the disk."""

from __future__ import annotations

import errno
import os
import queue
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from transferd.backends import Answer, Session
from transferd.crew import start_thread
from transferd.errors import OUT_OF_FILES, SourceError, UsageError
from transferd.extents import Extent
from transferd.plan import BLOCK
from transferd.replay import STILL, Point

READERS = 2  # threads: one fills a buffer while the kernel reads ahead for the other


class FileSource:
    """Use as `with`."""

    sessions = 1
    point = STILL
    largest = BLOCK
    grain = 1

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.warnings: list[str] = []
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer that never comes
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise UsageError("no such file or device", disk=self.name) from error
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                raise
            raise SourceError(error.strerror or str(error), disk=self.name, operation="open") from error
        self._status = os.fstat(self._fd)
        if not (stat.S_ISREG(self._status.st_mode) or stat.S_ISBLK(self._status.st_mode)):
            os.close(self._fd)
            raise UsageError("is neither a file nor a block device", disk=self.name)
        self.size = os.lseek(self._fd, 0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    @property
    def identity(self) -> Mapping[str, Any]:
        status = self._status
        where = {"device": status.st_rdev} if stat.S_ISBLK(status.st_mode) else {"inode": status.st_ino}
        changed = None if stat.S_ISBLK(status.st_mode) else status.st_mtime_ns
        return {"kind": "file", "dev": status.st_dev, **where, "size": self.size, "mtime": changed}

    def session(self) -> Session:
        return FileSession(self._fd, self.name)

    def changes(self, since: Point) -> None:
        """Nobody kept a record of them."""

    def extents(self) -> list[Extent]:
        return [*self._walk()]

    def _walk(self) -> Iterator[Extent]:
        """Holes by SEEK_DATA; devices and file systems that cannot tell give one data extent."""
        start = 0
        while start < self.size:
            try:
                data = os.lseek(self._fd, start, os.SEEK_DATA)
                end = os.lseek(self._fd, data, os.SEEK_HOLE)
            except OSError as error:
                nothing_left = error.errno == errno.ENXIO
                yield Extent(start, self.size - start, zero=nothing_left)
                return
            if data > start:
                yield Extent(start, data - start, zero=True)
            yield Extent(data, end - data, zero=False)
            start = end


class FileSession:
    """Blocking reads in a few threads, answered like a server's."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._asked: queue.SimpleQueue[tuple[int, memoryview, object] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._threads = [start_thread("file-reader", self._serve) for _ in range(READERS)]

    def read(self, start: int, view: memoryview, token: object) -> None:
        self._asked.put((start, view, token))

    def wait(self, timeout: float) -> list[Answer]:
        try:
            return [self._answers.get(timeout=timeout)]
        except queue.Empty:
            return []

    def close(self, *, hung: bool = False) -> None:
        """SourceError if it hangs: a read that the kernel holds can still fill its view."""
        for _ in self._threads:
            self._asked.put(None)
        if hung:
            raise SourceError("a read of a local disk does not return", disk=self._name, operation="read")
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (asked := self._asked.get()) is not None:
            start, view, token = asked
            try:
                self._fill(start, view)
            except SourceError as error:
                self._answers.put(Answer(token, error))
            else:
                self._answers.put(Answer(token))

    def _fill(self, start: int, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._fd, [view[filled:]], start + filled)
            except OSError as error:
                raise SourceError(
                    error.strerror or str(error), disk=self._name, operation="read", offset=start + filled
                ) from error
            if count == 0:
                raise SourceError("ends early: it was truncated", disk=self._name, offset=start + filled)
            filled += count
