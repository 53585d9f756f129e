"""A connection to an NBD server: one libnbd handle driven by the event loop (only importer of `nbd`).

libnbd is a state machine around one socket. After every call that may move it, `_watch` asks which
directions it waits for; `aio_notify_*` moves it on, and completion callbacks settle the futures. Replies are
received straight into the caller's buffer, with no copy.

The socket is watched through an epoll of its own, which the loop watches in turn. libuv stops watching a
socket that reports an error (uv__poll_io in its src/unix/poll.c): of 40 copies whose server was killed, one
hung, its socket readable and gone from uvloop's epoll. An epoll reports no error, only what its socket has.

A lost connection fails every request in flight with `Transient`; what to do then is `nbd_source`'s decision.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import time
from collections.abc import Callable
from typing import Any, Self

import nbd

from transferd.errors import SourceError, Transient
from transferd.extents import Extent

CONNECT_DEADLINE = 30.0  # s; a VDDK open through a busy vCenter takes seconds, never half a minute
EVENTS = {  # libnbd's direction -> epoll's; errors and hang-ups are always reported
    0: 0,
    nbd.AIO_DIRECTION_READ: select.EPOLLIN,
    nbd.AIO_DIRECTION_WRITE: select.EPOLLOUT,
    nbd.AIO_DIRECTION_BOTH: select.EPOLLIN | select.EPOLLOUT,
}
REQUEST_DEADLINE = 60.0  # s; NFC answers in milliseconds, a host in trouble in seconds


class Connection:
    """One libnbd handle on the running loop. Not for use from other threads."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._handle = nbd.NBD()
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._epoll = select.epoll()
        self._direction = 0
        self._pending: set[asyncio.Future[None]] = set()
        self.alive = False

    @classmethod
    async def open(cls, uri: str) -> Self:
        """Connected and negotiated, or Transient."""
        connection = cls(uri)
        await asyncio.to_thread(connection._negotiate)
        connection._fd = connection._handle.aio_get_fd()
        connection._epoll.register(connection._fd, 0)
        connection._loop.add_reader(connection._epoll, connection._ready)
        connection.alive = True
        return connection

    def _negotiate(self) -> None:
        """Runs in a thread: resolving and connecting may change descriptors, which poll() follows."""
        deadline = time.monotonic() + CONNECT_DEADLINE
        try:
            self._handle.add_meta_context("base:allocation")
            self._handle.aio_connect_uri(self._uri)
            while self._handle.aio_is_connecting():
                if time.monotonic() > deadline:
                    raise Transient(f"no answer within {CONNECT_DEADLINE:.0f} s", operation="connect")
                self._handle.poll(100)
            if not self._handle.aio_is_ready():
                raise Transient("server ended the connection during negotiation", operation="connect")
        except nbd.Error as error:
            raise Transient(str(error.string), operation="connect") from error

    @property
    def size(self) -> int:
        return int(self._handle.get_size())

    @property
    def tells_extents(self) -> bool:
        return bool(self._handle.can_meta_context("base:allocation"))

    async def pread(self, start: int, view: memoryview) -> None:
        await self._request("read", start, lambda done: self._handle.aio_pread(view, start, completion=done))

    async def block_status(self, start: int, length: int) -> list[Extent]:
        """Extents from `start`; the server may answer for less than `length`, never for nothing."""
        found: list[Extent] = []

        def on_extents(context: str, offset: int, entries: list[int], _error: Any) -> int:
            if context == "base:allocation":
                for size, flags in zip(entries[::2], entries[1::2], strict=True):
                    found.append(Extent(offset, size, bool(flags & nbd.STATE_ZERO)))
                    offset += size
            return 0

        await self._request(
            "block status",
            start,
            lambda done: self._handle.aio_block_status(length, start, on_extents, completion=done),
        )
        if not found or any(extent.length <= 0 for extent in found):
            raise SourceError("server sent no extents", operation="block status", offset=start)
        return found

    async def _request(self, operation: str, start: int, send: Callable[[Any], Any]) -> None:
        if not self.alive:
            raise Transient("connection lost", operation=operation, offset=start)
        future: asyncio.Future[None] = self._loop.create_future()

        def done(error: Any) -> int:
            if not future.done():
                self._settle(future, operation, start, error.value)
            return 1  # retire the command: nobody asks for it again

        self._pending.add(future)
        try:
            try:
                send(done)
            except nbd.Error as error:
                raise Transient(str(error.string), operation=operation, offset=start) from error
            self._watch()
            async with asyncio.timeout(REQUEST_DEADLINE):
                await future
        except TimeoutError as error:
            problem = f"no answer within {REQUEST_DEADLINE:.0f} s"
            raise Transient(problem, operation=operation, offset=start) from error
        finally:
            self._pending.discard(future)

    def _settle(self, future: asyncio.Future[None], operation: str, start: int, code: int) -> None:
        if code == 0:
            future.set_result(None)
        elif self._handle.aio_is_dead() or code in {errno.ENOTCONN, errno.ECONNRESET, errno.ESHUTDOWN}:
            future.set_exception(Transient("connection lost", operation=operation, offset=start))
        else:
            problem = f"server answered {os.strerror(code)}"
            future.set_exception(SourceError(problem, operation=operation, offset=start))

    def _ready(self) -> None:
        """The socket is ready, or has an error or a hang-up: let libnbd move on."""
        try:
            for _, events in self._epoll.poll(0):
                direction = self._handle.aio_get_direction()
                if direction & nbd.AIO_DIRECTION_READ and events & ~select.EPOLLOUT:
                    self._handle.aio_notify_read()
                elif direction & nbd.AIO_DIRECTION_WRITE:
                    self._handle.aio_notify_write()
        except nbd.Error as error:
            self.close(str(error.string))
            return
        self._watch()

    def _watch(self) -> None:
        """Wait for exactly the directions that libnbd wants."""
        if not self.alive:
            return
        if self._handle.aio_is_dead() or self._handle.aio_is_closed():
            self.close("connection lost")
            return
        direction = self._handle.aio_get_direction()
        if direction != self._direction:
            self._direction = direction
            self._epoll.modify(self._fd, EVENTS[direction])

    def close(self, reason: str = "connection closed") -> None:
        """Fail what is in flight with Transient and close the socket. Closing twice is fine.

        The binding has no close(): the handle closes when its last reference goes, which is this one.
        """
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._epoll)
        self._epoll.close()
        for future in [*self._pending]:
            if not future.done():
                future.set_exception(Transient(reason))
        del self._handle
