"""kill -9 at any moment, the same command again: the copy must end whole and read nothing twice for nothing.

A run is killed at a random time, or by strace as it enters its n-th call that changes the target or the
journal: there a crash leaves the two as far apart as they can ever be. What the journal then holds is what a
run must go on from, no more and no less: it must equal the source, and the next run must resume all of it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.nbd import NbdServer
from transferd import digest
from transferd.plan import BLOCK, extent_of_block
from transferd.replay import Replayed, replay
from transferd.resume import SPOT_CHECKS
from transferd.units import MiB

FULL = 1000  # cases of a whole sweep
SAMPLE = 100  # cases of `make test`
DEADLINE = 60.0  # s; a run takes less than one
KILLED = -9
SECTOR = 512
CALLS = ("pwritev2", "pwritev", "fallocate", "write", "fdatasync", "fsync", "ftruncate", "ioctl")


@dataclass(frozen=True)
class Moment:
    """When a run is killed: some seconds after its target was opened, or entering a thread's n-th `call`."""

    seconds: float = 0.0
    call: str | None = None
    number: int = 0


@dataclass(frozen=True)
class Case:
    """One copy and the moments at which its runs are killed; the run after the last of them is left alone."""

    seed: int
    size: int
    source: str
    target: str
    verify: str
    moments: tuple[Moment, ...]


def case(seed: int) -> Case:
    draw = random.Random(seed)
    return Case(
        seed,
        size=draw.randint(8 * MiB, 24 * MiB) // SECTOR * SECTOR,
        source=draw.choice(("file", "nbd")),
        target=draw.choice(("new file", "reused device")),
        verify=draw.choice(("target", "none", "sample:30", "full")),
        moments=tuple(_moment(draw) for _ in range(draw.choice((1, 1, 1, 2, 3)))),
    )


def _moment(draw: random.Random) -> Moment:
    if draw.random() < 0.5:
        return Moment(seconds=draw.uniform(0.0, 0.25))
    return Moment(call=draw.choice(CALLS), number=draw.randint(1, 6))


class World:
    """The ends of a case, and the runs between them. Use as `with`."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        self._stack = ExitStack()
        self._journal = folder / "journal"
        self._disk = folder / "source"
        self._server: NbdServer | None = None

    def __enter__(self) -> Self:
        _write_disk(self._disk, self._case)
        self._content = self._disk.read_bytes()
        self._target = self._stack.enter_context(_target(self._case, self._folder))
        self._source = str(self._disk)
        if self._case.source == "nbd":
            slow = ("--filter=delay", "file", self._source, "rdelay=20ms")
            self._server = self._stack.enter_context(NbdServer(self._folder, *slow))
            self._source = self._server.uri
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _serve(self) -> None:
        """A server of its own for each run: nbdkit 1.32 aborts when its client dies, or a little later."""
        if self._server is not None:
            self._server.kill()
            self._server.start()

    def _argv(self) -> list[str]:
        what = (self._source, str(self._target), "--source-id", "1")
        how = ("--journal", str(self._journal), "--verify", self._case.verify)
        result = ("--result", str(self._folder / "result.json"))
        return [sys.executable, "-m", "tests.torture.attempt", "copy", *what, *how, *result]

    def killed(self, moment: Moment) -> bool:
        """Whether the run died at this moment; it may have ended well before it."""
        self._serve()
        argv = [*strace(moment), *self._argv()] if moment.call else self._argv()
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            if not moment.call:
                self._wait_for_start(run)
                with suppress(subprocess.TimeoutExpired):
                    run.wait(moment.seconds)
                run.kill()
            _, said = run.communicate(timeout=DEADLINE)
        assert run.returncode in {0, KILLED}, (self._case, moment, said)
        self.require_true_journal()
        return run.returncode == KILLED

    def _wait_for_start(self, run: subprocess.Popen[str]) -> None:
        """Until this run has opened its target: most of a short run is Python's start."""
        until = time.monotonic() + DEADLINE
        while run.poll() is None and not self._opened(run.pid):
            assert time.monotonic() < until, self._case
            time.sleep(0.002)

    def _opened(self, pid: int) -> bool:
        with suppress(OSError):
            return any(fd.readlink() == self._target for fd in Path(f"/proc/{pid}/fd").iterdir())
        return False

    def recorded(self) -> Replayed | None:
        if not self._journal.exists():
            return None
        with self._journal.open("rb") as file:
            return replay(file)

    def require_true_journal(self) -> None:
        """AssertionError unless the target holds every block that the journal speaks of."""
        found = self.recorded()
        for index in found.digests.known() if found else ():
            extent = extent_of_block(index, self._case.size)
            with self._target.open("rb") as file:
                file.seek(extent.start)
                held = file.read(extent.length)
            assert held == self._content[extent.start : extent.end], (self._case, index)
            assert found.digests[index] == digest.of_block(memoryview(held)), (self._case, index)

    def finish(self) -> None:
        """The last run: it goes on from what is recorded, and then target, digest and journal are right."""
        self._serve()
        found = self.recorded()
        known = found.digests.known() if found and not found.sealed else []
        run = subprocess.run(self._argv(), capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert run.returncode == 0, (self._case, run.stderr)
        done: dict[str, Any] = json.loads((self._folder / "result.json").read_text())["disks"][0]
        with self._target.open("rb") as file:
            assert file.read(self._case.size) == self._content, self._case
            assert set(file.read()) <= {0xA5}, self._case
        assert done["digest"] == digest.of_file(self._disk), self._case
        assert done["resumed_blocks"] == len(known), (self._case, done)
        left = self._case.size - sum(extent_of_block(index, self._case.size).length for index in known)
        again = min(SPOT_CHECKS, len(known)) + done["verify"]["source_blocks"]
        assert done["read_bytes"] <= left + again * BLOCK, (self._case, done)
        after = self.recorded()
        assert after is not None, self._case
        assert after.sealed, self._case


def strace(moment: Moment) -> list[str]:
    """Kills with SIGKILL as a thread enters its n-th call; strace counts each thread for itself.

    Not with --seccomp-bpf, which would be faster: strace 6.1 then finds a thread's first call only.
    """
    chosen = f"inject={moment.call}:signal=KILL:when={moment.number}"
    return ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={moment.call}", "-e", chosen]


def _write_disk(path: Path, case: Case) -> None:
    """Data with zeros and holes in it, at odd places."""
    draw = random.Random(case.seed)
    with path.open("wb") as file:
        file.write(draw.randbytes(case.size))
        for _ in range(3):
            file.seek(draw.randrange(case.size))
            file.write(bytes(min(draw.randint(1, 3 * MiB), case.size - file.tell())))
    start = draw.randrange(case.size // BLOCK) * BLOCK
    punch = ["fallocate", "--punch-hole", "--offset", str(start), "--length", str(BLOCK), str(path)]
    subprocess.run(punch, check=True)


@contextmanager
def _target(case: Case, folder: Path) -> Iterator[Path]:
    """Nothing, or a device full of 0xA5 that is longer than the disk."""
    path = folder / "target"
    if case.target == "new file":
        yield path
        return
    path.write_bytes(b"\xa5" * (case.size + MiB))
    made = subprocess.run(
        ["losetup", "--find", "--show", str(path)], check=True, capture_output=True, text=True
    )
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def repeat(seed: int) -> None:
    """Run the case with this seed in a folder of its own."""
    chosen = case(seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, World(chosen, Path(folder)) as world:
        for moment in chosen.moments:
            world.killed(moment)
        world.finish()


def every_call(call: str, source: str, target: str) -> int:
    """A copy killed at its first `call`, another at its second, and so on; how many until one survives."""
    number = 0
    survived = False
    while not survived:
        number += 1
        chosen = Case(
            number, 13 * MiB + SECTOR, source, target, "target", (Moment(call=call, number=number),)
        )
        with tempfile.TemporaryDirectory(prefix="torture-") as folder, World(chosen, Path(folder)) as world:
            survived = not world.killed(chosen.moments[0])
            world.finish()
    return number
