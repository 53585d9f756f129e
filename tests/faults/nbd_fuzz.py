"""Copies from a hostile NBD server, judged: never a wrong success, never a hang, never a traceback.

`copy_from_liar` runs the command line for one seed. For thousands of seeds that is slow, so `sweep` runs a
given reader against one liar after the other in a child process: libnbd 1.14 has assertions that a server
can reach, and its abort must cost a seed and not the test run. A reader takes a URI and gives the whole disk,
or raises; the child is this module run as a program, and the reader's name goes with it as `module:function`.

    python -m tests.faults.nbd_fuzz tests.faults.nbd_fuzz:by_libnbd 0 100
"""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import nbd

from tests.cli import argv
from tests.faults.liar import Liar
from transferd.backends.nbd import NbdSession
from transferd.errors import Error

DEADLINE = 120.0  # s for one copy: five reconnections take 7.5 s, and there may be many lies
SEED_DEADLINE = 60  # s for one reader in the child, which is killed by its alarm
READ_DEADLINE = 5.0  # s; a liar may hang up, but it is never silent
STEP = 1 << 16  # bytes of one read
HONEST_ENDINGS = {2, 4, 5, 6, 8, 10}

Reader = Callable[[str], bytes]


@dataclass(frozen=True)
class Verdict:
    """How one seed ended. `complaint` is None where that is acceptable."""

    seed: int
    ending: str
    complaint: str | None
    told: Sequence[str]
    elapsed: float


def disk(seed: int) -> bytes:
    """Random data with holes of many sizes, its length no multiple of anything: about 1 MiB."""
    chance = Random(seed)
    parts = [
        chance.randbytes(512 * chance.randrange(1, 300))
        if chance.random() < 0.6
        else bytes(512 * chance.randrange(1, 300))
        for _ in range(14)
    ]
    return b"".join(parts) + chance.randbytes(chance.randrange(1, 512))


def copy_from_liar(seed: int, folder: Path, *options: object) -> Verdict:
    """Run `transferd copy`, with `options`, from the liar of this seed into `folder`."""
    target = folder / f"target{seed}"
    with Liar(folder, seed, disk(seed)) as liar:
        command = argv("copy", liar.uri, target, "--request-size", "64KiB", "--progress", "none", *options)
        began = time.monotonic()
        try:
            run = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)
        except subprocess.TimeoutExpired:
            return Verdict(seed, "hung", f"no end within {DEADLINE:.0f} s", liar.told, DEADLINE)
        complaint = _complaint(run, target, liar.content)
        return Verdict(seed, f"exit {run.returncode}", complaint, liar.told, time.monotonic() - began)


def _complaint(run: subprocess.CompletedProcess[bytes], target: Path, content: bytes | None) -> str | None:
    if b"Traceback" in run.stderr:
        return run.stderr.decode(errors="replace")
    if b"\x1b" in run.stderr or b"\xe2\x80\xae" in run.stderr:
        return f"the server's escape sequences reach the terminal: {run.stderr!r}"
    if run.returncode == 0:
        return None if content is not None and target.read_bytes() == content else "wrong success"
    if run.returncode == -signal.SIGABRT:
        return None if b"ssertion" in run.stderr else "aborted, and not by libnbd's assertion"
    if run.returncode not in HONEST_ENDINGS:
        return run.stderr.decode(errors="replace")
    return None


def sweep(reader: str, seeds: range) -> Iterator[Verdict]:
    """Each seed's verdict on `reader` (`module:function`). A seed that kills the child is named, too."""
    first = seeds.start
    while first < seeds.stop:
        command = [sys.executable, "-m", "tests.faults.nbd_fuzz", reader, str(first), str(seeds.stop)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
        ) as child:
            said, complained = child.communicate(timeout=SEED_DEADLINE * (seeds.stop - first))
        for line in said.splitlines():
            number, ending, complaint = line.split("\t")
            yield Verdict(int(number), ending, complaint or None, (), 0)
            first = int(number) + 1
        if first < seeds.stop:
            expected = child.returncode == -signal.SIGABRT and "ssertion" in complained
            trouble = None if expected else complained or "no word"
            yield Verdict(first, f"child ended with {child.returncode}", trouble, (), 0)
            first += 1


def judge(reader: Reader, seed: int, folder: Path) -> Verdict:
    """In this process. An `Error` of ours or libnbd's own is an honest ending."""
    with Liar(folder, seed, disk(seed)) as liar:
        began = time.monotonic()
        complaint: str | None = None
        try:
            right = reader(liar.uri) == liar.content
        except (Error, nbd.Error) as error:
            ending = " ".join(str(error).split())
        except TimeoutError as hang:
            ending = complaint = str(hang)
        else:
            ending = "read"
            complaint = None if right else "wrong success"
        return Verdict(seed, ending, complaint, liar.told, time.monotonic() - began)


def by_libnbd(uri: str) -> bytes:
    """The plainest reader there is: what libnbd alone makes of a liar."""
    handle = nbd.NBD()
    handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    size = _plausible(handle.get_size())
    if handle.can_meta_context("base:allocation"):
        handle.block_status(size, 0, lambda *_: 0)
    return b"".join(bytes(handle.pread(min(STEP, size - at), at)) for at in range(0, size, STEP))


def by_session(uri: str) -> bytes:
    """transferd's session without an engine: extents where the server tells them, one read at a time."""
    session = NbdSession(uri, READ_DEADLINE)
    found = bytearray(b"?" * _plausible(session.size))
    start = 0
    while start < len(found):
        length = min(STEP, len(found) - start)
        zero = False
        if session.tells_extents:
            extent = session.block_status(start, length, READ_DEADLINE)[0]
            length, zero = min(extent.length, length), extent.zero
        found[start : start + length] = bytes(length) if zero else _answered(session, start, length)
        start += length
    session.close()
    return bytes(found)


def _plausible(size: int) -> int:
    """A reader refuses what no liar's disk has: nothing, or more than fits into memory."""
    if not 0 < size < 1 << 30:
        raise Error(f"a disk of {size} bytes")
    return size


def _answered(session: NbdSession, start: int, length: int) -> bytes:
    view = memoryview(bytearray(b"?" * length))
    session.read(start, view, start)
    until = time.monotonic() + READ_DEADLINE
    while time.monotonic() < until:
        for answer in session.wait(1.0):
            if answer.error is not None:
                raise answer.error
            return bytes(view)
    raise TimeoutError(f"no answer for offset {start}")


def main(reader: str, first: int, stop: int) -> None:
    """One line a seed: seed, ending, complaint, with tabs between. SIGALRM ends this program if one hangs."""
    module, _, name = reader.partition(":")
    read: Reader = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, stop):
            signal.alarm(SEED_DEADLINE)
            verdict = judge(read, seed, Path(folder))
            print(verdict.seed, verdict.ending, verdict.complaint or "", sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
