"""What each network stack's files mean for the name of a NIC, and what in them only looks like a name."""

from __future__ import annotations

import pytest

from convert.folder import Folder
from convert.linux.interfaces import Nic
from convert.linux.stacks import clues
from convert.linux.stacks.reading import Reader
from tests.convert.trees import (
    IFUPDOWN,
    KEYFILES,
    NETPLAN,
    NETWORKD,
    SCRIPTS,
    SUSE,
    A,
    B,
    keyfile,
    read,
    resolved,
    written,
)


def physical(files) -> dict:
    """name -> addresses and matched MACs of everything that can be a NIC."""
    return {
        name: (
            {address for record in records for address in record.addresses},
            {record.mac for record in records if record.mac},
        )
        for name, records in read(files).physical.items()
    }


def macs(files) -> dict:
    """name (or glob) -> the MAC that its configuration matches."""
    return {each.name: each.mac for each in read(files).interfaces if not each.virtual}


# --- ifcfg ------------------------------------------------------------------------------------------------


def test_device_is_the_name_and_name_is_what_people_call_it():
    assert physical({f"{SCRIPTS}lan": "DEVICE=ens192\nNAME=eth9\n"}) == {"ens192": (set(), set())}
    assert physical({f"{SCRIPTS}Profile_1": f"NAME=eth9\nHWADDR={A}\n"}) == {}
    assert macs({f"{SCRIPTS}Profile_1": f"NAME=eth9\nHWADDR={A}\n"}) == {"*": A}


def test_without_device_the_files_name_counts_if_it_looks_like_an_interface():
    assert physical({f"{SCRIPTS}ens192": "BOOTPROTO=dhcp\n"}) == {"ens192": (set(), set())}


def test_an_assigned_mac_is_not_a_matched_one():
    files = {f"{SCRIPTS}ens192": f"DEVICE=ens192\nMACADDR={B}\n", f"{SUSE}eth1": f"LLADDR={A}\n"}

    assert macs(files) == {"ens192": None, "eth1": None}


def test_aliases_and_ranges_are_addresses_of_their_interface():
    files = {
        f"{SCRIPTS}ens192": "DEVICE=ens192\nIPADDR0=192.0.2.1\nIPADDR1=192.0.2.2\n",
        f"{SCRIPTS}ens192:1": "DEVICE=ens192:1\nIPADDR=192.0.2.3\n",
        f"{SCRIPTS}ens192-range0": "IPADDR_START=192.0.2.4\n",
    }

    assert physical(files) == {"ens192": ({f"192.0.2.{at}" for at in (1, 2, 3, 4)}, set())}


def test_a_value_may_be_quoted_exported_and_followed_by_a_comment():
    assert physical({f"{SCRIPTS}x": "export DEVICE='ens192' # NIC one\r\nIPADDR=\"192.0.2.1\"\r\n"}) == {
        "ens192": ({"192.0.2.1"}, set())
    }


@pytest.mark.parametrize(
    "above",
    ["TYPE=Vlan", "VLAN=yes", "PHYSDEV=ens192", "TYPE=OVSBridge\nDEVICETYPE=ovs", "TYPE=IPIP", "TYPE=dummy"],
)
def test_what_stands_on_a_nic_is_not_one(above):
    assert "upper" not in physical({f"{SCRIPTS}upper": f"DEVICE=upper\nHWADDR={A}\n{above}\n"})


def test_a_port_of_a_switch_is_a_nic():
    files = {f"{SCRIPTS}ens192": "DEVICE=ens192\nDEVICETYPE=ovs\nTYPE=OVSPort\nOVS_BRIDGE=switch\n"}

    assert set(physical(files)) == {"ens192"}


def test_suse_names_a_file_by_the_interface_or_by_its_mac():
    assert set(physical({f"{SUSE}eth0": "DEVICE=eth7\nNAME=eth8\n"})) == {"eth0"}
    assert macs({f"{SUSE}eth-id-{A.upper()}": "BOOTPROTO=dhcp\n"}) == {"*": A}


def test_suses_bonds_bridges_and_vlans_name_their_nics():
    files = {
        f"{SUSE}agg": "BONDING_MASTER='yes'\nBONDING_SLAVE_0='eth0'\nBONDING_SLAVE_1='eth1'\n",
        f"{SUSE}lan": "BRIDGE='yes'\nBRIDGE_PORTS='eth2'\n",
        f"{SUSE}storage": "ETHERDEVICE='eth3'\nVLAN_ID=7\n",
    }

    assert set(physical(files)) == {"eth0", "eth1", "eth2", "eth3"}


# --- NetworkManager ---------------------------------------------------------------------------------------


def test_a_keyfiles_id_is_no_name_and_a_cloned_mac_is_nobodys():
    files = {f"{KEYFILES}eth0": keyfile("ens192", "[ethernet]", f"cloned-mac-address={B}")}

    assert macs(files) == {"ens192": None}


@pytest.mark.parametrize("spelt", [A, A.upper(), "0;80;86;0;0;1;"])
def test_a_profile_without_a_name_holds_for_its_mac(spelt):
    assert macs(
        {f"{KEYFILES}x": f"[connection]\ntype=802-3-ethernet\n[802-3-ethernet]\nmac-address={spelt}\n"}
    ) == {"*": A}


def test_a_profiles_addresses_are_not_its_gateways():
    files = {
        f"{KEYFILES}a": keyfile("ens192", "address1=192.0.2.2/24,192.0.2.1", "address2=192.0.2.3/24"),
        f"{KEYFILES}b": keyfile("ens224", "addresses1=192.0.2.4;24;192.0.2.1;"),
        f"{KEYFILES}c": keyfile(
            "ens256", "addresses=192.0.2.5/24;192.0.2.6/24;", "[ipv6]", "address1=2001:db8::1/64"
        ),
    }

    assert {name: addresses for name, (addresses, _) in physical(files).items()} == {
        "ens192": {"192.0.2.2/24", "192.0.2.3/24"},
        "ens224": {"192.0.2.4"},
        "ens256": {"192.0.2.5/24", "192.0.2.6/24", "2001:db8::1/64"},
    }


def test_bonds_teams_and_vlans_of_profiles_are_virtual_and_their_ports_are_not():
    files = {
        f"{KEYFILES}up": "[connection]\ntype=bond\ninterface-name=up\n[ipv4]\naddress1=192.0.2.7/24\n",
        f"{KEYFILES}old": "[connection]\ntype=vlan\n[vlan]\ninterface-name=office\nparent=ens256\nid=7\n",
        f"{KEYFILES}p1": "[connection]\ntype=ethernet\ninterface-name=ens192\nmaster=up\nslave-type=bond\n",
        f"{KEYFILES}p2": "[connection]\ntype=ethernet\ninterface-name=ens224\ncontroller=other\n",
    }

    assert set(physical(files)) == {"ens192", "ens224", "ens256"}
    assert {"up", "office", "other"} <= read(files).virtual


def test_one_matched_name_is_a_name_and_a_glob_is_none():
    assert macs({f"{KEYFILES}a": "[connection]\ntype=ethernet\n[match]\ninterface-name=ens192;\n"}) == {
        "ens192": None
    }
    assert (
        physical({f"{KEYFILES}a": "[connection]\ntype=ethernet\n[match]\ninterface-name=ens*;!ens224\n"})
        == {}
    )


def test_profiles_that_networkmanager_refuses_for_their_mode_are_left_out_where_modes_mean_anything(tmp_path):
    stale = keyfile("ens224", "[ethernet]", f"mac-address={A}")
    files = {
        f"{KEYFILES}good": keyfile("ens192", "[ethernet]", f"mac-address={A}"),
        f"{KEYFILES}stale": stale,
    }
    root = written(tmp_path, files)
    for path in files:
        (tmp_path / path.lstrip("/")).chmod(0o644)
    assert set(clues(Reader(Folder(root))).physical) == {"ens192", "ens224"}

    (tmp_path / KEYFILES.lstrip("/") / "good").chmod(0o600)
    assert set(clues(Reader(Folder(root))).physical) == {"ens192"}


def test_a_keyfile_that_leads_nowhere_is_none(tmp_path):
    root = written(tmp_path, {f"{KEYFILES}a": keyfile("ens192")})
    (root / KEYFILES.lstrip("/") / "b").symlink_to("gone")

    assert set(clues(Reader(Folder(root))).physical) == {"ens192"}


# --- netplan ----------------------------------------------------------------------------------------------


def netplan(device: str) -> dict:
    return {NETPLAN: f"network:\n  version: 2\n  ethernets:\n    lan: {device}\n"}


def test_an_id_is_the_name_only_without_match():
    assert macs(netplan("{dhcp4: true}")) == {"lan": None}
    assert macs(netplan(f"{{match: {{macaddress: {A}}}}}")) == {"*": A}
    assert macs(netplan("{match: {name: ens192}}")) == {"ens192": None}
    assert macs(netplan("{match: {name: 'ens*'}}")) == {"ens*": None}


def test_set_name_is_the_name():
    assert macs(netplan(f"{{match: {{macaddress: {A.upper()}}}, set-name: lan7}}")) == {"lan7": A}
    assert resolved(netplan("{match: {name: ens192}, set-name: lan7}"), Nic(A, slot=192)) == {A: "lan7"}


def test_a_mac_beside_match_is_given_and_not_matched():
    assert macs(netplan(f"{{match: {{name: ens192}}, macaddress: {B}}}")) == {"ens192": None}


def test_a_mac_that_yaml_would_read_as_a_number_is_a_mac():
    assert macs(netplan("{match: {macaddress: 10:20:30:40:50:59}}")) == {"*": "10:20:30:40:50:59"}


def test_later_files_add_to_earlier_ones_whatever_their_folder():
    files = {
        "/etc/netplan/90-more.yaml": "network: {ethernets: {lan: {set-name: lan7, addresses: [1::7]}}}\n",
        "/usr/lib/netplan/10-base.yaml": f"network: {{ethernets: {{lan: {{match: {{macaddress: {A}}}}}}}}}\n",
    }

    assert physical(files) == {"lan7": ({"1::7"}, {A})}


def test_netplans_bonds_and_vlans_are_virtual_and_refer_to_ids():
    files = {
        NETPLAN: "network:\n  ethernets:\n"
        f"    one: {{match: {{macaddress: {A}}}, set-name: ens192}}\n    ens224: {{}}\n"
        "  bonds:\n    up: {interfaces: [one, ens224], addresses: [192.0.2.7/24: {label: 'up:1'}]}\n"
        "  vlans:\n    office: {id: 7, link: up}\n"
    }

    assert set(physical(files)) == {"ens192", "ens224"}
    assert read(files).virtual == {"up", "office"}


# --- systemd-networkd -------------------------------------------------------------------------------------


def network(match: str, rest: str = "") -> dict:
    return {f"{NETWORKD}10-x.network": f"[Match]\n{match}\n{rest}"}


def test_a_network_matches_by_name_by_mac_or_by_both():
    assert macs(network("Name=ens192")) == {"ens192": None}
    assert macs(network(f"PermanentMACAddress={A.upper()}")) == {"*": A}
    assert macs(network(f"MACAddress={A}\nName=ens192")) == {"ens192": A}
    assert macs(network(f"MACAddress={A} {B}\nName=ens192 ens224")) == {"ens192": None, "ens224": None}
    assert physical(network("Name=!ens192 ens224")) == {}
    assert physical(network("Name=ens192\nType=bond")) == {}


def test_addresses_of_a_network_stand_in_two_sections():
    said = network("Name=ens192", "[Network]\nAddress=192.0.2.7/24\n[Address]\nAddress=2001:db8::7/64\n")

    assert physical(said) == {"ens192": ({"192.0.2.7/24", "2001:db8::7/64"}, set())}


def test_what_a_netdev_makes_or_a_network_puts_above_is_virtual():
    files = {
        f"{NETWORKD}up.netdev": "[NetDev]\nName=up\nKind=bond\n",
        f"{NETWORKD}up.network": "[Match]\nName=up\n[Network]\nAddress=192.0.2.7/24\nVLAN=office\nVLAN=lab\n",
        f"{NETWORKD}port.network": "[Match]\nName=ens192 ens224\n[Network]\nBond=up\n",
    }

    assert set(physical(files)) == {"ens192", "ens224"}
    assert read(files).virtual == {"up", "office", "lab"}


def test_drop_ins_belong_to_their_file():
    files = network("Name=ens192") | {f"{NETWORKD}10-x.network.d/a.conf": "[Network]\nAddress=192.0.2.7/24\n"}

    assert physical(files) == {"ens192": ({"192.0.2.7/24"}, set())}


# --- ifupdown ---------------------------------------------------------------------------------------------

INTERFACES = """\
# auto eth9
source /etc/network/interfaces.d/*.cfg
source-directory interfaces.extra
auto lo ens192
iface lo inet loopback

iface ens192 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
    # address 192.0.2.99
iface ens192:1 inet static
    address 192.0.2.11/24
iface ens192 inet6 static
    address 2001:db8::10
    netmask 64
"""


def test_all_stanzas_of_an_interface_are_one():
    assert physical({IFUPDOWN: INTERFACES}) == {
        "ens192": ({"192.0.2.10/24", "192.0.2.11/24", "2001:db8::10"}, set())
    }


def test_sourced_files_count_and_editors_backups_do_not():
    files = {
        IFUPDOWN: INTERFACES,
        "/etc/network/interfaces.d/a.cfg": f"iface eth1 inet dhcp\n  hwaddress ether {B.upper()}\n",
        "/etc/network/interfaces.d/a.cfg.bak": "iface eth2 inet dhcp\n",
        "/etc/network/interfaces.extra/b": "iface eth3 inet dhcp\n",
        "/etc/network/interfaces.extra/b.bak": "iface eth4 inet dhcp\n",
    }
    found = {each.name: each for each in read(files).interfaces}

    assert set(found) == {"lo", "ens192", "eth1", "eth3"}
    assert (found["eth1"].mac, found["eth1"].assigned) == (None, B)
    assert found["eth3"].where == "/etc/network/interfaces.extra/b"


def test_a_file_that_sources_itself_is_read_once():
    assert set(physical({IFUPDOWN: f"source {IFUPDOWN}\niface eth0 inet dhcp\n"})) == {"eth0"}


COMPOUND = """\
iface uplink inet static
  address 192.0.2.1
  bond-slaves ens192 ens224
iface ens193 inet manual
  bond-master uplink
  bond-mode active-backup
iface lan inet manual
  bridge_ports ens256 none
iface mgmt inet dhcp
  vlan-raw-device ens161
iface ng
  use vlan
  requires ens162
"""


def test_bonds_bridges_and_vlans_are_virtual_and_their_parts_are_not():
    assert set(physical({IFUPDOWN: COMPOUND})) == {"ens192", "ens224", "ens193", "ens256", "ens161", "ens162"}
    assert read({IFUPDOWN: COMPOUND}).virtual == {"uplink", "lan", "mgmt", "ng"}


def test_a_logical_stanza_is_not_an_interface_and_a_template_is_none():
    said = """\
auto ens192=home ens256
mapping ens224
  script /usr/local/sbin/where
  map WORK work
iface home inet static
  address 192.0.2.7/24
iface work inet dhcp
iface base inet static
  address 192.0.2.9
iface ens256 inet static inherits base
"""
    assert {name: addresses for name, (addresses, _) in physical({IFUPDOWN: said}).items()} == {
        "ens192": {"192.0.2.7/24"},
        "ens224": set(),
        "ens256": {"192.0.2.9"},
    }


def test_ifupdown_renames_by_mac():
    assert macs({IFUPDOWN: f"rename /mac/{A}=lan0\niface lan0 inet dhcp\n"}) == {"lan0": None} | {
        "lan0": None
    }
    assert resolved(
        {IFUPDOWN: f"rename mac/{A}=lan0\niface lan0 inet dhcp\niface lan1 inet dhcp\n"}, Nic(A), Nic(B)
    ) == {
        A: "lan0",
        B: "lan1",
    }
