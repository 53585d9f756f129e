"""THE STRAIGHT LINE: one VM from vSphere to disks that boot on KubeVirt.

    read the VM -> shut it down -> each disk: VDDK -> NBD -> target, flushed and proven
      -> convert in a child process -> seal -> VirtualMachine manifest

The source is off while its disks are read and stays off when everything succeeded; on any failure its power
state is restored. No snapshot is taken of a VM that is off.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from transferd import conversion, outcome, units, vddk
from transferd.backends.file_target import FileTarget
from transferd.copy import Copied, How, proof
from transferd.crew import first_error
from transferd.errors import IntegrityError, UsageError
from transferd.extents import Range
from transferd.limits import NFC_MEMORY, NFC_SESSIONS, Budget, Means
from transferd.model import (
    Caps,
    ConversionResult,
    Guest,
    MigrationSpec,
    SourceVM,
    Untouched,
    Warning_,
)
from transferd.plan import BLOCK
from transferd.progress import Progress
from transferd.seal import seal
from transferd.state import State
from transferd.vddk import Access
from transferd.vsphere import power


async def migrate(spec: MigrationSpec, access: Access, state: State, progress: Progress) -> ConversionResult:
    """The whole journey of one VM; returns its result document."""
    vm = await asyncio.to_thread(access.session.read_vm, spec.vm)
    state.write(state.source, vm)
    paths = targets(spec, vm)
    await _rehearse(spec, access, vm, state)
    with ExitStack() as ends:
        opened = [
            ends.enter_context(FileTarget(path, disk.capacity))
            for disk, path in zip(vm.disks, paths, strict=True)
        ]
        how = How(progress, proof(spec.verify), Means(budget=Budget(NFC_MEMORY, NFC_SESSIONS)))
        async with power.off(access.session, vm, spec.shutdown, progress):
            state.forget_conversion()
            copies = await _copy_all(access, vm, opened, state, how)
            ends.close()  # conversion opens them next; an error in closing is an error of the copy
            result = await _convert(spec, vm, paths, state, progress)
            result = await _sealed(result, copies, paths, progress)
            if spec.manifest is not None:
                await conversion.manifest(spec.manifest, result, state)
    return result


async def _copy_all(
    access: Access, vm: SourceVM, targets: list[FileTarget], state: State, how: How
) -> list[Copied]:
    """All disks at once, sharing what their host has to give. The first error stops the others in order."""
    try:
        async with asyncio.TaskGroup() as group:
            copies = [
                group.create_task(
                    vddk.copy_disk(access, vm, disk, None, target, state.journal(disk.key), how)
                )
                for disk, target in zip(vm.disks, targets, strict=True)
            ]
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None
    return [copy.result() for copy in copies]


async def _rehearse(spec: MigrationSpec, access: Access, vm: SourceVM, state: State) -> None:
    """Find what would fail at the end before the source is touched: a night's copy is at stake."""
    units.duration(spec.shutdown.timeout)
    vddk.require_library(access)
    if spec.manifest is not None:
        await conversion.manifest(spec.manifest, unconverted(vm, "rehearsal", "not copied yet"), state)
        state.manifest.unlink()


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


async def _convert(
    spec: MigrationSpec, vm: SourceVM, paths: list[Path], state: State, progress: Progress
) -> ConversionResult:
    if spec.convert == "none":
        return unconverted(vm, "conversion-off", "conversion is switched off: the guest was not touched")
    progress.say(f"{vm.name}: converting")
    converted = await conversion.convert(paths, state, required=spec.convert == "required", say=progress.say)
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


async def _sealed(
    result: ConversionResult, copies: list[Copied], paths: list[Path], progress: Progress
) -> ConversionResult:
    """The result with the disks, and the proof that conversion changed nothing but what it lists."""
    progress.say("sealing the converted disks")
    digests, checked = [], 0
    for number, (copied, path) in enumerate(zip(copies, paths, strict=True)):
        written = [Range(each.start, each.length) for each in result.written if each.disk == number]
        sealed = await asyncio.to_thread(seal, path, copied.digests, written)
        if sealed.mismatched:
            raise IntegrityError(
                f"{len(sealed.mismatched)} blocks changed that conversion did not write",
                disk=copied.label,
                operation="seal",
                offset=sealed.mismatched[0] * BLOCK,
                remedy="do not start this VM: check the target's storage, then migrate again",
            )
        digests.append(sealed.digest)
        checked += sealed.checked
    return result.model_copy(
        update={
            "disks": [outcome.disk(copied) for copied in copies],
            "digest_converted": digests,
            "untouched": Untouched(checked=checked, mismatched=0),
        }
    )
