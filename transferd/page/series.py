"""Samples as what can be drawn: rates between them, and the times when something went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from transferd.page.chart import Lane
from transferd.stats import Sample
from transferd.units import MiB

POINTS = 200  # of a line at most: more than its drawing has room for
SHORTEST = 0.05  # s over which a rate is worth drawing
STALL = 2.0  # s without a byte read, written or proven that are worth a mark

MOVING = ("settled", "read", "written", "verified", "durable")
INCIDENTS = ("retries", "reconnects", "overloads", "healed")


def thinned(samples: Sequence[Sample], end: Sample) -> list[Sample]:
    """From the beginning to `end`, far enough apart for a rate between two to mean something."""
    step = max(end.at / POINTS, SHORTEST)
    kept = [Sample()]
    for sample in samples:
        if sample.at - kept[-1].at >= step:
            kept.append(sample)
    if len(kept) > 1 and end.at - kept[-1].at < step:
        kept.pop()
    return [*kept, end]


def rates(samples: Sequence[Sample], counter: str) -> list[tuple[float, float]]:
    """(seconds, MiB/s) of `counter`: each rate stands where the time ends that it is the mean of."""
    return [
        (
            after.at,
            (getattr(after, counter) - getattr(before, counter)) / MiB / max(after.at - before.at, 1e-3),
        )
        for before, after in pairwise(samples)
    ]


def levels(samples: Sequence[Sample], name: str, unit: int = 1) -> list[tuple[float, float]]:
    """(seconds, value) of what rises and falls. Before the first sample and in the last all is at rest."""
    return [(sample.at, getattr(sample, name) / unit) for sample in samples[1:-1]]


def troubles(samples: Sequence[Sample]) -> Iterator[Lane]:
    """What went wrong when; nothing for a copy in which nothing did."""

    def still(before: Sample, after: Sample) -> bool:
        return all(getattr(before, name) == getattr(after, name) for name in MOVING)

    stalls = [(first, last) for first, last in _times(samples, still) if last - first >= STALL]
    if stalls:
        yield Lane("stalled", stalls)
    for name in INCIDENTS:
        spans = _times(samples, lambda before, after: getattr(before, name) < getattr(after, name))  # noqa: B023
        if spans:
            yield Lane(name, spans)


def _times(samples: Sequence[Sample], true: Callable[[Sample, Sample], bool]) -> list[tuple[float, float]]:
    """When `true` of two samples in a row; neighbours are joined."""
    spans: list[tuple[float, float]] = []
    for before, after in pairwise(samples):
        if not true(before, after):
            continue
        if spans and spans[-1][1] == before.at:
            spans[-1] = (spans[-1][0], after.at)
        else:
            spans.append((before.at, after.at))
    return spans
