"""Traces of the guest's last runs: leases and logs that hold an interface's name with its MAC or address.

They are as old as they are, so the resolver believes them only of interfaces that are still configured.
Of a MAC that one log names twice, the later line counts; of an address that was leased twice, the lease that
ends later.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from convert.linux.interfaces import MAC, Sighting, is_hardware_name, mac_of
from convert.linux.stacks.reading import FILE_LIMIT, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Reader

LOGS = ("/var/log/syslog", "/var/log/messages", "/var/log/daemon.log", "/var/log/cloud-init-output.log")
LOG_TAIL = 1024 * 1024
# dhclient(8) writes the first to syslog each time it starts; cloud-init prints the second, a table, at boot.
SHOWN = re.compile(
    rf"LPF/([A-Za-z0-9_-]+)/({MAC})|\|\s*([A-Za-z0-9_-]+)\s*\|\s*True\s*\|[^\n]{{0,200}}\|\s*({MAC})\s*\|"
)

DHCLIENT = ("/var/lib/dhcp", "/var/lib/dhclient", "/var/lib/NetworkManager")
LEASE_LINE = re.compile(r'\s*(interface|fixed-address|iaaddr|expire)\s+"?([^";{]*)"?\s*[;{]')
NETWORK_MANAGER = "/var/lib/NetworkManager"
INTERNAL = re.compile(r"internal-[0-9a-f-]{36}-(.+)\.lease")
WICKED = "/var/lib/wicked"
WICKED_NAME = re.compile(r"lease-(.+)-dhcp-ipv[46]\.xml")
WICKED_ADDRESS = re.compile(r"<address>\s*([0-9A-Fa-f.:]+)(?:/\d+)?\s*</address>")
DHCPCD = ("/var/lib/dhcpcd", "/var/lib/dhcpcd5")
DHCPCD_NAME = re.compile(r"(?:dhcpcd-)?([A-Za-z0-9_]+)\.lease")
# RFC 2131: an answer of a server to an Ethernet client, whose address is `chaddr`.
BOOTP_LENGTH, BOOTP_REPLY, ETHERNET, CHADDR = 240, 2, 1, 28
MAC_LENGTH = 6

NEVER = "9999"
EPOCH_LIMIT = 1 << 40


def sightings(reader: Reader) -> Iterator[Sighting]:
    for path in LOGS:
        log = _newest(reader, path, LOG_TAIL)
        yield from (Sighting(name, path, mac=mac) for mac, name in _last_names(log).items())
    for folder in DHCLIENT:
        for path in [*reader.paths(folder, ".leases"), *reader.paths(folder, ".lease", "dhclient")]:
            yield from _dhclient(path, _newest(reader, path))
    yield from _network_manager(reader)
    yield from _wicked(reader)
    for folder in DHCPCD:
        for path in reader.paths(folder, ".lease"):
            yield from _dhcpcd(path, reader.end(path, BOOTP_LENGTH * 8))


def _newest(reader: Reader, path: str, length: int = FILE_LIMIT) -> str:
    """Logs and leases grow at their end, and a crash may leave zeros there: no reason to complain."""
    return reader.end(path, length).decode("utf-8", "replace").replace("\0", "")


def _last_names(log: str) -> dict[str, str]:
    """A bond has the MAC of its first member; by its name it is left out here."""
    found: dict[str, str] = {}
    for one, one_mac, other, other_mac in SHOWN.findall(log):
        mac = mac_of(one_mac or other_mac)
        if mac and is_hardware_name(one or other):
            found[mac] = one or other
    return found


def _dhclient(path: str, content: str) -> Iterator[Sighting]:
    """dhclient.leases(5). A block ends where the next begins, so a truncated file gives what it has."""
    for block in re.split(r"^\s*lease6?\s*\{", content, flags=re.MULTILINE)[1:]:
        said = [(line[1], line[2].strip()) for line in map(LEASE_LINE.match, block.splitlines()) if line]
        name = next((value for key, value in said if key == "interface"), "")
        until = max((_time(value) for key, value in said if key == "expire"), default="")
        addresses = [value for key, value in said if key in ("fixed-address", "iaaddr")]
        yield from (Sighting(name, path, address=address, until=until) for address in addresses if name)


def _time(expire: str) -> str:
    """`4 2024/05/05 12:00:00`, `epoch 1714910400`, or `never`, as text that sorts."""
    kind, _, rest = expire.partition(" ")
    if kind == "never":
        return NEVER
    seconds = rest.split("#")[0].strip()
    if kind == "epoch" and seconds.isdigit() and int(seconds) < EPOCH_LIMIT:
        return _utc(int(seconds))
    return rest


def _utc(seconds: int) -> str:
    """Above the year 9999, which is as far as a calendar goes here, a lease never ends."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y/%m/%d %H:%M:%S")
    except (ValueError, OverflowError):
        return NEVER


def _network_manager(reader: Reader) -> Iterator[Sighting]:
    for path in reader.paths(NETWORK_MANAGER, ".lease", "internal-"):
        name = INTERNAL.fullmatch(path.rpartition("/")[2])
        address = settings(_newest(reader, path)).get("ADDRESS")
        if name and address:
            yield Sighting(name[1], path, address=address)


def _wicked(reader: Reader) -> Iterator[Sighting]:
    for path in reader.paths(WICKED, ".xml", "lease-"):
        if name := WICKED_NAME.fullmatch(path.rpartition("/")[2]):
            addresses = dict.fromkeys(WICKED_ADDRESS.findall(_newest(reader, path)))
            yield from (Sighting(name[1], path, address=address) for address in addresses)


def _dhcpcd(path: str, packet: bytes) -> Iterator[Sighting]:
    """dhcpcd keeps the server's answer as it came."""
    name = DHCPCD_NAME.fullmatch(path.rpartition("/")[2])
    header = bytes([BOOTP_REPLY, ETHERNET, MAC_LENGTH])
    if name and len(packet) >= BOOTP_LENGTH and packet.startswith(header):
        yield Sighting(name[1], path, mac=packet[CHADDR : CHADDR + MAC_LENGTH].hex(":"))
