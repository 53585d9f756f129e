"""Arch's netctl: a profile's Interface is the name, its Connection the kind. (netctl.profile(5))"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.linux.interfaces import Interface, mac_of
from convert.linux.stacks.reading import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Reader

FOLDER = "/etc/netctl"


def interfaces(reader: Reader) -> Iterator[Interface]:
    for path in reader.paths(FOLDER):
        said = settings(reader.text(path))
        if name := said.get("Interface"):
            addresses = (*_array(said, "Address"), *_array(said, "Address6"))
            virtual = said.get("Connection", "ethernet") != "ethernet"
            yield Interface(name, path, addresses, assigned=mac_of(said.get("MACAddress")), virtual=virtual)
            yield from (Interface(part, path) for part in _array(said, "BindsToInterfaces"))


def _array(said: dict[str, str], key: str) -> list[str]:
    """`('a' 'b')` or `a`; quotes are gone already."""
    return said.get(key, "").strip("()").replace("'", "").replace('"', "").split()
