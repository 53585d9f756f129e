"""What several readers of one disk have yet to read: the plan, and what one of them left undone.

A reader that gives up leaves its requests here, and the first reader stays until nobody can leave any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transferd.plan import Block, Work


@dataclass(slots=True, eq=False)
class Arrival:
    """A block under way, in its buffer; `left` counts reads that were not yet answered well."""

    block: Block
    slot: memoryview
    left: int


@dataclass(slots=True, eq=False)
class Request:
    """One read of a block."""

    start: int
    view: memoryview
    arrival: Arrival
    due: float = 0.0  # monotonic time before which it is not asked
    asked: float = 0.0
    refusals: int = 0
    losses: int = 0


class Supply:
    def __init__(self, work: Iterator[Work]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._left: deque[Request] = deque()
        self._spares = 0
        self.drained = False

    def take(self) -> Work | None:
        with self._lock:
            item = next(self._work, None)
            self.drained = item is None
            return item

    def enter(self) -> None:
        """A spare reader begins: it may leave something."""
        with self._lock:
            self._spares += 1

    def leave(self, requests: Iterable[Request]) -> None:
        """A spare reader ends; `requests` are for the others."""
        with self._lock:
            self._left.extend(requests)
            self._spares -= 1

    def left(self) -> Request | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    @property
    def finished(self) -> bool:
        """Nothing is to be taken, and nobody is left who might leave something."""
        return self.drained and not self._spares and not self._left
