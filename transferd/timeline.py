"""Samples of one copy over time, few enough to keep and to draw whatever the copy's length."""

from __future__ import annotations

from dataclasses import dataclass, field

from transferd.stats import Sample

MOST = 2000  # samples; when there are more, every second one is dropped and the interval doubled
INTERVAL = 0.25  # s at first


@dataclass(slots=True)
class Timeline:
    """Used from one thread."""

    samples: list[Sample] = field(default_factory=list)
    _interval: float = INTERVAL

    def add(self, sample: Sample) -> None:
        if self.samples and sample.at - self.samples[-1].at < self._interval:
            return
        self.samples.append(sample)
        if len(self.samples) > MOST:
            self.samples = self.samples[::2]
            self._interval *= 2
