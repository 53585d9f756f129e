"""Debian's ifupdown: what /etc/network/interfaces says of each interface. Pure apart from reading.

interfaces(5): an `iface NAME FAMILY METHOD` stanza runs to the next stanza keyword; `source` brings in
files by pattern, `source-directory` whole folders. Comments start a line; a backslash continues one.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from convert.linux.interfaces import Interface
from convert.tree import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.tree import Tree

MAIN = "/etc/network/interfaces"
STARTS = re.compile(
    r"(iface|auto|mapping|source|source-directory|rename|no-auto-down|no-scripts|allow-\S+)\s"
)
# What ifupdown accepts as a file's name in a folder: nothing with a dot, so no `.bak` and no `.dpkg-old`.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A file that includes itself must not be followed for ever.
FILE_LIMIT = 64
# Options that only an interface made of others has, and those of them that name the others.
COMPOUND = re.compile(r"(bond|slaves|bridge|vlan|vxlan|tunnel|team|ovs)([-_].*)?")
OF_A_PART = ("bond-master", "bond_master", "ovs_bridge", "ovs-bridge")
PARTS = ("bond-slaves", "slaves", "bridge_ports", "bridge-ports", "vlan-raw-device", "vlan_raw_device")
NO_PARTS = ("none", "all", "regex")


def interfaces(tree: Tree) -> list[Interface]:
    """Each interface once: configured itself, with the addresses of all its stanzas, or part of another."""
    found: dict[str, Interface] = {}
    for path, stanza in _stanzas(tree):
        # `eth0:1` is an address of eth0, not an interface.
        name = stanza[0].split()[1].partition(":")[0]
        options = [line.split() for line in stanza[1:]]
        found[name] = _with_options(found.get(name, Interface(name, path)), options)
        for part in _parts(options):
            found.setdefault(part, Interface(part, path))
    return list(found.values())


def _with_options(interface: Interface, options: list[list[str]]) -> Interface:
    for key, *values in options:
        if key == "address" and values:
            address = values[0].partition("/")[0]
            interface = replace(interface, addresses=(*interface.addresses, address))
        elif key == "hwaddress" and values:
            interface = replace(interface, mac=values[-1].lower())
        elif COMPOUND.fullmatch(key) and key not in OF_A_PART:
            interface = replace(interface, virtual=True)
    return interface


def _parts(options: list[list[str]]) -> list[str]:
    return [word for key, *values in options if key in PARTS for word in values if word not in NO_PARTS]


def _stanzas(tree: Tree) -> Iterator[tuple[str, list[str]]]:
    """The lines of each iface stanza, its head first, with the file that holds it."""
    where, stanza = MAIN, list[str]()
    for path, line in _lines(tree):
        if STARTS.match(line):
            if stanza:
                yield where, stanza
            where, stanza = path, [line] if line.startswith("iface") else []
        elif stanza:
            stanza.append(line)
    if stanza:
        yield where, stanza


def _lines(tree: Tree) -> Iterator[tuple[str, str]]:
    """Lines that say something, of the main file and of all that it sources, each with its file."""
    waiting, seen = [MAIN], 0
    while waiting and seen < FILE_LIMIT:
        seen += 1
        path = waiting.pop(0)
        content = (text(tree, path) or "").replace("\\\n", " ")
        for line in (raw.strip() for raw in content.splitlines()):
            keyword, *rest = line.split()[:2] or [""]
            if keyword in ("source", "source-directory") and rest:
                waiting += _sourced(tree, keyword, rest[0])
            elif line and not line.startswith("#"):
                yield path, line


def _sourced(tree: Tree, keyword: str, pattern: str) -> list[str]:
    path = posixpath.join(posixpath.dirname(MAIN), pattern)
    if keyword == "source-directory":
        return [f"{path}/{name}" for name in tree.names(path) if PLAIN_NAME.fullmatch(name)]
    folder, name = posixpath.split(path)
    # As a shell expands it: a leading dot is matched by no pattern.
    return [
        f"{folder}/{n}" for n in tree.names(folder) if fnmatch.fnmatchcase(n, name) and not n.startswith(".")
    ]
