"""The nine ways to lose a name that were found in the field: each is a guest whose names are right here."""

from __future__ import annotations

from convert.linux.interfaces import Nic
from convert.linux.network import keep_names
from tests.convert.memory import Memory, inspection, nic, wishes
from tests.convert.trees import IFUPDOWN, KEYFILES, PERSISTENT, SCRIPTS, SUSE, A, B, keyfile, resolved


def test_c1_the_address_of_a_bond_bridge_or_team_does_not_make_a_nic_one():
    uplinks = {
        "bond0": 'TYPE=Bond\nBONDING_OPTS="mode=1"\n',
        "br0": "TYPE=Bridge\n",
        "team0": "DEVICETYPE=Team\nTEAM_CONFIG='{}'\n",
        "uplink": "BONDING_MASTER=yes\n",
    }
    for name, kind in uplinks.items():
        member = {"br0": f"BRIDGE={name}", "team0": f"TEAM_MASTER={name}\nDEVICETYPE=TeamPort"}
        files = {
            f"{SCRIPTS}{name}": f"DEVICE={name}\nIPADDR=192.0.2.7\n{kind}",
            f"{SCRIPTS}ens192": f"DEVICE=ens192\n{member.get(name, f'MASTER={name}')}\n",
        }

        assert resolved(files, Nic(A, ("192.0.2.7",))) == {A: "ens192"}


def test_c2_a_vlan_with_the_mac_of_its_nic_spoils_no_name_and_takes_none():
    vlan = f"[connection]\ntype=vlan\ninterface-name=ens192.100\n[ethernet]\nmac-address={A}\n"
    files = {
        f"{KEYFILES}vlan.nmconnection": vlan,
        f"{KEYFILES}a.nmconnection": keyfile("ens192", "[ethernet]", f"mac-address={A}"),
        f"{KEYFILES}b.nmconnection": keyfile("ens224", "[ethernet]", f"mac-address={B}"),
    }
    tree, vm = Memory(files), wishes(nic(A), nic(B))
    contribution = keep_names(tree, inspection(), vm)

    assert {found.mac: found.name for found in contribution.nics} == {A: "ens192", B: "ens224"}
    links = [change.path for change in contribution.changes if change.path.endswith(".link")]
    assert links == [f"/etc/systemd/network/10-transferd-{name}.link" for name in ("ens192", "ens224")]


def test_c3_a_backup_beside_a_file_is_not_an_interface():
    files = {
        f"{SCRIPTS}ens192": "DEVICE=ens192\nIPADDR=192.0.2.7\n",
        f"{SCRIPTS}ens192.bak": "DEVICE=ens161\nIPADDR=192.0.2.7\n",
        f"{SCRIPTS}ens192~": "IPADDR=192.0.2.7\n",
        f"{SCRIPTS}ens224": "DEVICE=ens224\n",
    }

    assert resolved(files, Nic(A, ("192.0.2.7",)), Nic(B)) == {A: "ens192", B: "ens224"}


def test_c4_addresses_are_compared_whole():
    files = {
        f"{SCRIPTS}ens192": "DEVICE=ens192\nIPADDR=2.0.0.5\n",
        f"{SCRIPTS}ens224": "DEVICE=ens224\nIPADDR=12.0.0.5\n",
        f"{SCRIPTS}ens256": "DEVICE=ens256\nIPADDR=2.0.035\n",
    }

    assert resolved(files, Nic(A, ("12.0.0.5",)), Nic(B, ("2.0.0.5",))) == {A: "ens224", B: "ens192"}


def test_c5_a_profile_that_holds_mac_and_name_gets_its_naming_files():
    files = {f"{KEYFILES}a.nmconnection": keyfile("lan0", "[ethernet]", f"mac-address={A.upper()}")}
    contribution = keep_names(Memory(files), inspection(), wishes(nic(A)))

    assert [change.path for change in contribution.changes] == [
        "/etc/systemd/network/10-transferd-lan0.link",
        "/etc/udev/rules.d/70-transferd-net.rules",
    ]


def test_c6_suses_numbered_addresses_count():
    files = {
        f"{SUSE}eth0": "IPADDR_0='192.0.2.7/24'\nIPADDR_1='192.0.2.8/24'\n",
        f"{SUSE}eth1": "IPADDR='192.0.2.70/24'\nIPADDR_mgmt=198.51.100.9\n",
    }

    assert resolved(files, Nic(A, ("198.51.100.9",)), Nic(B, ("192.0.2.8",))) == {A: "eth1", B: "eth0"}


def test_c7_a_nic_with_ipv6_alone_has_a_name():
    files = {
        f"{SCRIPTS}ens192": "DEVICE=ens192\nIPV6ADDR=2001:db8::7/64\n",
        f"{SCRIPTS}ens224": 'DEVICE=ens224\nIPV6ADDR_SECONDARIES="2001:db8::8/64 2001:db8::9/64"\n',
    }
    nics = Nic(A, ("fe80::1", "2001:db8:0:0::9")), Nic(B, ("fe80::1", "2001:DB8::7"))

    assert resolved(files, *nics) == {A: "ens224", B: "ens192"}


def test_c8_a_stale_lease_of_another_interface_costs_no_name():
    lease = 'lease {{\n  interface "{}";\n  fixed-address 192.0.2.7;\n  expire 4 {};\n}}\n'
    files = {
        IFUPDOWN: "iface ens192 inet dhcp\niface ens224 inet dhcp\n",
        "/var/lib/dhcp/dhclient.eth0.leases": lease.format("eth0", "2031/01/01 00:00:00"),
        "/var/lib/dhcp/dhclient.leases": lease.format("ens192", "2026/05/01 00:00:00")
        + lease.format("ens224", "2020/05/01 00:00:00"),
    }

    assert resolved(files, Nic(A, ("192.0.2.7",)), Nic(B)) == {A: "ens192", B: "ens224"}
    assert resolved(files, Nic(A, ("192.0.2.7",), 224), Nic(B, slot=192)) == {A: "ens224", B: "ens192"}


def test_c9_a_rules_file_with_a_comment_alone_stops_nothing():
    files = {PERSISTENT: "# nothing yet\n", IFUPDOWN: "iface ens192 inet dhcp\n"}
    contribution = keep_names(Memory(files), inspection(), wishes(nic(A, slot=192)))

    assert [found.name for found in contribution.nics] == ["ens192"]
    assert len(contribution.changes) == 2
