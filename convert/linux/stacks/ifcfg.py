"""ifcfg files: Red Hat's initscripts and NetworkManager's ifcfg-rh, SUSE's ifup and wicked.

Red Hat: DEVICE is the name, and NAME is not: it is what people call the connection. Without DEVICE the end
of the file's name counts if it looks like an interface; NetworkManager writes `ifcfg-Profile_1` too. With
HWADDR alone the file holds for that NIC under any name. (initscripts, sysconfig.txt; nm-settings-ifcfg-rh(5))

SUSE: the end of the file's name is the interface. Addresses are IPADDR, IPADDR_1, IPADDR_lan, with or
without prefix length. (ifcfg(5) of wicked and sysconfig)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.interfaces import ANY, KERNEL_OR_UDEV_NAME, VLAN_NAME, Interface, mac_of
from convert.linux.stacks.reading import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Reader

RED_HAT = "/etc/sysconfig/network-scripts"
SUSE = "/etc/sysconfig/network"
PREFIX = "ifcfg-"
ADDRESS = re.compile(r"IPADDR(\d+|_\w+)?|IPV6ADDR(_SECONDARIES)?")
# A second file of the same interface: an alias or a range of addresses.
PART_OF_NAME = re.compile(r":.*|-range\d+")
SUSE_BY_MAC = re.compile(r"eth-id-(.+)")

ETHERNET = ("", "ethernet", "ovsport", "teamport")
# `DEVICETYPE=ovs` stands in ports and bridges alike; there TYPE says which it is.
PORT_KINDS = ("ovs", "teamport")
RED_HAT_VIRTUAL = ("BONDING_OPTS", "TEAM_CONFIG", "PHYSDEV", "BOND_IFACES", "PEER_OUTER_IPADDR")
RED_HAT_SWITCHES = ("VLAN", "BONDING_MASTER")
RED_HAT_MASTERS = ("MASTER", "TEAM_MASTER", "BRIDGE", "OVS_BRIDGE")
SUSE_VIRTUAL = (
    *("ETHERDEVICE", "VLAN_ID", "TUNNEL", "TUNNEL_DEVICE", "TEAM_RUNNER", "DUMMY", "MACVLAN_DEVICE"),
    *("BONDING_MODULE_OPTS", "BRIDGE_PORTS"),
)
SUSE_SWITCHES = ("BONDING_MASTER", "BRIDGE", "VLAN", "OVS_BRIDGE")
SUSE_PARTS = re.compile(
    r"(BONDING_SLAVE|TEAM_PORT_DEVICE|OVS_BRIDGE_PORT_DEVICE)(_\w+|\d+)?|BRIDGE_PORTS|ETHERDEVICE|MACVLAN_DEVICE"
)


def interfaces(reader: Reader) -> Iterator[Interface]:
    for path in reader.paths(RED_HAT, prefix=PREFIX):
        yield from _red_hat(path, settings(reader.text(path)))
    for path in reader.paths(SUSE, prefix=PREFIX):
        yield from _suse(path, settings(reader.text(path)))


def _red_hat(path: str, said: dict[str, str]) -> Iterator[Interface]:
    end = PART_OF_NAME.sub("", path.rpartition(PREFIX)[2])
    device = PART_OF_NAME.sub("", said.get("DEVICE", ""))
    mac, assigned = mac_of(said.get("HWADDR")), mac_of(said.get("MACADDR"))
    virtual = _is_virtual(said, RED_HAT_VIRTUAL, RED_HAT_SWITCHES)
    addresses = _addresses(said)
    if device:
        yield Interface(device, path, addresses, mac, assigned, virtual)
    else:
        if mac and not virtual:
            yield Interface(ANY, path, addresses, mac, assigned)
        if KERNEL_OR_UDEV_NAME.fullmatch(end) or VLAN_NAME.fullmatch(end):
            yield Interface(end, path, addresses, assigned=assigned, virtual=virtual)
    for master in (said[key] for key in RED_HAT_MASTERS if said.get(key)):
        yield Interface(master, path, virtual=True)
    for part in (said.get("PHYSDEV", ""), *said.get("BOND_IFACES", "").split()):
        if part:
            yield Interface(part, path)


def _suse(path: str, said: dict[str, str]) -> Iterator[Interface]:
    end = path.rpartition(PREFIX)[2]
    if by_mac := SUSE_BY_MAC.fullmatch(end):
        yield Interface(ANY, path, _addresses(said), mac_of(by_mac[1]))
        return
    mac, assigned = mac_of(said.get("HWADDR")), mac_of(said.get("LLADDR"))
    virtual = _is_virtual(said, SUSE_VIRTUAL, SUSE_SWITCHES)
    yield Interface(PART_OF_NAME.sub("", end), path, _addresses(said), mac, assigned, virtual)
    for key, value in said.items():
        if SUSE_PARTS.fullmatch(key):
            yield from (Interface(part, path) for part in value.split())


def _is_virtual(said: dict[str, str], keys: tuple[str, ...], switches: tuple[str, ...]) -> bool:
    kind = said.get("TYPE", said.get("INTERFACETYPE", "")).lower()
    device = said.get("DEVICETYPE", "").lower()
    return (
        kind not in ETHERNET
        or device not in (*ETHERNET, *PORT_KINDS)
        or any(said.get(key) for key in keys)
        or any(said.get(key, "").lower() in ("yes", "true", "on", "1") for key in switches)
    )


def _addresses(said: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for key, value in said.items() if ADDRESS.fullmatch(key) for word in value.split())
