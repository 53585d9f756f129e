"""Progress for people (rich bars on a terminal, plain lines elsewhere) and for programs (JSON lines).

The copy reports through one small interface: `task(label, total)` gives something with `advance(bytes)`,
safe to call from any thread. Plain output is one line per task and per ten seconds: fit for a log.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from transferd.errors import printable
from transferd.units import human

INTERVAL = 10.0  # s between plain lines of one task
JSON_INTERVAL = 1.0  # s between JSON lines of one task


class Mode(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Task(Protocol):
    def advance(self, count: int) -> None: ...


class Progress(Protocol):
    def task(self, label: str, total: int) -> Task:
        """Start showing `label`, which moves `total` bytes."""

    def say(self, text: str) -> None:
        """One line about a stage."""


class _Meter:
    """Counts one task and tells `show` at most once per interval, and at the end."""

    def __init__(self, label: str, total: int, interval: float) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.began = time.monotonic()
        self._interval = interval
        self._shown = self.began
        self._lock = threading.Lock()

    def due(self, count: int) -> bool:
        with self._lock:
            self.done += count
            now = time.monotonic()
            if self.done < self.total and now - self._shown < self._interval:
                return False
            self._shown = now
            return True

    @property
    def rate(self) -> float:
        return self.done / max(time.monotonic() - self.began, 1e-6)


class _PlainTask(_Meter):
    def __init__(self, label: str, total: int, out: TextIO) -> None:
        super().__init__(label, total, INTERVAL)
        self._out = out

    def advance(self, count: int) -> None:
        if self.due(count):
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

    def advance(self, count: int) -> None:
        if self.due(count):
            event = {"task": self.label, "done": self.done, "total": self.total, "rate": round(self.rate)}
            print(json.dumps(event), file=self._out, flush=True)


class Json:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def task(self, label: str, total: int) -> Task:
        return _JsonTask(label, total, self._out)

    def say(self, text: str) -> None:
        print(json.dumps({"say": text}), file=self._out, flush=True)


class _Silent:
    def advance(self, count: int) -> None:
        pass


class Silent:
    def task(self, label: str, total: int) -> Task:  # noqa: ARG002 (the interface's)
        return _Silent()

    def say(self, text: str) -> None:
        pass


class _RichTask:
    def __init__(self, bars: Bars, label: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(escape(printable(label)), total=total)

    def advance(self, count: int) -> None:
        self._bars.advance(self._id, count)


class Rich:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def task(self, label: str, total: int) -> Task:
        return _RichTask(self._bars, label, total)

    def say(self, text: str) -> None:
        self._bars.console.print(escape(printable(text)), highlight=False)


@contextmanager
def show(mode: Mode) -> Iterator[Progress]:
    """Progress on stderr, so that stdout stays for results."""
    if mode is Mode.AUTO and sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True)) as bars:
            yield Rich(bars)
        return
    if mode is Mode.JSON:
        yield Json(sys.stderr)
    elif mode is Mode.NONE:
        yield Silent()
    else:
        yield Plain(sys.stderr)
