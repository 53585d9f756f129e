"""What a guest's files say of its network interfaces, as values: what readers give and the resolver takes.

Two kinds of MAC must not be mixed up. A MAC that a configuration *matches* (HWADDR, mac-address, [Match])
belongs to hardware and proves a name; one that it *assigns* (MACADDR, cloned-mac-address, hwaddress) may be
anybody's and proves nothing.

A name may be a glob, as systemd-networkd and netplan write it; `*` with a MAC is a configuration that holds
for this NIC whatever its name.

Bonds, bridges, teams and VLANs carry the MAC and the addresses of the NICs below them. One record that calls
a name virtual, or custom that does, is enough to make it no candidate for a NIC.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# IFNAMSIZ of the kernel is 16 with the final zero; the letters are those that may stand in a file name.
USABLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}")
# Names that by custom are not hardware, whatever their configuration says.
VIRTUAL_NAME = re.compile(
    r"lo|virbr.*|docker.*|(bond|br|team|tun|tap|dummy|vlan|veth|wg|vxlan|ovs)([0-9_-].*)?"
)
# Names that the kernel, systemd or biosdevname give to hardware.
KERNEL_OR_UDEV_NAME = re.compile(r"eth\d+|en[opsx]\w+|em\d+(_\d+)?|p\d+p\d+(_\d+)?")
VLAN_NAME = re.compile(r"(.+)\.\d{1,4}")
MAC = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
GLOB = re.compile(r"[*?\[]")
ANY = "*"
# Far above what a guest needs: matching costs their number times that of the names.
GLOBS = 64
GLOB_LENGTH = 64
SLOT_FUNCTION = 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Nic:
    """A virtual network adapter as the source describes it. `slot` is VMware's pciSlotNumber."""

    mac: str
    ips: tuple[str, ...] = ()
    slot: int | None = None
    adapter: str = ""


@dataclass(frozen=True)
class Interface:
    """One interface that the guest configures. `where` is the file, `mac` what it matches, `assigned` what
    it sets, `was` the names (or globs) that the hardware has before this configuration renames it."""

    name: str
    where: str
    addresses: tuple[str, ...] = ()
    mac: str | None = None
    assigned: str | None = None
    virtual: bool = False
    was: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """A file that names an interface together with a MAC, or with an address that it had until then.

    `until` sorts as text; empty where the file does not say."""

    name: str
    where: str
    mac: str | None = None
    address: str | None = None
    until: str = ""


class Naming(Enum):
    """How the guest's kernel command line and udev name NICs that no rule names."""

    PREDICTABLE = "predictable"
    KERNEL = "the kernel's"
    UNCLEAR = "unclear"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Clues:
    """All that the guest's files say. `rules`: naming rules; `states`: logs and leases; `unread`: files that
    were too large or too many to be read, so that something may be missing."""

    interfaces: tuple[Interface, ...] = ()
    rules: tuple[Sighting, ...] = ()
    states: tuple[Sighting, ...] = ()
    naming: Naming = Naming.PREDICTABLE
    unread: tuple[str, ...] = ()

    @cached_property
    def virtual(self) -> frozenset[str]:
        return frozenset(each.name for each in self.interfaces if each.virtual)

    @cached_property
    def physical(self) -> dict[str, tuple[Interface, ...]]:
        """Every name that can be a NIC's, with all that is said of it. The parent of a VLAN is one."""
        found: dict[str, list[Interface]] = {}
        for each in self.interfaces:
            vlan = VLAN_NAME.fullmatch(each.name)
            part = Interface(vlan[1], each.where) if vlan else each
            if self.may_be_hardware(part.name):
                found.setdefault(part.name, []).append(part)
        return {name: tuple(records) for name, records in found.items()}

    @cached_property
    def globs(self) -> tuple[Interface, ...]:
        found = {
            each.name: each
            for each in reversed(self.interfaces)
            if not each.virtual
            and each.mac is None
            and len(each.name) <= GLOB_LENGTH
            and GLOB.search(each.name)
        }
        return tuple(islice(found.values(), GLOBS))

    def may_be_hardware(self, name: str) -> bool:
        return is_hardware_name(name) and name not in self.virtual

    def configured(self, name: str) -> Interface | None:
        """What configures this name, by itself or by a glob; a glob that takes every name configures none."""
        if name in self.physical:
            return self.physical[name][0]
        return next((each for each in self.globs if each.name != ANY and fnmatchcase(name, each.name)), None)


def is_hardware_name(name: str) -> bool:
    return USABLE.fullmatch(name) is not None and VIRTUAL_NAME.fullmatch(name) is None


def slot_name(slot: int) -> str:
    """The name that systemd gives to VMware's slot: ens192; 1184 is slot 160, its second function: ens161."""
    return f"ens{slot % SLOT_FUNCTION + slot // SLOT_FUNCTION}"


def mac_of(text: str | None) -> str | None:
    """A MAC in lower case with colons, however the guest spells it; None for anything else."""
    spelt = (text or "").strip().replace("-", ":").lower()
    return spelt if re.fullmatch(MAC, spelt) else None


def number(address: str | None) -> Address | None:
    """An address as a number, without prefix length: 2.0.0.5 is not in 12.0.0.5, and ::1 is 0:0:0:0:0:0:0:1.

    None for what is no address, or one that every machine has."""
    try:
        found = ipaddress.ip_address((address or "").strip().partition("/")[0])
    except ValueError:
        return None
    return None if found.is_link_local or found.is_loopback or found.is_unspecified else found


def numbers(addresses: Iterable[str]) -> list[Address]:
    return [found for address in addresses if (found := number(address))]
