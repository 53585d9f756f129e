"""MAC to name, by evidence; never by guess."""

from __future__ import annotations

import pytest

from convert.linux.interfaces import Clues, Interface, Sighting, is_hardware_name, resolve, slot_name
from tests.convert.memory import nic

A, B = "00:50:56:00:00:01", "00:50:56:00:00:02"
FILE = "/etc/network/interfaces"


def names(nics, *interfaces: Interface, rules=(), logs=()) -> dict[str, str | None]:
    answers = resolve(nics, Clues(interfaces, tuple(rules), tuple(logs)))
    return {answer.mac: answer.name for answer in answers}


def interface(name: str, *addresses: str, **options) -> Interface:
    return Interface(name, FILE, addresses, **options)


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


def test_a_configuration_that_holds_the_mac_decides_even_against_the_slot():
    found = names([nic(A, slot=192)], interface("lan0", mac=A), interface("ens192"))

    assert found == {A: "lan0"}


def test_an_existing_naming_rule_decides():
    assert names([nic(A)], rules=[Sighting("lan0", "70-persistent-net.rules", mac=A)]) == {A: "lan0"}


def test_the_slot_decides_when_its_name_is_configured():
    found = names([nic(A, slot=192), nic(B, slot=224)], interface("ens224"), interface("ens192"))

    assert found == {A: "ens192", B: "ens224"}


def test_a_slot_whose_name_nobody_configures_proves_nothing():
    assert names([nic(A, slot=160), nic(B, slot=161)], interface("eth0"), interface("eth1")) == {
        A: None,
        B: None,
    }


def test_a_dhcp_client_in_the_log_decides():
    found = names(
        [nic(A), nic(B)],
        interface("eth0"),
        interface("eth1"),
        logs=[Sighting("eth1", "/var/log/syslog", mac=A)],
    )

    assert found == {A: "eth1", B: "eth0"}


def test_stale_leases_that_disagree_decide_nothing_and_spoil_nothing():
    leases = [Sighting(name, "dhclient.leases", address="192.0.2.9") for name in ("eth0", "eth1")]
    found = names(
        [nic(A, slot=192), nic(B, ips=("192.0.2.9",))],
        interface("ens192"),
        interface("eth0"),
        interface("eth1"),
        logs=leases,
    )

    assert found == {A: "ens192", B: None}


def test_a_log_of_a_name_that_is_no_longer_configured_is_stale():
    assert (
        names(
            [nic(A), nic(B)], interface("eth0"), interface("eth1"), logs=[Sighting("eth9", "syslog", mac=A)]
        )[A]
        is None
    )


def test_a_reported_address_decides_by_the_number_not_by_the_text():
    nics = [nic(A, ips=("2.0.0.5",)), nic(B, ips=("12.0.0.5", "fe80::1"))]

    assert names(nics, interface("eth0", "12.0.0.5"), interface("eth1", "2.0.0.5")) == {A: "eth1", B: "eth0"}


def test_an_ipv6_address_is_found_however_it_is_written():
    nics = [nic(A, ips=("2001:db8::1",)), nic(B)]

    assert names(nics, interface("eth0", "2001:0db8:0:0:0:0:0:1"), interface("eth1"))[A] == "eth0"


def test_an_address_on_two_interfaces_decides_nothing():
    nics = [nic(A, ips=("192.0.2.1",)), nic(B)]

    assert names(nics, interface("eth0", "192.0.2.1"), interface("eth1", "192.0.2.1")) == {A: None, B: None}


def test_the_address_of_a_bond_never_renames_the_nic_below_it():
    nics = [nic(A, ips=("192.0.2.1",)), nic(B, ips=("192.0.2.1",))]
    found = names(
        nics, interface("bond0", "192.0.2.1", virtual=True), interface("ens192"), interface("ens224")
    )

    assert found == {A: None, B: None}


def test_the_nics_of_a_bond_are_told_apart_by_their_slots():
    nics = [nic(A, slot=192), nic(B, slot=224)]
    found = names(nics, interface("bond0", "192.0.2.1"), interface("ens192"), interface("ens224"))

    assert found == {A: "ens192", B: "ens224"}


def test_the_only_nic_and_the_only_interface_belong_together():
    assert names([nic(A)], interface("lo"), interface("ens33"), interface("ens33.7")) == {A: "ens33"}


def test_the_last_nic_takes_the_last_interface():
    assert names([nic(A, slot=192), nic(B)], interface("ens192"), interface("dmz0")) == {
        A: "ens192",
        B: "dmz0",
    }


def test_two_nics_and_two_names_without_evidence_are_reported_with_what_was_seen():
    answers = resolve([nic(A), nic(B)], Clues((interface("eth0"), interface("eth1"))))

    assert [answer.name for answer in answers] == [None, None]
    assert answers[0].evidence == ["configured physical interfaces: eth0, eth1"]


def test_two_rules_for_one_mac_decide_nothing():
    rules = [Sighting("lan0", "a.rules", mac=A), Sighting("lan1", "b.rules", mac=A)]

    assert names([nic(A)], rules=rules) == {A: None}


def test_without_any_configuration_there_is_no_name_to_keep():
    assert names([nic(A, slot=192)]) == {A: None}
