"""A disk behind an NBD URI that survives lost connections.

A request that failed for a passing reason is sent again on a new connection: reads are idempotent, and the
old connection is closed first, so that nothing can write into a buffer that has been handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

import structlog

from transferd.backends.nbd import Connection
from transferd.errors import Error, RetriesExhausted, SourceError, Transient
from transferd.extents import Extent, merge
from transferd.units import GiB

T = TypeVar("T")
log = structlog.get_logger()

REQUEST_ATTEMPTS = 5  # sends of one request, each on a connection of its own
RECONNECT_DELAYS = (0.5, 1.0, 2.0, 4.0)  # s before each new connection; then the source is gone
STATUS_WINDOW = 2 * GiB  # bytes asked per block status request: the protocol's length is 32 bits


class NbdSource:
    """Use as `async with`."""

    def __init__(self, uri: str, name: str, explain: Callable[[], Error | None] = lambda: None) -> None:
        """`explain` may know better than the socket why the server is gone (nbdkit's own error output)."""
        self._uri = uri
        self.name = name
        self._explain = explain
        self._connection: Connection | None = None
        self._reconnecting = asyncio.Lock()
        self.size = 0
        self.retries = 0

    async def __aenter__(self) -> Self:
        connection = await self._connected()
        self.size = connection.size
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> Connection:
        """The living connection, or a new one; one task connects while the others wait for it."""
        async with self._reconnecting:
            if self._connection is not None and self._connection.alive:
                return self._connection
            if self._connection is not None:
                self.retries += 1
            self._connection = await self._connect_again()
            return self._connection

    async def _connect_again(self) -> Connection:
        for attempt, delay in enumerate((*RECONNECT_DELAYS, None), start=1):
            try:
                connection = await Connection.open(self._uri)
            except Transient as error:
                known = self._explain()
                if known is not None and (delay is None or not isinstance(known, RetriesExhausted)):
                    raise known from error
                if delay is None:
                    raise RetriesExhausted(
                        f"{error.problem} ({attempt} attempts)",
                        disk=self.name,
                        operation="connect",
                        remedy="check that the NBD server runs and is reachable, then run the command again",
                    ) from error
                await asyncio.sleep(delay)
                continue
            if self.size and connection.size != self.size:
                found = connection.size
                connection.close()
                raise SourceError(f"came back with {found} bytes, was {self.size}", disk=self.name)
            return connection
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _retried(self, call: Callable[[Connection], Awaitable[T]]) -> T:
        """`call` on a living connection; sent again on a new one for as long as the loss is transient."""
        for attempt in range(REQUEST_ATTEMPTS):
            connection = await self._connected()
            try:
                return await call(connection)
            except Transient as error:
                connection.close(error.problem)
                last = error
            except SourceError as error:
                raise error.within(disk=self.name) from error.__cause__
            self.retries += attempt > 0
        raise RetriesExhausted(
            f"{last.problem} ({REQUEST_ATTEMPTS} attempts)",
            disk=self.name,
            operation=last.operation,
            offset=last.offset,
            remedy="the source keeps failing at this place; look at its own log",
        ) from last

    async def extents(self) -> list[Extent]:
        """Whole disk; a server that cannot tell gives one data extent: slower, never wrong."""
        connection = await self._connected()
        if not connection.tells_extents:
            return [Extent(0, self.size, zero=False)]
        try:
            return await self._sweep()
        except SourceError as error:
            log.warning("the source cannot tell its extents, reading everything", reason=str(error))
            return [Extent(0, self.size, zero=False)]

    async def _sweep(self) -> list[Extent]:
        found: list[Extent] = []
        start = 0
        while start < self.size:
            window = min(STATUS_WINDOW, self.size - start)
            for extent in await self._status(start, window):
                length = min(extent.length, self.size - start)
                found.append(Extent(start, length, extent.zero))
                start += length
                if start == self.size:
                    break
        return list(merge(found))

    async def _status(self, start: int, length: int) -> list[Extent]:
        return await self._retried(lambda connection: connection.block_status(start, length))

    async def pread(self, start: int, view: memoryview) -> None:
        await self._retried(lambda connection: connection.pread(start, view))
