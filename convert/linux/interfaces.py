"""Which name each NIC had in the guest, proven offline from the guest's own files. Pure.

Evidence, strongest first:
  1. a naming rule or a configuration that holds the MAC
  2. the PCI slot that VMware gave the NIC, if the name that follows from it is configured
  3. a log or lease of the DHCP client that holds the name and the MAC, or the name and the address
  4. an address that VMware Tools reported, configured on exactly one physical interface
  5. one NIC and one configured physical interface are left: they belong together

Each level decides only what the levels above left open. A level that gives one NIC two names, or one name
to two NICs, decides nothing for them: a wrong name is worse than a new one, so it is reported, not guessed.

Bonds, bridges and VLANs carry the MAC and the addresses of the NICs below them; they are never candidates.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferd.model import NicName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transferd.model import SourceNic

# IFNAMSIZ of the kernel is 16 with the final zero; the letters are those that may stand in a file name.
USABLE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}")
# Names that by custom are not hardware, whatever their configuration says.
VIRTUAL_NAME = re.compile(
    r"lo|virbr.*|docker.*|(bond|br|team|tun|tap|dummy|vlan|veth|wg|vxlan|ovs)([0-9_-].*)?"
)
SLOT_FUNCTION = 1024


@dataclass(frozen=True)
class Interface:
    """One interface that the guest configures. `where` is the file; `virtual` if its options say so."""

    name: str
    where: str
    addresses: tuple[str, ...] = ()
    mac: str | None = None
    virtual: bool = False

    @property
    def physical(self) -> bool:
        return not self.virtual and is_hardware_name(self.name)


@dataclass(frozen=True)
class Sighting:
    """A file that names an interface together with a MAC, or with an address."""

    name: str
    where: str
    mac: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Clues:
    """All that the guest's files say. `rules`: naming rules; `logs`: logs and leases."""

    interfaces: tuple[Interface, ...] = ()
    rules: tuple[Sighting, ...] = ()
    logs: tuple[Sighting, ...] = ()

    @property
    def physical(self) -> list[Interface]:
        return [interface for interface in self.interfaces if interface.physical]


@dataclass(frozen=True)
class Claim:
    """One NIC may have one name, and why."""

    mac: str
    name: str
    why: str


def is_hardware_name(name: str) -> bool:
    return USABLE.fullmatch(name) is not None and VIRTUAL_NAME.fullmatch(name) is None


def slot_name(slot: int) -> str:
    """The name that systemd gives to VMware's slot: ens192; 1184 is slot 160, its second function: ens161."""
    return f"ens{slot % SLOT_FUNCTION + slot // SLOT_FUNCTION}"


def resolve(nics: Sequence[SourceNic], clues: Clues) -> tuple[NicName, ...]:
    """One answer for each NIC, in order; `name` is None where nothing proved one."""
    settled: dict[str, Claim] = {}
    seen: dict[str, list[str]] = {nic.mac: [] for nic in nics}
    for level in LEVELS:
        left = [nic for nic in nics if nic.mac not in settled]
        taken = {claim.name for claim in settled.values()}
        claims = [claim for claim in level(left, clues, taken) if claim.name not in taken]
        for claim in claims:
            seen[claim.mac] = list(dict.fromkeys([*seen[claim.mac], claim.why]))
        settled |= {claim.mac: claim for claim in _undisputed(claims)}
    return tuple(_answer(nic.mac, settled.get(nic.mac), seen[nic.mac], clues) for nic in nics)


def _undisputed(claims: list[Claim]) -> list[Claim]:
    names = {mac: {claim.name for claim in claims if claim.mac == mac} for mac in {c.mac for c in claims}}
    macs = {name: {claim.mac for claim in claims if claim.name == name} for name in {c.name for c in claims}}
    return [claim for claim in claims if len(names[claim.mac]) == 1 and len(macs[claim.name]) == 1]


def _answer(mac: str, claim: Claim | None, seen: list[str], clues: Clues) -> NicName:
    if claim is not None:
        return NicName(mac=mac, name=claim.name, evidence=list(dict.fromkeys([claim.why, *seen])))
    configured = ", ".join(interface.name for interface in clues.physical) or "none"
    return NicName(mac=mac, name=None, evidence=[*seen, f"configured physical interfaces: {configured}"])


def _by_mac(nics: list[SourceNic], clues: Clues, _taken: set[str]) -> Iterable[Claim]:
    for nic in nics:
        for rule in clues.rules:
            if rule.mac == nic.mac and is_hardware_name(rule.name):
                yield Claim(nic.mac, rule.name, f"{rule.where} names this MAC {rule.name}")
        for interface in clues.physical:
            if interface.mac == nic.mac:
                yield Claim(
                    nic.mac, interface.name, f"{interface.where} configures {interface.name} with this MAC"
                )


def _by_slot(nics: list[SourceNic], clues: Clues, _taken: set[str]) -> Iterable[Claim]:
    configured = {interface.name: interface.where for interface in clues.physical}
    for nic in nics:
        if nic.slot is not None and (name := slot_name(nic.slot)) in configured:
            yield Claim(nic.mac, name, f"PCI slot {nic.slot} is {name}, which {configured[name]} configures")


def _by_logs(nics: list[SourceNic], clues: Clues, _taken: set[str]) -> Iterable[Claim]:
    """Logs are old: where the guest configures interfaces, a name that it no longer configures is stale."""
    configured = {interface.name for interface in clues.physical}
    for nic in nics:
        for log in clues.logs:
            known = log.mac == nic.mac if log.mac else _holds(nic.ips, log.address)
            if known and is_hardware_name(log.name) and (log.name in configured or not configured):
                yield Claim(nic.mac, log.name, f"{log.where} shows this NIC as {log.name}")


def _by_address(nics: list[SourceNic], clues: Clues, _taken: set[str]) -> Iterable[Claim]:
    for nic in nics:
        for interface in clues.physical:
            shared = [address for address in interface.addresses if _holds(nic.ips, address)]
            if shared:
                yield Claim(
                    nic.mac, interface.name, f"{interface.where} gives {shared[0]} to {interface.name}"
                )


def _by_exclusion(nics: list[SourceNic], clues: Clues, taken: set[str]) -> Iterable[Claim]:
    free = [interface for interface in clues.physical if interface.name not in taken]
    if len(nics) == 1 and len(free) == 1:
        why = f"the only NIC left, and the only interface left that {free[0].where} configures"
        yield Claim(nics[0].mac, free[0].name, why)


LEVELS: tuple[Callable[[list[SourceNic], Clues, set[str]], Iterable[Claim]], ...] = (
    _by_mac,
    _by_slot,
    _by_logs,
    _by_address,
    _by_exclusion,
)


def _holds(addresses: Sequence[str], address: str | None) -> bool:
    """Exact match of addresses as numbers: 2.0.0.5 is not in 12.0.0.5, and ::1 is 0:0:0:0:0:0:0:1."""
    wanted = _number(address)
    return wanted is not None and wanted in [_number(known) for known in addresses]


def _number(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address((address or "").partition("/")[0])
    except ValueError:
        return None
