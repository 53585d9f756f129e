"""What was measured, with which settings, and the settings to choose from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from transferd.errors import Error
from transferd.sessions import RISE
from transferd.units import MiB, human

BASE = MiB  # bytes of a read on the lines of depth and sessions: what a copy asks by default
NEAR = 0.95  # of the best goodput is as good: laps repeat within a few per cent


@dataclass(frozen=True, slots=True)
class Setting:
    """`depth` reads of `size` bytes in flight on each of `sessions` sessions."""

    sessions: int
    depth: int
    size: int

    @property
    def in_flight(self) -> int:
        """Bytes."""
        return self.sessions * self.depth * self.size

    def __str__(self) -> str:
        return f"sessions {self.sessions}, depth {self.depth}, request {human(self.size)}"


@dataclass(frozen=True, slots=True)
class Load:
    """Shares of CPU during a lap, 0 to 1.

    `ours`: of the cores that we may use, by this process and its children; `machine`: of the same, by
    everybody. `thread`: of one core, by the busiest thread of a session.
    """

    ours: float = 0.0
    thread: float = 0.0
    machine: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """One lap. With a `failure` the figures are what was measured before it, or 0."""

    setting: Setting
    goodput: float = 0.0  # bytes/s
    latency: float = 0.0  # s, median
    load: Load = field(default_factory=Load)
    failure: Error | None = None
    refused: bool = False  # the host would not give as much: more sessions, or memory for reads


def succeeded(points: Iterable[Point]) -> list[Point]:
    return [point for point in points if point.failure is None and point.goodput]


def best(points: Iterable[Point]) -> Point:
    """ValueError if no lap succeeded."""
    return max(succeeded(points), key=lambda point: point.goodput)


def depth_line(points: Iterable[Point]) -> list[Point]:
    """One session, the size of which most depths were tried, shallow to deep."""
    alone = [point for point in succeeded(points) if point.setting.sessions == 1]
    sizes = [point.setting.size for point in alone]
    size = max(sizes, key=lambda each: (sizes.count(each), each), default=BASE)
    return sorted((point for point in alone if point.setting.size == size), key=_depth)


def session_line(points: Sequence[Point]) -> list[Point]:
    """The deepest lap of one session, then those of more sessions with as much in flight."""
    more = [point for point in succeeded(points) if point.setting.sessions > 1]
    return [*depth_line(points)[-1:], *sorted(more, key=lambda point: point.setting.sessions)]


def round_trip(points: Iterable[Point]) -> float:
    """Seconds for the smallest read with nothing else in flight; 0 if that was not measured."""
    alone = [point for point in succeeded(points) if point.setting.sessions == point.setting.depth == 1]
    return min(alone, key=lambda point: point.setting.size).latency if alone else 0.0


def knee(points: Sequence[Point]) -> Point:
    """The least that is as good as the best: sessions first, then bytes in flight, then requests
    of the size that a copy asks anyway."""
    top = best(points).goodput
    paying = [point for point in succeeded(points) if point.goodput * RISE >= top]
    fewest = min(point.setting.sessions for point in paying)
    alike = [point for point in paying if point.setting.sessions == fewest]
    near = best(alike).goodput * NEAR
    return min(
        (point for point in alike if point.goodput >= near),
        key=lambda point: (point.setting.in_flight, point.setting.size != BASE, point.setting.depth),
    )


def _depth(point: Point) -> int:
    return point.setting.depth
