"""Progress for people (rich bars on a terminal, plain lines elsewhere) and for programs (JSON lines).

The copy reports through one small interface: `task(label, total)` gives something with `update(done,
sample)`, called a few times a second by one thread. Plain output is one line per task and ten seconds: fit
for a log. Rich is imported where its bars are drawn: a copy that is not watched starts without it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TextIO

from transferd.errors import printable
from transferd.stats import Sample
from transferd.units import human

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

INTERVAL = 10.0  # s between plain lines of one task
JSON_INTERVAL = 1.0  # s between JSON lines of one task


class Mode(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Task(Protocol):
    def update(self, done: int, sample: Sample) -> None:
        """`done` bytes of the total so far."""


class Progress(Protocol):
    def task(self, label: str, total: int) -> Task:
        """Start showing `label`, which moves `total` bytes."""

    def say(self, text: str) -> None:
        """One line about a stage."""


class _Meter:
    """Follows one task and says when to show it: once per interval, and at the end once."""

    def __init__(self, label: str, total: int, interval: float) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._interval = interval
        self._began = self._shown = time.monotonic()

    def due(self, done: int) -> bool:
        done = min(done, self.total)
        now = time.monotonic()
        ended = done == self.total > self.done
        self.done = done
        if not ended and (done == self.total or now - self._shown < self._interval):
            return False
        self._shown = now
        return True

    @property
    def rate(self) -> float:
        return self.done / max(time.monotonic() - self._began, 1e-6)


class _PlainTask(_Meter):
    def __init__(self, label: str, total: int, out: TextIO) -> None:
        super().__init__(label, total, INTERVAL)
        self._out = out

    def update(self, done: int, sample: Sample) -> None:  # noqa: ARG002 (the interface's)
        if self.due(done):
            percent = 100 * self.done / self.total if self.total else 100
            line = f"{self.label}: {human(self.done)} of {human(self.total)}, {percent:.0f} %"
            print(f"{line}, {human(self.rate)}/s", file=self._out, flush=True)


class Plain:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def task(self, label: str, total: int) -> Task:
        return _PlainTask(printable(label), total, self._out)

    def say(self, text: str) -> None:
        print(printable(text), file=self._out, flush=True)


class _JsonTask(_Meter):
    def __init__(self, label: str, total: int, out: TextIO) -> None:
        super().__init__(label, total, JSON_INTERVAL)
        self._out = out

    def update(self, done: int, sample: Sample) -> None:
        if self.due(done):
            event = {"task": self.label, "done": self.done, "total": self.total, "rate": round(self.rate)}
            print(json.dumps(event | asdict(sample)), file=self._out, flush=True)


class Json:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def task(self, label: str, total: int) -> Task:
        return _JsonTask(label, total, self._out)

    def say(self, text: str) -> None:
        print(json.dumps({"say": text}), file=self._out, flush=True)


class _Silent:
    def update(self, done: int, sample: Sample) -> None:
        pass


class Silent:
    def task(self, label: str, total: int) -> Task:  # noqa: ARG002 (the interface's)
        return _Silent()

    def say(self, text: str) -> None:
        pass


class _RichTask:
    def __init__(self, bars: Bars, label: str, total: int) -> None:
        from rich.markup import escape  # noqa: PLC0415 (only where bars are drawn)

        self._bars = bars
        self._id = bars.add_task(escape(printable(label)), total=total)

    def update(self, done: int, sample: Sample) -> None:  # noqa: ARG002 (the interface's)
        self._bars.update(self._id, completed=done)


class Rich:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def task(self, label: str, total: int) -> Task:
        return _RichTask(self._bars, label, total)

    def say(self, text: str) -> None:
        self._bars.console.print(printable(text), highlight=False, markup=False)


@contextmanager
def show(mode: Mode) -> Iterator[Progress]:
    """Progress on stderr, so that stdout stays for results."""
    if mode is Mode.AUTO and sys.stderr.isatty():
        with _bars() as bars:
            yield Rich(bars)
        return
    if mode is Mode.JSON:
        yield Json(sys.stderr)
    elif mode is Mode.NONE:
        yield Silent()
    else:
        yield Plain(sys.stderr)


def _bars() -> Bars:
    from rich.console import Console  # noqa: PLC0415 (only where bars are drawn)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
