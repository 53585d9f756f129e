"""The two ends of a copy, as the engine sees them.

A `Source` is asynchronous because its latency is the network's; a `Target` is plain blocking calls that the
engine makes from its writer threads, never on the network thread. Offsets are arguments, there is no
position. Capabilities are declared (`fresh`), never probed with hasattr.
"""

from __future__ import annotations

from typing import Protocol

from transferd.extents import Extent


class Source(Protocol):
    """Where bytes come from. Errors: `SourceError` (permanent) or `RetriesExhausted`."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes; fixed for the life of the source."""

    @property
    def retries(self) -> int:
        """Requests sent again after something passed that should not have happened."""

    async def extents(self) -> list[Extent]:
        """The whole disk, ordered, without gaps. Asked once, before the first read."""

    async def pread(self, start: int, view: memoryview) -> None:
        """Fill `view` from `start`. Cancelled, it may still write to `view` until the source closes."""


class Target(Protocol):
    """Where bytes go. Called from several threads at once. Errors: `TargetError`."""

    @property
    def name(self) -> str: ...

    @property
    def fresh(self) -> bool:
        """Every byte not yet written reads as zero, so zeros need not be written."""

    def pwrite(self, start: int, view: memoryview) -> None:
        """Write all of `view`; a short write is continued."""

    def zero(self, start: int, length: int) -> None:
        """Make the range read as zeros, by the cheapest means that is certain."""

    def flush(self) -> None:
        """Make everything durable. An error here is final: the kernel reports it only once."""

    def reread(self, start: int, view: memoryview) -> None:
        """Read back what the storage holds, past the page cache where the target allows it."""

    def reads_zero(self, start: int, length: int) -> bool:
        """True if the range is known to be a hole without reading it; False if it has to be read."""
