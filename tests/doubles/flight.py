"""An NBD client for tests that keeps several reads in flight and says what became of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DEADLINE = 30.0  # seconds for a read that is waited for


class Reader:
    """A connection that keeps reads in flight and says what became of each."""

    def __init__(self, nbd: Any, uri: str) -> None:
        self._nbd = nbd
        self._failed: set[int] = set()
        self.handle = nbd.NBD()
        self.handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.handle.connect_uri(uri)

    def submit(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, Any]]:
        buffers = [self._nbd.Buffer(length) for _, length in ranges]
        return [
            (self.handle.aio_pread(buffer, start), buffer)
            for buffer, (start, _) in zip(buffers, ranges, strict=True)
        ]

    def wait(self, reads: list[tuple[int, Any]]) -> list[bytes | None]:
        """The bytes of each read, or None where it failed."""
        deadline = time.monotonic() + DEADLINE
        results = []
        for cookie, buffer in reads:
            while not self._completed(cookie):
                assert time.monotonic() < deadline, "the read hangs"
                self.handle.poll(100)
            results.append(None if cookie in self._failed else bytes(buffer.to_bytearray()))
        return results

    def _completed(self, cookie: int) -> bool:
        try:
            return bool(self.handle.aio_command_completed(cookie))
        except self._nbd.Error:
            self._failed.add(cookie)
            return True

    def read(self, *ranges: tuple[int, int]) -> list[bytes | None]:
        """All at once."""
        return self.wait(self.submit(ranges))

    def close(self) -> None:
        """Without a goodbye, which a server answers only when no read hangs."""
        del self.handle
