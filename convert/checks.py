"""What must be true of a converted guest, read again from its disks.

A check trusts no step: the file systems go through their own checker, the initramfs is listed anew, names
are resolved anew, and a whole new plan is drawn, which must have nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert import health
from convert.linux import devices, network, services, vmware
from transferd.model import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
    yield _devices(tree, inspection)
    yield from _names(tree, inspection, told)
    yield from _masks(tree)
    left = [change.path for change in plan.changes]
    yield Check(name="nothing is left to convert", ok=not left, detail=", ".join(left) or "an empty plan")


def _kernels(plan: Plan) -> Iterator[Check]:
    for proof in plan.proofs:
        ok = proof.weakest in ("builtin", "initramfs") or not proof.default
        detail = f"block {proof.block}, net {proof.net}"
        yield Check(name=f"kernel {proof.version} drives VirtIO", ok=ok, detail=detail)


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
