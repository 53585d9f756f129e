"""Module settings that would keep VirtIO's drivers from loading, or call for those of VMware's hardware.

A blacklist is somebody's decision, but it was made for other hardware: obeyed, it costs the guest its disk
or its network. It becomes a comment, and a warning tells of it. An alias names the driver of a NIC or of the
disk controller; old systems load by it, and Red Hat's mkinitrd (release 5 and before) and SUSE's build the
next initramfs from it, so it is rewritten. VMware's `install pciehp` would keep the slots of the new machine
from seeing a disk that is plugged in.

Options for drivers whose hardware is gone (vmxnet3, vmw_pvscsi) are harmless and stay.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from convert.linux.edits import edited, files, joined
from convert.plan import Contribution
from convert.tree import encoded
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "modprobe"
FOLDER = "/etc/modprobe.d"
# kmod reads .conf alone; module-init-tools before it read names without an ending too.
NAME = re.compile(r"[^.].*\.conf|[^.]+")
# Without one of these there is no disk or no network. Balloon, rng and console may stay blacklisted.
NEEDED = frozenset(
    {
        *("virtio", "virtio_ring", "virtio_pci", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
        *("virtio_blk", "virtio_scsi", "virtio_net", "net_failover", "failover"),
    }
)
NIC_DRIVERS = frozenset({"vmxnet", "vmxnet2", "vmxnet3", "pcnet32", "e1000", "e1000e"})
DISK_DRIVERS = frozenset(
    {"vmw_pvscsi", "pvscsi", "mptbase", "mptscsih", "mptspi", "mptsas", "mptscsi", "buslogic", "sym53c8xx"}
)
REFUSING = (
    [":"],
    *([f"{folder}{name}"] for folder in ("", "/bin/", "/usr/bin/") for name in ("true", "false")),
)
ON_COMMAND_LINE = re.compile(r"(?:^|\s)(?:modprobe\.|module_|rd\.driver\.)blacklist=(\S+)")
NIC = re.compile(r"eth\d+")
DISK = re.compile(r"scsi_hostadapter\d*")


def let_virtio_load(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Let module settings load VirtIO."""
    read = [path for path in files(tree, FOLDER, "") if NAME.fullmatch(path.rpartition("/")[2])]
    paths = ["/etc/modules.conf", "/etc/modprobe.conf", *read]
    blocked = Contribution(warnings=tuple(_blocked(inspection)))
    return joined([*(_settings(tree, path) for path in paths), blocked])


def image_edit(name: str, content: bytes) -> bytes:
    """The same for the settings that an initramfs carries: its drivers are loaded by those."""
    folder, _, base = name.rpartition("/")
    if name != "etc/modprobe.conf" and not (folder == "etc/modprobe.d" and NAME.fullmatch(base)):
        return content
    return encoded(_rewritten(content.decode("utf-8", "surrogateescape"), []))


def _blocked(inspection: Inspection) -> Iterator[Warning_]:
    """Command lines are left: which modules a kernel may load is said there on purpose, and rarely."""
    for entry in inspection.entries:
        names = {name for found in ON_COMMAND_LINE.findall(entry.options) for name in found.split(",")}
        if found := sorted(name for name in names if name.replace("-", "_") in NEEDED):
            yield Warning_(
                code="virtio-is-blocked",
                message=f"the command line of {entry.title!r} keeps {', '.join(found)} from loading",
                remedy=f"take the blacklist out of {entry.file} before the guest is started",
            )


def _settings(tree: Tree, path: str) -> Contribution:
    freed: list[str] = []
    reason = "module settings for VMware's hardware would not load the drivers of the new one"
    done = edited(tree, path, partial(_rewritten, freed=freed), step=STEP, reason=reason)
    return joined([done, Contribution(warnings=tuple(_freed(path, line) for line in freed))])


def _rewritten(settings: str, freed: list[str]) -> str:
    """`freed` receives the decisions that were overruled."""
    statements = _statements(settings)
    has_disk = any(
        words[:1] == ["alias"] and words[2:] == ["virtio_blk"] for words in map(_words, statements)
    )
    written: list[str] = []
    for statement in statements:
        new = _statement(statement, has_disk=has_disk)
        has_disk = has_disk or (new != statement and new.split()[-1:] == ["virtio_blk"])
        written.append(new)
        if _is_refusal(_words(statement)):
            freed.append(" ".join(statement.split()))
    return "".join(written)


def _statements(settings: str) -> list[str]:
    """Lines; one that goes on in the next, as a backslash at its end says (modprobe.d(5)), with that one."""
    whole: list[str] = []
    for line in settings.splitlines(keepends=True):
        if whole and whole[-1].endswith("\\\n"):
            whole[-1] += line
        else:
            whole.append(line)
    return whole


def _words(statement: str) -> list[str]:
    """modprobe takes - and _ for the same in names of modules."""
    return statement.replace("\\\n", " ").replace("-", "_").split()


def _statement(statement: str, *, has_disk: bool) -> str:
    words = _words(statement)
    if _is_refusal(words) or _is_vmwares_pciehp(words):
        return _comment(statement)
    if len(words) != 3 or words[0] != "alias":  # noqa: PLR2004 (modprobe.d(5): alias NAME MODULE)
        return statement
    if NIC.fullmatch(words[1]) and words[2].lower() in NIC_DRIVERS:
        return f"alias {words[1]} virtio_net\n"
    if DISK.fullmatch(words[1]) and words[2].lower() in DISK_DRIVERS:
        return _comment(statement) if has_disk else f"alias {words[1]} virtio_blk\n"
    return statement


def _is_refusal(words: list[str]) -> bool:
    if words[:1] == ["blacklist"]:
        return words[1:2] != [] and words[1] in NEEDED
    return words[:1] == ["install"] and words[1:2] != [] and words[1] in NEEDED and words[2:] in REFUSING


def _is_vmwares_pciehp(words: list[str]) -> bool:
    return words[:2] == ["install", "pciehp"] and "acpiphp;" in words


def _comment(statement: str) -> str:
    return "".join(f"# {line}" for line in statement.splitlines(keepends=True))


def _freed(path: str, line: str) -> Warning_:
    return Warning_(
        code="virtio-was-blocked",
        message=f"{path} had {line!r}, which would keep a driver of the new hardware from loading",
        remedy="the line is a comment now",
    )
