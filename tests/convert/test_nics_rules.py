"""What names a NIC beside its configuration: naming rules, traces of earlier runs, the naming policy."""

from __future__ import annotations

from textwrap import indent

import pytest

from convert.linux.interfaces import Naming, Sighting
from tests.convert.trees import GRUB, GRUB2, NETWORKD, PERSISTENT, A, B, grub, read, rule

# --- naming rules -----------------------------------------------------------------------------------------


def rules(files) -> list[tuple]:
    return [(each.name, each.mac) for each in read(files).rules]


def test_a_rule_bound_to_the_old_driver_still_tells_the_name():
    assert rules({PERSISTENT: f"# a comment\n{rule(A.upper(), 'eth5', 'vmxnet3')}"}) == [("eth5", A)]


def test_a_rule_may_go_on_in_the_next_line_and_one_for_other_than_ethernet_is_none():
    split = rule(A, "eth5").replace(", KERNEL", ", \\\n  KERNEL")
    vlan = rule(B, "eth6").replace('ATTR{type}=="1"', 'ENV{DEVTYPE}=="vlan"')

    assert rules({PERSISTENT: f"{split}{vlan}#{rule(B, 'eth7')}"}) == [("eth5", A)]


def test_a_link_names_by_mac_and_not_what_is_not_hardware():
    link = "[Match]\n{}\n[Link]\nName=lan0\n"

    assert rules({f"{NETWORKD}1.link": link.format(f"MACAddress={A}")}) == [("lan0", A)]
    assert rules({f"{NETWORKD}1.link": link.format(f"MACAddress={A}\nType=vlan")}) == []
    assert rules({f"{NETWORKD}1.link": link.format("OriginalName=eth0")}) == []


def test_mactab_and_the_kernel_command_line_name_by_mac():
    files = {"/etc/mactab": f"# name mac\neth7 {A}\n", GRUB: grub(f"ip=dhcp ifname=boot0:{B}")}

    assert rules(files) == [("eth7", A), ("boot0", B)]


FIRST = f"""\
version: 1
config:
- {{type: physical, name: eth3, mac_address: '{A}'}}
- {{type: bond, name: uplink, mac_address: '{A}'}}
"""


def test_cloud_init_names_by_its_definition_unless_it_is_switched_off():
    seed = "/var/lib/cloud/seed/nocloud/network-config"
    second = (
        f'{{"version": 2, "ethernets": {{"id0": {{"match": {{"macaddress": "{B}"}}, "set-name": "eth4"}}}}}}'
    )
    off = {"/etc/cloud/cloud.cfg.d/99-off.cfg": "network: {config: disabled}\n"}

    assert rules({seed: FIRST}) == [("eth3", A)]
    assert rules({seed: "network:\n" + indent(FIRST, "  ")}) == [("eth3", A)]
    assert rules({"/var/lib/cloud/instance/network-config.json": second}) == [("eth4", B)]
    assert rules({seed: FIRST, **off}) == []
    assert rules({seed: FIRST, "/etc/cloud/cloud-init.disabled": ""}) == []


# --- leases and logs --------------------------------------------------------------------------------------


def states(files) -> list[Sighting]:
    return list(read(files).states)


def test_of_a_log_that_names_a_nic_twice_the_later_line_counts():
    log = (
        f"dhclient: Listening on LPF/eth0/{A}\ndhclient: Sending on LPF/ens192/{A}\ndhclient: LPF/bond0/{A}\n"
    )

    assert states({"/var/log/messages": log}) == [Sighting("ens192", "/var/log/messages", mac=A)]


def test_cloud_inits_table_tells_name_and_mac():
    table = (
        "ci-info: +--------+------+-------------+---------------+--------+-------------------+\n"
        f"ci-info: | ens192 | True |  192.0.2.7  | 255.255.255.0 | global | {A} |\n"
        f"ci-info: | ens224 | False |     .      |       .       |   .    | {B} |\n"
        "ci-info: |   lo   | True |  127.0.0.1  |   255.0.0.0   |  host  |         .         |\n"
    )
    path = "/var/log/cloud-init-output.log"

    assert states({path: table}) == [Sighting("ens192", path, mac=A)]


LEASES = """\
lease {
  interface "ens192";
  fixed-address 192.0.2.7;
  option subnet-mask 255.255.255.0;
  expire epoch 1714910400; # Sun May  5 12:00:00 2024
}
lease {
  interface "ens192";
  fixed-address 192.0.2.8;
  expire never;
}
lease6 {
  interface "ens224";
  ia-na 56:00:00:01 {
    iaaddr 2001:db8::7 {
"""


def test_dhclients_leases_tell_name_address_and_end_even_if_cut_off():
    path = "/var/lib/dhclient/dhclient.leases"

    assert states({path: LEASES}) == [
        Sighting("ens192", path, address="192.0.2.7", until="2024/05/05 12:00:00"),
        Sighting("ens192", path, address="192.0.2.8", until="9999"),
        Sighting("ens224", path, address="2001:db8::7"),
    ]


def test_networkmanager_and_wicked_name_their_leases_by_the_interface():
    internal = "/var/lib/NetworkManager/internal-6c4e5bdb-8a3f-4e3c-9d57-0d6c3a1d5c11-ens192.lease"
    wicked = "/var/lib/wicked/lease-eth0-dhcp-ipv4.xml"
    files = {
        internal: "# This is private data.\nADDRESS=192.0.2.7\n",
        wicked: "<ip><address>192.0.2.8</address></ip>",
    }

    assert states(files) == [
        Sighting("ens192", internal, address="192.0.2.7"),
        Sighting("eth0", wicked, address="192.0.2.8"),
    ]


def test_dhcpcds_lease_is_the_servers_answer_with_the_mac_in_it():
    packet = bytes([2, 1, 6, 0]) + bytes(24) + bytes.fromhex(A.replace(":", "")) + bytes(300)
    path = "/var/lib/dhcpcd/ens192.lease"

    assert states({path: packet}) == [Sighting("ens192", path, mac=A)]
    assert states({path: packet[:100]}) == []


# --- naming policy ----------------------------------------------------------------------------------------

OFF = "net.ifnames=0"
DEFAULTS = "/etc/default/grub"
ENTRY = "/boot/loader/entries/a.conf"
RULE = "/etc/udev/rules.d/80-net-setup-link.rules"
DEFAULT_LINK = f"{NETWORKD}99-default.link"


@pytest.mark.parametrize(
    ("files", "naming"),
    [
        ({}, Naming.UNKNOWN),
        ({GRUB: grub("quiet")}, Naming.PREDICTABLE),
        ({GRUB: grub(f"{OFF} biosdevname=0")}, Naming.KERNEL),
        ({GRUB: grub("net.ifnames=01 xnet.ifnames=0")}, Naming.PREDICTABLE),
        ({GRUB: f"linux /a {OFF}\nlinux /b quiet\n"}, Naming.UNCLEAR),
        ({GRUB: grub("quiet"), DEFAULTS: f'GRUB_CMDLINE_LINUX="{OFF}"\n'}, Naming.PREDICTABLE),
        ({DEFAULTS: f'#GRUB_CMDLINE_LINUX="{OFF}"\n'}, Naming.UNKNOWN),
        ({DEFAULTS: f'GRUB_CMDLINE_LINUX=""\nGRUB_CMDLINE_LINUX_DEFAULT="{OFF}"\n'}, Naming.KERNEL),
        ({"/boot/grub/menu.lst": f"title a\nkernel /vmlinuz ro {OFF}\ninitrd /initrd\n"}, Naming.KERNEL),
        ({ENTRY: f"linux /vmlinuz\noptions ro {OFF}\n"}, Naming.KERNEL),
        ({ENTRY: "options $kernelopts\n", "/boot/grub2/grubenv": f"kernelopts={OFF}\n"}, Naming.KERNEL),
        ({"/boot/extlinux.conf": f"KERNEL vmlinuz\nAPPEND {OFF}\n"}, Naming.KERNEL),
        ({"/etc/kernel/cmdline": f"root=/dev/sda2 {OFF}"}, Naming.KERNEL),
        ({RULE: ""}, Naming.KERNEL),
        ({RULE: 'ENV{X}=="1"\n'}, Naming.UNKNOWN),
        ({DEFAULT_LINK: ""}, Naming.KERNEL),
        ({DEFAULT_LINK: "[Link]\nNamePolicy=keep kernel slot path\n"}, Naming.UNKNOWN),
        ({"/etc/mdev.conf": ""}, Naming.KERNEL),
    ],
)  # fmt: skip
def test_the_kernel_names_nics_where_the_guest_says_so(files, naming):
    assert read(files).naming is naming


def test_grub2s_own_folder_counts():
    assert read({GRUB2: grub(OFF)}).naming is Naming.KERNEL
