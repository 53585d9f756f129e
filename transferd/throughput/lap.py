"""One lap: so many reads in flight on so many sessions, for so long. An error ends it: nothing is recovered.

A lap's goodput is taken after its ramp (as many answers as were asked at once): from then on each answer
makes room for the next read, and the bytes per second are the source's, not those of the beginning. Each
session has a thread of its own, as in a copy, and all of them take their places from one hand.
"""

from __future__ import annotations

import mmap
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from transferd.backends import Answer, Session, Source
from transferd.crew import Halted
from transferd.errors import Error, Overload, SourceError
from transferd.throughput.load import Meter
from transferd.throughput.places import Places
from transferd.throughput.points import Point, Setting
from transferd.units import MiB

MOST_IN_FLIGHT = 64 * MiB  # the memory of a sweep: the deepest line of 1 MiB reads
SILENCE = 30.0  # s without any answer that end a lap: far more than a slow source takes for 64 MiB in all
TICK = 0.1  # s; the longest wait, so that a halt is seen
GRACE = 1.0  # s for what is in flight when a signal comes: nbdkit 1.32 can die of a client that leaves it
# unread (connections.c: raw_send_socket: Assertion `sock >= 0' failed), and the server may not be ours


@dataclass(slots=True)
class _Asked:
    view: memoryview
    length: int
    at: float


@dataclass(slots=True)
class _Puller:
    """One session's thread. After a failure, or with reads `left` unanswered, the session must be closed."""

    session: Session
    places: Places
    views: list[memoryview]
    until: float
    halt: threading.Event
    failure: Error | None = None
    silent: bool = False
    cpu: float = 0.0  # s
    latencies: list[float] = field(default_factory=list)
    _asked: int = 0
    _bytes: int = 0
    _began: float = 0.0
    _heard: float = 0.0
    _halted: float = 0.0
    _ramp: tuple[float, int] | None = None  # when it was over, and the bytes until then

    def run(self) -> None:
        depth, spent = len(self.views), time.thread_time()
        self._began = self._heard = time.monotonic()
        try:
            while self._ask() and not self._out_of_grace():
                self._listen(depth)
        except Error as error:
            self.failure = self.failure or error
        self.cpu = time.thread_time() - spent

    @property
    def left(self) -> int:
        return self._asked

    @property
    def goodput(self) -> float:
        since, before = self._ramp or (self._began, 0)
        if self._heard <= since:  # the lap was over before the ramp was
            since, before = self._began, 0
        return (self._bytes - before) / max(self._heard - since, 1e-6)

    def _ask(self) -> bool:
        """Whether there are answers to wait for."""
        going_on = self.failure is None and not self.halt.is_set()
        while self.views and going_on and time.monotonic() < self.until:
            view = self.views.pop()
            place = self.places.take(len(view))
            self.session.read(place.start, view[: place.length], _Asked(view, place.length, time.monotonic()))
            self._asked += 1
        return self._asked > 0

    def _out_of_grace(self) -> bool:
        if not self.halt.is_set():
            return False
        self._halted = self._halted or time.monotonic()
        return time.monotonic() - self._halted > GRACE

    def _listen(self, depth: int) -> None:
        answers = self.session.wait(TICK)
        now = time.monotonic()
        for answer in answers:
            self._answered(answer, now)
        if answers:
            self._heard = now
            if self._ramp is None and len(self.latencies) >= depth:
                self._ramp = now, self._bytes
        elif now - self._heard > SILENCE:
            self.silent = True
            raise SourceError(f"no answer within {SILENCE:.0f} s", operation="read")

    def _answered(self, answer: Answer, now: float) -> None:
        asked: _Asked = answer.token
        self._asked -= 1
        self.views.append(asked.view)
        if answer.error is not None:
            self.failure = answer.error
            return
        self._bytes += asked.length
        self.latencies.append(now - asked.at)


class Track:
    """Keeps sessions open from lap to lap: opening one through vCenter takes seconds. Use as `with`."""

    def __init__(self, source: Source, places: Places, halt: threading.Event) -> None:
        self._source = source
        self._places = places
        self._halt = halt
        self._sessions: list[Session] = []
        self._left = False  # reads that were not answered in time when a signal came
        self._memory = memoryview(mmap.mmap(-1, MOST_IN_FLIGHT))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close(hung=self._left)

    def lap(self, setting: Setting, seconds: float) -> Point:
        """Halted if a signal came meanwhile; every other failure is in the point."""
        try:
            sessions = self._opened(setting.sessions)
        except Error as error:
            return Point(setting, failure=error, refused=bool(self._sessions))
        self._places.begin()
        meter, until = Meter(), time.monotonic() + seconds
        pullers = [
            _Puller(session, self._places, self._views(number, setting), until, self._halt)
            for number, session in enumerate(sessions)
        ]
        with ThreadPoolExecutor(len(pullers)) as pool:
            for running in [pool.submit(puller.run) for puller in pullers]:
                running.result()
        if self._halt.is_set():
            self._left = any(puller.left for puller in pullers)
            raise Halted
        return self._point(setting, pullers, meter)

    def _opened(self, count: int) -> list[Session]:
        while len(self._sessions) < count:
            self._sessions.append(self._source.session())
        return self._sessions[:count]

    def _views(self, number: int, setting: Setting) -> list[memoryview]:
        first = number * setting.depth
        size = setting.size
        return [self._memory[each * size : (each + 1) * size] for each in range(first, first + setting.depth)]

    def _point(self, setting: Setting, pullers: list[_Puller], meter: Meter) -> Point:
        load = meter.load(max(puller.cpu for puller in pullers))
        failure = next((puller.failure for puller in pullers if puller.failure is not None), None)
        point = Point(setting, load=load, failure=failure, refused=isinstance(failure, Overload))
        if failure is not None:
            self._close(hung=any(puller.silent for puller in pullers))
            return point
        latencies = [latency for puller in pullers for latency in puller.latencies]
        goodput = sum(puller.goodput for puller in pullers)
        return replace(point, goodput=goodput, latency=statistics.median(latencies))

    def _close(self, *, hung: bool) -> None:
        sessions, self._sessions = self._sessions, []
        for session in sessions:
            with suppress(Error):  # a local disk that hangs says so; the lap's failure tells more
                session.close(hung=hung)
