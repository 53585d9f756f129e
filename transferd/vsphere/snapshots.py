"""Our own snapshots: taken so that a running VM's disks can be read, and always removed again.

A name is decided, and written down, before the snapshot is asked for, and it is unlike any other. So taking
one is repeatable: after a crash, or an answer that was lost on the way, whoever looks finds it by its name
and never takes a second. Removing is repeatable too: what is gone already is good.

A new snapshot waits until the removal of the last one is consolidated: a chain that is being merged while
another begins has lost changes elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from pyVmomi import vim, vmodl

from transferd.errors import RetriesExhausted, SourceError
from transferd.vsphere.inventory import disk_files
from transferd.vsphere.session import Session

log = structlog.get_logger()

PREFIX = "transferd-"  # with an id of its own, so that a snapshot left by a crash names its maker
TAKE_DEADLINE = 900.0  # s; quiescing is off, so only the host's load delays it
REMOVE_DEADLINE = 7200.0  # s; consolidation rewrites what the guest wrote meanwhile (Forklift allows as much)
REMOVE_PAUSES = (1.0, 5.0, 15.0, 60.0)  # s between attempts; the last is repeated until the deadline
LOST_ANSWER = 30.0  # s in which a snapshot that was asked for without an answer shows up


@dataclass(frozen=True, slots=True)
class Machine:
    """The VM that is meant: its moref addresses it, its name is for people."""

    moref: str
    name: str


@dataclass(frozen=True, slots=True)
class DiskPoint:
    """A disk at the moment of a snapshot. `change` None: nothing keeps record of what is written to it."""

    key: int
    path: str
    capacity: int
    change: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A snapshot and the disks as it holds them, by device key."""

    moref: str
    name: str
    disks: dict[int, DiskPoint]


@dataclass(frozen=True, slots=True)
class Node:
    """A snapshot in a VM's tree."""

    moref: str
    name: str


def tree(session: Session, vm: Machine) -> list[Node]:
    """All snapshots of the VM, parents before children."""
    found = session.properties(session.vm_object(vm.moref), "snapshot", name=vm.name).get("snapshot")
    return [*_nodes(found.rootSnapshotList if found else [])]


def _nodes(level: list[Any]) -> Iterator[Node]:
    for node in level:
        yield Node(node.snapshot._moId, node.name)  # noqa: SLF001 (pyVmomi's name for it)
        yield from _nodes(node.childSnapshotList or [])


def named(session: Session, vm: Machine, name: str) -> Node | None:
    return next((node for node in tree(session, vm) if node.name == name), None)


def take(session: Session, vm: Machine, name: str) -> Checkpoint:
    """The snapshot of this name: the one that is there already, or a new one."""
    earlier = named(session, vm, name)
    if earlier is not None:
        log.info("adopting snapshot", vm=vm.name, snapshot=name)
        return read(session, vm, earlier)
    consolidate(session, vm, time.monotonic() + REMOVE_DEADLINE)
    log.info("taking snapshot", vm=vm.name, snapshot=name)
    machine = session.vm_object(vm.moref)
    try:
        task = session.once(
            "take snapshot",
            lambda: machine.CreateSnapshot_Task(
                name=name, description="taken by transferd to read the disks", memory=False, quiesce=False
            ),
            vm.name,
        )
        taken = session.wait_for(task, "take snapshot", vm.name, TAKE_DEADLINE)
    except RetriesExhausted as error:
        return read(session, vm, _appearing(session, vm, name, error))
    return read(session, vm, Node(taken._moId, name))  # noqa: SLF001


def _appearing(session: Session, vm: Machine, name: str, lost: RetriesExhausted) -> Node:
    """The snapshot whose answer was lost. RetriesExhausted if it was never begun, or is not there yet."""
    until = time.monotonic() + LOST_ANSWER
    while True:
        node = named(session, vm, name)
        if node is not None:
            return node
        if time.monotonic() > until:
            raise RetriesExhausted(
                f"{lost.problem}, and there is no snapshot",
                vm=vm.name,
                operation="take snapshot",
                remedy="run the command again: one that comes later is found and removed",
            ) from lost
        time.sleep(1.0)


def read(session: Session, vm: Machine, node: Node) -> Checkpoint:
    """The disks as the snapshot holds them, which is not how the VM has them now."""
    snapshot = vim.vm.Snapshot(node.moref, session.stub)
    devices = session.properties(snapshot, "config.hardware.device", name=vm.name).get(
        "config.hardware.device"
    )
    disks = {}
    for device, path, capacity in disk_files(devices or []):
        backing = device.backing
        change = getattr(backing, "changeId", None) or None
        disks[device.key] = DiskPoint(device.key, path, capacity, change, getattr(backing, "uuid", None))
    return Checkpoint(node.moref, node.name, disks)


def remove(session: Session, vm: Machine, moref: str, deadline: float = REMOVE_DEADLINE) -> None:
    """Remove ours alone; children would be someone else's. Until it works, or `deadline` seconds are over."""
    snapshot = vim.vm.Snapshot(moref, session.stub)

    def start() -> Any:
        try:
            return snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True)
        except vmodl.fault.ManagedObjectNotFound:
            return None

    def attempt() -> None:
        if moref in (node.moref for node in tree(session, vm)):
            log.info("removing snapshot", vm=vm.name, snapshot=moref)
            task = session.call("remove snapshot", start, vm.name)
            if task is not None:
                session.wait_for(task, "remove snapshot", vm.name, deadline)

    until = time.monotonic() + deadline
    _insist(attempt, vm, until)
    consolidate(session, vm, until)


def _insist(attempt: Callable[[], None], vm: Machine, until: float) -> None:
    """A locked file or a busy host passes, and a snapshot left behind fills the datastore; a VM that is gone
    stays gone."""
    failures = 0
    while True:
        try:
            attempt()
        except (SourceError, RetriesExhausted) as error:
            if isinstance(error.__cause__, vmodl.fault.ManagedObjectNotFound):
                raise
            pause = REMOVE_PAUSES[min(failures, len(REMOVE_PAUSES) - 1)]
            failures += 1
            if time.monotonic() + pause > until:
                raise
            log.warning("snapshot not removed yet", vm=vm.name, reason=error.problem, again_in=pause)
            time.sleep(pause)
        else:
            return


def consolidate(session: Session, vm: Machine, until: float) -> None:
    """Return when no disk of the VM has files to be merged; ask for it where vSphere gave up."""
    machine = session.vm_object(vm.moref)

    def attempt() -> None:
        needed = session.properties(machine, "runtime.consolidationNeeded", name=vm.name)
        if needed.get("runtime.consolidationNeeded"):
            log.info("consolidating", vm=vm.name)
            task = session.call("consolidate disks", machine.ConsolidateVMDisks_Task, vm.name)
            session.wait_for(task, "consolidate disks", vm.name, until - time.monotonic())

    _insist(attempt, vm, until)


def remove_all(session: Session, vm: Machine, prefix: str, keep: str | None = None) -> bool:
    """Remove all snapshots whose names begin with `prefix`, children first, but `keep`; False if none do."""
    ours = [node for node in tree(session, vm) if node.name.startswith(prefix) and node.name != keep]
    for node in reversed(ours):
        remove(session, vm, node.moref)
    return bool(ours)
