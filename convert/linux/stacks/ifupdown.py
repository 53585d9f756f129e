"""ifupdown and ifupdown-ng: what /etc/network/interfaces says of each interface.

interfaces(5): an `iface NAME` stanza runs to the next stanza keyword; `source` brings in files by pattern,
`source-directory` whole folders. Comments start a line; a backslash continues one. `eth0:1` is an address of
eth0, not an interface.

Not every stanza is an interface: `auto eth0=home` and `mapping` bring up a physical one by a logical stanza,
and one that others only inherit from is a template.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.linux.interfaces import MAC, Interface, mac_of
from convert.linux.stacks.reading import BACKUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convert.linux.stacks.reading import Reader

MAIN = "/etc/network/interfaces"
STARTS = re.compile(
    r"(iface|template|auto|mapping|source|source-directory|rename|no-auto-down|no-scripts|allow-\S+)(\s|$)"
)
# What ifupdown accepts as a file's name in a folder: nothing with a dot, so no `.bak` and no `.dpkg-old`.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A file that includes itself must not be followed for ever.
FILE_LIMIT = 512
# Options that only an interface made of others has. A member of a bond may repeat the bond's options.
COMPOUND = re.compile(r"(bond|slaves|bridge|vlan|vxlan|tunnel|team|ovs)([-_].*)?")
MASTERS = ("bond-master", "bond_master", "ovs_bridge", "ovs-bridge")
PARTS = (
    *("bond-slaves", "bond_slaves", "bond-members", "slaves", "bridge_ports", "bridge-ports"),
    *("vlan-raw-device", "vlan_raw_device", "requires"),
)
NO_PARTS = ("none", "all", "regex")
# ifupdown-ng names what an interface is made by.
EXECUTORS = ("bond", "bridge", "vlan", "vxlan", "tunnel", "gre", "vrf", "wireguard", "ipip", "batman")
RENAME = re.compile(rf"/?mac/({MAC})/?=(\S+)")


@dataclass(frozen=True)
class Stanza:
    """The words of a stanza's first line, and of those below it."""

    where: str
    head: list[str]
    options: list[list[str]]

    @property
    def name(self) -> str:
        return self.head[1].partition(":")[0] if len(self.head) > 1 else ""

    @property
    def inherited(self) -> list[str]:
        after = [word for key, word in zip(self.head, self.head[1:], strict=False) if key == "inherits"]
        return after + [words[1] for words in self.options if words[0] == "inherit" and len(words) > 1]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(words[1] for words in self.options if words[0] == "address" and len(words) > 1)

    @property
    def virtual(self) -> bool:
        keys = [words[0] for words in self.options]
        if any(key in MASTERS for key in keys):
            return False
        made = [word for words in self.options if words[0] == "use" for word in words[1:]]
        return any(COMPOUND.fullmatch(key) for key in keys) or any(word in EXECUTORS for word in made)

    def words(self, keys: tuple[str, ...]) -> Iterator[str]:
        return (
            word for words in self.options if words[0] in keys for word in words[1:] if word not in NO_PARTS
        )


def interfaces(reader: Reader) -> Iterator[Interface]:
    stanzas = list(_stanzas(reader))
    brought_up = [word for each in stanzas if _brings_up(each) for word in each.head[1:]]
    pairs = [word.split("=", 1) for word in brought_up if "=" in word]
    physical_of = {logical: physical for physical, logical in pairs}
    logical = {*physical_of, *_mapped(stanzas), *_templates(stanzas, brought_up)}
    by_name = {each.name: each for each in stanzas if each.head[0] in ("iface", "template")}
    for each in stanzas:
        match each.head:
            case ["iface", _, *_]:
                name = physical_of.get(each.name, each.name)
                if name not in logical:
                    yield from _interface(each, name, by_name)
            case ["mapping", *names]:
                yield from (Interface(name, each.where) for name in names)
            case ["rename", *words]:
                renames = (RENAME.fullmatch(word) for word in words)
                yield from (Interface(one[2], each.where, mac=mac_of(one[1])) for one in renames if one)


def _interface(stanza: Stanza, name: str, by_name: dict[str, Stanza]) -> Iterator[Interface]:
    bases = [by_name[base] for base in stanza.inherited if base in by_name]
    all_of_it = [stanza, *bases]
    assigned = [words[-1] for each in all_of_it for words in each.options if words[0] == "hwaddress"]
    yield Interface(
        name,
        stanza.where,
        addresses=tuple(address for each in all_of_it for address in each.addresses),
        assigned=mac_of(assigned[0]) if assigned else None,
        virtual=any(each.virtual for each in all_of_it),
    )
    yield from (Interface(part, stanza.where) for part in stanza.words(PARTS))
    yield from (Interface(master, stanza.where, virtual=True) for master in stanza.words(MASTERS))


def _brings_up(stanza: Stanza) -> bool:
    return stanza.head[0] == "auto" or stanza.head[0].startswith("allow-")


def _mapped(stanzas: Iterable[Stanza]) -> Iterator[str]:
    """The last word of a `map` line is the logical name."""
    for each in stanzas:
        if each.head[0] == "mapping":
            yield from (words[-1] for words in each.options if words[0] == "map")


def _templates(stanzas: Iterable[Stanza], brought_up: list[str]) -> Iterator[str]:
    for each in stanzas:
        yield from (base for base in each.inherited if base not in brought_up)


def _stanzas(reader: Reader) -> Iterator[Stanza]:
    stanza: Stanza | None = None
    for path, line in _lines(reader):
        if STARTS.match(line):
            if stanza:
                yield stanza
            stanza = Stanza(path, line.split(), [])
        elif stanza:
            stanza.options.append(line.split())
    if stanza:
        yield stanza


def _lines(reader: Reader) -> Iterator[tuple[str, str]]:
    """Lines that say something, of the main file and of all that it sources, each with its file."""
    waiting, seen = [MAIN], set[str]()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        if len(seen) == FILE_LIMIT:
            reader.note(path, "too many sourced files")
            return
        seen.add(path)
        content = reader.text(path).replace("\\\n", " ")
        for line in (raw.strip() for raw in content.splitlines()):
            keyword, *rest = line.split()[:2] or [""]
            if keyword in ("source", "source-directory") and rest:
                waiting += _sourced(reader, keyword, rest[0])
            elif line and not line.startswith("#"):
                yield path, line


def _sourced(reader: Reader, keyword: str, pattern: str) -> list[str]:
    path = posixpath.join(posixpath.dirname(MAIN), pattern)
    if keyword == "source-directory":
        return [f"{path}/{name}" for name in reader.names(path) if PLAIN_NAME.fullmatch(name)]
    folder, name = posixpath.split(path)
    # As a shell expands it: a leading dot is matched by no pattern, and neither is a name by another.
    if not re.search(r"[*?\[]", name):
        return [path]
    return [
        f"{folder}/{n}"
        for n in reader.names(folder)
        if fnmatch.fnmatchcase(n, name) and not BACKUP.fullmatch(n)
    ]
