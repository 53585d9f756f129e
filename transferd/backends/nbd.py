"""A session with an NBD server: one libnbd handle, driven by the one thread that uses it (only importer of
`nbd`).

libnbd is a state machine around one socket; `poll` moves it, in the calling thread, with the GIL released
while it waits. Replies are received straight into the caller's
buffer. One Python call a wakeup costs less than an event loop's five, and nothing is shared with other
threads: bench/test_io_models.py measures both, and libnbd 1.14 has aborted when handles of several threads
lost their server at once (states.c:190).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import nbd

from transferd.backends import Answer
from transferd.errors import SourceError, Transient
from transferd.extents import Extent

CONNECT_DEADLINE = 30.0  # s; a VDDK open through a busy vCenter takes seconds, never half a minute
LOST = {errno.ENOTCONN, errno.ECONNRESET, errno.ESHUTDOWN, errno.EPIPE}
ASSUMED_LARGEST = 32 << 20  # bytes; what a server must take that does not say (NBD protocol)
MAX_SIZE = 1 << 56  # bytes; an export that claims more is no disk


class NbdSession:
    """Connected and negotiated when made. Transient: the server is not there, or does not answer in time."""

    def __init__(self, uri: str, deadline: float = CONNECT_DEADLINE) -> None:
        self._handle: Any = nbd.NBD()
        self._handle.set_pread_initialize(False)  # a failed read fails the copy; it is never used half filled
        self._asked: dict[int, tuple[object, int, int]] = {}  # by libnbd's cookie
        self._lost = False
        try:
            self._negotiate(uri, deadline)
            self.size = int(self._handle.get_size())
            self.tells_extents = bool(self._handle.can_meta_context("base:allocation"))
            self.smallest = int(self._handle.get_block_size(nbd.SIZE_MINIMUM)) or 1
            self.largest = int(self._handle.get_block_size(nbd.SIZE_MAXIMUM)) or ASSUMED_LARGEST
            self.multi_conn = bool(self._handle.can_multi_conn())
        except nbd.Error as error:
            raise Transient(_text(error), operation="connect") from error
        if not 0 <= self.size < MAX_SIZE:
            raise SourceError(f"the server claims a size of {self.size} bytes", operation="connect")

    def _negotiate(self, uri: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        self._handle.add_meta_context("base:allocation")
        self._handle.aio_connect_uri(uri)
        while self._handle.aio_is_connecting():
            if time.monotonic() > deadline:
                raise Transient(f"no answer within {patience:.0f} s", operation="connect")
            self._handle.poll(100)
        if not self._handle.aio_is_ready():
            raise Transient("the server ended the connection during negotiation", operation="connect")

    def read(self, start: int, view: memoryview, token: object) -> None:
        try:
            self._asked[self._handle.aio_pread(view, start)] = (token, start, len(view))
        except nbd.Error as error:
            raise Transient(_text(error), operation="read", offset=start) from error

    def wait(self, timeout: float) -> list[Answer]:
        """Every read is retired by hand: only then does libnbd check that all of its bytes came.

        A completion callback runs before that check (lib/aio.c): it takes a structured reply that leaves
        bytes out for a success, and what the buffer held before for the disk.
        """
        if self._lost:
            raise Transient("connection lost")
        self._move(timeout)
        answers = []
        while self._asked and (cookie := self._completed()):
            token, start, length = self._asked.pop(cookie)
            refusal = self._refusal(cookie, start, length)
            if not self._lost:
                answers.append(Answer(token, refusal))
        return answers

    def _completed(self) -> int:
        """The cookie of a read that ended; 0 if none has."""
        try:
            return int(self._handle.aio_peek_command_completed())
        except nbd.Error as error:
            raise Transient("connection lost") from error

    def _refusal(self, cookie: int, start: int, length: int) -> SourceError | None:
        try:
            self._handle.aio_command_completed(cookie)
        except nbd.Error as error:
            code = error.errnum or errno.EIO
            if code in LOST:
                self._lost = True  # as a whole, also when the server says so in a reply: it is shutting down
            problem = f"the server answered {os.strerror(code)} for {length} bytes"
            return SourceError(problem, operation="read", offset=start)
        return None

    def _move(self, timeout: float) -> None:
        """One turn of libnbd's state machine; a handle that is dead or closed refuses to be polled."""
        try:
            self._handle.poll(max(int(timeout * 1000), 1))
        except nbd.Error as error:
            raise Transient("connection lost") from error

    def block_status(self, start: int, length: int, patience: float) -> list[Extent]:
        """Extents from `start`; the server may answer for less than `length`, never for nothing.

        SourceError: it cannot tell. Transient: connection lost, or silent for `patience` seconds.
        """
        found: list[Extent] = []
        ended: list[int] = []
        try:
            self._handle.aio_block_status(
                length,
                start,
                partial(_collect, found),
                completion=partial(_end, ended),
            )
        except nbd.Error as error:
            raise Transient(_text(error), operation="block status", offset=start) from error
        deadline = time.monotonic() + patience
        while not ended:
            if time.monotonic() > deadline:
                raise Transient(f"no answer within {patience:.0f} s", operation="block status", offset=start)
            self._move(0.1)
        if ended[0] in LOST:
            raise Transient("connection lost", operation="block status", offset=start)
        if ended[0]:
            problem = f"the server answered {os.strerror(ended[0])}"
            raise SourceError(problem, operation="block status", offset=start)
        if not found or found[0].start != start or any(extent.length <= 0 for extent in found):
            raise SourceError("the server sent no usable extents", operation="block status", offset=start)
        return found

    def close(self, *, hung: bool = False) -> None:  # noqa: ARG002 (a socket is closed alike)
        """The binding has no close(): the handle closes when its last reference goes, which is this one."""
        self._handle = _closed
        self._asked = {}


class _Closed:
    """What is left of a handle that was closed."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise Transient("session closed", operation=name)


_closed = _Closed()


def _end(ended: list[int], error: Any) -> int:
    ended.append(error.value)
    return 1  # retire the command


def _collect(found: list[Extent], context: str, offset: int, entries: list[int], _error: Any) -> int:
    """Callback of block status. Only the zero bit is a promise; a hole without it is data."""
    if context == "base:allocation" and not found:
        for size, flags in zip(entries[::2], entries[1::2], strict=True):
            found.append(Extent(offset, size, bool(flags & nbd.STATE_ZERO)))
            offset += size
    return 0


def _text(error: nbd.Error) -> str:
    return str(error.string).removeprefix("nbd_").replace("\n", " ")
