"""NetworkManager's keyfiles: `interface-name` is the name, `mac-address` the NIC's, `id` neither.

`cloned-mac-address` is what the NIC is given, not what it has. A VLAN's or bond's profile may hold the MAC of
the NIC below: its type says so. (nm-settings-keyfile(5))

NetworkManager refuses a keyfile that others than its owner may read. Where at least one has the right mode,
the rest are left out, as it does; where none has, the modes were lost when the files were copied.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.interfaces import ANY, Interface, mac_of
from convert.linux.stacks.reading import first, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Options, Reader

FOLDERS = ("/etc/NetworkManager/system-connections", "/usr/lib/NetworkManager/system-connections")
OTHERS_MAY = 0o077
ETHERNET = ("ethernet", "802-3-ethernet")
ADDRESSES = re.compile(r"address(es)?\d*")
NUMBERS = re.compile(r"(\d{1,3};){5}\d{1,3};?")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def interfaces(reader: Reader) -> Iterator[Interface]:
    for folder in FOLDERS:
        texts = {path: content for path in reader.paths(folder) if (content := reader.text(path))}
        strict = [path for path in texts if not reader.files.mode(path) & OTHERS_MAY]
        for path in strict or texts:
            yield from _profile(path, options(texts[path]))


def _profile(path: str, said: Options) -> Iterator[Interface]:
    kind = first(said, "connection", "type").lower()
    if not kind:
        return
    mac = _mac(_ethernet(said, "mac-address"))
    assigned = _mac(_ethernet(said, "cloned-mac-address"))
    name = first(said, "connection", "interface-name") or _only_match(said)
    addresses = tuple(_addresses(said))
    if kind not in ETHERNET:
        if made := name or first(said, kind, "interface-name"):
            yield Interface(made, path, addresses, virtual=True)
        yield from _named(path, first(said, "vlan", "parent"), virtual=False)
    elif name or mac:
        yield Interface(name or ANY, path, addresses, mac, assigned)
    yield from _named(path, first(said, "connection", "master", "controller"), virtual=True)


def _only_match(said: Options) -> str:
    """`[match] interface-name` lists names and globs; an exclamation mark takes one out."""
    listed = re.split(r"[;,\s]+", first(said, "match", "interface-name"))
    names = [name.lstrip("|&") for name in listed if name and not name.startswith("!")]
    return names[0] if len(names) == 1 else ""


def _ethernet(said: Options, key: str) -> str:
    return next((found for kind in ETHERNET if (found := first(said, kind, key))), "")


def _mac(text: str) -> str | None:
    """Old keyfiles spell a MAC as six decimal numbers."""
    if NUMBERS.fullmatch(text):
        text = ":".join(f"{int(part):02x}" for part in text.strip(";").split(";"))
    return mac_of(text)


def _addresses(said: Options) -> Iterator[str]:
    """`address1=ADDRESS/LENGTH,GATEWAY`, `addresses=A/L;A/L;`, and of old `addresses1=A;L;GATEWAY;`."""
    for section, key, value in said:
        if section in ("ipv4", "ipv6") and ADDRESSES.fullmatch(key):
            parts = [part.partition(",")[0].strip() for part in value.split(";") if part.strip()]
            of_old = len(parts) > 1 and parts[1].isdigit()
            yield from parts[:1] if of_old else parts


def _named(path: str, name: str, *, virtual: bool) -> Iterator[Interface]:
    if name and not UUID.fullmatch(name) and not mac_of(name):
        yield Interface(name, path, virtual=virtual)
