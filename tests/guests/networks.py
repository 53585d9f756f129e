"""One network, written down in each of the ways that Debian knows: pure functions from links to files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from tests.guests.recipes import Link, Network

# What each stack needs to be installed, and the unit that has to be enabled for it.
PACKAGES = {
    "ifupdown": ("ifupdown", "ifenslave", "vlan"),
    "networkd": ("systemd",),
    "netplan": ("netplan.io",),
    "NetworkManager": ("network-manager",),
    "cloud-init": ("cloud-init", "netplan.io"),
}
UNITS = {
    "ifupdown": (),
    "networkd": ("systemd-networkd.service",),
    "netplan": ("systemd-networkd.service",),
    "NetworkManager": ("NetworkManager.service",),
    "cloud-init": ("systemd-networkd.service",),
}
SEED = "var/lib/cloud/seed/nocloud"


def files(network: Network) -> dict[str, str]:
    """Path under the root to content."""
    return {
        "ifupdown": _ifupdown,
        "networkd": _networkd,
        "netplan": _netplan,
        "NetworkManager": _network_manager,
        "cloud-init": _cloud_init,
    }[network.stack](network.links)


def _ifupdown(links: Sequence[Link]) -> dict[str, str]:
    stanzas = ["auto lo\niface lo inet loopback\n"]
    taken = {port for link in links if link.kind == "bond" for port in link.over}
    for link in links:
        if link.name not in taken:
            stanzas += [f"auto {link.name}\n", *_stanzas(link)]
    return {"etc/network/interfaces": "\n".join(stanzas)}


def _stanzas(link: Link) -> list[str]:
    extras = {
        "nic": "",
        "bond": f"    bond-slaves {' '.join(link.over)}\n    bond-mode active-backup\n    bond-miimon 100\n",
        "vlan": f"    vlan-raw-device {' '.join(link.over)}\n",
    }[link.kind]
    made = []
    for address in link.addresses:
        family = "inet6" if ":" in address else "inet"
        made.append(f"iface {link.name} {family} static\n    address {address}\n{extras}")
        extras = ""
    return made


def _networkd(links: Sequence[Link]) -> dict[str, str]:
    folder = "etc/systemd/network"
    made = {}
    for link in links:
        lines = [f"[Match]\nName={link.name}\n\n[Network]\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no"]
        lines += [f"Address={address}" for address in link.addresses]
        key = {"bond": "Bond", "vlan": "VLAN"}
        lines += [f"{key[other.kind]}={other.name}" for other in links if link.name in other.over]
        made[f"{folder}/20-{link.name}.network"] = "\n".join(lines) + "\n"
        if link.kind != "nic":
            options = f"[VLAN]\nId={link.tag}\n" if link.kind == "vlan" else "[Bond]\nMode=active-backup\n"
            device = f"[NetDev]\nName={link.name}\nKind={link.kind}\n\n{options}"
            made[f"{folder}/10-{link.name}.netdev"] = device
    return made


def _netplan(links: Sequence[Link]) -> dict[str, str]:
    document = {"network": {"renderer": "networkd", **_version_2(links)}}
    return {"etc/netplan/01-network.yaml": yaml.safe_dump(document, sort_keys=False)}


def _cloud_init(links: Sequence[Link]) -> dict[str, str]:
    """Like an image of a template: the first boot renders the network from what the platform gave."""
    return {
        "etc/cloud/cloud.cfg.d/90-sources.cfg": "datasource_list: [NoCloud, None]\n",
        f"{SEED}/meta-data": "instance-id: i-transferd\nlocal-hostname: cloud-init\n",
        f"{SEED}/user-data": "#cloud-config\nlocale: false\nssh_genkeytypes: []\n",
        f"{SEED}/network-config": yaml.safe_dump(_version_2(links), sort_keys=False),
    }


def _version_2(links: Sequence[Link]) -> dict[str, Any]:
    """Netplan's format, which cloud-init shares."""
    document: dict[str, Any] = {"version": 2}
    for link in links:
        body: dict[str, Any] = {"addresses": list(link.addresses)} if link.addresses else {}
        if link.kind == "bond":
            body |= {"interfaces": list(link.over), "parameters": {"mode": "active-backup"}}
        if link.kind == "vlan":
            body |= {"id": link.tag, "link": link.over[0]}
        section = {"nic": "ethernets", "bond": "bonds", "vlan": "vlans"}[link.kind]
        document.setdefault(section, {})[link.name] = body
    return document


def _network_manager(links: Sequence[Link]) -> dict[str, str]:
    folder = "etc/NetworkManager/system-connections"
    return {f"{folder}/{link.name}.nmconnection": _keyfile(link, links) for link in links}


def _keyfile(link: Link, links: Sequence[Link]) -> str:
    kind = {"nic": "ethernet"}.get(link.kind, link.kind)
    lines = ["[connection]", f"id={link.name}", f"type={kind}", f"interface-name={link.name}"]
    bond = next((other.name for other in links if other.kind == "bond" and link.name in other.over), None)
    if bond:
        return "\n".join([*lines, f"master={bond}", "slave-type=bond", ""])
    if link.kind == "bond":
        lines += ["", "[bond]", "mode=active-backup", "miimon=100"]
    if link.kind == "vlan":
        lines += ["", "[vlan]", f"id={link.tag}", f"parent={link.over[0]}"]
    for family, mark in (("ipv4", "."), ("ipv6", ":")):
        mine = [address for address in link.addresses if mark in address]
        lines += ["", f"[{family}]", f"method={'manual' if mine else 'disabled'}"]
        lines += [f"address{at}={address}" for at, address in enumerate(mine, start=1)]
    return "\n".join([*lines, ""])
