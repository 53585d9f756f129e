"""THE STRAIGHT LINE: one VM from vSphere to disks that boot on KubeVirt.

    read the VM -> warm: rounds while it runs, until it is time
      -> shut it down -> the last round -> convert in a child process -> seal -> VirtualMachine manifest

A cold migration is a warm one without rounds: the VM is off when its disks are read, so no snapshot is
taken. From the shutdown on, every failure gives the source its power back. What was done is written down
step by step (journey.py), so a run that was killed is continued by the same command.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from transferd import conversion, downtime, rehearsal, rounds, units, vddk
from transferd.areas import ChangesUnknown
from transferd.backends.file_target import FileTarget
from transferd.copy import How, proof
from transferd.crew import in_thread
from transferd.cutover import Schedule
from transferd.errors import IntegrityError, UsageError
from transferd.extents import Range
from transferd.failpoint import reached
from transferd.journal import Journal
from transferd.journey import Journey, Stage
from transferd.limits import Means, Permit
from transferd.model import (
    Caps,
    ConversionResult,
    DiskResult,
    Guest,
    MigrationSpec,
    PowerState,
    Result,
    SourceVM,
    Untouched,
    Warning_,
)
from transferd.plan import BLOCK
from transferd.progress import Progress
from transferd.rounds import Line
from transferd.seal import seal
from transferd.state import State
from transferd.vddk import Access
from transferd.vsphere import power, tracking
from transferd.vsphere.changes import changed_areas

BLOCKING = frozenset(
    ("not-connected", "no-datastore", "pending-question", "suspended", "duplicate-instance-uuid",
     "rdm-physical", "shared-disk", "disk-empty", "disk-size")
)  # fmt: skip
BLOCKING_WARM = frozenset(("independent-disk", "snapshot-chain", "fault-tolerance", "no-change-tracking"))


async def migrate(spec: MigrationSpec, access: Access, state: State, progress: Progress) -> ConversionResult:
    """The whole journey of one VM; returns its result document."""
    schedule = Schedule.of(spec)
    line = await begin(spec, access, state, progress)
    journey = line.journey
    if journey.now.stage is Stage.DONE:
        progress.say(f"{line.vm.name}: was migrated already; remove {state.folder} to begin anew")
        return state.finished()
    await probe(spec, line)
    if spec.mode == "warm" and journey.now.stage is Stage.PRECOPY:
        await _precopy(spec, line, schedule)
    async with source_off(spec, line):
        result = await _cut_over(spec, line)
    state.write(state.result, result)
    reached("result.written")
    journey.update(stage=Stage.DONE)
    reached("done")
    return result


async def begin(
    spec: MigrationSpec, access: Access, state: State, progress: Progress, permit: Permit | None = None
) -> Line:
    """Read the VM, go on with what an earlier attempt left, remove the snapshots that it left."""
    vm = await in_thread(access.session.read_vm, spec.vm)
    paths = targets(spec, vm)
    journey = Journey.begin(state, vm)
    reached("begun")
    if journey.now.stage is not Stage.DONE:
        if await rounds.reconcile(access.session, vm, journey):
            vm = await in_thread(access.session.read_vm, spec.vm)  # its disks are other files now
            paths = targets(spec, vm)
        state.write(state.source, vm)
    means = Means(budget=vddk.share(access, vm), permit=permit or Permit())
    how = How(progress, proof(spec.verify), means)
    return Line(access, vm, paths, state, journey, how, progress)


async def _precopy(spec: MigrationSpec, line: Line, schedule: Schedule) -> None:
    """Rounds while the VM runs, until the schedule says that it is time and no rehearsal forbids it."""
    journey = line.journey
    while True:
        await precopy_round(line)
        if await rehearsal.after_round(spec, line):
            continue  # what was written during the rehearsal is copied while the VM still runs
        predicted = downtime.predict(journey.now.rounds, converts=spec.convert != "none")
        if predicted is not None:
            line.progress.say(f"{line.vm.name}: predicted downtime {predicted.total:.0f} s")
        if schedule.due(journey.now.rounds, predicted):
            rehearsal.require_passed(spec, line)
            return
        reached("waiting")
        await schedule.wait(journey.now.rounds[-1].began)


async def precopy_round(line: Line) -> list[DiskResult]:
    """One round while the VM runs, with changed block tracking."""
    session, journey = line.access.session, line.journey
    if not await in_thread(tracking.enabled, session, line.machine):
        line.progress.say(f"{line.vm.name}: switching on changed block tracking")
        reached("tracking.off")
        await in_thread(tracking.switch_on, session, line.machine, journey.name("tracking"))
        reached("tracking.on")
    earlier = journey.unfinished()
    line.progress.say(f"{line.vm.name}: round {earlier.number if earlier else len(journey.now.rounds)}")
    disks = await rounds.run(line, final=False, snapshot=True)
    _require_tracked(line)
    return disks


def _require_tracked(line: Line) -> None:
    """UsageError if a disk has no changeId: each round would be a whole copy, and the last one, too."""
    changes = line.journey.now.rounds[-1].changes
    labels = [disk.label for disk in line.vm.disks if changes.get(disk.key) is None]
    if labels:
        raise UsageError(
            f"changed block tracking does not work on {', '.join(labels)}",
            vm=line.vm.name,
            remedy="migrate it cold; what was copied is kept and only compared",
        )


@asynccontextmanager
async def source_off(spec: MigrationSpec, line: Line) -> AsyncIterator[None]:
    """The source is off inside. Left by an error or a cancellation, it gets its power back."""
    session, vm, journey = line.access.session, line.vm, line.journey
    now = await in_thread(session.power_state, vm)
    journey.begin_cutover(now)
    reached("shutdown.recorded")
    try:
        if journey.now.stage is Stage.CONVERSION and await _has_run(line, now):
            line.progress.say(f"{vm.name}: has run since its last round: doing that again")
            line.state.forget_converted()
            journey.update(stage=Stage.CUTOVER)
        if now is not PowerState.OFF:
            line.progress.say(f"{vm.name}: shutting down the source")
            async with _timed(line, "shutdown"):
                await power.shut_down(session, vm, spec.shutdown)
            reached("shutdown.off")
        yield
    except BaseException:
        await asyncio.shield(retreat(line))
        raise


async def retreat(line: Line) -> None:
    """Give the source its power back, after the disks that were copied are no longer taken for its own."""
    journey = line.journey
    journey.retreat()
    line.state.forget_converted()
    reached("retreat.recorded")
    if journey.now.power is PowerState.ON:
        await power.restore(line.access.session, line.vm, line.progress)
    reached("retreat.restored")
    journey.restored()


async def _has_run(line: Line, now: PowerState) -> bool:
    """Whether the source may have written since the round that an earlier attempt took for its last."""
    if now is not PowerState.OFF:
        return True
    session, changes = line.access.session, line.journey.now.rounds[-1].changes
    try:
        for disk in line.vm.disks:
            change = changes.get(disk.key)  # of a cold migration there is none, and nobody knows
            if change is not None:
                areas = await in_thread(
                    changed_areas, session, line.vm, None, disk.key, disk.capacity, change
                )
                if areas.total:
                    return True
    except ChangesUnknown:
        return True
    return False


async def last_round(spec: MigrationSpec, line: Line) -> list[DiskResult]:
    """The disks as they were when the source was switched off; afterwards they are the converter's."""
    journey, state = line.journey, line.state
    if journey.now.stage not in {Stage.CONVERSION, Stage.DONE}:
        state.forget_conversion()
        async with _timed(line, "last round"):
            disks = await rounds.run(line, final=True, snapshot=spec.mode == "warm")
            await power.require_off(line.access.session, line.vm)
        state.write(state.copied, Result(outcome="ok", disks=disks))
        journey.update(stage=Stage.CONVERSION)
        reached("conversion.begun")
    return state.read(state.copied, Result).disks


async def _cut_over(spec: MigrationSpec, line: Line) -> ConversionResult:
    """The last round, and what makes a guest of the disks. What is converted is not copied again."""
    journey, state = line.journey, line.state
    copied = await last_round(spec, line)
    async with _timed(line, "conversion"):
        result = await _convert(spec, line)
    reached("conversion.ended")
    async with _timed(line, "seal"):
        result = await sealed(spec, line, result, copied)
    reached("sealed")
    if spec.manifest is not None:
        async with _timed(line, "manifest"):
            await conversion.manifest(spec.manifest, result, state)
        reached("manifest.written")
    steps = journey.now.downtime
    left = [_left_behind(name) for name in await rounds.left_behind(line)]
    return result.model_copy(
        update={
            "warnings": [*result.warnings, *left],
            "rehearsal": result.rehearsal or rehearsal.found(state),
            "rounds": journey.now.rounds,
            "downtime": steps,
            "downtime_s": round(sum(each.seconds for each in steps), 3),
        }
    )


def _left_behind(name: str) -> Warning_:
    return Warning_(
        code="snapshot-left",
        message=f"snapshot {name} could not be removed from the source",
        remedy="remove it in the vSphere client, or it grows with every write if the source is started again",
    )


@asynccontextmanager
async def _timed(line: Line, step: str) -> AsyncIterator[None]:
    began = time.monotonic()
    yield
    line.journey.took(step, time.monotonic() - began)


def _heed_concerns(spec: MigrationSpec, line: Line) -> None:
    """Say them all; UsageError for those with which no copy can be right, or none can be made."""
    blocking = BLOCKING | (BLOCKING_WARM if spec.mode == "warm" else frozenset())
    for concern in line.vm.concerns:
        if concern.category != "information":
            line.progress.say(f"{line.vm.name}: {concern.category}: {concern.label}. {concern.assessment}")
    found = [concern for concern in line.vm.concerns if concern.id in blocking]
    if found:
        raise UsageError(
            f"cannot be migrated {spec.mode}: {'; '.join(concern.label for concern in found)}",
            vm=line.vm.name,
            remedy=" ".join(concern.remedy for concern in found),
        )


async def probe(spec: MigrationSpec, line: Line) -> None:
    """Find what would fail at the end before the source is touched: a night's copy is at stake."""
    units.duration(spec.shutdown.timeout)
    rehearsal.require_possible(spec)
    if line.journey.now.stage is Stage.PRECOPY:
        _heed_concerns(spec, line)
    vddk.require_library(line.access)
    if spec.manifest is not None:
        placeholder = unconverted(line.vm, "probe", "not copied yet")
        await conversion.manifest(spec.manifest, placeholder, line.state)
        line.state.manifest.unlink()
    for disk, path in zip(line.vm.disks, line.paths, strict=True):
        with FileTarget(path, disk.capacity):
            pass  # it is large enough and can be written


def targets(spec: MigrationSpec, vm: SourceVM) -> list[Path]:
    """One target per disk, in disk order. UsageError lists every disk without one."""
    if not vm.disks:
        raise UsageError("has no disks", vm=vm.name)
    if spec.target_dir is not None:
        folder = Path(spec.target_dir)
        if not folder.is_dir():
            raise UsageError(f"targetDir {folder}: no such folder", remedy="create it first")
        return [folder / f"disk{number}.img" for number in range(len(vm.disks))]
    missing = [f"{disk.key} ({disk.label})" for disk in vm.disks if disk.key not in spec.targets]
    unknown = sorted(spec.targets.keys() - {disk.key for disk in vm.disks})
    if missing or unknown:
        raise UsageError(
            f"targets: no target for disk keys [{', '.join(missing)}], no such disk keys {unknown}",
            vm=vm.name,
        )
    return [Path(spec.targets[disk.key]) for disk in vm.disks]


async def _convert(spec: MigrationSpec, line: Line) -> ConversionResult:
    vm, progress = line.vm, line.progress
    if spec.convert == "none":
        return unconverted(vm, "conversion-off", "conversion is switched off: the guest was not touched")
    progress.say(f"{vm.name}: converting")
    boot = rehearsal.before_commit(spec)
    required = spec.convert == "required" or boot is not None
    converted = await conversion.convert(
        line.paths, line.state, required=required, boot=boot, say=progress.say
    )
    if converted.outcome == "ok":
        return converted
    reason = str((converted.error or {}).get("message"))
    code = "not-converted" if converted.guest.found else "no-guest"
    plain = unconverted(vm, code, reason)
    return plain.model_copy(
        update={"guest": converted.guest, "warnings": [*converted.warnings, *plain.warnings]}
    )


def unconverted(vm: SourceVM, code: str, reason: str) -> ConversionResult:
    """The result for a guest left as it was: hardware that needs no VirtIO driver, and a warning."""
    return ConversionResult(
        outcome="ok",
        guest=Guest(found=False),
        caps=Caps.without_virtio(vm.firmware),
        warnings=[
            Warning_(code=code, message=reason, remedy="the manifest uses SATA and e1000e: boot it and check")
        ],
    )


async def sealed(
    spec: MigrationSpec, line: Line, result: ConversionResult, copied: list[DiskResult]
) -> ConversionResult:
    """The result with the disks, and the proof that conversion changed nothing but what it lists."""
    whole = spec.mode == "cold" or spec.verify == "full"
    line.progress.say("sealing the converted disks")
    digests, checked = [], 0
    for number, (disk, path) in enumerate(zip(line.vm.disks, line.paths, strict=True)):
        written = [Range(each.start, each.length) for each in result.written if each.disk == number]
        with Journal(line.state.journal(disk.key)) as journal:
            received = journal.require_sealed()
        sealed = await in_thread(lambda: seal(path, received, written, whole=whole))  # noqa: B023
        if sealed.mismatched:
            raise IntegrityError(
                f"{len(sealed.mismatched)} blocks changed that conversion did not write",
                disk=disk.label,
                operation="seal",
                offset=sealed.mismatched[0] * BLOCK,
                remedy="do not start this VM: check the target's storage, then migrate again",
            )
        digests.append(sealed.digest)
        checked += sealed.checked
    return result.model_copy(
        update={
            "disks": copied,
            "digest_converted": digests,
            "untouched": Untouched(checked=checked, mismatched=0),
        }
    )
