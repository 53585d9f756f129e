"""The tools that others use, on the same source in the same minutes: nbdcopy and qemu-img.

Neither can read a part of a disk, so an nbdkit with its `offset` filter shows them one: blocks that nobody
has read yet, as many as take about a lap. When we take turns with them we read through such an nbdkit too.
What a tool needs to start and to connect, measured on one block, is not counted: neither is it for us.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from transferd.backends.nbd_source import NbdSource
from transferd.crew import Halted
from transferd.errors import Error, RetriesExhausted
from transferd.extents import Extent, Range
from transferd.plan import BLOCK
from transferd.throughput.lap import Track
from transferd.throughput.places import Places
from transferd.throughput.points import Point, Setting

START_DEADLINE = 10.0  # s until nbdkit listens
STOP_DEADLINE = 2.0  # s for a process to end when asked; then its own connections are closed in order
RUN_DEADLINE = 15.0  # s of a tool's run; the blocks are chosen to take one or two
TICK = 0.1  # s; the longest wait, so that a halt is seen
AMPLE = 1.5  # of what a lap of ours may read: nothing should be read twice
LEAST = 4  # blocks that a run needs to be told apart from starting


@dataclass(frozen=True, slots=True)
class Tool:
    """`argv` reads all of a URI with so many bytes, and writes nothing."""

    name: str
    argv: Callable[[str, int], Sequence[str]]


def _nbdcopy(uri: str, _size: int) -> Sequence[str]:
    return ["nbdcopy", "--", uri, "null:"]


def _qemu_img(uri: str, size: int) -> Sequence[str]:
    """-W: out of order, which is what makes it parallel."""
    nowhere = f"driver=null-co,size={size},read-zeroes=off"
    return ["qemu-img", "convert", "-n", "-W", "-f", "raw", uri, "--target-image-opts", nowhere]


TOOLS = (Tool("nbdcopy", _nbdcopy), Tool("qemu-img", _qemu_img))


def installed() -> tuple[list[Tool], list[str]]:
    """The tools to run, and why others are not."""
    if shutil.which("nbdkit") is None:
        return [], ["no peers: nbdkit, which shows them a part of the disk, is not installed"]
    found = [tool for tool in TOOLS if shutil.which(tool.name) is not None]
    missing = [f"no {tool.name}: it is not installed" for tool in TOOLS if tool not in found]
    return found, missing


@dataclass(slots=True)
class Peer:
    """A tool that runs laps on a source. `goodputs`: bytes/s of its laps."""

    tool: Tool
    uri: str
    places: Places
    halt: threading.Event
    goodputs: list[float] = field(default_factory=list)
    failure: Error | None = None
    _start: float | None = None  # s of a run over one block

    def lap(self, seconds: float, guess: float) -> None:
        """Read for about `seconds`, at `guess` bytes/s. A failure is kept, and ends its laps."""
        if self.failure is not None:
            return
        try:
            if self._start is None:
                self._start = self._run(self.places.stretch(BLOCK))
            stretch = self.places.stretch(int((self.goodputs or [guess])[-1] * seconds))
            if stretch.length < LEAST * BLOCK:
                return
            elapsed = self._run(stretch) - self._start
        except Error as error:
            self.failure = error
        else:
            if elapsed > 0:
                self.goodputs.append((stretch.length - BLOCK) / elapsed)

    def _run(self, stretch: Range) -> float:
        """Seconds that the tool takes for it."""
        with tempfile.TemporaryDirectory(prefix="transferd-") as folder:
            with _shown(self.uri, stretch, Path(folder), self.halt) as uri:
                began = time.monotonic()
                with _running(self.tool.argv(uri, stretch.length), Path(folder, "said")) as process:
                    _ended(process, time.monotonic() + RUN_DEADLINE, self.tool.name, self.halt)
                elapsed = time.monotonic() - began
            if process.returncode:
                said = Path(folder, "said").read_text(errors="replace").strip().splitlines()
                raise Error(f"{self.tool.name}: {said[-1] if said else f'exit code {process.returncode}'}")
        return elapsed


def own_lap(
    uri: str, places: Places, setting: Setting, seconds: float, guess: float, halt: threading.Event
) -> Point:
    """A lap of ours on what a peer would be shown; what fails is in the point."""
    stretch = places.stretch(int(guess * seconds * AMPLE))
    data = [Extent(0, stretch.length, zero=False)]
    try:
        with (
            tempfile.TemporaryDirectory(prefix="transferd-") as folder,
            _shown(uri, stretch, Path(folder), halt) as shown,
            NbdSource(shown, shown, source_id=None, patience=START_DEADLINE) as source,
            Track(source, Places(data, stretch.length), halt) as track,
        ):
            return track.lap(setting, seconds)
    except Error as error:
        return Point(setting, failure=error)


@contextmanager
def _running(argv: Sequence[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process; asked to end at the end, and killed if it does not."""
    with said.open("wb") as errors:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(process: subprocess.Popen[bytes], deadline: float, name: str, halt: threading.Event) -> None:
    """Wait for its end, exactly. RetriesExhausted after the deadline, Halted if a signal came."""
    fd = os.pidfd_open(process.pid)
    try:
        while not select.select([fd], [], [], TICK)[0]:
            if halt.is_set():
                raise Halted
            if time.monotonic() > deadline:
                raise RetriesExhausted(f"{name} did not end within {RUN_DEADLINE:.0f} s")
    finally:
        os.close(fd)


@contextmanager
def _shown(uri: str, stretch: Range, folder: Path, halt: threading.Event) -> Iterator[str]:
    """The URI of an export that is this part of the disk behind `uri`."""
    socket, pidfile = folder / "nbd.sock", folder / "pid"
    argv = [
        "nbdkit", "--foreground", "--exit-with-parent", "--readonly", "--unix", str(socket), "--pidfile",
        str(pidfile), "--threads", "64", "--filter=offset", "nbd", f"uri={uri}", f"offset={stretch.start}",
        f"range={stretch.length}",
    ]  # fmt: skip
    with _running(argv, folder / "nbdkit") as process:
        deadline = time.monotonic() + START_DEADLINE
        while not pidfile.exists():  # which nbdkit writes when it listens
            if process.poll() is not None or time.monotonic() > deadline:
                raise Error(
                    f"nbdkit does not show a part of the disk: {(folder / 'nbdkit').read_text().strip()}"
                )
            if halt.wait(0.01):
                raise Halted
        yield f"nbd+unix:///?socket={socket}"
