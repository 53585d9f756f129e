"""What a copy measures about itself: bytes, requests, latencies; cheap enough to be always on.

Counters are added to from many threads, a block or a request at a time. Latencies go into a histogram with
four buckets per doubling, so a percentile is within 19 % of the truth at any scale from 1 us to hours. A
`Sample` is the state at one moment: progress, metrics and the report are made of samples alone.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

FINENESS = 4  # buckets per doubling
SMALLEST = 1e-6  # s
BUCKETS = 36 * FINENESS  # up to 2**36 us: 19 hours

OPERATIONS = ("read", "write", "sync", "verify")


class Histogram:
    """Durations in seconds. Not locked: the caller is."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        place = int(math.log2(max(seconds, SMALLEST) / SMALLEST) * FINENESS)
        self.counts[min(place, BUCKETS - 1)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, share: float) -> float:
        """The duration that `share` of the operations did not exceed, rounded up to a bucket; 0 if none."""
        left = share * self.count
        for place, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return upper(place)
        return 0.0


def upper(place: int) -> float:
    """The upper end of bucket `place`, in seconds."""
    return SMALLEST * float(2 ** ((place + 1) / FINENESS))


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of a copy `at` seconds after it began. Bytes, but for counts of things."""

    at: float = 0.0
    settled: int = 0  # copied or found zero, of the disk's size
    read: int = 0
    written: int = 0
    zero: int = 0
    skipped: int = 0
    verified: int = 0
    durable: int = 0
    audited: int = 0
    in_flight: int = 0
    depth: int = 0
    sessions: int = 0
    retries: int = 0
    reconnects: int = 0
    overloads: int = 0
    healed: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one operation, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class Stats:
    """Counters and histograms of one disk's copy. Safe to use from any thread."""

    began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: dict[str, int] = field(default_factory=dict)
    _histograms: dict[str, Histogram] = field(
        default_factory=lambda: {operation: Histogram() for operation in OPERATIONS}
    )

    def add(self, **counts: int) -> None:
        """Add to counters by the names of Sample's fields."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] = self._counts.get(name, 0) + count

    def took(self, operation: str, seconds: float) -> None:
        with self._lock:
            self._histograms[operation].add(seconds)

    def sample(self) -> Sample:
        with self._lock:
            return Sample(at=time.monotonic() - self.began, **self._counts)

    def latency(self, operation: str) -> Latency:
        with self._lock:
            found = self._histograms[operation]
            return Latency(found.count, *(found.quantile(share) for share in (0.5, 0.95, 0.99)))

    def histogram(self, operation: str) -> Histogram:
        """A copy that no longer changes."""
        with self._lock:
            kept = self._histograms[operation]
            found = Histogram()
            found.counts, found.count, found.total = [*kept.counts], kept.count, kept.total
        return found
