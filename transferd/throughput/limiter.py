"""What limits the source, told from the shape of the measured lines. Pure; the theory is in __init__."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from transferd.throughput.points import Point, best, depth_line, round_trip, session_line
from transferd.units import human

HALF = 0.5  # of what a line would gain if it were straight: above it goodput follows, below it stands
FULL = 0.9  # share of CPU at which nothing is left for more
PART = 0.25  # share of this machine that must be ours for its being full to be our limit


class Limiter(StrEnum):
    LATENCY = "source-latency"
    WINDOW = "window"
    BANDWIDTH = "bandwidth"
    HOST = "host"
    CPU = "cpu"
    TARGET = "target"


def limiter(points: Sequence[Point], target: float | None = None) -> Limiter:
    """`target`: bytes/s that it takes. ValueError if no lap succeeded."""
    top = best(points)
    if target is not None and target < top.goodput:
        return Limiter.TARGET
    if _busy(top):
        return Limiter.CPU
    depths = depth_line(points)
    if _follows([(point.setting.depth, point.goodput) for point in depths]):
        deepest = depths[-1].setting.depth
        refused = any(p.refused and p.setting.sessions == 1 and p.setting.depth > deepest for p in points)
        return Limiter.HOST if refused else Limiter.LATENCY
    if any(point.refused for point in points):
        return Limiter.HOST
    sessions = [(point.setting.sessions, point.goodput) for point in session_line(points)]
    return Limiter.WINDOW if _follows(sessions) else Limiter.BANDWIDTH


def _busy(point: Point) -> bool:
    load = point.load
    return max(load.ours, load.thread) >= FULL or (load.machine >= FULL and load.ours >= PART)


def _follows(line: Sequence[tuple[int, float]]) -> bool:
    """Whether goodput still grew with its cause at the end of the line."""
    if len(line) < 2:  # noqa: PLR2004 (two points make a line)
        return False
    (before, less), (after, more) = line[-2:]
    return more / less >= 1 + HALF * (after / before - 1)


def window_bytes(points: Sequence[Point]) -> int:
    """What one session keeps in flight, by Little's law; 0 where the round trip is too short to tell."""
    return int(max(point.goodput for point in depth_line(points)) * round_trip(points))


def reason(found: Limiter, points: Sequence[Point], target: float | None = None) -> str:
    """One sentence for people: the evidence, and what would help."""
    top = best(points)
    rate = f"{human(top.goodput)}/s"
    deepest = depth_line(points)[-1]
    trip = f"a round trip of {round_trip(points) * 1000:.3g} ms"
    match found:
        case Limiter.LATENCY:
            return (
                f"goodput still grows with depth at {deepest.setting.depth} reads in flight, with {trip}: "
                "a machine nearer to the source would read faster"
            )
        case Limiter.WINDOW:
            return (
                f"with {trip} a session keeps about {human(window_bytes(points))} in flight, however much is "
                "asked, and more sessions bring more: enlarge its window or use more sessions"
            )
        case Limiter.BANDWIDTH:
            return f"{rate} whatever the depth and the sessions: a link, the storage or a server is full"
        case Limiter.HOST:
            refusal = next(point for point in points if point.refused)
            return f"the host refuses more ({refusal.setting}): {refusal.failure}"
        case Limiter.CPU:
            share = max(top.load.ours, top.load.thread, top.load.machine)
            return f"CPU is {share:.0%} busy at {rate}: give this machine more or faster cores"
        case Limiter.TARGET:
            return f"the target takes {human(target or 0)}/s, the source gives {rate}"
