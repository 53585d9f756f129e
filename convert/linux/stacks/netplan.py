"""netplan: an id is the interface's name only if there is no `match`.

With `match`, `set-name` is the name; without that, `match: name`. `macaddress` beside `match` is what the
NIC is given, inside it what it has. Files are merged in the order of their names, whatever their folder.
(netplan-yaml, docs of netplan.io)
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from convert.linux.interfaces import ANY, Interface, mac_of
from convert.linux.stacks.yaml import listing, load, mapping, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Reader

FOLDERS = ("/etc/netplan", "/usr/lib/netplan", "/lib/netplan")
HARDWARE = ("ethernets",)
# What stands beside the definitions of devices.
SETTINGS = ("version", "renderer", "openvswitch")


def interfaces(reader: Reader) -> Iterator[Interface]:
    merged: dict[str, Any] = {}
    where: dict[str, str] = {}
    for path in reader.overlaid(FOLDERS, ".yaml"):
        network = mapping(load(reader, path).get("network"))
        for devices in map(mapping, network.values()):
            where |= dict.fromkeys(devices, path)
        merged = _merged(merged, network)
    return defined(merged, where)


def defined(network: dict[str, Any], where: dict[str, str]) -> Iterator[Interface]:
    """What one definition says: netplan's, or version 2 of cloud-init's. `where` has the file of each id."""
    kinds = {kind: mapping(devices) for kind, devices in network.items() if kind not in SETTINGS}
    known = {name for devices in kinds.values() for name in devices}
    for kind, devices in kinds.items():
        for name, device in devices.items():
            said, path = mapping(device), where.get(name, "netplan")
            if kind in HARDWARE:
                yield _hardware(name, said, path)
            else:
                yield Interface(name, path, _addresses(said), virtual=True)
                parts = [word(said.get("link")), *map(word, listing(said.get("interfaces")))]
                yield from (Interface(part, path) for part in parts if part and part not in known)


def _hardware(name: str, said: dict[str, Any], path: str) -> Interface:
    addresses, assigned = _addresses(said), mac_of(word(said.get("macaddress")))
    if "match" not in said:
        return Interface(name, path, addresses, assigned=assigned)
    match = mapping(said["match"])
    mac = mac_of(word(match.get("macaddress")))
    names = tuple(filter(None, map(word, [match.get("name"), *listing(match.get("name"))])))
    only = names[0] if len(names) == 1 else ""
    chosen = word(said.get("set-name"))
    return Interface(chosen or only or ANY, path, addresses, mac, assigned, was=names if chosen else ())


def _addresses(said: dict[str, Any]) -> tuple[str, ...]:
    """An address is a text, or a mapping from it to its options."""
    each = (mapping(one) or [word(one)] for one in listing(said.get("addresses")))
    return tuple(chain.from_iterable(each))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge, all else is replaced, as far as names go."""
    both = {
        key: _merged(mapping(old[key]), mapping(new[key]))
        for key in old.keys() & new.keys()
        if mapping(new[key])
    }
    return old | new | both
