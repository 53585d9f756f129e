"""Power loss, inside the machine (F41): record what a copy writes, then cut the power at every flush.

    /dev/vda  <- lw (dm-log-writes, log on /dev/vdb) <- target, state (dm-linear)

The target and the file system with the journal are on one logged device, so the log orders the writes of
both. Each state that a cut can leave is replayed to /dev/vdc, where target and state are mapped again under
their old names and numbers: the same machine after its power came back. There the journal must claim nothing
that the target lacks, and the same command must end with the right bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import log_writes
from tests.faults.machine_cases import SLOWLY, STALE, TARGET, World, copied, held, lacking, world
from tests.faults.mapper import Mapped, linear, logged
from transferd.backends.file_target import FileTarget
from transferd.units import MiB

DISK, LOG, REPLAYED = Path("/dev/vda"), Path("/dev/vdb"), Path("/dev/vdc")
SIZE = 12 * MiB + 512
TARGET_SPACE = 13 * MiB
STATE_SPACE = 4 * MiB
SPACE = TARGET_SPACE + STATE_SPACE
LOGGED, STATE = TARGET + 1, TARGET + 2  # minor numbers
TOOL_DEADLINE = 60.0  # s

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def mounted(device: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        if libc.mount(str(device).encode(), folder.encode(), b"ext4", 0, None):
            raise OSError(ctypes.get_errno(), f"mount {device}")
        try:
            yield Path(folder)
        finally:
            if libc.umount2(folder.encode(), 0):
                raise OSError(ctypes.get_errno(), f"unmount {device}")


@contextlib.contextmanager
def volumes(below: Path) -> Iterator[tuple[Path, Path]]:
    """The target, and the folder that holds the journal."""
    with (
        Mapped("target", TARGET, linear(TARGET_SPACE, below)) as target,
        Mapped("state", STATE, linear(STATE_SPACE, below, TARGET_SPACE)) as state,
        mounted(state.path) as folder,
    ):
        yield target.path, folder


def write(device: Path, data: bytes | bytearray) -> None:
    with device.open("r+b", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())


def prepared() -> bytes:
    """A disk with a stale target and an empty file system; what it holds before the first logged write."""
    write(DISK, STALE * SPACE)
    with Mapped("state", STATE, linear(STATE_SPACE, DISK, TARGET_SPACE)) as state:
        mkfs = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", str(state.path)]
        subprocess.run(mkfs, check=True, capture_output=True, timeout=TOOL_DEADLINE)
    return held(DISK, SPACE)


def recorded() -> list[log_writes.Entry]:
    with LOG.open("rb") as log:
        return [*log_writes.read(log)]


def plain_writer() -> dict[str, Any]:
    """The harness itself: of a program that writes and syncs, each durable point holds all that was synced.

    The program writes letter after letter, each over four pages, and syncs after every second one.
    """
    base = prepared()
    letters = [bytes([65 + number]) * 16384 for number in range(8)]
    with Mapped("lw", LOGGED, logged(SPACE, DISK, LOG)) as lw:
        fd = os.open(lw.path, os.O_WRONLY)
        for number, letter in enumerate(letters):
            os.pwrite(fd, letter, number * 16384)
            if number % 2:
                os.fsync(fd)
        os.close(fd)
    whole = b"".join(letters)
    images = [bytes(image[: len(whole)]) for _, image in log_writes.after_flushes(base, recorded())]
    durable = [sum(letter in image for letter in letters) for image in images]
    return {"durable": durable, "last_is_whole": images[-1] == whole}


def f41_power_loss() -> dict[str, Any]:
    """`troubles` are the states in which something was wrong; there must be none."""
    base = prepared()
    with world(SIZE) as here:
        run, entries = _recorded_copy(here)
        states = [
            _after_the_cut(here, image) | {"state": name, "kind": name.partition(", ")[2]}
            for name, image in cuts(base, entries)
        ]
    return {
        "recorded": run,
        "durable_points": sum(entry.durable for entry in entries),
        "kinds": Counter(found["kind"] for found in states),
        "resumed": [found["resumed"] for found in states],
        "troubles": [found for found in states if found["trouble"]],
    }


def f41_without_fdatasync() -> dict[str, Any]:
    """The control: some cut of a copy that does not sync its target leaves a journal that claims too much."""

    def unsynced() -> None:
        setattr(FileTarget, "sync", lambda _: None)  # noqa: B010 (mypy rightly objects to the plain form)

    base = prepared()
    with world(SIZE) as here:
        run, entries = _recorded_copy(here, unsynced)
        claims: list[int] = []
        for _, image in cuts(base, entries):
            write(REPLAYED, image)
            with volumes(REPLAYED) as (target, folder):
                claims += lacking(World(here.content, here.source, folder / "journal"), held(target, SIZE))
            if claims:
                break
    return {"recorded": run, "claims": claims}


def _recorded_copy(
    here: World, prepare: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], list[log_writes.Entry]]:
    with Mapped("lw", LOGGED, logged(SPACE, DISK, LOG)) as lw, volumes(lw.path) as (target, folder):
        there = World(here.content, here.source, folder / "journal")
        run = copied(there, target, *SLOWLY, prepare=prepare)
    return run, recorded()


def cuts(base: bytes, entries: list[log_writes.Entry]) -> Iterator[tuple[str, bytearray]]:
    """What power cuts leave: every durable point; behind each a torn state, and one with the journal ahead.

    A flush of the journal's file system is one of the whole device, the target included, so a copy that
    forgot to sync its target is not found at durable points, but where its journal alone reached the disk.
    """
    chance = Random(41)
    for count, image in log_writes.after_flushes(base, entries):
        name, following = f"after {count} of {len(entries)}", entries[count:]
        yield name, image
        sides = {entry.start >= TARGET_SPACE for entry in log_writes.loose(following) if entry.data}
        if sides:
            yield f"{name}, torn", log_writes.torn(image, following, chance)
        if len(sides) == 2:
            yield f"{name}, journal ahead", log_writes.ahead(image, following, TARGET_SPACE)


def _after_the_cut(here: World, image: bytearray) -> dict[str, Any]:
    """The power comes back to this disk, and the same command is given again."""
    write(REPLAYED, image)
    with volumes(REPLAYED) as (target, folder):
        there = World(here.content, here.source, folder / "journal")
        false_claims = lacking(there, held(target, SIZE))
        run = copied(there, target, "--verify", "none")
        now = held(target, TARGET_SPACE)
        sound = now[:SIZE] == here.content and not now[SIZE:].strip(STALE) and not lacking(there, now)
    return {
        "trouble": bool(false_claims or run["exit"]) or not sound,
        "claims": false_claims,
        "resumed": run["disk"]["resumed_blocks"] if run["disk"] else None,
        "exit": run["exit"],
        "said": run["said"],
    }
