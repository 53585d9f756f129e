"""What an interface's name, MAC and address mean, however a guest spells them."""

from __future__ import annotations

import pytest

from convert.linux.interfaces import Clues, Interface, is_hardware_name, mac_of, number, slot_name


@pytest.mark.parametrize(("slot", "name"), [(192, "ens192"), (33, "ens33"), (1184, "ens161")])
def test_a_vmware_slot_makes_this_name(slot, name):
    assert slot_name(slot) == name


@pytest.mark.parametrize("name", ["ens192", "eth0", "enp3s0f1", "lan-dmz", "lom1", "brocade0"])
def test_these_can_be_hardware(name):
    assert is_hardware_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "lo",
        "bond0",
        "br0",
        "br-lan",
        "vlan10",
        "ens192.100",
        "ens192:1",
        "docker0",
        "../x",
        'x"y',
        "a" * 16,
        "",
    ],
)
def test_these_are_never_hardware(name):
    assert not is_hardware_name(name)


@pytest.mark.parametrize("spelt", ["00:50:56:00:00:AB", " 00-50-56-00-00-ab ", "00:50:56:00:00:ab"])
def test_a_mac_is_one_however_it_is_spelt(spelt):
    assert mac_of(spelt) == "00:50:56:00:00:ab"


@pytest.mark.parametrize("text", ["", None, "0:50:56:0:0:ab", "80:00:00:48:fe:80:00:00:00:00", "preserve"])
def test_these_are_no_macs(text):
    assert mac_of(text) is None


def test_an_address_is_a_number_and_what_every_machine_has_is_none():
    assert number("2001:DB8::0001/64") == number("2001:db8:0:0::1")
    assert [number(each) for each in ("fe80::1", "127.0.0.1", "::", "dhcp", "")] == [None] * 5


def test_one_record_that_calls_a_name_virtual_is_enough():
    clues = Clues((Interface("uplink", "a"), Interface("uplink", "b", virtual=True), Interface("ens1", "a")))

    assert list(clues.physical) == ["ens1"]


def test_the_parent_of_a_vlan_is_an_interface():
    clues = Clues((Interface("ens192.100", "a", virtual=True), Interface("bond0.7", "b", virtual=True)))

    assert list(clues.physical) == ["ens192"]
