"""systemd-networkd: a .network names interfaces by globs, MACs, or both; a .netdev makes virtual ones.

Only /etc is read: what lies under /usr/lib is a distribution's, made for any machine. A file linked to
/dev/null is masked, and reads as empty. (systemd.network(5), systemd.netdev(5))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.linux.interfaces import ANY, Interface, mac_of
from convert.linux.stacks.reading import first, options, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Options, Reader

FOLDER = "/etc/systemd/network"
# What a .network puts above its interface: these names are made, not found.
ABOVE = (
    *("bond", "bridge", "vlan", "macvlan", "macvtap", "ipvlan", "vxlan", "vrf", "tunnel", "ipoib"),
    *("batmanadvanced", "xfrm"),
)


def interfaces(reader: Reader) -> Iterator[Interface]:
    names = reader.names(FOLDER)
    for name in names:
        path = f"{FOLDER}/{name}"
        if name.endswith(".netdev"):
            made = first(options(reader.text(path)), "netdev", "name")
            yield from [Interface(made, path, virtual=True)] if made else []
        elif name.endswith(".network"):
            yield from _network(path, with_drop_ins(reader, path, names))


def with_drop_ins(reader: Reader, path: str, names: list[str]) -> Options:
    """A unit's options, then those of its drop-ins. `names` is what lies beside it."""
    folder = f"{path}.d"
    drop_ins = reader.paths(folder, ".conf") if folder.rpartition("/")[2] in names else []
    return [option for each in (path, *drop_ins) for option in options(reader.text(each))]


def _network(path: str, said: Options) -> Iterator[Interface]:
    for above in values(said, "network", *ABOVE):
        yield Interface(above, path, virtual=True)
    if not matches_hardware(said):
        return
    listed = " ".join(values(said, "match", "name")).split()
    # An exclamation mark turns the whole list round; a NIC may have any name but these.
    names = [] if any(name.startswith("!") for name in listed[:1]) else listed
    macs = matched_macs(said)
    addresses = (*values(said, "network", "address"), *values(said, "address", "address"))
    assigned = mac_of(first(said, "link", "macaddress"))
    if len(names) <= 1 and len(macs) <= 1:
        name, mac = next(iter(names), ANY), next(iter(macs), None)
        yield Interface(name, path, addresses, mac, assigned)
    else:
        yield from (Interface(name, path) for name in names)


def matches_hardware(said: Options) -> bool:
    kinds = [*values(said, "match", "type"), *values(said, "match", "kind")]
    return all(kind == "ether" or kind.startswith("!") for kind in kinds)


def matched_macs(said: Options) -> list[str]:
    listed = " ".join(values(said, "match", "macaddress", "permanentmacaddress")).split()
    return list(dict.fromkeys(filter(None, map(mac_of, listed))))
