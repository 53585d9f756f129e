"""Which laps are run, in which order, and how long: three lines through the space of settings.

The time given is shared among the laps that are left, so what one line saves the next one has. A lap is not
run where it could tell nothing: when goodput has stopped growing, deeper reads only queue, and a queue that
takes longer to drain than a lap lasts measures itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from transferd.backends import Source
from transferd.errors import AuthenticationError, Error, RetriesExhausted, Transient
from transferd.throughput.lap import MOST_IN_FLIGHT, Track
from transferd.throughput.points import BASE, Point, Setting, depth_line, knee, succeeded
from transferd.units import KiB, MiB, human
from transferd.window import DEEPEST

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
SIZES = (64 * KiB, 256 * KiB, 1 * MiB, 2 * MiB, 4 * MiB)
SESSIONS = (2, 4)
LAPS = 1 + len(DEPTHS) + len(SIZES) - 1 + len(SESSIONS)

SHORTEST, LONGEST = 0.3, 4.0  # s of a lap
TRIPS = 6  # round trips that a lap should last
SHALLOW = 4  # reads in flight that are always tried, so that as many sessions can be compared
STANDING = 1.2  # goodput of a doubled depth that no longer counts as growing
FAILURES = 3  # laps that may fail


@dataclass(slots=True)
class Timetable:
    """Shares the time until `until` among `laps`."""

    until: float
    laps: int
    trip: float = 0.0

    @property
    def share(self) -> float:
        """Seconds for the next lap."""
        share = (self.until - time.monotonic()) / max(self.laps, 1)
        return min(max(share, SHORTEST, TRIPS * self.trip), LONGEST)

    def next(self) -> float:
        """Seconds for the next lap, which is now begun."""
        share = self.share
        self.laps -= 1
        return share

    def skip(self, laps: int) -> None:
        self.laps -= laps


@dataclass(slots=True)
class Sweep:
    """`run` fills `points`. Errors: what the source cannot do at all, or failed to do FAILURES times."""

    source: Source
    track: Track
    timetable: Timetable
    say: Callable[[str], None]
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self) -> None:
        while (first := self.lap(Setting(1, 1, self._size(SIZES[0])))).failure is not None:
            pass  # FAILURES of them end it
        self.timetable.trip = first.latency
        self._depths()
        self._sessions()
        self._sizes()

    def lap(self, setting: Setting) -> Point:
        point = self.track.lap(setting, self.timetable.next())
        self.points.append(point)
        if point.failure is None:
            self.say(f"{setting}: {human(point.goodput)}/s")
            return point
        self.notes.append(f"{setting}: {point.failure}")
        self.say(self.notes[-1])
        locks_out = isinstance(point.failure, AuthenticationError)
        if locks_out or len(self.points) - len(succeeded(self.points)) >= FAILURES:
            raise _final(point.failure)
        return point

    def _size(self, size: int) -> int:
        """`size`, made fit for the source."""
        grain = self.source.grain
        return max(min(size, self.source.largest) // grain * grain, grain)

    def _depths(self) -> None:
        for number, depth in enumerate(DEPTHS):
            setting = Setting(1, depth, self._size(BASE))
            if setting.in_flight > MOST_IN_FLIGHT or not self._tells(setting):
                self.timetable.skip(len(DEPTHS) - number)
                return
            if self.lap(setting).failure is not None:
                self.timetable.skip(len(DEPTHS) - number - 1)
                return

    def _tells(self, setting: Setting) -> bool:
        line = depth_line(self.points)
        if setting.depth <= SHALLOW or line[-1].goodput > line[-2].goodput * STANDING:
            return True
        return setting.in_flight / line[-1].goodput < self.timetable.share / 2

    def _sessions(self) -> None:
        """As many bytes in flight as in the deepest lap, so that only their distribution differs."""
        deepest = depth_line(self.points)[-1].setting
        for number, count in enumerate(SESSIONS):
            depth = max(deepest.depth // count, 1)
            if self.lap(Setting(count, depth, deepest.size)).failure is not None:
                self.timetable.skip(len(SESSIONS) - number - 1)
                return

    def _sizes(self) -> None:
        """As many bytes in flight as at the knee of depth."""
        enough = knee(depth_line(self.points)).setting
        for size in SIZES:
            if size == enough.size:
                continue  # it has its lap
            if size != self._size(size):  # the source does not take it
                self.timetable.skip(1)
                continue
            self.lap(Setting(1, min(max(enough.in_flight // size, 1), DEEPEST), size))


def _final(error: Error) -> Error:
    """What is told of a source that cannot be measured; nobody retries any more."""
    if not isinstance(error, Transient):
        return error
    remedy = "check that the source runs and is reachable, then run the command again"
    return RetriesExhausted(
        error.problem, disk=error.disk, operation=error.operation, offset=error.offset, remedy=remedy
    )
