"""How many reads to keep in flight: found by probing, given back fast; judged by goodput and latency.

A source answers faster with more in flight until something is full: its window, its link, its memory. From
there on only latency grows. A round is the answers to about two windows of reads:

    probe     deeper for a round. Kept if goodput rose by at least half of what the depth promised, else
              taken back, and not tried again for HOLD rounds. Doubling at first, then a step at a time.
    swell     latency at the kept depth doubled: someone else is queueing there too. Half.
    overload  the source had no memory for a read: half at once, and no deeper than that for CAUTION.

Pure: time comes in as arguments, so a test can play any source.
"""

from __future__ import annotations

from dataclasses import dataclass, field

START = 16  # reads: with 1 MiB each, 3 GiB/s at 5 ms
DEEPEST = 64  # nbdkit is started with as many threads
SHALLOWEST = 2
STEP = 4
PAYS = 0.5  # share of the promised rise in goodput that keeps a probe
HOLD = 16  # rounds
SWELL = 2.0
CAUTION = 30.0  # s


@dataclass(slots=True)
class Window:
    """The depth of one session. `fixed`: an operator's choice, which only memory errors lower."""

    depth: int = START
    deepest: int = DEEPEST
    fixed: bool = False
    latency: float = 0.0  # s, mean of the last round
    goodput: float = 0.0  # bytes/s of the last round
    _kept: int = 0  # the depth before the probe under way; 0: no probe
    _kept_goodput: float = 0.0
    _calm: float = 0.0  # latency when the depth was adopted
    _doubling: bool = True
    _hold: int = 0  # rounds until the next probe
    _settling: int = 0  # answers that still belong to the old depth
    _ceiling: int = DEEPEST
    _ceiling_until: float = float("-inf")
    _latencies: list[float] = field(default_factory=list)
    _bytes: int = 0
    _began: float | None = None

    def answered(self, latency: float, length: int, now: float) -> None:
        """A read of `length` bytes took `latency` seconds."""
        if self._settling > 0:
            self._settling -= 1
            self._began = now
            return
        if self._began is None:
            self._began = now - latency
        self._latencies.append(latency)
        self._bytes += length
        if len(self._latencies) >= 2 * self.depth:
            self._judge(now)

    def _judge(self, now: float) -> None:
        assert self._began is not None  # noqa: S101 (set with the first answer; tells mypy)
        self.latency = sum(self._latencies) / len(self._latencies)
        self.goodput = self._bytes / max(now - self._began, 1e-6)
        self._begin_round(now)
        if self.fixed:
            return
        if self._kept:
            self._judge_probe()
        elif self._calm and self.latency > self._calm * SWELL:
            self._set(max(self.depth // 2, SHALLOWEST))
            self._calm, self._hold, self._doubling = 0.0, HOLD, False
            return
        self._calm = self._calm or self.latency
        self._hold -= 1
        if self._hold <= 0:
            self._probe(now)

    def _judge_probe(self) -> None:
        before, self._kept = self._kept, 0
        promised = self.depth / before - 1
        if self.goodput >= self._kept_goodput * (1 + promised * PAYS):
            self._calm, self._hold = self.latency, 0
        else:
            self._set(before)
            self._hold, self._doubling = HOLD, False

    def _probe(self, now: float) -> None:
        most = min(self._ceiling, self.deepest) if now < self._ceiling_until else self.deepest
        deeper = min(self.depth * 2 if self._doubling else self.depth + STEP, most)
        if deeper > self.depth:
            self._kept, self._kept_goodput = self.depth, self.goodput
            self._set(deeper)

    def _set(self, depth: int) -> None:
        self._settling = self.depth
        self.depth = depth

    def _begin_round(self, now: float) -> None:
        self._latencies.clear()
        self._bytes, self._began = 0, now

    def overloaded(self, now: float) -> None:
        """The source had no memory for a read. Several at once count once: they were asked together."""
        if now < self._ceiling_until - CAUTION + max(self.latency, 0.1):
            return
        self._set(max(self.depth // 2, 1))
        self._ceiling, self._ceiling_until = self.depth, now + CAUTION
        self._kept, self._calm, self._doubling = 0, 0.0, False
        self._begin_round(now)

    def gap(self) -> int:
        """Bytes between two reads that are cheaper to read than to skip.

        A request costs latency / depth of the session's time, a byte 1 / goodput: the gap where both are
        equal. Measured (4096 areas of 64 KiB, 10 ms): 256 KiB pays at depth 16 and costs at depth 64.
        """
        return int(self.goodput * self.latency / self.depth)
