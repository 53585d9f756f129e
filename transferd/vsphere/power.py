"""The source's power: shut down before a cold copy, restored when anything fails afterwards.

Never both running: the source stays off only when everything succeeded, and nothing here ever starts a
target. The guest is asked to shut down; power is cut only where the operator's policy says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog

from transferd import units
from transferd.errors import Error, SourceError
from transferd.model import PowerState, Shutdown, SourceVM
from transferd.progress import Progress
from transferd.vsphere.session import TASK_POLL, Session

log = structlog.get_logger()

POWER_DEADLINE = 300.0  # s for vSphere's own power tasks


@contextlib.asynccontextmanager
async def off(session: Session, vm: SourceVM, how: Shutdown, progress: Progress) -> AsyncIterator[None]:
    """The VM is off inside. Left by an error or a cancellation, its old power state is restored."""
    before = await asyncio.to_thread(session.power_state, vm)
    try:
        if before is not PowerState.OFF:
            progress.say(f"{vm.name}: shutting down the source")
            await _shut_down(session, vm, how)
        yield
    except BaseException:
        if before is PowerState.ON:
            await asyncio.shield(_restore(session, vm, progress))
        raise


async def require_off(session: Session, vm: SourceVM) -> None:
    """SourceError if somebody (DRS, HA, a person) has started the VM while it is being copied."""
    if await asyncio.to_thread(session.power_state, vm) is not PowerState.OFF:
        raise SourceError(
            "was powered on during the migration: the copy is not consistent",
            vm=vm.name,
            remedy="shut it down, keep others from starting it, and run the command again",
        )


async def _shut_down(session: Session, vm: SourceVM, how: Shutdown) -> None:
    machine = session.vm_object(vm.moref)
    timeout = units.duration(how.timeout)
    try:
        await asyncio.to_thread(session.call, "shut down guest", machine.ShutdownGuest, vm.name)
        await _until_off(session, vm, timeout)
    except SourceError as error:
        if how.policy != "hard":
            raise SourceError(
                f"could not be shut down: {error.problem}",
                vm=vm.name,
                operation="shut down guest",
                remedy="shut it down yourself, or set shutdown.policy: hard to cut its power",
            ) from error
        log.warning("guest did not shut down, cutting power", vm=vm.name, reason=error.problem)
        await _task(session, vm, "power off", machine.PowerOffVM_Task)


async def _until_off(session: Session, vm: SourceVM, timeout: float) -> None:
    until = time.monotonic() + timeout
    while await asyncio.to_thread(session.power_state, vm) is not PowerState.OFF:
        if time.monotonic() > until:
            raise SourceError(f"still on after {timeout:.0f} s", vm=vm.name)
        await asyncio.sleep(TASK_POLL)


async def _task(session: Session, vm: SourceVM, operation: str, start: Callable[[], Any]) -> None:
    task = await asyncio.to_thread(session.call, operation, start, vm.name)
    await asyncio.to_thread(session.wait_for, task, operation, vm.name, POWER_DEADLINE)


async def _restore(session: Session, vm: SourceVM, progress: Progress) -> None:
    """Power on again. If that fails too, say so loudly: the first error is the one that is raised."""
    machine = session.vm_object(vm.moref)
    try:
        if await asyncio.to_thread(session.power_state, vm) is PowerState.OFF:
            await _task(session, vm, "power on", machine.PowerOnVM_Task)
            progress.say(f"{vm.name}: source is powered on again")
        else:
            progress.say(f"{vm.name}: source is still on; a shutdown that was asked for may yet happen")
    except Error as error:
        log.error("source could not be powered on again: do it by hand", vm=vm.name, reason=str(error))
