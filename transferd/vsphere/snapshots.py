"""Our own snapshots: taken so that a running VM's disks can be read, and always removed again."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import structlog
from pyVmomi import vmodl

from transferd.errors import Error
from transferd.model import PowerState, SourceVM
from transferd.vsphere.session import Session

log = structlog.get_logger()

PREFIX = "transferd-"  # with an id of its own, so that a snapshot left by a crash names its maker
TAKE_DEADLINE = 900.0  # s; quiescing is off, so only the host's load delays it
REMOVE_DEADLINE = 7200.0  # s; consolidation rewrites what the guest wrote meanwhile (Forklift allows as much)


@contextlib.asynccontextmanager
async def reading_point(session: Session, vm: SourceVM) -> AsyncIterator[str | None]:
    """The moref of a snapshot to read from, removed on the way out; None for a VM that is off.

    A powered-on base disk cannot be opened through NFC; a powered-off VM needs no snapshot.
    """
    if await asyncio.to_thread(session.power_state, vm) is PowerState.OFF:
        yield None
        return
    name = PREFIX + uuid.uuid4().hex[:12]
    taking = asyncio.ensure_future(asyncio.to_thread(_take, session, vm, name))
    try:
        snapshot = await asyncio.shield(taking)
    except asyncio.CancelledError:
        await _remove_when_taken(session, vm, taking)
        raise
    try:
        yield snapshot._moId  # noqa: SLF001 (pyVmomi's name for it)
    finally:
        await asyncio.shield(asyncio.to_thread(_remove, session, vm, snapshot))


async def _remove_when_taken(session: Session, vm: SourceVM, taking: asyncio.Future[Any]) -> None:
    """Cancelled while vSphere was at it: the snapshot will exist, so wait for it and remove it."""
    with contextlib.suppress(Error):  # it could not be taken: nothing to remove
        await asyncio.to_thread(_remove, session, vm, await taking)


def _take(session: Session, vm: SourceVM, name: str) -> Any:
    log.info("taking snapshot", vm=vm.name, snapshot=name)
    machine = session.vm_object(vm.moref)
    task = session.call(
        "take snapshot",
        lambda: machine.CreateSnapshot_Task(
            name=name, description="taken by transferd to read the disks", memory=False, quiesce=False
        ),
        vm.name,
    )
    return session.wait_for(task, "take snapshot", vm.name, TAKE_DEADLINE)


def _remove(session: Session, vm: SourceVM, snapshot: Any) -> None:
    """Remove ours alone; children would be someone else's. Gone already is good enough."""

    def start() -> Any:
        try:
            return snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True)
        except vmodl.fault.ManagedObjectNotFound:
            return None

    log.info("removing snapshot", vm=vm.name, snapshot=snapshot._moId)  # noqa: SLF001
    task = session.call("remove snapshot", start, vm.name)
    if task is not None:
        session.wait_for(task, "remove snapshot", vm.name, REMOVE_DEADLINE)
