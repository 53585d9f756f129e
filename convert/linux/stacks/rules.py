"""Naming rules: what gives a NIC its name before any configuration is looked at.

udev's rules and .link files, nameif's mactab, `ifname=` of the kernel command line, and cloud-init, which
renames NICs at each boot by the network definition that it was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.interfaces import MAC, Sighting, mac_of
from convert.linux.stacks import netplan
from convert.linux.stacks.networkd import FOLDER as LINKS
from convert.linux.stacks.networkd import matched_macs, matches_hardware, with_drop_ins
from convert.linux.stacks.reading import first
from convert.linux.stacks.yaml import listing, load, mapping, word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from convert.linux.stacks.reading import Reader

RULES = "/etc/udev/rules.d"
MACTAB = "/etc/mactab"
# ATTR of today, ATTRS that looks at parents too, SYSFS of udev before 2009.
RULE_MAC = re.compile(rf'(?:ATTRS?|SYSFS)\{{address\}}\s*==\s*"({MAC})"')
RULE_NAME = re.compile(r'(?<!\w)NAME\s*:?=\s*"([^"]+)"')
# A rule for something that is no Ethernet hardware: VLANs and bonds have the MAC of the NIC below.
RULE_TYPE = re.compile(r'ATTR\{type\}\s*==\s*"(?!1")|ENV\{DEVTYPE\}\s*==\s*"')
IFNAME = re.compile(rf"(?<![\w.])ifname=([^:\s]+):({MAC})")

CLOUD_SETTINGS = "/etc/cloud/cloud.cfg.d"
CLOUD_OFF = "cloud-init.disabled"
CLOUD_SEEDS = (
    "/var/lib/cloud/instance/network-config.json",
    "/var/lib/cloud/seed/nocloud/network-config",
    "/var/lib/cloud/seed/nocloud-net/network-config",
)


def sightings(reader: Reader, command_lines: tuple[tuple[str, str], ...]) -> Iterator[Sighting]:
    """`command_lines`: of the kernel, each with its file."""
    yield from _links(reader)
    for path in reader.paths(RULES, ".rules"):
        yield from _rules(path, reader.text(path))
    yield from _mactab(reader)
    for path, line in command_lines:
        yield from (Sighting(name, path, mac=mac_of(mac)) for name, mac in IFNAME.findall(line))
    yield from _cloud_init(reader)


def _links(reader: Reader) -> Iterator[Sighting]:
    names = reader.names(LINKS)
    for name in names:
        if name.endswith(".link"):
            path = f"{LINKS}/{name}"
            said = with_drop_ins(reader, path, names)
            macs, chosen = matched_macs(said), first(said, "link", "name")
            if len(macs) == 1 and chosen and matches_hardware(said):
                yield Sighting(chosen, path, mac=macs[0])


def _rules(path: str, content: str) -> Iterator[Sighting]:
    for line in content.replace("\\\n", " ").splitlines():
        mac, name = RULE_MAC.search(line), RULE_NAME.search(line)
        if mac and name and not line.lstrip().startswith("#") and not RULE_TYPE.search(line):
            yield Sighting(name[1], path, mac=mac_of(mac[1]))


def _mactab(reader: Reader) -> Iterator[Sighting]:
    """nameif(8): `eth0 00:50:56:00:00:01`, of late with `mac=` before it."""
    for line in reader.text(MACTAB).splitlines():
        name, *rest = line.split() or [""]
        mac = next((found for part in rest if (found := mac_of(part.removeprefix("mac=")))), None)
        if mac and not name.startswith("#"):
            yield Sighting(name, MACTAB, mac=mac)


def _cloud_init(reader: Reader) -> Iterator[Sighting]:
    """Settings before seeds; none where cloud-init or its network part is switched off."""
    if CLOUD_OFF in reader.files.names("/etc/cloud"):
        return
    set_by = [
        (path, network)
        for path in reader.paths(CLOUD_SETTINGS, ".cfg")
        if (network := mapping(load(reader, path, "network").get("network")))
    ]
    if any(network.get("config") == "disabled" for _, network in set_by):
        return
    seeds = [(path, load(reader, path)) for path in CLOUD_SEEDS] if not set_by else []
    for path, seed in (*set_by, *seeds):
        network = mapping(seed.get("network")) or seed
        yield from _first_version(network, path)
        for each in netplan.defined(network, {}) if "ethernets" in network else ():
            if each.mac and not each.virtual:
                yield Sighting(each.name, path, mac=each.mac)


def _first_version(network: dict[str, Any], path: str) -> Iterator[Sighting]:
    for device in map(mapping, listing(network.get("config"))):
        mac, name = mac_of(word(device.get("mac_address"))), word(device.get("name"))
        if mac and name and device.get("type") == "physical":
            yield Sighting(name, path, mac=mac)
