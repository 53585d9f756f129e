"""MAC to name, by evidence; never by guess."""

from __future__ import annotations

from convert.linux.interfaces import Clues, Interface, Naming, Nic, Sighting
from convert.linux.resolver import resolve

A, B, C = "00:50:56:00:00:01", "00:50:56:00:00:02", "00:50:56:00:00:03"
FILE = "/etc/network/interfaces"


def nic(mac: str, *, ips=(), slot=None, adapter="vmxnet3") -> Nic:
    return Nic(mac, tuple(ips), slot, adapter)


def names(nics, *interfaces: Interface, rules=(), logs=(), **more) -> dict[str, str | None]:
    answers = resolve(nics, Clues(interfaces, tuple(rules), tuple(logs), **more))
    return {answer.mac: answer.name for answer in answers}


def interface(name: str, *addresses: str, **options) -> Interface:
    return Interface(name, FILE, addresses, **options)


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


# --- contradictions ---------------------------------------------------------------------------------------


def test_the_configuration_is_above_the_rule_and_the_rule_is_told():
    rules = [Sighting("eth0", "70-persistent-net.rules", mac=A)]
    (answer,) = resolve([nic(A)], Clues((interface("eth1", mac=A),), tuple(rules)))

    assert answer.name == "eth1"
    assert answer.evidence == [
        f"{FILE} configures eth1 with this MAC",
        "against it: 70-persistent-net.rules names this MAC eth0",
    ]


def test_a_dispute_is_decided_by_weaker_evidence_among_its_names_only():
    rules = [Sighting("lan0", "a.rules", mac=A), Sighting("ens192", "b.rules", mac=A)]
    assert names([nic(A, slot=192)], interface("ens192"), rules=rules) == {A: "ens192"}

    rules = [Sighting("lan0", "a.rules", mac=A), Sighting("lan1", "b.rules", mac=A)]
    assert names([nic(A, slot=192)], interface("ens192"), rules=rules) == {A: None}


def test_the_slot_and_an_address_that_contradict_each_other_decide_nothing():
    nics = [nic(A, slot=192, ips=("192.0.2.2",)), nic(B, slot=224)]

    assert names(nics, interface("ens192"), interface("ens224", "192.0.2.2"))[A] is None


def test_an_address_that_a_vlan_above_has_as_well_decides_nothing():
    nics = [nic(A, ips=("192.0.2.2",)), nic(B)]
    above = interface("office", "192.0.2.2", virtual=True)

    assert names(nics, interface("eth0", "192.0.2.2"), interface("eth1"), above)[A] is None


def test_a_name_that_one_nic_has_is_no_other_ones_whatever_a_rule_says():
    rules = [Sighting("eth0", "70-persistent-net.rules", mac=B)]

    assert names([nic(A), nic(B)], interface("eth0", mac=A), interface("eth1"), rules=rules) == {
        A: "eth0",
        B: None,
    }


def test_a_newer_lease_of_the_interface_ends_the_older_one():
    leases = [
        Sighting("eth0", "old", address="192.0.2.9", until="2019/01/01"),
        Sighting("eth0", "new", address="198.51.100.9", until="2026/01/01"),
    ]
    nics = [nic(A, ips=("192.0.2.9",)), nic(B)]

    assert names(nics, interface("eth0"), interface("eth1"), logs=leases)[A] is None


def test_the_slot_is_above_a_lease():
    leases = [Sighting("ens224", "dhclient.leases", address="192.0.2.9")]
    nics = [nic(A, slot=192, ips=("192.0.2.9",)), nic(B, slot=224)]

    assert names(nics, interface("ens192"), interface("ens224"), logs=leases) == {A: "ens192", B: "ens224"}


def test_the_lease_that_ends_last_counts():
    leases = [
        Sighting("eth0", "old", address="192.0.2.9", until="2019/01/01"),
        Sighting("eth1", "new", address="192.0.2.9", until="2026/01/01"),
    ]
    nics = [nic(A, ips=("192.0.2.9",)), nic(B)]

    assert names(nics, interface("eth0"), interface("eth1"), logs=leases)[A] == "eth1"


def test_a_lease_of_an_interface_that_is_static_now_is_stale():
    leases = [Sighting("eth0", "dhclient.leases", address="192.0.2.9")]
    nics = [nic(A, ips=("192.0.2.9",)), nic(B)]

    assert names(nics, interface("eth0", "198.51.100.1"), interface("eth1"), logs=leases)[A] is None


def test_what_matches_one_nic_is_not_another_ones_whatever_weaker_evidence_says():
    """Two names for B are in dispute; that does not make one of them A's."""
    found = names(
        [nic(A, slot=192), nic(B)],
        interface("ens192", mac=B),
        interface("lan0", mac=B),
    )

    assert found == {A: None, B: None}


def test_the_only_interface_left_is_not_that_of_a_nic_that_is_gone():
    assert names([nic(A)], interface("eth0", mac=C)) == {A: None}


def test_the_only_interface_left_is_not_it_if_it_has_other_addresses():
    assert names([nic(A, ips=("192.0.2.1",))], interface("eth0", "198.51.100.1")) == {A: None}


def test_nothing_follows_from_what_is_left_where_files_were_not_read():
    assert names([nic(A)], interface("eth0"), unread=("x was not read",)) == {A: None}


# --- the slot, and the order of the bus -------------------------------------------------------------------


def test_slots_make_no_names_where_predictable_names_are_off_or_unclear():
    two = (interface("ens192"), interface("ens224"))
    for naming in (Naming.KERNEL, Naming.UNCLEAR):
        assert names([nic(A, slot=192), nic(B, slot=224)], *two, naming=naming) == {A: None, B: None}


def test_a_glob_that_means_predictable_names_lets_the_slot_decide_and_a_wider_one_does_not():
    assert names([nic(A, slot=192)], interface("en*")) == {A: "ens192"}
    assert names([nic(A, slot=192)], interface("e*")) == {A: None}
    assert names([nic(A, slot=192)], interface("*")) == {A: None}


def test_globs_for_either_kind_of_name_need_a_command_line_to_tell_which():
    either = (interface("en*"), interface("eth*"))

    assert names([nic(A, slot=192)], *either, naming=Naming.UNKNOWN) == {A: None}
    assert names([nic(A, slot=192)], *either, naming=Naming.PREDICTABLE) == {A: "ens192"}
    assert names([nic(A, slot=192)], *either, naming=Naming.KERNEL) == {A: "eth0"}
    assert names([nic(A, slot=192)], interface("ens192"), *either, naming=Naming.UNKNOWN) == {A: "ens192"}


def test_a_name_that_replaces_the_predictable_one_follows_from_the_slot():
    assert names(
        [nic(A, slot=224), nic(B, slot=192)], interface("lan0", was=("ens192",)), interface("wan0")
    ) == {B: "lan0", A: "wan0"}


def test_without_predictable_names_nics_are_numbered_along_the_bus():
    nics = [nic(A, slot=192), nic(B, slot=1184), nic(C, slot=160)]
    found = names(nics, *map(interface, ("eth0", "eth1", "eth2")), naming=Naming.KERNEL)

    assert found == {C: "eth0", B: "eth1", A: "eth2"}


def test_the_order_of_the_bus_says_nothing_of_two_drivers_or_unknown_slots_or_more_interfaces():
    two, kernel = (interface("eth0"), interface("eth1")), {"naming": Naming.KERNEL}
    nobody = {A: None, B: None}

    assert names([nic(A, slot=192), nic(B, slot=224, adapter="e1000")], *two, **kernel) == nobody
    assert names([nic(A, slot=192), nic(B)], *two, **kernel) == nobody
    assert names([nic(A, slot=192), nic(B, slot=224)], *two, interface("eth2"), **kernel) == nobody


def test_the_order_of_the_bus_gives_way_to_any_rule_that_numbers_nics():
    two, nics = (interface("eth0"), interface("eth1")), [nic(A, slot=192), nic(B, slot=224)]

    swapped = [Sighting("eth1", "70-persistent-net.rules", mac=A)]
    assert names(nics, *two, rules=swapped, naming=Naming.KERNEL) == {A: "eth1", B: "eth0"}
    strangers = [Sighting("eth0", "70-persistent-net.rules", mac=C)]
    assert names(nics, *two, rules=strangers, naming=Naming.KERNEL) == {A: None, B: None}


def test_a_name_that_is_made_of_the_mac_proves_itself():
    assert names([nic(A), nic(B)], interface("enx005056000002"), interface("eth7")) == {
        B: "enx005056000002",
        A: "eth7",
    }


# --- what an answer says ----------------------------------------------------------------------------------


def test_an_assigned_mac_is_told_and_proves_nothing():
    answers = resolve([nic(A), nic(B)], Clues((interface("eth0", assigned=B), interface("eth1"))))

    assert [answer.name for answer in answers] == [None, None]
    assert f"{FILE} gives this MAC to eth0, which may be any NIC" in answers[1].evidence


def test_a_configuration_that_holds_under_any_name_is_told():
    (answer,) = resolve([nic(A)], Clues((interface("*", mac=A),)))

    assert answer.name is None
    assert f"{FILE} configures this MAC under any name" in answer.evidence


def test_evidence_is_short_and_printable_whatever_files_are_called():
    where = "/etc/netplan/\x1b[31m\udcff" + "x" * 5000
    many = [Interface(f"eth{at}", f"{where}{at}", mac=A) for at in range(200)]
    (answer,) = resolve([nic(A)], Clues(tuple(many)))

    assert answer.name is None
    assert len(answer.evidence) <= 12
    assert all(line.isprintable() and len(line) <= 300 for line in answer.evidence)
    assert answer.model_dump_json()
