"""Ends a libguestfs call that would not end by itself.

libguestfs blocks in C: a Python signal handler waits until the call returns, which a hung appliance or a
hostile file system can put off for ever. So a thread waits for the deadline or for a signal (the wakeup
descriptor is written by the C-level handler at once) and kills the processes that the appliance consists
of; the blocked call then fails, and `ended_by` says why.

While launch runs, the handle is locked and will not name its processes, so they are found as the children
that appeared since `start`. No other thread of this program may start processes meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

KILL_INTERVAL = 0.2
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


class Lifeline:
    """Guards one appliance. Enter it before launch, in the main thread if signals are to be heeded."""

    def __init__(self, deadline: float) -> None:
        self.ended_by: str | None = None
        self._until = time.monotonic() + deadline
        self._strangers = children(os.getpid())
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._old_wakeup: int | None = None
        self._closing = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._old_wakeup is not None:
            signal.set_wakeup_fd(self._old_wakeup)
        self._closing = True
        self._wake()
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def extend(self, deadline: float) -> None:
        """From now on, `deadline` seconds."""
        self._until = time.monotonic() + deadline
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def _watch(self) -> None:
        while not self._closing:
            remaining = self._until - time.monotonic()
            if remaining <= 0:
                self._end("deadline")
                return
            ready, _, _ = select.select([self._read], [], [], remaining)
            if ready and ENDING & set(os.read(self._read, 4096)):
                self._end("signal")
                return

    def _end(self, why: str) -> None:
        """Until the caller lets go: a launch starts several programs, one after the other."""
        self.ended_by = why
        while not self._closing:
            for pid in children(os.getpid()) - self._strangers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if select.select([self._read], [], [], KILL_INTERVAL)[0]:
                os.read(self._read, 4096)


def children(parent: int) -> set[int]:
    """Processes whose parent this is."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The command name, which may hold anything, ends at the last parenthesis.
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.add(int(entry.name))
    return found
