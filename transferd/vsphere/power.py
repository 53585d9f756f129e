"""The source's power: shut down before its last copy, restored when anything fails afterwards.

Never both running: the source stays off only when everything succeeded, and nothing here ever starts a
target. The guest is asked to shut down; power is cut only where the operator's policy says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from transferd import units
from transferd.crew import in_thread
from transferd.errors import Error, SourceError
from transferd.model import PowerState, Shutdown, SourceVM
from transferd.progress import Progress
from transferd.vsphere.session import TASK_POLL, Session

log = structlog.get_logger()

POWER_DEADLINE = 300.0  # s for vSphere's own power tasks


async def require_off(session: Session, vm: SourceVM) -> None:
    """SourceError if somebody (DRS, HA, a person) has started the VM while it is being copied."""
    if await in_thread(session.power_state, vm) is not PowerState.OFF:
        raise SourceError(
            "was powered on during the migration: the copy is not consistent",
            vm=vm.name,
            remedy="shut it down, keep others from starting it, and run the command again",
        )


async def shut_down(session: Session, vm: SourceVM, how: Shutdown) -> None:
    """The VM is off when this returns. SourceError if it would not go and the policy is `fail`."""
    machine = session.vm_object(vm.moref)
    timeout = units.duration(how.timeout)
    try:
        await in_thread(session.call, "shut down guest", machine.ShutdownGuest, vm.name)
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
    while await in_thread(session.power_state, vm) is not PowerState.OFF:
        if time.monotonic() > until:
            raise SourceError(f"still on after {timeout:.0f} s", vm=vm.name)
        await asyncio.sleep(TASK_POLL)


async def _task(session: Session, vm: SourceVM, operation: str, start: Callable[[], Any]) -> None:
    task = await in_thread(session.call, operation, start, vm.name)
    await in_thread(session.wait_for, task, operation, vm.name, POWER_DEADLINE)


async def restore(session: Session, vm: SourceVM, progress: Progress) -> None:
    """Power on again. If that fails too, say so loudly: the first error is the one that is raised."""
    machine = session.vm_object(vm.moref)
    try:
        if await in_thread(session.power_state, vm) is PowerState.OFF:
            await _task(session, vm, "power on", machine.PowerOnVM_Task)
            progress.say(f"{vm.name}: source is powered on again")
        else:
            progress.say(f"{vm.name}: source is still on; a shutdown that was asked for may yet happen")
    except Error as error:
        log.error("source could not be powered on again: do it by hand", vm=vm.name, reason=str(error))
