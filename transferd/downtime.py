"""How long the source would be off if it were shut down now: predicted from what the rounds measured. Pure.

    what it will have written since the last snapshot / the rate at which rounds copy
      + taking and removing a snapshot + shutting down + converting, sealing

A copy's rate includes reading back what it wrote, so the proof is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferd.model import RoundState

SHUTDOWN = 30.0  # s that a guest takes, where nothing was measured
CONVERSION = 60.0  # s; with KVM it is a quarter of that
LEAST_ROUND = 1.0  # s to open and close the disks, however little there is to copy


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds, by step."""

    copy: float
    snapshot: float
    shutdown: float
    conversion: float

    @property
    def total(self) -> float:
        return self.copy + self.snapshot + self.shutdown + self.conversion


def predict(rounds: Sequence[RoundState], *, converts: bool) -> Prediction | None:
    """None until a round has copied changes: the first one says nothing about how much changes."""
    finished = [each for each in rounds if each.copied]
    if len(finished) < 2:  # noqa: PLR2004 (the first copy, and one round)
        return None
    before, last = finished[-2:]
    apart = max(last.began - before.began, 1e-3)
    changing = last.read_bytes / apart  # bytes/s that the guest makes dirty
    took = last.snapshot_s + last.copy_s + last.removal_s
    rate = max((each.read_bytes / each.copy_s for each in finished if each.copy_s > 0), default=0.0)
    copying = changing * took / rate if rate else 0.0
    return Prediction(
        copy=max(copying, LEAST_ROUND),
        snapshot=last.snapshot_s + last.removal_s,
        shutdown=SHUTDOWN,
        conversion=CONVERSION if converts else 0.0,
    )
