"""Threads that work towards one end, and stop together when one of them fails.

A `Stage` is a few threads with an inbox. Closing it lets it finish what is in the inbox; then the next stage
is closed. So a copy that is told to stop still writes, makes durable and records what it already received.

The threads are daemons: one that hangs in the kernel (a write to dead storage cannot be interrupted) must
not keep the process alive after its error was told.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from transferd.errors import UsageError

T = TypeVar("T")


def start_thread(name: str, work: Callable[[], None]) -> threading.Thread:
    """A running daemon thread. UsageError: this machine allows no more of them."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise UsageError("no more threads can be started", remedy="raise the limit of processes") from error
    return thread


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """`work(*arguments)` in a daemon thread: unlike asyncio's own, one that hangs keeps nobody waiting."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error) if error else ended.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work(*arguments)
        except BaseException as failure:  # noqa: BLE001 (raised again where it is awaited)
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    start_thread(getattr(work, "__name__", "work"), run)
    return await ended


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that started it: the first leaf that is no cancellation."""
    for error in errors.exceptions:
        leaf = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(leaf, asyncio.CancelledError):
            return leaf
    return errors.exceptions[0]


class Halted(Exception):  # noqa: N818 (an ending, not an error)
    """The crew stopped while this thread was waiting."""


class Crew:
    """The first error of any thread, and the wish to stop."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._halt = threading.Event()
        self._moved = threading.Condition()
        self.moves = 0  # how often a thread ended or the crew was halted

    def fail(self, error: BaseException) -> None:
        """Stop everybody because of `error`; later errors are consequences and are dropped."""
        with self._moved:
            if self.error is None:
                self.error = error
        self.halt()

    def halt(self) -> None:
        """Stop everybody, without blame."""
        self._halt.set()
        self._wake()

    def _wake(self) -> None:
        with self._moved:
            self.moves += 1
            self._moved.notify_all()

    @property
    def halted(self) -> bool:
        return self._halt.is_set()

    def wait(self, timeout: float) -> bool:
        """Sleep, but no longer than until the crew is halted."""
        return self._halt.wait(timeout)

    def rest(self, timeout: float, seen: int) -> None:
        """Sleep, but no longer than until `moves` is no longer `seen`."""
        with self._moved:
            self._moved.wait_for(lambda: self.moves != seen, timeout)

    def start(self, name: str, work: Callable[[], None]) -> threading.Event:
        """Run `work` in a thread of its own; the event is set when it has ended."""
        ended = threading.Event()

        def guarded() -> None:
            try:
                work()
            except Halted:
                pass
            except BaseException as error:  # noqa: BLE001 (the thread's border: the crew tells of it)
                self.fail(error)
            finally:
                ended.set()
                self._wake()

        start_thread(name, guarded)
        return ended


class Stage(Generic[T]):
    """`count` threads that do `work` on each item of the inbox, in order of arrival."""

    def __init__(
        self,
        crew: Crew,
        name: str,
        count: int,
        work: Callable[[T], None],
        *,
        idle: Callable[[], None] | None = None,
        idle_after: float | None = None,
    ) -> None:
        """`idle` is called when nothing came for `idle_after` seconds, and when the stage is closed."""
        self._work = work
        self._idle = idle
        self._idle_after = idle_after
        self._inbox: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._pending = 0
        self._lock = threading.Lock()
        self._ended = [crew.start(f"{name}-{number}", self._run) for number in range(count)]

    def put(self, item: T) -> None:
        with self._lock:
            self._pending += 1
        self._inbox.put(item)

    def close(self) -> None:
        """No more items will come."""
        for _ in self._ended:
            self._inbox.put(None)

    @property
    def done(self) -> bool:
        return all(ended.is_set() for ended in self._ended)

    @property
    def pending(self) -> int:
        """Items that were put and are not yet worked on to the end."""
        return self._pending

    def _run(self) -> None:
        while True:
            try:
                item = self._inbox.get(timeout=self._idle_after)
            except queue.Empty:
                if self._idle is not None:
                    self._idle()
                continue
            if item is None:
                break
            self._work(item)
            with self._lock:
                self._pending -= 1
        if self._idle is not None:
            self._idle()
