"""VMware's guest tools are made harmless without running the guest's package manager.

Their units are masked as `systemctl mask` does it: a link to /dev/null under /etc/systemd/system. On the
new hardware they would do nothing (ConditionVirtualization=vmware) or fail, as the vmblock mount does. The
packages stay, and `systemctl unmask` brings everything back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.plan import Change, Contribution
from transferd.model import Warning_

if TYPE_CHECKING:
    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "vmware"
MASK = "/dev/null"
MASKS = "/etc/systemd/system"
UNITS = (
    "open-vm-tools.service",
    "vmtoolsd.service",
    "vmware-tools.service",
    "vgauth.service",
    "vgauthd.service",
    r"run-vmblock\x2dfuse.mount",
    "vmware-vmblock-fuse.service",
)
UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")


def mask_vmware_tools(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Mask VMware's services."""
    changes: list[Change] = []
    warnings: list[Warning_] = []
    for unit in installed(tree):
        mask = f"{MASKS}/{unit}"
        if tree.link(mask) == MASK:
            continue
        if tree.link(mask) is None and tree.exists(mask):
            warnings.append(_local_unit(mask))
            continue
        reason = "VMware's services have nothing to talk to on the new hardware"
        changes.append(Change(mask, "symlink", STEP, reason, data=MASK.encode()))
    return Contribution(tuple(changes), tuple(warnings))


def installed(tree: Tree) -> list[str]:
    """VMware's units that a package brought; an alias, which is a link to one of them, is none."""
    return [unit for unit in UNITS if any(_is_unit(tree, f"{folder}/{unit}") for folder in UNIT_FOLDERS)]


def _is_unit(tree: Tree, path: str) -> bool:
    return tree.link(path) is None and tree.exists(path)


def _local_unit(path: str) -> Warning_:
    return Warning_(
        code="vmware-unit-not-masked",
        message=f"{path} is the administrator's own unit and was left alone",
        remedy="disable it in the guest if it belongs to VMware",
    )
