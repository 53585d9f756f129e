"""From a guest's files to the naming files that pin its NICs."""

from __future__ import annotations

from convert.linux import ifupdown
from convert.linux.network import keep_names, naming_files
from tests.convert.memory import Memory, inspection, nic, source

A, B = "00:50:56:00:00:01", "00:50:56:00:00:02"
LINK = "/etc/systemd/network/10-transferd-ens192.link"
RULES = "/etc/udev/rules.d/70-transferd-net.rules"
RULE = (
    f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{A}", ATTR{{type}}=="1", '
    'NAME="ens192"'
)
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
iface ens192 inet6 static
    address 2001:db8::10
    netmask 64
"""


def by_name(tree) -> dict:
    return {found.name: found for found in ifupdown.interfaces(tree)}


def test_all_stanzas_of_an_interface_are_one():
    found = by_name(Memory({"/etc/network/interfaces": INTERFACES}))

    assert set(found) == {"lo", "ens192"}
    assert found["ens192"].addresses == ("192.0.2.10", "2001:db8::10")
    assert found["ens192"].physical
    assert not found["lo"].physical


def test_sourced_files_count_and_editors_backups_do_not():
    found = by_name(
        Memory(
            {
                "/etc/network/interfaces": INTERFACES,
                "/etc/network/interfaces.d/a.cfg": f"iface eth1 inet dhcp\n  hwaddress ether {B.upper()}\n",
                "/etc/network/interfaces.d/a.cfg.bak": "iface eth2 inet dhcp\n",
                "/etc/network/interfaces.extra/b": "iface eth3 inet dhcp\n",
                "/etc/network/interfaces.extra/b.bak": "iface eth4 inet dhcp\n",
            }
        )
    )

    assert set(found) == {"lo", "ens192", "eth1", "eth3"}
    assert found["eth1"].mac == B
    assert found["eth3"].where == "/etc/network/interfaces.extra/b"


def test_a_file_that_sources_itself_is_read_and_left():
    assert by_name(
        Memory({"/etc/network/interfaces": "source /etc/network/interfaces\niface eth0 inet dhcp\n"})
    )


COMPOUND = """\
iface uplink inet static
  address 192.0.2.1
  bond-slaves ens192 ens224
iface ens193 inet manual
  bond-master uplink
iface lan inet manual
  bridge_ports ens256 none
iface mgmt inet dhcp
  vlan-raw-device ens161
"""


def test_bonds_bridges_and_vlans_are_virtual_and_their_parts_are_not():
    found = ifupdown.interfaces(Memory({"/etc/network/interfaces": COMPOUND}))

    assert {each.name for each in found if not each.physical} == {"uplink", "lan", "mgmt"}
    assert {each.name for each in found if each.physical} == {
        "ens192",
        "ens224",
        "ens193",
        "ens256",
        "ens161",
    }


def test_a_proven_name_is_pinned_by_a_link_and_a_rule():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    contribution = keep_names(tree, inspection(), source(nic(A, slot=192)))

    assert {change.path: change.data.decode().splitlines()[1:] for change in contribution.changes} == {
        LINK: ["[Match]", f"PermanentMACAddress={A}", "Type=ether", "", "[Link]", "Name=ens192"],
        RULES: [RULE],
    }


def test_an_old_systemd_gets_the_mac_held_to_the_driver():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    (link, _) = keep_names(tree, inspection(systemd=241), source(nic(A, slot=192))).changes

    assert b"[Match]\nMACAddress=00:50:56:00:00:01\nDriver=virtio_net\n" in link.data


def test_a_second_run_finds_its_own_files_and_changes_nothing():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    vm = source(nic(A, slot=192))
    converted = tree.after(keep_names(tree, inspection(), vm).changes)

    again = keep_names(converted, inspection(), vm)

    assert again.changes == ()
    assert again.nics[0].name == "ens192"
    assert set(naming_files(converted)) == {LINK, RULES}


def test_a_rule_bound_to_the_old_driver_still_tells_the_name():
    tree = Memory(
        {
            "/etc/udev/rules.d/70-persistent-net.rules": "# a comment\n"
            f'SUBSYSTEM=="net", DRIVERS=="vmxnet3", ATTR{{address}}=="{A.upper()}", NAME="eth5"\n',
            "/etc/network/interfaces": "iface eth5 inet dhcp\niface eth6 inet dhcp\n",
        }
    )

    assert keep_names(tree, inspection(), source(nic(A))).nics[0].name == "eth5"


def test_the_dhcp_clients_log_and_leases_tell_the_name():
    tree = Memory(
        {
            "/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n",
            "/var/log/syslog": f"dhclient[1]: Listening on LPF/eth1/{A}\n",
            "/var/lib/dhcp/dhclient.leases": 'lease {\n interface "eth0";\n fixed-address 192.0.2.7;\n}\n',
        }
    )
    vm = source(nic(A), nic(B, ips=("192.0.2.7",)))

    assert [found.name for found in keep_names(tree, inspection(), vm).nics] == ["eth1", "eth0"]


def test_an_unproven_name_is_a_warning_and_no_file():
    tree = Memory({"/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n"})
    contribution = keep_names(tree, inspection(), source(nic(A), nic(B)))

    assert contribution.changes == ()
    assert [warning.code for warning in contribution.warnings] == ["nic-unresolved", "nic-unresolved"]


def test_a_name_that_would_leave_its_folder_is_never_written():
    tree = Memory({"/etc/network/interfaces": "iface ../../x inet dhcp\n"})

    assert keep_names(tree, inspection(), source(nic(A))).changes == ()
