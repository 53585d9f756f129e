"""A bench from beginning to end: open the source, run the laps, take turns with the peers, close.

The laps run in one thread; the loop stays free for signals and for the nbdkits of a vSphere disk. Cancelled,
the thread ends its lap within a moment, then sessions, nbdkits and the snapshot go, in this order.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transferd import copy, units
from transferd.backends import Source
from transferd.backends.file_source import FileSource
from transferd.backends.nbd import CONNECT_DEADLINE
from transferd.crew import Halted, in_thread
from transferd.errors import Cancelled, Error, UsageError
from transferd.progress import Progress
from transferd.throughput import peers, scratch
from transferd.throughput.lap import Track
from transferd.throughput.peers import Peer
from transferd.throughput.places import Places
from transferd.throughput.points import knee
from transferd.throughput.sweep import LAPS, Sweep, Timetable
from transferd.throughput.table import Measured

if TYPE_CHECKING:
    from transferd.vddk import Access

PATIENCE = 10.0  # s for an NBD server to let us in: some take one client only, and keep the others waiting
VDDK_PATIENCE = CONNECT_DEADLINE  # s; opening a disk goes through vCenter and the host
ROUNDS = 3  # turns of each tool


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure: `source`, or disk `disk` of `vm` in `vcenter`; for about `seconds`."""

    seconds: float
    source: str | None = None
    vcenter: Path | None = None
    vm: str | None = None
    disk: int = 0
    target: Path | None = None
    peers: bool = True

    @property
    def words(self) -> list[str]:
        """What names the source on the command line of a copy."""
        if self.vcenter is None:
            return [self.source or ""]
        return ["--vcenter", str(self.vcenter), "--vm", self.vm or "", "--disk", str(self.disk)]


def asked(
    *,
    source: str | None,
    vcenter: Path | None,
    vm: str | None,
    disk: int | None,
    target: Path | None,
    seconds: float,
    peers: bool,
) -> Asked:
    """UsageError for options that do not go together."""
    if vcenter is None and (source is None or vm is not None or disk is not None):
        raise UsageError("give SOURCE, or --vcenter, --vm and --disk")
    if vcenter is not None and (source is not None or vm is None):
        raise UsageError("with --vcenter give --vm NAME and no SOURCE")
    if target is not None:
        scratch.require_folder(target)
    return Asked(seconds, source, vcenter, vm, disk or 0, target, peers)


async def run(
    what: Asked, access: Callable[[Path, AsyncExitStack], Awaitable[Access]], shown: Progress
) -> Measured:
    """`access`: how to log in to a vCenter."""
    if what.vcenter is None:
        return await _plain(what, shown)
    async with AsyncExitStack() as stack:
        return await _vm_disk(what, await access(what.vcenter, stack), stack, shown)


async def _plain(what: Asked, shown: Progress) -> Measured:
    assert what.source is not None  # noqa: S101 (`asked` saw to it; tells mypy)
    source = copy.open_source(what.source, source_id=None, patience=PATIENCE)
    with ExitStack() as stack:
        await in_thread(stack.enter_context, source)
        if isinstance(source, FileSource):
            _drop_cache(Path(what.source))
            return await _measured(_Bench(source, what, shown, uri=None, vddk=None))
        return await _measured(_Bench(source, what, shown, uri=partial(str, what.source), vddk=None))


def _drop_cache(path: Path) -> None:
    """What the kernel holds of it, so that the disk is measured; dirty pages stay."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


async def _vm_disk(what: Asked, access: Access, stack: AsyncExitStack, shown: Progress) -> Measured:
    from transferd import vddk  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)
    from transferd.model import VMRef  # noqa: PLC0415
    from transferd.vsphere.reading import reading_point  # noqa: PLC0415

    vm = await in_thread(access.session.read_vm, VMRef(name=what.vm))
    disk = vddk.disk_number(vm, what.disk)
    vddk.require_library(access)
    purpose = f"bench-{uuid.uuid4().hex[:12]}"
    at = await stack.enter_async_context(reading_point(access.session, vm, purpose))
    try:
        async with vddk.VddkSource(access, vm, disk, at, VDDK_PATIENCE) as source:
            bench = _Bench(source, what, shown, uri=source.served, vddk=source.config)
            return await _measured(bench)
    except Error as error:
        raise error.within(vm=vm.name, disk=disk.label) from error.__cause__


async def _measured(bench: _Bench) -> Measured:
    thread = asyncio.ensure_future(in_thread(bench.run))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        bench.halt.set()
        with suppress(Error):
            await thread
        raise


class _Bench:
    """One bench, in the thread that calls `run`; `halt` ends it soon. `uri`: where peers find the source."""

    def __init__(
        self,
        source: Source,
        what: Asked,
        shown: Progress,
        *,
        uri: Callable[[], str] | None,
        vddk: Mapping[str, str] | None,
    ) -> None:
        self._source = source
        self._what = what
        self._say = shown.say
        self._uri = uri
        self._vddk = vddk
        self._notes: list[str] = []
        self.halt = threading.Event()

    def run(self) -> Measured:
        try:
            return self._run()
        except Halted:
            raise Cancelled("stopped", disk=self._source.name) from None

    def _run(self) -> Measured:
        until = time.monotonic() + self._what.seconds
        places = Places(self._source.extents(), self._source.size)
        if not places.count:
            raise UsageError("the disk has no data: there is nothing to read", disk=self._source.name)
        tools = self._tools()
        writes = self._what.target is not None
        turns = ROUNDS * (1 + len(tools)) + len(tools) if tools else 0
        timetable = Timetable(until, LAPS + writes + turns)
        with Track(self._source, places, self.halt) as track:
            sweep = Sweep(self._source, track, timetable, self._say)
            sweep.run()
            target = self._target(timetable)
            rounds = self._rounds(sweep, tools, places) if tools else {}
        self._notes = [*self._source.warnings, *sweep.notes, *self._notes]
        if places.again:
            self._notes.append("some data was read more than once: caches may have answered")
        return Measured(self._what.words, sweep.points, rounds, target, self._vddk, self._notes)

    def _tools(self) -> Sequence[peers.Tool]:
        if not self._what.peers or self._uri is None:
            return []
        tools, missing = peers.installed()
        self._notes += missing
        return tools

    def _target(self, timetable: Timetable) -> float | None:
        if self._what.target is None:
            return None
        rate = scratch.rate(self._what.target, timetable.next(), self.halt)
        self._say(f"target: {units.human(rate)}/s")
        return rate

    def _rounds(
        self, sweep: Sweep, tools: Sequence[peers.Tool], places: Places
    ) -> dict[str, Sequence[float]]:
        """Our lap at the knee, then each peer's, ROUNDS times."""
        assert self._uri is not None  # noqa: S101 (there are tools; tells mypy)
        at = knee(sweep.points)
        uri = self._uri()
        running = [Peer(tool, uri, places, self.halt) for tool in tools]
        ours: list[float] = []
        for _ in range(ROUNDS):
            lap = peers.own_lap(uri, places, at.setting, sweep.timetable.next(), at.goodput, self.halt)
            if lap.failure is None:
                ours.append(lap.goodput)
            else:
                self._notes.append(f"a turn of transferd's failed: {lap.failure}")
            for peer in running:
                peer.lap(sweep.timetable.next(), at.goodput)
        for peer in running:
            if peer.failure is not None:
                self._notes.append(f"{peer.tool.name} was not measured to the end: {peer.failure}")
            elif not peer.goodputs:
                self._notes.append(f"{peer.tool.name} was not measured: no stretch of data is long enough")
        measured = {peer.tool.name: peer.goodputs for peer in running if peer.goodputs}
        return {"transferd": ours, **measured} if measured else {}
