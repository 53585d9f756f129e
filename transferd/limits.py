"""What a copy may take: memory, requests, sessions, bandwidth, patience; and who shares it.

`Limits` belong to one disk. `Pace` and `Budget` may be shared by the disks of a VM, because it is the host
that has so much bandwidth to give and so much memory for NFC buffers, not the disk.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transferd import units
from transferd.errors import UsageError
from transferd.units import MiB
from transferd.window import DEEPEST

SLOWEST = 64 * units.KiB  # bytes/s; below it a single read outlasts every deadline
LOOK = 10.0  # s after which a permit is looked at again
NFC_SESSIONS = 48  # of one host through vCenter, which has 52 (the same guide)
NFC_MEMORY = 38 * MiB  # bytes in flight per host: 0.8 of the 48 MB that ESXi 6 and 7 give NFC (VDDK 8.0
# programming guide, "NFC session limits"); more is answered with "Failed to allocate"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a copy of one disk may hold. Defaults: 16 MiB in flight covers 3 GiB/s at 5 ms."""

    request_size: int = MiB  # bytes per read: large enough for Python, small enough for NFC's 2 MiB
    depth: int | None = None  # reads in flight on a session; None: found by measuring
    connections: int = 4  # sessions at most; more than the source suggests only while they pay
    slots: int = 12  # blocks in memory, 4 MiB each
    writers: int = 3  # threads that hash and write
    verifiers: int = 2  # threads that read back and hash
    patience: float = 60.0  # s that a source may be silent before it is opened anew
    commit_bytes: int = 128 * MiB  # settled between two commits; twice that is what a crash can cost
    commit_seconds: float = 5.0

    @property
    def deepest(self) -> int:
        return self.depth or DEEPEST


class Pace:
    """A bandwidth limit that can change while it is in force: a rate, or `@FILE` that holds one.

    A token bucket of a fifth of a second: short for the host's other work, long enough for whole reads.
    """

    BURST = 0.2  # s
    REREAD = 1.0  # s between looks at the file

    def __init__(self, spec: str | None = None) -> None:
        """UsageError for a rate that makes no sense."""
        self._lock = threading.Lock()
        self._file = Path(spec[1:]) if spec is not None and spec.startswith("@") else None
        self._rate = 0 if spec is None or self._file else rate_of(spec)
        if self._file:
            self._rate = self._from_file()
        self._looked = self._filled = time.monotonic()
        self._tokens = 0.0

    def _from_file(self) -> int:
        assert self._file is not None  # noqa: S101 (tells mypy)
        try:
            text = _first_words(self._file)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--bandwidth @{self._file}: cannot be read") from error
        return rate_of(text) if text else 0

    def refresh(self) -> str | None:
        """Look at the file again; returns what is wrong with it, and then the old rate stays in force."""
        now = time.monotonic()
        if self._file is None or now - self._looked < self.REREAD:
            return None
        self._looked = now
        try:
            self._rate = self._from_file()
        except UsageError as error:
            return str(error)
        return None

    def take(self, count: int) -> float:
        """0 if `count` bytes may be asked for now (they are then taken), else seconds until they may."""
        with self._lock:
            if not self._rate:
                return 0.0
            now = time.monotonic()
            self._tokens = min(self._tokens + (now - self._filled) * self._rate, self._rate * self.BURST)
            self._filled = now
            if self._tokens <= 0:  # a read larger than the bucket is let through and paid for afterwards
                return -self._tokens / self._rate + 0.001
            self._tokens -= count
            return 0.0


def _first_words(path: Path) -> str:
    """The beginning of a regular file: never waits for a FIFO, never reads without end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)


def rate_of(text: str) -> int:
    """Bytes per second of `100MiB` or `100MiB/s`."""
    rate = units.size(text.removesuffix("/s"))
    if rate < SLOWEST:
        raise UsageError(f"bandwidth {text}: less than {units.human(SLOWEST)}/s", remedy="give a higher rate")
    return rate


class Budget:
    """Bytes in flight, and sessions, that the disks of one host share; None is no limit.

    A session with nothing in flight always gets one read, and a disk its first session.
    """

    def __init__(self, total: int | None = None, sessions: int | None = None) -> None:
        self._total = total
        self._used = 0
        self._most_sessions = sessions
        self._sessions = 0
        self._lock = threading.Lock()

    def limit(self, total: int, sessions: int) -> None:
        """From now on; what is in use above it is not taken away."""
        with self._lock:
            self._total, self._most_sessions = total, sessions

    def enter(self, *, first: bool) -> bool:
        """Whether one session more may be opened; it is then counted until `leave`."""
        with self._lock:
            if self._most_sessions is not None and not first and self._sessions >= self._most_sessions:
                return False
            self._sessions += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._sessions -= 1

    def take(self, count: int, *, first: bool) -> bool:
        with self._lock:
            if self._total is not None and not first and self._used + count > self._total:
                return False
            self._used += count
            return True

    def give(self, count: int) -> None:
        with self._lock:
            self._used -= count


class Permit:
    """Asks `check` whether to go on: always when told to, else if it has not been asked for LOOK seconds."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._asked = 0.0

    def require(self, *, now: bool = False) -> None:
        """Fenced: stop. The clock goes on while the machine sleeps."""
        clock = time.clock_gettime(time.CLOCK_BOOTTIME)
        if now or clock - self._asked > LOOK:
            self._check()
            self._asked = clock


@dataclass(frozen=True, slots=True)
class Means:
    """What a copy may use: its own limits, and what it shares with others."""

    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    budget: Budget = field(default_factory=Budget)
    permit: Permit = field(default_factory=Permit)
