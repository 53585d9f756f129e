"""The moment at which a VM's disks are read by a command of one disk: a snapshot that ends with the command.

A powered-on base disk cannot be opened through NFC; a powered-off VM needs no snapshot. A command that is
killed leaves its snapshot behind; run again, it finds it by its name, goes on from it and removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from transferd.crew import in_thread
from transferd.errors import Error
from transferd.model import PowerState, SourceVM
from transferd.vsphere import snapshots
from transferd.vsphere.session import Session
from transferd.vsphere.snapshots import PREFIX, Checkpoint, Machine


@contextlib.asynccontextmanager
async def reading_point(
    session: Session, vm: SourceVM, purpose: str, *, even_off: bool = False
) -> AsyncIterator[Checkpoint | None]:
    """A checkpoint to read from, removed on the way out; None for a VM that is off, unless `even_off`.

    `purpose`: the same for the same command, and no other. Only a snapshot can be asked what changed.
    """
    if not even_off and await in_thread(session.power_state, vm) is PowerState.OFF:
        yield None
        return
    machine = Machine(vm.moref, vm.name)
    taking = asyncio.ensure_future(in_thread(snapshots.take, session, machine, PREFIX + purpose))
    try:
        checkpoint = await asyncio.shield(taking)
    except asyncio.CancelledError:
        await _remove_when_taken(session, machine, taking)
        raise
    try:
        yield checkpoint
    finally:
        await asyncio.shield(in_thread(snapshots.remove, session, machine, checkpoint.moref))


async def _remove_when_taken(session: Session, vm: Machine, taking: asyncio.Future[Checkpoint]) -> None:
    """Cancelled while vSphere was at it: the snapshot will exist, so wait for it and remove it."""
    with contextlib.suppress(Error):  # it could not be taken: nothing to remove
        await in_thread(snapshots.remove, session, vm, (await taking).moref)
