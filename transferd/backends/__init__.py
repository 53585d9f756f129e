"""The two ends of a copy, as the engine sees them.

A `Source` gives sessions; a `Session` belongs to one thread, which asks for many reads and waits for answers
in whatever order they come. A `Target` is plain blocking calls from writer threads. Offsets are arguments,
there is no position. Capabilities are declared (`fresh`), never probed with hasattr.

A lost or hung session is closed and a new one opened; that, and asking again, is the reader's business
(transferd/reader.py), the same for every source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from transferd.errors import Error
from transferd.extents import Extent, Range
from transferd.replay import Point


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one read: `token` is what was given to `Session.read`; error None means all bytes came."""

    token: Any
    error: Error | None = None


class Session(Protocol):
    """One way into a source. Used by one thread."""

    def read(self, start: int, view: memoryview, token: object) -> None:
        """Begin to fill `view` from `start`. Transient: the session is lost, and with it all its reads."""

    def wait(self, timeout: float) -> list[Answer]:
        """Answers that came within `timeout` seconds, possibly none. Transient: the session is lost."""

    def close(self, *, hung: bool = False) -> None:
        """End it. Afterwards nothing writes to any view that was given to it. Closing twice is fine."""


class Source(Protocol):
    """Where bytes come from."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes; fixed for the life of the source."""

    @property
    def sessions(self) -> int:
        """How many sessions to begin with."""

    @property
    def largest(self) -> int:
        """Bytes of the largest read that it takes."""

    @property
    def grain(self) -> int:
        """Bytes; reads begin and end at multiples of it, or at the end of the disk."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a restart must find unchanged to go on (a journal's header holds it)."""

    @property
    def point(self) -> Point | None:
        """The moment whose bytes it gives: equal points, equal bytes. None: nothing is promised."""

    def changes(self, since: Point) -> Iterable[Range] | None:
        """What changed between `since` and `point`: ordered, joined. None: not known, so look everywhere."""

    @property
    def warnings(self) -> list[str]:
        """What the operator should know, so far."""

    def extents(self) -> list[Extent]:
        """The whole disk, ordered, without gaps. Asked once, before the first read."""

    def session(self) -> Session:
        """A new session. Transient: not now. Other errors are final."""


class Target(Protocol):
    """Where bytes go. Called from several threads at once. Errors: `TargetError`."""

    @property
    def name(self) -> str: ...

    fresh: bool
    """Every byte not yet written reads as zero, so zeros need not be written. A journal may know better."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a restart must find unchanged to go on."""

    @property
    def notes(self) -> list[str]:
        """What the log should say about how it is written."""

    def require_space(self, data: int) -> None:
        """TargetError if `data` bytes surely do not fit: better now than at 98 %."""

    def abandon(self) -> None:
        """Nothing was written and nothing will be: leave no empty file where there was none."""

    def pwrite(self, start: int, view: memoryview) -> None:
        """Write all of `view`; a short write is continued."""

    def zero(self, start: int, length: int) -> None:
        """Make the range read as zeros, by the cheapest means that is certain."""

    def sync(self) -> None:
        """Make everything written so far durable. An error here is final: the kernel reports it only once."""

    def reread(self, start: int, view: memoryview) -> None:
        """Read back what the storage holds, past the page cache where the target allows it."""

    def reads_zero(self, start: int, length: int) -> bool:
        """True if the range is known to be a hole without reading it; False if it has to be read."""
