"""What checkers, arrays and volume groups say, judged: what stops a conversion and what is only told. Pure.

Every check is one that repairs nothing. Damage of a file system that conversion would write is a refusal: an
edit on top of it may lose more. Damage elsewhere is a warning, because those blocks stay as they are.

One kind of damage is none. xfs_repair of today finds fault with file systems that kernels of RHEL 7's time
keep: they lack the features that came after (free inode btree, sparse inodes), and counters that those
kernels correct at mount differ. virt-v2v does not check such guests at all; here it is a warning.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.blocks import ARRAY_MEMBER, VOLUME_GROUP_MEMBER
from convert.tree import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convert.devices import FileSystem

STATUS = re.compile(r"status (\d+)\s*$")
STATE = re.compile(r"Filesystem state:\s*(.*)")
ARRAY_REPORT = "grep -H . /sys/block/md*/md/array_state /sys/block/md*/md/degraded"
VOLUME_REPORT = (
    "--reportformat json -a -o vg_name,lv_name,lv_active,lv_role,lv_skip_activation,vg_missing_pv_count"
)
# Statuses above are signals (128 + number): the checker was killed, or had no memory. That is no verdict.
KILLED = 128
# e2fsck(8): 8 is an operational error, without any finding.
E2FSCK_FAILED = 8
# Of `xfs_db -c version`. Each came after RHEL 7's kernel, 3.10.
XFS_SINCE_RHEL8 = ("SPARSE_INODES", "REFLINK", "RMAPBT", "BIGTIME")
# btrfs check holds the metadata in memory: more than this would not fit into an appliance. Mounting must do.
BTRFS_LIMIT = 64 * 1024 * MIB
LENGTH = 500  # characters of a checker's words that are told


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file system. `excused`: known to be harmless. `unknown`: could not be checked."""

    filesystem: FileSystem
    problem: str
    excused: bool = False
    unknown: bool = False

    @property
    def harmful(self) -> bool:
        return not (self.excused or self.unknown)

    def __str__(self) -> str:
        return f"{self.filesystem.kind} file system {self.filesystem.title}: {self.problem}"


def script(filesystem: FileSystem, device: str, *, thorough: bool) -> str | None:
    """The commands that check an unmounted file system, None where there is no checker worth its time.

    FAT is left out: a dirty bit that means nothing is what its checker finds on most systems.
    """
    kind = filesystem.kind
    if kind in ("ext2", "ext3", "ext4"):
        return f"e2fsck -f -n {device}" if thorough else f"dumpe2fs -h {device} | grep 'Filesystem state:'"
    if kind == "xfs" and thorough:
        return f"xfs_repair -n {device} || {{ xfs_db -r -c version {device}; false; }}"
    if kind == "btrfs" and thorough and (filesystem.size or 0) <= BTRFS_LIMIT:
        return f"btrfs check --readonly {device}"
    return None


def judge(filesystem: FileSystem, said: str) -> Finding | None:
    """`said`: what `script` printed, then `status N`. None for a file system without a fault."""
    match = STATUS.search(said)
    words = " ".join(said[: match.start() if match else None].split())
    if state := STATE.search(words):
        wrong = "error" in state[1]
        return Finding(filesystem, f"its superblock says: {state[1]}") if wrong else None
    status = int(match[1]) if match else KILLED
    if status == 0:
        return None
    problem = _tail(words)
    if status >= KILLED or (filesystem.kind.startswith("ext") and status == E2FSCK_FAILED):
        return Finding(filesystem, f"could not be checked: {problem}", unknown=True)
    if filesystem.kind == "xfs" and _is_old_xfs(words):
        return Finding(
            filesystem, f"made by an old kernel, found fault with by a new checker: {problem}", excused=True
        )
    return Finding(filesystem, f"is damaged: {problem}")


def _tail(words: str) -> str:
    return words if len(words) <= LENGTH else f"... {words[-LENGTH:]}"


def _is_old_xfs(words: str) -> bool:
    version = re.search(r"versionnum \[[^\]]*\] = (\S+)", words)
    return version is not None and not set(version[1].split(",")) & set(XFS_SINCE_RHEL8)


def arrays(report: str) -> list[str]:
    """`report`: what ARRAY_REPORT printed. An array that lacks too much is there, but inactive."""
    found = re.findall(r"^/sys/block/(md[^/]+)/md/(\w+):(\w+)$", report, re.MULTILINE)
    idle = {name for name, what, value in found if what == "array_state" and value in ("inactive", "clear")}
    return [f"the array {name} does not start: members are missing" for name in sorted(idle)] + [
        f"the array {name} runs without {value} of its members"
        for name, what, value in found
        if what == "degraded" and value != "0" and name not in idle
    ]


def volumes(report: str) -> list[str]:
    """`report`: what `lvs` said with VOLUME_REPORT."""
    try:
        rows = json.loads(report)["report"][0]["lv"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ["LVM could not read its volume groups"]
    missing = {row["vg_name"]: row["vg_missing_pv_count"] for row in rows}
    ailing = [
        f"the volume group {group} lacks {count} of its disks"
        for group, count in missing.items()
        if count not in ("", "0")
    ]
    idle = [
        f"the volume {row['vg_name']}/{row['lv_name']} does not start"
        for row in rows
        if not (row["lv_active"] or row["lv_skip_activation"]) and "public" in row["lv_role"]
    ]
    return ailing + idle


def members(filesystems: Iterable[FileSystem], held: frozenset[str]) -> list[str]:
    """Members of arrays that did not start, and members that are there twice."""
    everything = list(filesystems)
    idle = {
        f.label or f.uuid or f.device for f in everything if f.kind == ARRAY_MEMBER and f.device not in held
    }
    twice = Counter(f.uuid for f in everything if f.kind == VOLUME_GROUP_MEMBER)
    return [
        *(f"the array {name} does not start: members are missing" for name in sorted(idle)),
        *(f"LVM finds the same disk {count} times ({uuid})" for uuid, count in twice.items() if count > 1),
    ]


def locked(container: FileSystem, keys: int) -> str:
    tried = f"none of the {keys} keys given opens it" if keys > 1 else "the key given does not open it"
    return f"{container.title} is encrypted (LUKS)" + (f" and {tried}" if keys else "")
