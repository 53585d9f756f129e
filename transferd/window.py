"""How many reads to keep in flight: additive increase, multiplicative decrease, judged by goodput.

A source answers faster with more in flight until something is full: its window, its link, its memory. From
there on only latency grows. The window is judged once per round (the answers to about two windows of reads):

    goodput rose with the depth            -> deeper: doubled at first, then a step at a time
    goodput stayed, latency doubled        -> half: the queue has moved into the source
    the source had no memory for a read    -> half at once, and no deeper than that for a while

Pure: time comes in as arguments, so a test can play any source.
"""

from __future__ import annotations

from dataclasses import dataclass, field

START = 16  # reads: with 1 MiB each, 3 GiB/s at 5 ms
DEEPEST = 64  # nbdkit is started with as many threads
SHALLOWEST = 2
STEP = 4
RISE = 1.05  # goodput that counts as more; noise between rounds is a few per cent
SWELL = 2.0  # latency, against the best round's, that counts as queueing
CAUTION = 30.0  # s during which depth stays below what ran the source out of memory


@dataclass(slots=True)
class Window:
    """The depth of one session. `fixed`: an operator's choice, which only memory errors lower."""

    depth: int = START
    deepest: int = DEEPEST
    fixed: bool = False
    latency: float = 0.0  # s, median-like: the mean of the last round
    goodput: float = 0.0  # bytes/s of the last round
    _best: float = 0.0  # goodput of the last round that was deeper for a reason
    _calm: float = float("inf")  # s, lowest mean latency of a round
    _doubling: bool = True
    _ceiling_until: float = 0.0
    _ceiling: int = DEEPEST
    _round: list[float] = field(default_factory=list)
    _bytes: int = 0
    _began: float = -1.0

    def answered(self, latency: float, length: int, now: float) -> None:
        """A read of `length` bytes took `latency` seconds."""
        if self._began < 0:
            self._began = now - latency
        self._round.append(latency)
        self._bytes += length
        if len(self._round) >= 2 * self.depth:
            self._judge(now)

    def _judge(self, now: float) -> None:
        self.latency = sum(self._round) / len(self._round)
        self.goodput = self._bytes / max(now - self._began, 1e-6)
        self._calm = min(self._calm, self.latency)
        self._round.clear()
        self._bytes, self._began = 0, now
        if self.fixed:
            return
        if self.goodput > self._best * RISE:
            self._best = self.goodput
            self._deepen(now)
        elif self.latency > self._calm * SWELL:
            self.depth = max(self.depth // 2, SHALLOWEST)
            self._best, self._doubling = 0.0, False
        else:
            self._doubling = False

    def _deepen(self, now: float) -> None:
        ceiling = self._ceiling if now < self._ceiling_until else self.deepest
        self.depth = min(self.depth * 2 if self._doubling else self.depth + STEP, max(ceiling, SHALLOWEST))

    def overloaded(self, now: float) -> None:
        """The source had no memory for a read. Several at once count once: they were asked together."""
        if now < self._ceiling_until - CAUTION + self.latency:
            return
        self.depth = max(self.depth // 2, 1)
        self._ceiling, self._ceiling_until = self.depth, now + CAUTION
        self._best, self._doubling = 0.0, False
        self._round.clear()
        self._bytes, self._began = 0, now

    def gap(self) -> int:
        """Bytes between two reads that are cheaper to read than to skip.

        A request costs latency / depth of the session's time, a byte 1 / goodput: the gap where both are
        equal. Measured (4096 areas of 64 KiB, 10 ms): 256 KiB pays at depth 16 and costs at depth 64.
        """
        return int(self.goodput * self.latency / self.depth)
