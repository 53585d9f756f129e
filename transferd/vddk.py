"""One disk of a vSphere VM, through VDDK, to a target: the data path of every migration.

Every session is an nbdkit of its own, with a connection to it: a crash or hang of VDDK takes one session
down, never another, and opening a session anew starts from nothing.

A VM that is off is read without a snapshot; then its power state is checked before and after, because a VM
started in between would have changed the disk under the copy.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from transferd import copy, nbdkit, nfc
from transferd.areas import ChangesUnknown, parse_change_id
from transferd.backends import Answer
from transferd.backends.file_target import FileTarget
from transferd.backends.nbd import NbdSession
from transferd.backends.nbd_source import Sweep
from transferd.copy import Copied, How
from transferd.errors import AuthenticationError, Error, RetriesExhausted, SourceError, Transient, UsageError
from transferd.extents import Extent, Range
from transferd.guard import Guard
from transferd.limits import Limits
from transferd.model import SourceDisk, SourceVM, VCenter, Vddk
from transferd.nbdkit import Server, VddkDisk
from transferd.replay import Point
from transferd.shares import Share
from transferd.units import MiB
from transferd.vsphere import power, trust
from transferd.vsphere.changes import changed_areas
from transferd.vsphere.session import Session
from transferd.vsphere.snapshots import Checkpoint, DiskPoint

T = TypeVar("T")

FIRST_ATTEMPTS = 5  # to open the disk at all
FIRST_PAUSE = 1.0  # s between them
SAID_WITHIN = 0.05  # s in which nbdkit's explanation of a refused read arrives behind the refusal


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to read the disks of one vCenter's VMs."""

    session: Session
    config: VCenter
    password: Callable[[], str]
    guard: Guard = field(default_factory=Guard)


def disk_number(vm: SourceVM, number: int) -> SourceDisk:
    """Disk `number` of `vm`, counted from 0 as `transferd inventory` shows them."""
    if not 0 <= number < len(vm.disks):
        raise UsageError(
            f"no disk {number}: the VM has {len(vm.disks)}",
            vm=vm.name,
            remedy="disks are counted from 0; transferd inventory --vm lists them",
        )
    return vm.disks[number]


def require_library(access: Access) -> Vddk:
    """Where VMware's library is, checked before anything is changed. UsageError when it is not there."""
    library = access.config.vddk
    if library is None:
        raise UsageError("vcenter.yaml: vddk is missing", remedy="say where VMware's library is: vddk.libdir")
    nbdkit.require_library(library.libdir)
    return library


class VddkSource:
    """The disk as a source. Make it on the main thread's loop; `async with` ends every nbdkit it started."""

    sessions = 1
    largest = 2 * MiB  # more makes NFC fail when several disks of a host are read (CDI PR 1930)
    grain = 512

    def __init__(
        self, access: Access, vm: SourceVM, disk: SourceDisk, at: Checkpoint | None, patience: float
    ) -> None:
        """`at` None: the VM is off, and read as it is."""
        self._library = require_library(access)
        self._access, self._vm, self._disk, self._at = access, vm, disk, at
        held = _held(disk, at)
        self._export = VddkDisk(
            libdir=self._library.libdir,
            server=access.session.endpoint.host,
            port=access.session.endpoint.port,
            user=access.config.username,
            thumbprint=access.session.endpoint.thumbprint,
            vm=vm.moref,
            file=held.path,
            snapshot=at.moref if at else None,
            transports=self._library.transports,
        )
        self.config = nfc.settings(self._library.config, len(vm.disks) * Limits().connections)
        self._loop = asyncio.get_running_loop()
        self._running: set[Server] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._patience = patience
        self._sweep = Sweep(self._reached, disk.label, patience)
        self.identity: Mapping[str, Any] = {
            "kind": "vsphere",
            "vm": vm.instance_uuid,
            "disk": disk.object_id or disk.key,
            "uuid": disk.uuid,
        }
        self.name = disk.label
        self.size = held.capacity
        self.point: Point | None = {"snapshot": at.moref, "change": held.change} if at else None
        self.warnings: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for server in [*self._running]:
            self._end(server, hung=False)
        await asyncio.gather(*self._endings)

    def extents(self) -> list[Extent]:
        found, warnings = self._sweep.extents(self.size)
        self.warnings += warnings
        return found

    def changes(self, since: Point) -> Iterable[Range] | None:
        """Every area that vSphere says was written between the two points, all pages of it.

        Another UUID is another life of the tracking: vSphere does not always say so itself.
        """
        before, now = since.get("change"), _held(self._disk, self._at).change
        if self._at is None or not isinstance(before, str) or now is None:
            return None
        if _life(before) is None or _life(before) != _life(now):
            self.warnings.append(f"changed block tracking was reset: it was {before}, is {now}")
            return None
        try:
            return changed_areas(
                self._access.session, self._vm, self._at.moref, self._disk.key, self.size, before
            )
        except ChangesUnknown as error:
            self.warnings.append(f"vSphere does not know what changed since {before}: {error.problem}")
            return None

    def session(self) -> VddkSession:
        kept = self._sweep.take()
        if kept is not None:
            return kept
        return self._opened()

    def _reached(self) -> VddkSession:
        """The first session: what is wrong with it is most likely wrong with what was asked for."""
        for attempt in range(FIRST_ATTEMPTS):
            try:
                return self._opened()
            except Transient as error:
                last = error
                time.sleep(FIRST_PAUSE * (attempt + 1 < FIRST_ATTEMPTS))
        raise RetriesExhausted(
            f"{last.problem} ({FIRST_ATTEMPTS} attempts)",
            disk=self.name,
            operation="open",
            remedy="see VDDK's log, then run the command again",
        ) from last

    def _opened(self) -> VddkSession:
        """An nbdkit of its own and a connection to it. Transient, or what nbdkit says is wrong."""
        password = self._access.password()
        with self._access.guard.trying(password):
            return self._logged_in(password)

    def _logged_in(self, password: str) -> VddkSession:
        server = self._on_loop(self._started(password), nbdkit.START_DEADLINE + 5)
        try:
            connection = NbdSession(server.uri, self._patience)
        except Transient as error:
            time.sleep(SAID_WITHIN)
            known = server.explain()
            self.end(server, hung=False)
            if known is not None and not isinstance(known, RetriesExhausted | Transient):
                self._require_same_certificate()
                raise known from error
            raise Transient(known.problem if known else error.problem, operation="open") from error
        if connection.size != self.size:
            connection.close()
            self.end(server, hung=False)
            raise SourceError(
                f"VDDK says {connection.size} bytes, vSphere {self.size}",
                disk=self.name,
                remedy="the disk was resized: begin anew",
            )
        return VddkSession(self, server, connection)

    def _require_same_certificate(self) -> None:
        """AuthenticationError if the server shows another one than it did: VDDK refuses it without a word."""
        before = self._access.session.endpoint
        try:
            now = trust.check(self._access.config)
        except OSError:
            return  # what VDDK said is all that is known
        if now.thumbprint != before.thumbprint:
            raise AuthenticationError(
                f"certificate of {now.host} had thumbprint {before.thumbprint} and has {now.thumbprint}",
                disk=self.name,
                operation="open",
                remedy="find out why before you run the command again: it may be another server",
            )

    def served(self) -> str:
        """The URI of an nbdkit of its own, for tools that are not ours; it ends with the source."""
        started = self._started(self._access.password())
        return self._on_loop(started, nbdkit.START_DEADLINE + 5).uri

    async def _started(self, password: str) -> Server:
        server = await nbdkit.start(self._export, password=password, config=self.config, label=self.name)
        self._running.add(server)
        return server

    def end(self, server: Server, *, hung: bool) -> None:
        """End one nbdkit; from any thread."""
        self._loop.call_soon_threadsafe(lambda: self._end(server, hung=hung))

    def _end(self, server: Server, *, hung: bool) -> None:
        if server in self._running:
            self._running.discard(server)
            ending = self._loop.create_task(server.stop(hung=hung))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _on_loop(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result(deadline)
        except concurrent.futures.TimeoutError as error:
            waiting.cancel()
            raise Transient(f"nbdkit did not start within {deadline:.0f} s", operation="open") from error


class VddkSession:
    """A connection to an nbdkit of its own, and what that nbdkit says of a refused read."""

    def __init__(self, source: VddkSource, server: Server, connection: NbdSession) -> None:
        self._source = source
        self._server = server
        self._connection = connection
        self.tells_extents = connection.tells_extents
        self.block_status = connection.block_status

    def read(self, start: int, view: memoryview, token: object) -> None:
        self._connection.read(start, view, token)

    def wait(self, timeout: float) -> list[Answer]:
        answers = self._connection.wait(timeout)
        if any(answer.error for answer in answers):
            time.sleep(SAID_WITHIN)
            known = self._server.explain()
            return [replace(answer, error=_sharper(answer.error, known)) for answer in answers]
        return answers

    def close(self, *, hung: bool = False) -> None:
        self._connection.close()
        self._source.end(self._server, hung=hung)


def _sharper(error: Error | None, known: Error | None) -> Error | None:
    """What nbdkit said, at the place where the read was refused; a plain refusal stays one."""
    if error is None or known is None:
        return error
    known.operation, known.offset = error.operation, error.offset
    return known


def share(access: Access, vm: SourceVM) -> Share:
    """This process's part of what the VM's host has to give, and its vCenter."""
    center = access.session.endpoint.host
    return Share(f"{center}-{vm.host or 'host'}", above=Share(center))


def _life(change: str) -> str | None:
    """The UUID of a changeId; None for one that cannot be read."""
    try:
        return parse_change_id(change).uuid
    except SourceError:
        return None


def _held(disk: SourceDisk, at: Checkpoint | None) -> DiskPoint:
    """The disk as a snapshot holds it, which may be smaller than it is now, and is another file."""
    if at is None:
        return DiskPoint(disk.key, disk.path, disk.capacity, None, disk.uuid)
    held = at.disks.get(disk.key)
    if held is None:
        raise SourceError(
            "is not part of the snapshot",
            disk=disk.label,
            operation="open",
            remedy="independent disks and raw devices have no snapshots: shut the VM down and copy it cold",
        )
    return held


async def copy_disk(
    access: Access,
    vm: SourceVM,
    disk: SourceDisk,
    at: Checkpoint | None,
    target: FileTarget,
    journal: Path | None,
    how: How,
) -> Copied:
    """Copy one disk and prove it. Errors name the VM and the disk."""
    try:
        if at is None:
            await power.require_off(access.session, vm)
        async with VddkSource(access, vm, disk, at, how.means.limits.patience) as source:
            copied = await copy.disk(source, target, journal, disk.label, how)
        if at is None:
            await power.require_off(access.session, vm)
    except Error as error:
        raise error.within(vm=vm.name, disk=disk.label) from error.__cause__
    return copied
