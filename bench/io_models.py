"""Two ways to drive libnbd, reading one disk into a ring: an event loop, and a thread for each connection.

Both keep `depth` reads in flight on every connection and send the next one as a reply comes in. Neither
writes, hashes or makes a future for a request: what is compared is only who waits for the socket.

    event loop     uvloop watches every connection's socket and tells libnbd to move on (aio_notify_*)
    poll threads   a thread for each connection calls libnbd's own poll, which releases the GIL

Sending from a completion callback would be simplest, but libnbd holds the handle's lock there, libnbd(3).

    python -m bench.io_models MODEL URI CONNECTIONS REQUEST DEPTH
"""

import asyncio
import mmap
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import nbd
import uvloop

POLL = 60_000  # ms without a byte before the run is given up


class Reader:
    """One connection with its ring. `starts` are the offsets still to be read, shared by all connections."""

    def __init__(self, uri: str, request: int, depth: int) -> None:
        self.handle = nbd.NBD()
        self.handle.set_pread_initialize(False)
        self.handle.connect_uri(uri)
        ring = memoryview(mmap.mmap(-1, request * depth))
        self._free = [ring[start : start + request] for start in range(0, len(ring), request)]
        self._depth = depth

    def fill(self, starts: Iterator[int]) -> bool:
        """Send reads while there is room; False once nothing is left to send or to receive."""
        while self._free and (start := next(starts, None)) is not None:
            slot = self._free.pop()
            self.handle.aio_pread(slot, start, completion=partial(self._received, slot))
        return len(self._free) < self._depth

    def _received(self, slot: memoryview, error: Any) -> int:
        if error.value:
            raise OSError(error.value, "read failed")
        self._free.append(slot)
        return 1  # retire the command


def poll_until_read(starts: Iterator[int], reader: Reader) -> None:
    while reader.fill(starts):
        if reader.handle.poll(POLL) == 0:
            raise TimeoutError("no answer")


class Watch:
    """A connection on the event loop; `ended` is set when it has nothing left to do."""

    def __init__(self, reader: Reader, starts: Iterator[int]) -> None:
        self._reader = reader
        self._starts = starts
        self._loop = asyncio.get_running_loop()
        self._fd = reader.handle.aio_get_fd()
        self._direction = 0
        self.ended = asyncio.Event()

    def proceed(self) -> None:
        """Send what there is room for and wait for exactly the directions that libnbd wants."""
        more = self._reader.fill(self._starts)
        wanted = self._reader.handle.aio_get_direction() if more else 0
        changed, self._direction = wanted ^ self._direction, wanted
        if changed & nbd.AIO_DIRECTION_READ:
            if wanted & nbd.AIO_DIRECTION_READ:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)
        if changed & nbd.AIO_DIRECTION_WRITE:
            if wanted & nbd.AIO_DIRECTION_WRITE:
                self._loop.add_writer(self._fd, self._writable)
            else:
                self._loop.remove_writer(self._fd)
        if not more:
            self.ended.set()

    def _readable(self) -> None:
        if self._reader.handle.aio_get_direction() & nbd.AIO_DIRECTION_READ:
            self._reader.handle.aio_notify_read()
        self.proceed()

    def _writable(self) -> None:
        if self._reader.handle.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
            self._reader.handle.aio_notify_write()
        self.proceed()


async def watch_until_read(readers: list[Reader], starts: Iterator[int]) -> None:
    watches = [Watch(reader, starts) for reader in readers]
    for watch in watches:
        watch.proceed()
    for watch in watches:
        await watch.ended.wait()


def main(model: str, uri: str, connections: str, request: str, depth: str) -> None:
    readers = [Reader(uri, int(request), int(depth)) for _ in range(int(connections))]
    size = readers[0].handle.get_size()
    assert size % int(request) == 0, "the disk is not a whole number of requests"
    starts = iter(range(0, size, int(request)))
    if model == "event loop":
        uvloop.run(watch_until_read(readers, starts))
    else:
        with ThreadPoolExecutor(len(readers)) as threads:
            for _ in threads.map(partial(poll_until_read, starts), readers):
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])
