"""From a guest's files to the naming files that pin its NICs."""

from __future__ import annotations

from convert.linux.network import keep_names, naming_files
from tests.convert.memory import Memory, inspection, nic, wishes
from tests.convert.trees import A, B

LINK = "/etc/systemd/network/10-transferd-ens192.link"
RULES = "/etc/udev/rules.d/70-transferd-net.rules"
RULE = (
    f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{A}", ATTR{{type}}=="1", '
    'NAME="ens192"'
)
INTERFACES = "auto lo ens192\niface lo inet loopback\niface ens192 inet static\n  address 192.0.2.10/24\n"


def test_a_proven_name_is_pinned_by_a_link_and_a_rule():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    contribution = keep_names(tree, inspection(), wishes(nic(A, slot=192)))

    assert {change.path: change.data.decode().splitlines()[1:] for change in contribution.changes} == {
        LINK: ["[Match]", f"PermanentMACAddress={A}", "Type=ether", "", "[Link]", "Name=ens192"],
        RULES: [RULE],
    }


def test_an_old_systemd_gets_the_mac_held_to_the_driver():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    (link, _) = keep_names(tree, inspection(systemd=241), wishes(nic(A, slot=192))).changes

    assert b"[Match]\nMACAddress=00:50:56:00:00:01\nDriver=virtio_net\n" in link.data


def test_a_second_run_finds_its_own_files_and_changes_nothing():
    tree = Memory({"/etc/network/interfaces": INTERFACES})
    vm = wishes(nic(A, slot=192))
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

    assert keep_names(tree, inspection(), wishes(nic(A))).nics[0].name == "eth5"


def test_the_dhcp_clients_log_and_leases_tell_the_name():
    tree = Memory(
        {
            "/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n",
            "/var/log/syslog": f"dhclient[1]: Listening on LPF/eth1/{A}\n",
            "/var/lib/dhcp/dhclient.leases": 'lease {\n interface "eth0";\n fixed-address 192.0.2.7;\n}\n',
        }
    )
    vm = wishes(nic(A), nic(B, ips=("192.0.2.7",)))

    assert [found.name for found in keep_names(tree, inspection(), vm).nics] == ["eth1", "eth0"]


def test_an_unproven_name_is_a_warning_and_no_file():
    tree = Memory({"/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n"})
    contribution = keep_names(tree, inspection(), wishes(nic(A), nic(B)))

    assert contribution.changes == ()
    assert [warning.code for warning in contribution.warnings] == ["nic-unresolved", "nic-unresolved"]


def test_a_name_that_would_leave_its_folder_is_never_written():
    tree = Memory({"/etc/network/interfaces": "iface ../../x inet dhcp\n"})

    assert keep_names(tree, inspection(), wishes(nic(A))).changes == ()


def test_the_adapters_kind_is_known_to_the_resolver():
    """The order of the bus holds for NICs of one driver only."""
    files = {"/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n", "/etc/mdev.conf": ""}
    same, other = nic(B, slot=192), nic(B, slot=192).model_copy(update={"adapter": "e1000"})

    assert [
        found.name for found in keep_names(Memory(files), inspection(), wishes(nic(A, slot=224), same)).nics
    ] == [
        "eth1",
        "eth0",
    ]
    assert [
        found.name for found in keep_names(Memory(files), inspection(), wishes(nic(A, slot=224), other)).nics
    ] == [
        None,
        None,
    ]


def test_a_file_that_is_too_large_to_read_is_a_warning():
    tree = Memory({"/etc/network/interfaces": "#" * (1 << 20)})
    contribution = keep_names(tree, inspection(), wishes(nic(A, slot=192)))

    assert [warning.code for warning in contribution.warnings] == ["network-file-not-read", "nic-unresolved"]
    assert "/etc/network/interfaces was not read: more than 524288 bytes" in contribution.warnings[0].message
