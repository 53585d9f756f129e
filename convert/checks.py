"""What must be true of a converted guest, read again from its disks.

A check trusts no step: the file systems go through their own checker, the initramfs is listed anew, names
are resolved anew, and a whole new plan is drawn, which must have nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert import health
from convert.linux import devices, fallback, network, services, vmware
from transferd.model import Check, Firmware

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from convert.capabilities import Proof
    from convert.devices import FileSystem
    from convert.guest import Guest
    from convert.inspection import Inspection
    from convert.plan import Plan
    from convert.tree import Tree
    from transferd.model import ConversionResult


def clean(guest: Guest, filesystems: Sequence[FileSystem], keys: Sequence[Path]) -> Iterator[Check]:
    """For file systems that are not mounted, and for which there is a checker."""
    guest.unlock(keys)
    found = {finding.filesystem.device: finding for finding in guest.check(filesystems)}
    for filesystem in {filesystem.device: filesystem for filesystem in filesystems}.values():
        if health.script(filesystem, filesystem.device, thorough=True):
            finding = found.get(filesystem.device)
            name = f"file system {filesystem.uuid or filesystem.device} is clean"
            detail = finding.problem if finding else f"{filesystem.kind} checked"
            yield Check(name=name, ok=finding is None or not finding.harmful, detail=detail)


def converted(tree: Tree, inspection: Inspection, plan: Plan, told: ConversionResult) -> Iterator[Check]:
    """`plan` was drawn on the converted guest; `told` is what the conversion claims to have done."""
    yield from _kernels(plan)
    yield from _entries(tree, inspection, plan)
    yield from _loader(tree, inspection)
    yield _devices(tree, inspection)
    yield from _names(tree, inspection, told)
    yield from _masks(tree)
    left = [change.path for change in plan.changes]
    yield Check(name="nothing is left to convert", ok=not left, detail=", ".join(left) or "an empty plan")


def _kernels(plan: Plan) -> Iterator[Check]:
    for proof in plan.proofs:
        proven = _drives(proof)
        detail = f"block {proof.block}, net {proof.net}"
        name = f"kernel {proof.version} drives VirtIO"
        yield Check(name=name, ok=proven or not proof.default, detail=detail, proven=proven)


def _drives(proof: Proof) -> bool:
    return proof.weakest in ("builtin", "initramfs")


def _entries(tree: Tree, inspection: Inspection, plan: Plan) -> Iterator[Check]:
    """Each line of the boot menu: its files, its root, its drivers. The default one must come up."""
    versions = {kernel.image: kernel.version for kernel in inspection.kernels}
    drives = {proof.version: _drives(proof) for proof in plan.proofs}
    lost = devices.lost_names(tree, inspection)
    if not inspection.entries:
        detail = "no boot loader was found whose menu could be read"
        yield Check(name="the boot menu was read", ok=True, detail=detail, proven=False)
    for entry in inspection.entries:
        missing = [path for path in (entry.kernel, *entry.initrds) if not tree.exists(path)]
        version = versions.get(entry.kernel)
        problems = [f"{path} does not exist" for path in missing]
        problems += [problem for problem in lost if problem.startswith(f"{entry.file}: ")]
        if version is None:
            problems.append(f"{entry.kernel} is no kernel with modules")
        elif not drives.get(version):
            problems.append(f"kernel {version} was not proven to drive VirtIO")
        detail = "; ".join(problems) or f"kernel {version}, {', '.join(entry.initrds) or 'no initramfs'}"
        name = f"boot entry {entry.title or entry.kernel}"
        yield Check(name=name, ok=not (problems and entry.default), detail=detail, proven=not problems)


def _loader(tree: Tree, inspection: Inspection) -> Iterator[Check]:
    """What a firmware that has forgotten everything starts. A warning has told of what could not be made."""
    if inspection.firmware is Firmware.EFI:
        problem = fallback.missing(tree, inspection)
        detail = problem or "the fallback loader is on the EFI system partition"
        yield Check(name="UEFI finds a boot loader", ok=True, detail=detail, proven=problem is None)


def _devices(tree: Tree, inspection: Inspection) -> Check:
    lost = devices.lost_names(tree, inspection)
    detail = "; ".join(lost) or "every name resolves to one file system of the given disks"
    return Check(name="boot and mounts use lasting device names", ok=not lost, detail=detail)


def _names(tree: Tree, inspection: Inspection, told: ConversionResult) -> Iterator[Check]:
    """The initramfs has the same files: otherwise the new plan would want to append them."""
    rules = (tree.read(network.OUR_RULES) or b"").decode("utf-8", "replace")
    for nic in told.nics:
        if nic.name is not None:
            link = (tree.read(network.link_path(nic)) or b"").decode("utf-8", "replace")
            ok = link == network.link(nic, inspection.systemd) and network.rule(nic) in rules
            detail = f"{network.link_path(nic)} and {network.OUR_RULES}"
            yield Check(name=f"{nic.mac} is pinned to {nic.name}", ok=ok, detail=detail)


def _masks(tree: Tree) -> Iterator[Check]:
    """A unit of the administrator's own in that place stays, and a warning has told of it."""
    for unit in vmware.installed(tree):
        path = f"{services.MASKS}/{unit}"
        target = tree.link(path)
        own = target is None and tree.exists(path)
        detail = "the administrator's own unit was left" if own else f"{path} -> {target or 'nothing'}"
        yield Check(name=f"{unit} is masked", ok=own or target == services.MASK, detail=detail)
