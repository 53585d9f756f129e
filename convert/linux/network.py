"""NICs keep their names: a .link file and a guarded udev rule for each NIC whose name is proven.

Both, because each alone fails somewhere: a .link is not applied to a NIC that was renamed in the initramfs
(systemd issue 9006), and old systems know only rules. The same files go into the initramfs (linux.kernels),
where virtio_net is loaded and the first renaming happens.

`PermanentMACAddress=` (systemd 245 and later) matches hardware only; before that `MACAddress=` would match
the VLANs and bridges above it too, so it is held to the driver. The rule is held to hardware by DRIVERS and
to Ethernet by type 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.interfaces import Nic
from convert.linux.resolver import resolve
from convert.linux.stacks import clues
from convert.linux.stacks.reading import Reader
from convert.plan import Change, Contribution, write
from transferd.errors import printable
from transferd.model import Warning_

if TYPE_CHECKING:
    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes
    from transferd.model import NicName

STEP = "network"
LINKS = "/etc/systemd/network"
RULES = "/etc/udev/rules.d"
OUR_RULES = f"{RULES}/70-transferd-net.rules"
PERMANENT_MAC_SINCE = 245
HEADER = "# Written by transferd: this NIC keeps the name that it had before the move.\n"


def keep_names(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:
    """Pin the names of network interfaces."""
    reader = Reader(tree)
    known = [Nic(nic.mac, tuple(nic.ips), nic.slot, nic.adapter) for nic in wishes.source.nics]
    nics = resolve(known, clues(reader))
    named = [nic for nic in nics if nic.name is not None]
    changes: list[Change] = []
    for nic in named:
        reason = f"{nic.mac} is {nic.name}: {nic.evidence[0]}"
        changes += write(tree, link_path(nic), link(nic, inspection.systemd), step=STEP, reason=reason)
    if named:
        reason = "the same names for a udev that has no use for .link files, or comes after the initramfs"
        changes += write(tree, OUR_RULES, rules(named), step=STEP, reason=reason)
    warnings = [*map(_unread, reader.unread), *(_unresolved(nic) for nic in nics if nic.name is None)]
    return Contribution(tuple(changes), tuple(warnings), nics)


def link_path(nic: NicName) -> str:
    return f"{LINKS}/10-transferd-{nic.name}.link"


def link(nic: NicName, systemd: int | None) -> str:
    precise = systemd is not None and systemd >= PERMANENT_MAC_SINCE
    match = (
        f"PermanentMACAddress={nic.mac}\nType=ether"
        if precise
        else f"MACAddress={nic.mac}\nDriver=virtio_net"
    )
    return f"{HEADER}[Match]\n{match}\n\n[Link]\nName={nic.name}\n"


def rules(nics: list[NicName]) -> str:
    return HEADER + "".join(rule(nic) for nic in nics)


def rule(nic: NicName) -> str:
    return (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{nic.mac}", ATTR{{type}}=="1", '
        f'NAME="{nic.name}"\n'
    )


def naming_files(tree: Tree) -> dict[str, bytes]:
    """Our naming files as the guest has them now, by path."""
    ours = [f"{LINKS}/{name}" for name in tree.names(LINKS) if re.fullmatch(r"10-transferd-.+\.link", name)]
    found = {path: tree.read(path) for path in [*ours, OUR_RULES]}
    return {path: content for path, content in found.items() if content is not None}


def _unresolved(nic: NicName) -> Warning_:
    return Warning_(
        code="nic-unresolved",
        message=f"no file of the guest proves the name of NIC {nic.mac}; {'; '.join(nic.evidence)}",
        remedy="check this interface's configuration after the first boot",
    )


def _unread(problem: str) -> Warning_:
    return Warning_(
        code="network-file-not-read",
        message=printable(problem),
        remedy="check the names of this guest's interfaces after the first boot",
    )
