"""A disk behind an NBD URI: who it is, what its extents are, and sessions with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

from transferd.backends import Session
from transferd.backends.nbd import NbdSession
from transferd.errors import Error, RetriesExhausted, SourceError, Transient
from transferd.extents import Extent, merge
from transferd.replay import STILL, Point
from transferd.units import GiB

CONNECT_DELAYS = (0.5, 1.0, 2.0, 4.0)  # s before each new attempt to reach a server for the first time
STATUS_WINDOW = 2 * GiB  # bytes asked per block status request: the protocol's length is 32 bits
STATUS_ATTEMPTS = 3
PARALLEL = 2  # sessions with a server that welcomes several (multi-conn): one socket is one core's work


class Telling(Session, Protocol):
    """A session that can be asked for extents."""

    tells_extents: bool

    @property
    def block_status(self) -> Callable[[int, int, float], list[Extent]]: ...


S = TypeVar("S", bound=Telling)


class Sweep(Generic[S]):
    """Asks a server for the extents of a whole disk, before the first read, and hands its session on."""

    def __init__(self, reach: Callable[[], S], name: str, patience: float) -> None:
        self._reach = reach
        self._name = name
        self._patience = patience
        self._session: S | None = None

    def session(self) -> S:
        if self._session is None:
            self._session = self._reach()
        return self._session

    def take(self) -> S | None:
        """The session, for the first reader; None if there is none any more."""
        session, self._session = self._session, None
        return session

    def extents(self, size: int) -> tuple[list[Extent], list[str]]:
        """Whole disk, and warnings; a server that cannot tell gives one data extent: slower, never wrong."""
        if not self.session().tells_extents:
            return [Extent(0, size, zero=False)], []
        try:
            return list(merge(self._whole(size))), []
        except SourceError as error:
            warning = f"the source cannot tell its extents, reading everything: {error}"
            return [Extent(0, size, zero=False)], [warning]

    def _whole(self, size: int) -> list[Extent]:
        found: list[Extent] = []
        start = 0
        while start < size:
            for extent in self._status(start, min(STATUS_WINDOW, size - start)):
                length = min(extent.length, size - start)
                found.append(Extent(start, length, extent.zero))
                start += length
                if start == size:
                    break
        return found

    def _status(self, start: int, length: int) -> list[Extent]:
        for attempt in range(STATUS_ATTEMPTS):
            session = self.session()
            try:
                return session.block_status(start, length, self._patience)
            except Transient as error:
                session.close()
                self._session = None
                last: Error = error
            except SourceError as error:
                last = error
                time.sleep(0.1 * attempt)
        raise SourceError(
            last.problem, disk=self._name, operation=last.operation, offset=last.offset
        ) from last


class NbdSource:
    """Use as `with`. Entering connects, leaving closes what no reader took."""

    point = STILL

    def __init__(self, uri: str, name: str, *, source_id: str | None, patience: float) -> None:
        self._uri = uri
        self.name = name
        self._source_id = source_id
        self._patience = patience
        self._sweep = Sweep(self._reached, name, patience)
        self.size = 0
        self.sessions = 1
        self.largest = self.grain = 1
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        first = self._sweep.session()
        self.size = first.size
        self.sessions = PARALLEL if first.multi_conn else 1
        self.largest, self.grain = first.largest, first.smallest
        return self

    def __exit__(self, *_exc: object) -> None:
        left = self._sweep.take()
        if left is not None:
            left.close()

    @property
    def identity(self) -> Mapping[str, Any]:
        """The socket's place is left out: a server that was started again may listen elsewhere."""
        uri = re.sub(r"([?&])socket=[^&]*", r"\1socket", self._uri)
        return {"kind": "nbd", "uri": uri, "size": self.size, "id": self._source_id}

    def changes(self, since: Point) -> None:
        """Nobody kept a record of them."""

    def extents(self) -> list[Extent]:
        found, warnings = self._sweep.extents(self.size)
        self.warnings += warnings
        return found

    def session(self) -> NbdSession:
        return self._sweep.take() or self._connected()

    def _connected(self) -> NbdSession:
        session = NbdSession(self._uri, self._patience)
        if self.size and session.size != self.size:
            session.close()
            raise SourceError(
                f"came back with {session.size} bytes, was {self.size}",
                disk=self.name,
                operation="connect",
                remedy="this is another disk, or it was resized: copy it with --fresh",
            )
        return session

    def _reached(self) -> NbdSession:
        """The first connection. The server may be starting, so a few attempts; then it is not there."""
        for delay in (*CONNECT_DELAYS, None):
            try:
                return self._connected()
            except Transient as error:
                if delay is None:
                    raise RetriesExhausted(
                        f"{error.problem} ({len(CONNECT_DELAYS) + 1} attempts)",
                        disk=self.name,
                        operation="connect",
                        remedy="check that the NBD server runs and is reachable, then run the command again",
                    ) from error
                time.sleep(delay)
            except SourceError as error:
                raise error.within(disk=self.name) from error
        raise AssertionError("unreachable: the last attempt returns or raises")
