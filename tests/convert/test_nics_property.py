"""Whatever a guest's administrator meant, the resolver says that or nothing: never another name.

A generator draws a machine: NICs with slots and addresses, the names that they have and why (predictable,
the kernel's, or chosen by a rule), bonds and VLANs above them. It then writes the machine's files, each NIC
in a stack of its own, with as much or as little evidence as such files have, and strews in what misleads:
leases that ended, backups, rules of NICs that are gone, MACs that are assigned, descriptions like names.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import event, given, settings
from hypothesis import strategies as st

from convert.linux.interfaces import Nic, slot_name
from tests.convert.trees import (
    GRUB,
    IFUPDOWN,
    KEYFILES,
    NETWORKD,
    PERSISTENT,
    SCRIPTS,
    SUSE,
    grub,
    keyfile,
    resolved,
    rule,
)

GONE = "00:50:56:ff:ff:ff"
SLOTS = (160, 192, 224, 256, 1184, 1216, 33)
CHOSEN = ("lan0", "wan0", "dmz0", "storage", "eth5", "ens7")
# Stacks whose configuration can match a MAC and name the interface.
MATCHING = ("ifcfg", "keyfile", "netplan", "networkd")


@dataclass(frozen=True)
class Port:
    """One NIC as its guest has it."""

    nic: Nic
    name: str
    address: str
    stack: str
    static: bool
    matched: bool  # its configuration holds its MAC
    ruled: bool  # a naming rule holds its MAC
    leased: bool
    member: bool  # of a bond, which has the address

    @property
    def told(self) -> bool:
        return self.matched or self.ruled


@st.composite
def machines(draw: st.DrawFn) -> tuple[str, list[Port]]:
    """The naming policy, and the ports."""
    policy = draw(st.sampled_from(["predictable", "kernel", "chosen"]))
    slots = draw(st.lists(st.sampled_from(SLOTS), min_size=1, max_size=4, unique=True))
    chosen = draw(st.permutations(CHOSEN))
    order = sorted(slots, key=lambda slot: (slot % 1024, slot // 1024))
    ports = []
    for at, slot in enumerate(slots):
        name = {"predictable": slot_name(slot), "kernel": f"eth{order.index(slot)}", "chosen": chosen[at]}[
            policy
        ]
        address = f"192.0.2.{10 + at}"
        member, reported = draw(st.booleans()), draw(st.booleans())
        stack = draw(st.sampled_from(sorted(WRITERS)))
        matched = stack in MATCHING and draw(st.booleans())
        ports.append(
            Port(
                Nic(
                    f"00:50:56:00:00:{at:02x}",
                    (address, "fe80::1") if reported else (),
                    draw(st.sampled_from([slot, slot, None])),
                ),
                name,
                address,
                stack,
                static=draw(st.booleans()) and not member,
                matched=matched,
                ruled=draw(st.booleans()),
                leased=draw(st.booleans()) and not member,
                member=member,
            )
        )
    return policy, ports


def configuration(port: Port, bond: str) -> dict[str, str]:
    """One NIC's configuration as its stack writes it."""
    return {path.format(port.name): content for path, content in WRITERS[port.stack](port, bond).items()}


def ifcfg(port: Port, bond: str) -> dict[str, str]:
    lines = [f"DEVICE={port.name}", "NAME=eth9"] + [f"HWADDR={port.nic.mac.upper()}"] * port.matched
    lines += [f"IPADDR={port.address}"] * port.static + [f"MASTER={bond}", "SLAVE=yes"] * port.member
    return {f"{SCRIPTS}{{}}": "\n".join([*lines, ""])}


def wicked(port: Port, _bond: str) -> dict[str, str]:
    return {f"{SUSE}{{}}": f"STARTMODE=auto\nNAME='eth9'\n{f'IPADDR_0={port.address}/24' * port.static}\n"}


def profile(port: Port, _bond: str) -> dict[str, str]:
    more = [f"address1={port.address}/24,192.0.2.1"] * port.static
    return {
        f"{KEYFILES}{{}}": keyfile(
            port.name, *more, *["[ethernet]", f"mac-address={port.nic.mac}"] * port.matched
        )
    }


def netplan(port: Port, _bond: str) -> dict[str, str]:
    said = f"match: {{macaddress: '{port.nic.mac}'}}, set-name: {port.name}, " * port.matched
    said += f"addresses: ['{port.address}/24'], " * port.static
    return {"/etc/netplan/{}.yaml": f"network: {{ethernets: {{{port.name}: {{{said}}}}}}}\n"}


def networkd(port: Port, bond: str) -> dict[str, str]:
    match = f"[Match]\nName={port.name}\n" + f"MACAddress={port.nic.mac}\n" * port.matched
    said = f"[Network]\n{f'Address={port.address}/24' * port.static}\n" + f"Bond={bond}\n" * port.member
    return {f"{NETWORKD}10-{{}}.network": match + said}


def netctl(port: Port, _bond: str) -> dict[str, str]:
    address = f"Address={port.address}/24\n" * port.static
    return {"/etc/netctl/{}": f"Interface={port.name}\nConnection=ethernet\n{address}"}


def ifupdown(port: Port, bond: str) -> dict[str, str]:
    options = (
        f"\n  address {port.address}/24" * port.static
        + f"\n  bond-master {bond}\n  bond-mode 1" * port.member
    )
    return {"/etc/network/interfaces.d/{}": f"auto {port.name}\niface {port.name} inet manual{options}\n"}


WRITERS = {
    "ifcfg": ifcfg,
    "wicked": wicked,
    "keyfile": profile,
    "netplan": netplan,
    "networkd": networkd,
    "netctl": netctl,
    "ifupdown": ifupdown,
}


def bonded(ports: list[Port], bond: str) -> dict[str, str]:
    """A bond has the MAC and the address of its first member; a VLAN stands on it and on the first NIC."""
    members = [port for port in ports if port.member]
    if not members:
        return {}
    mac, address, below = members[0].nic.mac, members[0].address, ports[0]
    return {
        f"{SCRIPTS}{bond}": f"DEVICE={bond}\nTYPE=Bond\nHWADDR={mac}\nIPADDR={address}\n",
        f"{KEYFILES}vlan": f"[connection]\ntype=vlan\ninterface-name=office\n[ethernet]\nmac-address={mac}\n"
        f"[vlan]\nparent={bond}\n[ipv4]\naddress1={address}/24\n",
        f"{SCRIPTS}{below.name}.7": f"DEVICE={below.name}.7\nVLAN=yes\nHWADDR={below.nic.mac}\n",
    }


def lease(name: str, address: str, year: int) -> str:
    ends = f"expire 4 {year}/01/01 00:00:00;"
    return f'lease {{\n  interface "{name}";\n  fixed-address {address};\n  {ends}\n}}\n'


@st.composite
def misleading(draw: st.DrawFn, ports: list[Port]) -> dict[str, str]:
    """What lies about in guests that have lived for a while, of which none says what a NIC is called now."""
    names = [port.name for port in ports]
    addresses = [port.address for port in ports]
    name, mac = draw(st.sampled_from(names)), draw(st.sampled_from([port.nic.mac for port in ports]))
    address = draw(st.sampled_from(addresses))
    old = [lease(draw(st.sampled_from(names)), address, 2020) for _ in range(draw(st.integers(0, 2)))]
    # A lease of 2020 alone could still hold; a newer one of its interface shows that it has ended.
    newer = [lease(each, "198.51.100.1", 2021) for each in names]
    now = [lease(port.name, port.address, 2026) for port in ports if port.leased and not port.static]
    files = {"/var/lib/dhcp/dhclient.leases": "".join([*old, *newer, *now])}
    candidates = {
        f"{SCRIPTS}{name}.bak": f"DEVICE=stale\nHWADDR={mac}\nIPADDR={address}\n",
        f"{KEYFILES}{name}~": keyfile("stale", "[ethernet]", f"mac-address={mac}"),
        "/var/lib/dhcp/dhclient.old.leases": lease("eth77", address, 2030),
        "/var/log/syslog": f"dhclient: LPF/eth77/{mac}\n",
        f"{NETWORKD}50-any.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n",
        f"{NETWORKD}51-given.link": f"[Match]\nOriginalName=*\n[Link]\nMACAddress={mac}\n",
        f"{SCRIPTS}tun0": f"DEVICE=tun0\nMACADDR={mac}\nIPADDR={address}\n",
    }
    return files | {path: text for path, text in candidates.items() if draw(st.booleans())}


@st.composite
def guests(draw: st.DrawFn) -> tuple[dict[str, str], str, list[Port]]:
    policy, ports = draw(machines())
    bond = draw(st.sampled_from(["bond0", "uplink", "team1"]))
    files = draw(misleading(ports)) | bonded(ports, bond)
    files[IFUPDOWN] = "source /etc/network/interfaces.d/*\niface lo inet loopback\n"
    files[GRUB] = grub("net.ifnames=0" if policy == "kernel" else "quiet")
    for port in ports:
        files |= configuration(port, bond)
    rules = "".join(rule(port.nic.mac, port.name, "vmxnet3") for port in ports if port.ruled)
    gone = rule(GONE, draw(st.sampled_from([port.name for port in ports]))) if draw(st.booleans()) else ""
    return files | {PERSISTENT: f"# written by udev\n{gone}{rules}"}, policy, ports


@given(guests())
@settings(max_examples=300, deadline=None)
def test_a_name_is_the_one_that_was_meant_or_none(guest):
    files, policy, ports = guest
    found = resolved(files, *(port.nic for port in ports))
    meant = {port.nic.mac: port.name for port in ports}
    said = {mac: name for mac, name in found.items() if name is not None}

    assert said == {mac: meant[mac] for mac in said}
    assert len(set(said.values())) == len(said)
    assert {port.nic.mac for port in ports if port.told} <= said.keys()
    if policy == "predictable":
        assert {port.nic.mac for port in ports if port.nic.slot is not None} <= said.keys()
    event(f"{policy}: {len(said)} of {len(found)}")


@given(guests(), st.data())
@settings(max_examples=150, deadline=None)
def test_contradictions_never_give_two_nics_one_name(guest, data):
    """Files that lie about MACs: any answer but a name that two NICs have, or one that nothing holds."""
    files, _, ports = guest
    names = st.sampled_from([port.name for port in ports])
    macs = st.sampled_from([port.nic.mac for port in ports])
    lies = data.draw(st.lists(st.tuples(macs, names), max_size=4))
    files |= {
        f"{NETWORKD}9{at}-lie.link": f"[Match]\nMACAddress={m}\n[Link]\nName={n}\n"
        for at, (m, n) in enumerate(lies)
    }
    said = [name for name in resolved(files, *(port.nic for port in ports)).values() if name is not None]

    assert len(set(said)) == len(said)
    assert set(said) <= {port.name for port in ports}
