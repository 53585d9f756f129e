"""A disk in memory, as source and as target, with faults on demand.

Shipped, not a test's private fake: the conformance suite holds it to the same contract as files, devices and
NBD servers, so what a test learns about the engine on it is true of the engine elsewhere. A `Fault` is looked
up before each operation and may raise, wait or lie; that is enough to play any misbehaving storage without a
clock or a kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transferd.backends import Answer
from transferd.errors import Error, Overload, Transient
from transferd.extents import Extent, Range, merge
from transferd.plan import BLOCK
from transferd.replay import STILL, Point
from transferd.units import KiB

GRAIN = 64 * KiB  # extents of a memory disk are found at this grain


@dataclass(frozen=True, slots=True)
class Operation:
    """What is about to happen; `number` counts operations of this kind from 0."""

    kind: str  # read, write, zero, sync, reread, session
    start: int
    length: int
    number: int


LOSE = object()  # a fault's answer: claim success, do nothing
Fault = Callable[[Operation], object]  # raises, sleeps, or returns LOSE; anything else means go on


def _unknown(_since: Point) -> None:
    return None


def _no_fault(_operation: Operation) -> None:
    return None


@dataclass(slots=True)
class _Faults:
    fault: Fault = _no_fault
    counts: dict[str, int] = field(default_factory=dict)

    def lost(self, kind: str, start: int = 0, length: int = 0) -> bool:
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        return self.fault(Operation(kind, start, length, number)) is LOSE


class MemorySource:
    """`content` to read. `extents` may be given, and may lie."""

    sessions = 1
    largest = BLOCK
    grain = 1

    def __init__(
        self, content: bytes, *, fault: Fault = _no_fault, extents: Sequence[Extent] | None = None
    ) -> None:
        self.point: Point | None = STILL
        self.changed: Callable[[Point], Sequence[Range] | None] = _unknown
        self.name = "memory"
        self.content = bytearray(content)
        self.size = len(content)
        self.faults = _Faults(fault)
        self._extents = extents
        self.warnings: list[str] = []
        self.identity: Mapping[str, Any] = {"kind": "memory", "id": id(self), "size": self.size}

    def extents(self) -> list[Extent]:
        if self._extents is not None:
            return [*self._extents]
        grains = (self.content[start : start + GRAIN] for start in range(0, self.size, GRAIN))
        found = (
            Extent(number * GRAIN, len(grain), zero=not any(grain)) for number, grain in enumerate(grains)
        )
        return list(merge(found))

    def changes(self, since: Point) -> Sequence[Range] | None:
        return self.changed(since)

    def session(self) -> MemorySession:
        self.faults.lost("session")
        return MemorySession(self)


class MemorySession:
    """Answers when waited for, in the order asked. A lost read is never answered."""

    def __init__(self, source: MemorySource) -> None:
        self._source = source
        self._asked: list[tuple[int, memoryview, object]] = []
        self._open = True

    def read(self, start: int, view: memoryview, token: object) -> None:
        if not self._open:
            raise Transient("session closed", operation="read", offset=start)
        self._asked.append((start, view, token))

    def wait(self, timeout: float) -> list[Answer]:
        answers: list[Answer] = []
        asked, self._asked = self._asked, []
        for start, view, token in asked:
            try:
                if self._source.faults.lost("read", start, len(view)):
                    continue
                view[:] = self._source.content[start : start + len(view)]
                answers.append(Answer(token))
            except Overload as error:
                answers.append(Answer(token, error))
            except Transient:
                self._open = False
                raise
            except Error as error:
                answers.append(Answer(token, error))
        if not answers:
            time.sleep(timeout)
        return answers

    def close(self, *, hung: bool = False) -> None:  # noqa: ARG002 (nothing is left running)
        self._open = False
        self._asked = []


class MemoryTarget:
    """`size` bytes; `content` is what it held before, and then it is not fresh."""

    def __init__(self, size: int, *, content: bytes | None = None, fault: Fault = _no_fault) -> None:
        self.name = "memory"
        self.fresh = content is None
        self.content = bytearray(size if content is None else content)
        self.faults = _Faults(fault)
        self.notes: list[str] = []
        self.identity: Mapping[str, Any] = {"kind": "memory", "id": id(self)}

    def pwrite(self, start: int, view: memoryview) -> None:
        if not self.faults.lost("write", start, len(view)):
            self.content[start : start + len(view)] = view

    def zero(self, start: int, length: int) -> None:
        if not self.faults.lost("zero", start, length):
            self.content[start : start + length] = bytes(length)

    def sync(self) -> None:
        self.faults.lost("sync")

    def reread(self, start: int, view: memoryview) -> None:
        self.faults.lost("reread", start, len(view))
        view[:] = self.content[start : start + len(view)]

    def require_space(self, data: int) -> None:
        """There is always enough."""

    def abandon(self) -> None:
        """Nothing was made that could be left behind."""

    def reads_zero(self, start: int, length: int) -> bool:  # noqa: ARG002 (the protocol's)
        return False
