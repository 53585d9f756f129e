"""Real Linux guests keep names, addresses and mounts on VirtIO hardware; `make torture` takes them all."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.boot import Adapter
from tests.conftest import demand, require
from tests.guests import installation, linux, proof
from tests.guests.recipes import RECIPES
from tests.torture.seed import TODAY

pytestmark = [pytest.mark.guestfs, pytest.mark.boot]

# UEFI with no fallback loader, btrfs, LVM on LUKS, dracut, md, bond and VLAN; the sixth changes every day.
CHOSEN = ("btrfs", "luks-lvm", "dracut", "raid1", "bond-vlan")
OTHERS = [recipe.name for recipe in RECIPES if recipe.name not in CHOSEN]
CONTROLS = ("uefi-ext4", "cloud-init")  # the firmware finds no loader; the names are others


@pytest.fixture
def built():
    require("qemu-img", "qemu-io")

    def build(name: str) -> linux.LinuxGuest:
        recipe = linux.named(name)
        demand(linux.unavailable(recipe))
        return linux.build(recipe)

    return build


@pytest.mark.parametrize("name", [*CHOSEN, random.Random(TODAY).choice(OTHERS)])
def test_a_converted_guest_boots_on_virtio_with_its_names_addresses_and_mounts(built, name, tmp_path):
    proof.is_itself_after_conversion(built(name), tmp_path)


def test_a_plan_is_the_same_twice(built, tmp_path):
    proof.is_planned_the_same_way_twice(built("two-kernels"), tmp_path)


@pytest.mark.parametrize("name", CONTROLS)
def test_without_conversion_it_does_not_boot_or_loses_its_names(built, name):
    proof.is_lost_without_conversion(built(name))


def test_the_set_covers_every_release_with_every_firmware():
    suites, firmwares = ("bullseye", "bookworm", "trixie"), ("bios", "efi")

    assert {(recipe.suite, recipe.firmware) for recipe in RECIPES} == {*itertools.product(suites, firmwares)}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        pytest.param(lambda r: {r.root}, {"ext4", "xfs", "btrfs"}, id="file systems"),
        pytest.param(
            lambda r: {r.layers}, {(), ("lvm",), ("luks", "lvm"), ("raid1",), ("raid1", "lvm")}, id="layers"
        ),
        pytest.param(lambda r: {r.initramfs}, {"initramfs-tools", "dracut"}, id="initramfs tools"),
        pytest.param(
            lambda r: {r.network.stack},
            {"ifupdown", "networkd", "netplan", "NetworkManager", "cloud-init"},
            id="network stacks",
        ),
        pytest.param(lambda r: {link.kind for link in r.network.links}, {"nic", "bond", "vlan"}, id="links"),
        pytest.param(lambda r: {len(installation.nics(r))}, {1, 2}, id="NICs"),
        pytest.param(lambda r: {r.kernels}, {1, 2}, id="kernels"),
        pytest.param(lambda r: {r.names}, {"letter", "path", "uuid"}, id="device names"),
        pytest.param(lambda r: {r.separate_boot}, {True, False}, id="separate /boot"),
        pytest.param(lambda r: {r.virtio}, {True, False}, id="VirtIO already there"),
        pytest.param(lambda r: {r.adapter}, {*Adapter}, id="disk adapters"),
    ],
)
def test_the_set_covers_every_value_of(column, values):
    assert set().union(*map(column, RECIPES)) == values
