"""How many sessions a disk should have: one more is tried now and then, and kept only if goodput rises.

Sessions with one host compete (virt-v2v measured VDDK calls 2 to 7 times slower with several handles), and
each costs the host memory; but where a session is limited by its own window, two move twice as much. Only
measuring tells. Pure: time and bytes come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

TRIAL = 3.0  # s to measure before and after a change
RISE = 1.15  # goodput that pays for a session more
REST = 60.0  # s before what did not pay is tried again


@dataclass(slots=True)
class Growth:
    """`most`: the operator's limit."""

    most: int
    _since: float = 0.0
    _bytes: int = 0
    _before: float | None = None  # goodput before the trial that is under way
    _not_before: float = 0.0

    def decide(self, sessions: int, read: int, now: float) -> int:
        """-1, 0 or 1 sessions more, after `read` bytes in all."""
        if not self._since:
            self._since, self._bytes = now, read
        if now - self._since < TRIAL:
            return 0
        goodput = (read - self._bytes) / (now - self._since)
        self._since, self._bytes = now, read
        if self._before is not None:
            before, self._before = self._before, None
            if goodput < before * RISE:
                self._not_before = now + REST
                return -1
        if sessions < self.most and now >= self._not_before and goodput > 0:
            self._before = goodput
            return 1
        return 0
