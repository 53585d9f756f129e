"""The machine's script: the copy on storage that fails as only a kernel can make it fail.

Prints one JSON object: what was seen in each case, which tests/faults/test_machine.py judges. Disks: /dev/vda
holds the target, /dev/vdb a log, /dev/vdc what a log is replayed to. Each target is full of 0xA5 before its
case. The source is an nbdkit in the same machine.

Under emulation most of a copy is Python's start. So `transferd` is imported once, with commits of 4 MiB
(tests/torture/attempt.py) and with what it imports late, and each run is a fork of this process, with its own
deadline.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import tests.torture.attempt  # noqa: F401 (commits of 4 MiB, from its import on)
from tests import journals
from tests.faults.mapper import Mapped, Segment, delayed, dropping, error, linear
from tests.nbd import NbdServer
from transferd.__main__ import main as transferd_main
from transferd.plan import BLOCK
from transferd.units import MiB
from transferd.verify import Verifier

SIZE = 12 * MiB + 512  # a tail that O_DIRECT cannot write: it goes through the page cache
DEVICE = Path("/dev/vda")
STALE = b"\xa5"
RUN_DEADLINE = 120  # s
SLOWLY = ("--bandwidth", "3MiB")  # the copy then takes 4 s
LATE = ("rich.table", "rich.console", "transferd.outcome", "transferd.report", "typer._adapters")
TARGET = 7  # its minor number: a device's identity in the journal


@dataclass(frozen=True)
class World:
    """The source, and where the journal is. `revive` starts the source's server again if it is gone."""

    content: bytes
    source: str
    journal: Path
    revive: Callable[[], None] = lambda: None


@contextlib.contextmanager
def world(size: int = SIZE, journal_file: Path | None = None) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        content = Random(size).randbytes(size)
        Path(folder, "disk").write_bytes(content)
        with NbdServer(Path(folder), "file", f"{folder}/disk") as server:
            journal = journal_file or Path(folder, "journal")
            yield World(content, server.uri, journal, partial(_alive, server))


def _alive(server: NbdServer) -> None:
    """nbdkit 1.32 may abort when a client that has failed leaves with reads in flight."""
    if server.process.poll() is not None:
        server.start()


def copied(
    here: World,
    target: Path,
    *options: str,
    prepare: Callable[[], None] = lambda: None,
    meanwhile: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """One run of `transferd copy`: its exit code, its last words, its peak memory in MiB, its result.

    `prepare` runs in the fork before the command: it changes the program. `meanwhile` is given the fork's
    process id while it runs. The peak counts this process's memory, which a fork begins with, too.
    """
    here.revive()
    with tempfile.TemporaryDirectory() as folder:
        said, result = Path(folder, "said"), Path(folder, "result")
        argv = ["copy", here.source, str(target), "--journal", str(here.journal), "--source-id", "1"]
        child = os.fork()
        if child == 0:
            prepare()
            _become_transferd([*argv, "--progress", "none", "--result", str(result), *options], said)
        meanwhile(child)
        _, status, used = os.wait4(child, 0)
        document = json.loads(result.read_text()) if result.exists() else {"disks": []}
        return {
            "exit": os.waitstatus_to_exitcode(status),
            "said": said.read_text(errors="replace")[-600:],
            "peak": used.ru_maxrss // 1024,
            "disk": next(iter(document["disks"]), None),
        }


def _become_transferd(argv: list[str], said: Path) -> None:
    """Never returns. The alarm's default is death, so a hang ends as exit -14."""
    signal.alarm(RUN_DEADLINE)
    words = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(words, 1)
    os.dup2(words, 2)
    sys.argv = ["transferd", *argv]
    code = 70
    try:
        transferd_main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def held(device: Path, size: int) -> bytes:
    """What is on it now. Its last user has closed it, so no cache of it is left."""
    with device.open("rb") as file:
        return file.read(size)


def fill(device: Path, length: int) -> None:
    with device.open("wb") as file:
        file.write(STALE * length)
        file.flush()
        os.fsync(file.fileno())


def claimed(here: World) -> list[int]:
    """Blocks that are on the target, if the journal is believed."""
    found = journals.read(here.journal.read_bytes()) if here.journal.exists() else None
    return found.digests.known() if found else []


def believed(here: World) -> None:
    """Wait until the journal claims a block."""
    until = time.monotonic() + RUN_DEADLINE
    while not claimed(here):
        if time.monotonic() > until:
            raise TimeoutError("the journal claims nothing")
        time.sleep(0.05)


def lacking(here: World, target: bytes) -> list[int]:
    """Blocks that the journal claims and the target does not hold: none, as long as storage is honest."""
    spans = [slice(index * BLOCK, min((index + 1) * BLOCK, len(here.content))) for index in claimed(here)]
    return [span.start // BLOCK for span in spans if target[span] != here.content[span]]


def judged(here: World, target: Path, run: dict[str, Any]) -> dict[str, Any]:
    now = held(target, len(here.content))
    return run | {"equal": now == here.content, "lacking": lacking(here, now)}


def failing(*segments: Segment, size: int = SIZE, again: tuple[str, ...] = ()) -> dict[str, Any]:
    """A run on a device with this table, and one more, with the options `again`, after it was repaired."""
    fill(DEVICE, size)
    with world(size) as here, Mapped("target", TARGET, *segments) as target:
        first = copied(here, target.path)
        target.become(linear(size, DEVICE))
        first = judged(here, target.path, first)
        return {"failed": first, "again": judged(here, target.path, copied(here, target.path, *again))}


def f32_write_eio() -> dict[str, Any]:
    """Eight sectors in the second block cannot be written."""
    bad, at = 8 * 512, 5 * MiB
    return failing(linear(at, DEVICE), error(bad), linear(SIZE - at - bad, DEVICE, at + bad))


def f33_fsync_eio() -> dict[str, Any]:
    """The last sector fails when it is written back: write succeeds, and the next fdatasync tells, once."""
    return failing(linear(SIZE - 512, DEVICE), error(512))


def f33_the_kernel_tells_once() -> list[int]:
    """The same without us: errno of the first and of the second fsync."""
    fill(DEVICE, SIZE)
    with Mapped("target", TARGET, linear(SIZE - 512, DEVICE), error(512)) as target:
        fd = os.open(target.path, os.O_WRONLY)
        os.pwrite(fd, b"x" * 512, SIZE - 512)
        told = []
        for _ in range(2):
            try:
                os.fsync(fd)
                told.append(0)
            except OSError as failure:
                told.append(failure.errno or -1)
        os.close(fd)
    return told


def f42_every_write_dropped() -> dict[str, Any]:
    """Found by reading back. The next run does not read back: what the first one found out must be enough."""
    return failing(dropping(SIZE, DEVICE), again=("--verify", "none"))


def f42_the_tail_dropped() -> dict[str, Any]:
    """The last sector alone: less than a page, so it goes through the page cache, which still has it."""
    whole = SIZE - 512
    return failing(linear(whole, DEVICE), dropping(512, DEVICE, whole))


def f42_a_while_of_dropped_writes() -> dict[str, Any]:
    """The storage drops what it is given until the journal believes a first block."""

    def mended(_pid: int) -> None:
        believed(here)
        target.become(linear(SIZE, DEVICE))

    fill(DEVICE, SIZE)
    with world() as here, Mapped("target", TARGET, dropping(SIZE, DEVICE)) as target:
        return judged(here, target.path, copied(here, target.path, *SLOWLY, meanwhile=mended))


def f42_stopped_when_found() -> dict[str, Any]:
    """The first block is dropped, and the run is told to stop when it has found that."""

    def stopping() -> None:
        compare = Verifier.blocks

        def blocks(self: Verifier, indexes: range) -> None:
            compare(self, indexes)
            if 0 in indexes:
                os.kill(os.getpid(), signal.SIGTERM)

        setattr(Verifier, "blocks", blocks)  # noqa: B010 (mypy rightly objects to the plain form)

    fill(DEVICE, SIZE)
    table = (dropping(BLOCK, DEVICE), linear(SIZE - BLOCK, DEVICE, BLOCK))
    with world() as here, Mapped("target", TARGET, *table) as target:
        stopped = judged(here, target.path, copied(here, target.path, *SLOWLY, prepare=stopping))
        target.become(linear(SIZE, DEVICE))
        again = copied(here, target.path, "--verify", "none")
        return {"stopped": stopped, "again": judged(here, target.path, again)}


def f42_power_loss_after_dropped_writes() -> dict[str, Any]:
    """The end of the process at a moment when the journal believes what storage has dropped."""

    def ended(pid: int) -> None:
        believed(here)
        os.kill(pid, signal.SIGKILL)

    fill(DEVICE, SIZE)
    with world() as here, Mapped("target", TARGET, dropping(SIZE, DEVICE)) as target:
        cut = judged(here, target.path, copied(here, target.path, *SLOWLY, meanwhile=ended))
        target.become(linear(SIZE, DEVICE))
        return {"cut": cut, "again": judged(here, target.path, copied(here, target.path))}


def f43_slow_storage() -> dict[str, Any]:
    """Half a second for each read, write and flush."""
    fill(DEVICE, SIZE)
    began = time.monotonic()
    with world() as here, Mapped("target", TARGET, delayed(SIZE, DEVICE, 500)) as target:
        run = judged(here, target.path, copied(here, target.path))
    return run | {"elapsed": time.monotonic() - began}


def main(names: list[str]) -> None:
    """Run these cases, or all. A case that raises is told as such, and the others go on."""
    from tests.faults import machine_power  # noqa: PLC0415 (it builds on this module)

    for late in LATE:
        importlib.import_module(late)
    cases: tuple[Callable[[], Any], ...] = (
        *(f32_write_eio, f33_fsync_eio, f33_the_kernel_tells_once),
        *(f42_every_write_dropped, f42_the_tail_dropped, f42_a_while_of_dropped_writes),
        *(f42_stopped_when_found, f42_power_loss_after_dropped_writes, f43_slow_storage),
        *(machine_power.plain_writer, machine_power.f41_power_loss, machine_power.f41_without_fdatasync),
    )
    seen: dict[str, Any] = {}
    for case in cases:
        if names and case.__name__ not in names:
            continue
        began = time.monotonic()
        try:
            seen[case.__name__] = case()
        except Exception:  # noqa: BLE001 (the border of a case)
            seen[case.__name__] = {"raised": traceback.format_exc()}
        print(f"{case.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1:])
