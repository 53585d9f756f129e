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

from convert.linux import ifupdown
from convert.linux.interfaces import Clues, Sighting, resolve
from convert.plan import Change, Contribution, write
from convert.tree import text
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convert.inspection import Inspection
    from convert.linux.interfaces import Interface
    from convert.tree import Tree
    from transferd.model import NicName, SourceVM

STEP = "network"
LINKS = "/etc/systemd/network"
RULES = "/etc/udev/rules.d"
OUR_RULES = f"{RULES}/70-transferd-net.rules"
PERMANENT_MAC_SINCE = 245
HEADER = "# Written by transferd: this NIC keeps the name that it had before the move.\n"
# One reader for each network stack; a stack that is not here is reported by inspection and not searched.
STACKS: dict[str, Callable[[Tree], list[Interface]]] = {"ifupdown": ifupdown.interfaces}

MAC = r"((?:[0-9a-f]{2}:){5}[0-9a-f]{2})"
LINK_MAC = re.compile(rf"^\s*(?:Permanent)?MACAddress\s*=\s*{MAC}\s*$", re.MULTILINE | re.IGNORECASE)
LINK_NAME = re.compile(r"^\s*Name\s*=\s*(\S+)\s*$", re.MULTILINE)
RULE_MAC = re.compile(rf'ATTR\{{address\}}\s*==\s*"{MAC}"', re.IGNORECASE)
RULE_NAME = re.compile(r'(?<!\w)NAME\s*:?=\s*"([^"]+)"')
# dhclient(8) writes these to syslog each time it starts.
DHCLIENT = re.compile(rf"LPF/([A-Za-z0-9_-]+)/{MAC}", re.IGNORECASE)
LEASE = re.compile(r'interface\s+"([^"]+)";[^}]{0,200}?fixed-address\s+([0-9a-fA-F.:]+);')
LOGS = ("/var/log/syslog", "/var/log/messages", "/var/log/daemon.log")
LEASES = "/var/lib/dhcp"
LOG_TAIL = 1024 * 1024


def keep_names(tree: Tree, inspection: Inspection, source: SourceVM) -> Contribution:
    """Pin the names of network interfaces."""
    nics = resolve(source.nics, clues(tree, inspection))
    named = [nic for nic in nics if nic.name is not None]
    changes: list[Change] = []
    for nic in named:
        reason = f"{nic.mac} is {nic.name}: {nic.evidence[0]}"
        changes += write(tree, link_path(nic), link(nic, inspection.systemd), step=STEP, reason=reason)
    if named:
        reason = "the same names for a udev that has no use for .link files, or comes after the initramfs"
        changes += write(tree, OUR_RULES, rules(named), step=STEP, reason=reason)
    return Contribution(tuple(changes), tuple(_unresolved(nic) for nic in nics if nic.name is None), nics)


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


def clues(tree: Tree, inspection: Inspection) -> Clues:
    configured = [
        interface for name in inspection.network if name in STACKS for interface in STACKS[name](tree)
    ]
    return Clues(tuple(configured), tuple(_rules(tree)), tuple(_sightings(tree)))


def _rules(tree: Tree) -> Iterator[Sighting]:
    for path in _files(tree, LINKS, ".link"):
        content = text(tree, path) or ""
        macs, name = LINK_MAC.findall(content), LINK_NAME.search(content)
        if len(macs) == 1 and name:
            yield Sighting(name[1], path, mac=macs[0].lower())
    for path in _files(tree, RULES, ".rules"):
        for line in (text(tree, path) or "").splitlines():
            mac, name = RULE_MAC.search(line), RULE_NAME.search(line)
            if mac and name and not line.lstrip().startswith("#"):
                yield Sighting(name[1], path, mac=mac[1].lower())


def _sightings(tree: Tree) -> Iterator[Sighting]:
    for path in LOGS:
        log = tree.tail(path, LOG_TAIL).decode("utf-8", "replace")
        yield from (
            Sighting(name, path, mac=mac.lower()) for name, mac in dict.fromkeys(DHCLIENT.findall(log))
        )
    for path in _files(tree, LEASES, ".leases"):
        leases = LEASE.findall(text(tree, path) or "")
        yield from (Sighting(name, path, address=address) for name, address in dict.fromkeys(leases))


def _files(tree: Tree, folder: str, suffix: str) -> list[str]:
    return [f"{folder}/{name}" for name in tree.names(folder) if name.endswith(suffix)]


def _unresolved(nic: NicName) -> Warning_:
    return Warning_(
        code="nic-unresolved",
        message=f"no file of the guest proves the name of NIC {nic.mac}; {'; '.join(nic.evidence)}",
        remedy="check this interface's configuration after the first boot",
    )
