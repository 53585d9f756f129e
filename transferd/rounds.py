"""One round of a migration: every disk of the VM brought to how it is at one moment, and proven.

    name the snapshot and write that down -> take it, or find it -> write down what it is
      -> copy all disks from it, at once -> write down that they are whole -> remove it, wait until merged

What a round has to read is the disks' journals' and vSphere's business (transferd/resume.py): all of it the
first time, what changed since afterwards, everything compared where nobody knows what changed. A snapshot
that somebody deletes while it is read costs the round a new one, and no more than what changed meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from transferd import outcome, vddk
from transferd.backends.file_target import FileTarget
from transferd.copy import Copied, How
from transferd.crew import first_error, in_thread
from transferd.errors import Error, RetriesExhausted, SourceError, UsageError
from transferd.failpoint import reached
from transferd.journey import Journey, Stage
from transferd.model import DiskResult, SourceVM
from transferd.progress import Progress
from transferd.state import State
from transferd.vddk import Access
from transferd.vsphere import snapshots
from transferd.vsphere.session import Session
from transferd.vsphere.snapshots import Checkpoint, Machine

SNAPSHOTS = 3  # of one round that somebody may delete under it
FINAL_REMOVAL = 600.0  # s for removing the last one: the source is off meanwhile, and what it holds is safe
GIVE_UP = 15.0  # s for removing the snapshot of a round that failed; a pod has 30 s to end

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Line:
    """What every step of one migration works on. `paths`: a target for each disk, in disk order."""

    access: Access
    vm: SourceVM
    paths: list[Path]
    state: State
    journey: Journey
    how: How
    progress: Progress

    @property
    def machine(self) -> Machine:
        return Machine(self.vm.moref, self.vm.name)


async def run(line: Line, *, final: bool, snapshot: bool) -> list[DiskResult]:
    """Do the round that is due. Without `snapshot` the VM must be off, and is watched to stay so."""
    line.journey.begin_round(final=final, snapshot=snapshot)
    reached("round.named")
    for _ in range(SNAPSHOTS - 1):
        try:
            return await _attempt(line, snapshot=snapshot)
        except _SnapshotGoneError:
            line.progress.say(f"{line.vm.name}: the snapshot is gone: going on from a new one")
    return await _attempt(line, snapshot=snapshot)


class _SnapshotGoneError(SourceError):
    """Somebody deleted it while it was read."""


async def _attempt(line: Line, *, snapshot: bool) -> list[DiskResult]:
    at = await _checkpoint(line) if snapshot else None
    began = time.monotonic()
    try:
        if at is not None:
            _require_same_disks(line, at)
        copies = await _copy_all(line, at)
    except BaseException as error:
        if at is not None:
            there = await asyncio.shield(_give_up(line, at))
            if not there and isinstance(error, Error):
                raise _SnapshotGoneError(
                    f"its snapshot was deleted by somebody else: {error.problem}",
                    vm=line.vm.name,
                    operation="read",
                    remedy="keep others from deleting it, then run the command again",
                ) from error
        raise
    results = [outcome.disk(copied) for copied in copies]
    reached("round.copied")
    line.journey.change_round(
        copied=True,
        copy_s=round(time.monotonic() - began, 3),
        read_bytes=sum(each.read_bytes for each in results),
        written_bytes=sum(each.written_bytes for each in results),
    )
    reached("round.finished")
    if at is not None:
        await _release(line, at, final=line.journey.now.rounds[-1].final)
        reached("round.removed")
    return results


async def _checkpoint(line: Line) -> Checkpoint:
    """The round's snapshot, found or taken, and recorded."""
    journey, began = line.journey, time.monotonic()
    round_ = journey.now.rounds[-1]
    if round_.snapshot is not None and not await _there(line, str(round_.snapshot_name)):
        round_ = journey.rename_round()
    at = await _taken(line, str(round_.snapshot_name))
    reached("round.taken")
    journey.change_round(
        snapshot=at.moref,
        changes={key: disk.change for key, disk in at.disks.items()},
        snapshot_s=round(time.monotonic() - began, 3),
    )
    reached("round.recorded")
    return at


async def _taken(line: Line, name: str) -> Checkpoint:
    """Taking is finished even if we are cancelled meanwhile: what exists must be known, to be removed."""
    taking = asyncio.ensure_future(in_thread(snapshots.take, line.access.session, line.machine, name))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        await asyncio.wait([taking])
        if taking.exception() is None:
            await asyncio.shield(_give_up(line, taking.result()))
        raise


def _require_same_disks(line: Line, at: Checkpoint) -> None:
    """UsageError if disks came or went: which target belongs to which disk is the operator's to say."""
    known = {disk.key: disk.label for disk in line.vm.disks}
    gone = sorted(known.keys() - at.disks.keys())
    if gone:
        raise SourceError(
            f"disks {', '.join(known[key] for key in gone)} are not part of the snapshot",
            vm=line.vm.name,
            operation="take snapshot",
            remedy="removed meanwhile, or independent: migrate it cold, or with the disks that it has",
        )
    if at.disks.keys() - known.keys():
        raise UsageError(
            f"disks were added: keys {sorted(at.disks.keys() - known.keys())}",
            vm=line.vm.name,
            remedy="give them targets and run the command again",
        )


async def _there(line: Line, name: str) -> bool:
    return await in_thread(snapshots.named, line.access.session, line.machine, name) is not None


async def _copy_all(line: Line, at: Checkpoint | None) -> list[Copied]:
    """All disks at once, sharing what their host has to give. The first error stops the others in order."""
    with ExitStack() as ends:
        try:
            async with asyncio.TaskGroup() as group:
                copies = []
                for disk, path in zip(line.vm.disks, line.paths, strict=True):
                    size = at.disks[disk.key].capacity if at else disk.capacity
                    target = ends.enter_context(FileTarget(path, size))
                    journal = line.state.journal(disk.key)
                    work = vddk.copy_disk(line.access, line.vm, disk, at, target, journal, line.how)
                    copies.append(group.create_task(work))
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        return [copy.result() for copy in copies]


async def _release(line: Line, at: Checkpoint, *, final: bool) -> None:
    """Remove the snapshot and wait until it is merged.

    After the last round the source is off, and all that counts is copied and proven: then a snapshot that
    cannot be removed ends nothing, and is waited for no longer than FINAL_REMOVAL.
    """
    began = time.monotonic()
    deadline = FINAL_REMOVAL if final else snapshots.REMOVE_DEADLINE
    removing = in_thread(snapshots.remove, line.access.session, line.machine, at.moref, deadline)
    try:
        await asyncio.shield(removing)
    except (SourceError, RetriesExhausted) as error:
        if not final:
            raise
        log.warning("going on without removing it", vm=line.vm.name, snapshot=at.name, reason=str(error))
    else:
        line.journey.change_round(removal_s=round(time.monotonic() - began, 3))


async def left_behind(line: Line) -> list[str]:
    """Names of this migration's snapshots that are there, unless the last one is known to be removed."""
    last = line.journey.now.rounds[-1]
    if last.snapshot is None or last.removal_s:
        return []
    nodes = await in_thread(snapshots.tree, line.access.session, line.machine)
    return [node.name for node in nodes if node.name.startswith(line.journey.prefix)]


async def _give_up(line: Line, at: Checkpoint) -> bool:
    """Remove the snapshot of a round that failed, if that is soon done; False if it was gone already."""
    try:
        there = await _there(line, at.name)
        await in_thread(snapshots.remove, line.access.session, line.machine, at.moref, GIVE_UP)
    except Error as error:
        log.error(
            "snapshot left behind: run the command again",
            vm=line.vm.name,
            snapshot=at.name,
            reason=str(error),
        )
        return True
    return there


async def reconcile(session: Session, vm: SourceVM, journey: Journey) -> bool:
    """Remove what earlier attempts left, but for the snapshot to go on with; False if nothing."""
    unfinished = journey.unfinished()
    fits = unfinished is not None and unfinished.final == (journey.now.stage is Stage.CUTOVER)
    keep = unfinished.snapshot_name if unfinished is not None and fits else None
    machine = Machine(vm.moref, vm.name)
    removed = await in_thread(snapshots.remove_all, session, machine, journey.prefix, keep)
    reached("reconciled")
    return removed


async def remove_all(line: Line) -> None:
    """Remove every snapshot of this migration."""
    await in_thread(snapshots.remove_all, line.access.session, line.machine, line.journey.prefix)
