"""When a warm migration stops copying beside the running VM and shuts it down.

cutover: now      as soon as the rounds are as many, and the predicted downtime as short, as was asked for
cutover: TIME     not before that moment; rounds go on until then
cutover: signal   when the operator sends SIGUSR1, which cuts over in the other two cases, too

A wait that ends early is followed by one more round: what the guest wrote meanwhile is then not copied while
it is off.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from transferd import units
from transferd.downtime import Prediction
from transferd.errors import UsageError
from transferd.model import MigrationSpec, RoundState

INTERVAL = "1h"
LEAST_INTERVAL = 1.0  # s
SIGNAL = signal.SIGUSR1


@dataclass(slots=True)
class Schedule:
    """`at`: seconds since 1970, or None for the operator's signal; `target`: seconds of downtime."""

    rounds: int
    interval: float | None
    target: float | None
    at: float | None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, spec: MigrationSpec) -> Self:
        """UsageError for what cannot be meant. Begins to listen for the signal."""
        precopy = spec.precopy
        interval = units.duration(precopy.interval) if precopy.interval else None
        if interval is not None and interval < LEAST_INTERVAL:
            raise UsageError(f"precopy.interval {precopy.interval}: less than {LEAST_INTERVAL:.0f}s")
        target = units.duration(precopy.downtime_target) if precopy.downtime_target else None
        found = cls(precopy.rounds, interval, target, _moment(spec.cutover))
        if found.interval is None and spec.cutover != "now":
            found.interval = units.duration(INTERVAL)
        asyncio.get_running_loop().add_signal_handler(SIGNAL, found._asked.set)
        return found

    def due(self, rounds: Sequence[RoundState], predicted: Prediction | None) -> bool:
        """Whether to cut over now, after these rounds."""
        if self._asked.is_set():
            return True
        if self.at is None or time.time() < self.at or len(rounds) < self.rounds:
            return False
        return self.target is None or (predicted is not None and predicted.total <= self.target)

    async def wait(self, began: float) -> None:
        """Until the next round is due, which is an interval after `began`, or the cutover is."""
        until = began + (self.interval or 0.0)
        if self.at is not None and self.at > time.time():
            until = min(until, self.at)
        left = until - time.time()
        if left > 0:
            try:
                await asyncio.wait_for(self._asked.wait(), left)
            except TimeoutError:
                return


def _moment(text: str) -> float | None:
    if text == "signal":
        return None
    if text == "now":
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            f"cutover {text}: not now, signal or a time with its zone",
            remedy="for example 2026-12-01T02:00:00+01:00",
        )
    return moment.timestamp()
