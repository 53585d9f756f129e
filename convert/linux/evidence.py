"""What each kind of evidence claims of the NICs that are still open: one function a level, strongest first.

  1. a configuration that matches the MAC, or a name that is made of it
  2. a naming rule: .link, udev, nameif, `ifname=`, cloud-init
  3. what the machine is now: the PCI slot that VMware gave the NIC, if the name that follows from it is
     configured; a log or lease that holds name and MAC; an address that VMware Tools reported, configured on
     exactly one physical interface
  4. the newest lease of an address that VMware Tools reported
  5. one NIC and one configured physical interface are left: they belong together

The slot is not above the rest of its level: whatever contradicts it there is as true as it is. A lease is
below it: addresses move on, slots do not. `resolver` decides what claims are worth.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from convert.linux.interfaces import Naming, number, numbers, slot_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convert.linux.interfaces import Address, Clues, Interface, Nic, Sighting


@dataclass(frozen=True)
class Claim:
    """One NIC may have one name, and why."""

    mac: str
    name: str
    why: str


@dataclass(frozen=True)
class Question:
    """What a level has to decide: the NICs and names that the levels above left, of all there are."""

    nics: tuple[Nic, ...]
    all: tuple[Nic, ...]
    clues: Clues
    settled: dict[str, str]
    contradicted: frozenset[str]

    def free(self, name: str) -> bool:
        return name not in self.settled.values()


# --- 1: configurations that match the MAC -----------------------------------------------------------------


def _by_configuration(question: Question) -> Iterator[Claim]:
    made_of = {f"enx{nic.mac.replace(':', '')}": nic.mac for nic in question.nics}
    wanted = {nic.mac for nic in question.nics}
    for name, records in question.clues.physical.items():
        for record in records:
            if record.mac in wanted and record.mac is not None:
                yield Claim(record.mac, name, f"{record.where} configures {name} with this MAC")
        if name in made_of:
            yield Claim(
                made_of[name], name, f"{records[0].where} configures {name}, which is made of this MAC"
            )


# --- 2: naming rules --------------------------------------------------------------------------------------


def _by_rule(question: Question) -> Iterator[Claim]:
    wanted = {nic.mac for nic in question.nics}
    for rule in question.clues.rules:
        if rule.mac in wanted and rule.mac is not None and question.clues.may_be_hardware(rule.name):
            yield Claim(rule.mac, rule.name, f"{rule.where} names this MAC {rule.name}")


# --- 3: what the machine is now ---------------------------------------------------------------------------


def _by_presence(question: Question) -> Iterator[Claim]:
    yield from _by_slot(question)
    yield from _by_kernel_order(question)
    yield from _by_mac_in_state(question)
    yield from _by_static_address(question)


def _by_slot(question: Question) -> Iterator[Claim]:
    if question.clues.naming not in (Naming.PREDICTABLE, Naming.UNKNOWN):
        return
    for nic in question.nics:
        if nic.slot is None:
            continue
        predicted = slot_name(nic.slot)
        for name, where in _meant_by(predicted, question.clues):
            told = f"PCI slot {nic.slot} is {predicted}"
            renamed = "" if name == predicted else f" and renames it to {name}"
            yield Claim(nic.mac, name, f"{told}, which {where} configures{renamed}")


def _meant_by(predicted: str, clues: Clues) -> Iterator[tuple[str, str]]:
    """What the configuration makes of the name that systemd gives.

    A glob must be one that speaks of such names: `e*` would also take eth0, so it does not show which of the
    two there was; nor do `en*` and `eth*` together, if no command line says that names are predictable."""
    renaming = [
        (name, record.where)
        for name, records in clues.physical.items()
        for record in records
        if any(fnmatchcase(predicted, was) and not fnmatchcase("eth0", was) for was in record.was)
    ]
    known = clues.configured(predicted)
    either = clues.naming is Naming.UNKNOWN and any(fnmatchcase("eth0", each.name) for each in clues.globs)
    if renaming:
        yield from renaming
    elif known and (known.name == predicted or not (either or fnmatchcase("eth0", known.name))):
        yield predicted, known.where


def _by_kernel_order(question: Question) -> Iterator[Claim]:
    """Where udev names nothing, NICs of one driver are eth0, eth1, ... in the order of the PCI bus.

    VMware's slots are bridge and function: 160, 1184 (its second function), 192, ... is that order."""
    nics = question.all
    slots = [nic.slot for nic in nics]
    if question.clues.naming is not Naming.KERNEL or len({nic.adapter for nic in nics}) > 1:
        return
    if len(nics) > 1 and (None in slots or len(set(slots)) < len(slots)):
        return
    ordered = sorted(nics, key=lambda nic: ((nic.slot or 0) % 1024, (nic.slot or 0) // 1024))
    predicted = {nic.mac: f"eth{at}" for at, nic in enumerate(ordered)}
    if _order_holds(predicted, question):
        for nic in question.nics:
            name = predicted[nic.mac]
            known = question.clues.configured(name)
            where = known.where if known else "nothing"
            yield Claim(nic.mac, name, f"the kernel names NICs here, in bus order: {name}, as in {where}")


def _order_holds(predicted: dict[str, str], question: Question) -> bool:
    """The order says nothing where anything else named a NIC, or where more is configured than there is."""
    clues = question.clues
    numbered = {name for name in clues.physical if re.fullmatch(r"eth\d+", name)}
    agrees = all(predicted[mac] == name for mac, name in question.settled.items())
    strangers = any(rule.mac not in predicted for rule in clues.rules)
    complete = all(clues.configured(name) for name in predicted.values())
    return agrees and complete and not strangers and numbered <= set(predicted.values())


def _by_mac_in_state(question: Question) -> Iterator[Claim]:
    wanted = {nic.mac for nic in question.nics}
    for state in question.clues.states:
        if state.mac in wanted and state.mac is not None and _current(state, question.clues):
            yield Claim(state.mac, state.name, f"{state.where} shows this NIC as {state.name}")


def _current(state: Sighting, clues: Clues) -> bool:
    """Logs are old: where the guest configures interfaces, a name that it no longer configures is stale."""
    some = bool(clues.physical) or bool(clues.globs)
    return clues.may_be_hardware(state.name) and (clues.configured(state.name) is not None or not some)


def _by_static_address(question: Question) -> Iterator[Claim]:
    holders: dict[Address, list[Interface]] = defaultdict(list)
    for record in question.clues.interfaces:
        for address in numbers(record.addresses):
            holders[address].append(record)
    for nic in question.nics:
        for reported in numbers(nic.ips):
            for record in holders[reported]:
                if _may_be(nic, record, holders[reported], question.clues):
                    yield Claim(nic.mac, record.name, f"{record.where} gives {reported} to {record.name}")


def _may_be(nic: Nic, record: Interface, holders: list[Interface], clues: Clues) -> bool:
    """Not what holds for another MAC, nor what a bond or VLAN above the NIC has the address of as well."""
    above = any(not clues.may_be_hardware(each.name) for each in holders)
    return record.name in clues.physical and not above and not _is_anothers(nic, record.name, clues)


def _is_anothers(nic: Nic, name: str, clues: Clues) -> bool:
    macs = {record.mac for record in clues.physical[name] if record.mac}
    return bool(macs) and nic.mac not in macs


# --- 4: leases --------------------------------------------------------------------------------------------


def _by_lease(question: Question) -> Iterator[Claim]:
    """Of the leases of one interface, and of one address, the one that ends last; several if none does."""
    latest: dict[tuple[str, int], str] = {}
    leases = [
        (lease, address) for lease in question.clues.states if (address := _leased(lease, question.clues))
    ]
    for lease, address in leases:
        key = (lease.name, address.version)
        latest[key] = max(lease.until, latest.get(key, ""))
    current: dict[Address, list[Sighting]] = defaultdict(list)
    for lease, address in leases:
        if lease.until == latest[lease.name, address.version]:
            current[address].append(lease)
    for nic in question.nics:
        for reported in numbers(nic.ips):
            last = max((lease.until for lease in current[reported]), default="")
            for lease in current[reported]:
                if lease.until == last:
                    yield Claim(nic.mac, lease.name, f"{lease.where} leased {reported} to {lease.name}")


def _leased(lease: Sighting, clues: Clues) -> Address | None:
    """A lease of an interface that has a static address is left from before it had one."""
    static = any(record.addresses for record in clues.physical.get(lease.name, ()))
    return None if static or not _current(lease, clues) else number(lease.address)


# --- 5: what is left --------------------------------------------------------------------------------------


def _by_exclusion(question: Question) -> Iterator[Claim]:
    """Needs all of the configuration, and a NIC that nothing has contradicted."""
    clues = question.clues
    free = [name for name in clues.physical if question.free(name)]
    if len(question.nics) != 1 or len(free) != 1 or clues.unread:
        return
    nic, name = question.nics[0], free[0]
    if nic.mac in question.contradicted or _is_anothers(nic, name, clues) or _has_others(nic, name, clues):
        return
    where = clues.physical[name][0].where
    yield Claim(nic.mac, name, f"the only NIC left, and {name} of {where} the only interface left")


def _has_others(nic: Nic, name: str, clues: Clues) -> bool:
    """The NIC has addresses, and the interface gets others of the same version: they are not one."""
    has = set(numbers(nic.ips))
    gets = {address for record in clues.physical[name] for address in numbers(record.addresses)}
    versions = {each.version for each in has} & {each.version for each in gets}
    return bool(versions) and not has & gets


LEVELS: tuple[Callable[[Question], Iterator[Claim]], ...] = (
    _by_configuration,
    _by_rule,
    _by_presence,
    _by_lease,
    _by_exclusion,
)
