"""The vCenter double's changed block tracking, held against what is known of ESXi's, through pyVmomi."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from pyVmomi import vim, vmodl

from tests import small_disk
from tests.doubles.inventory import (
    change_id,
    change_pages,
    changed_areas,
    find_vm,
    remove_snapshot,
    take_snapshot,
    virtual_disks,
    wait_for,
)
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.small_disk import BLOCK, SIZE
from transferd.units import MiB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return small_disk.write(tmp_path_factory.mktemp("image") / "disk.img")


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image) -> Iterator[VSphere]:
    vms = [
        VM("tracked", disks=[Disk(image), Disk(image)], powered_on=True, change_tracking=True),
        VM("plain", disks=[Disk(image)], powered_on=True),
        VM("off", disks=[Disk(image)], change_tracking=True),
        VM("guest", disks=[Disk(image)], powered_on=True, change_tracking=True),
    ]
    with VSphere(tmp_path_factory.mktemp("vsphere"), vms, shutdown_delay=0.1) as running:
        yield running


@pytest.fixture
def service(vsphere) -> Iterator[Any]:
    with vsphere.connect() as connected:
        yield connected


@pytest.fixture(autouse=True)
def no_snapshot_is_left(vsphere) -> Iterator[None]:
    yield
    for name in ("tracked", "plain", "off", "guest"):
        vsphere.snapshot_removed_by_admin(name)


# --- changed blocks --------------------------------------------------------------------------------------


def test_a_snapshot_carries_a_change_id_for_each_disk_and_the_running_vm_none(service):
    vm = find_vm(service, "tracked")
    snapshot = take_snapshot(vm)
    first, second = change_id(snapshot, 0), change_id(snapshot, 1)
    assert first != second
    for identifier in (first, second):
        uuid, _, sequence = identifier.partition("/")
        assert len(uuid) == 47
        assert uuid[23] == "-"
        assert bytes.fromhex(uuid.replace("-", " "))
        assert int(sequence) > 0
    assert change_id(vm) is None


def test_the_areas_since_a_change_id_are_what_the_guest_wrote(vsphere, service):
    vm = find_vm(service, "tracked")
    since = change_id(take_snapshot(vm, "old"))
    vsphere.write("tracked", 0, 5 * BLOCK + 10, b"x")
    vsphere.write("tracked", 0, 7 * BLOCK - 1, b"across")
    vsphere.write("tracked", 1, 0, b"on the other disk")
    now = take_snapshot(vm, "new")
    vsphere.write("tracked", 0, 100 * BLOCK, b"after the snapshot")

    assert changed_areas(vm, now, since) == [(5 * BLOCK, 3 * BLOCK)]
    assert changed_areas(vm, now, change_id(now)) == []
    frozen = vsphere.flat_file("tracked", 0, snapshot=now._moId).read_bytes()
    assert frozen[5 * BLOCK + 10 : 5 * BLOCK + 11] == b"x"
    assert frozen[100 * BLOCK : 100 * BLOCK + 5] != b"after"


def test_generations_add_up_and_outlive_their_snapshots(vsphere, service):
    vm = find_vm(service, "tracked")
    old = take_snapshot(vm, "old")
    since = change_id(old)
    remove_snapshot(old)
    vsphere.write("tracked", 0, BLOCK, b"first")
    middle = take_snapshot(vm, "middle")
    between = change_id(middle)
    remove_snapshot(middle)
    vsphere.write("tracked", 0, 4 * BLOCK, b"second")
    now = take_snapshot(vm, "now")

    assert changed_areas(vm, now, since) == [(BLOCK, BLOCK), (4 * BLOCK, BLOCK)]
    assert changed_areas(vm, now, between) == [(4 * BLOCK, BLOCK)]


def test_a_star_asks_for_what_is_allocated(service):
    vm = find_vm(service, "guest")
    now = take_snapshot(vm)

    assert changed_areas(vm, now, "*") == [(0, BLOCK), (3 * MiB, BLOCK)]


def test_change_tracking_takes_effect_only_after_a_stun(vsphere, service):
    vm = find_vm(service, "plain")
    wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    assert vm.config.changeTrackingEnabled
    first = take_snapshot(vm)
    assert change_id(first) is None
    with pytest.raises(vim.fault.FileFault):
        changed_areas(vm, first, "*")
    remove_snapshot(first)
    assert change_id(take_snapshot(vm)) is not None

    wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=False)))
    vsphere.snapshot_removed_by_admin("plain")
    assert change_id(take_snapshot(vm)) is None


def test_a_power_cycle_is_a_stun(service):
    vm = find_vm(service, "plain")
    wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    wait_for(vm.PowerOffVM_Task())
    wait_for(vm.PowerOnVM_Task())
    assert change_id(take_snapshot(vm)) is not None
    wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=False)))


@pytest.mark.parametrize(
    "wrong",
    ["52 00 00 00 00 00 00 00-00 00 00 00 00 00 00 00/1", "{uuid}/999", "{uuid}", "", "rubbish", "{uuid}/x"],
)
def test_a_change_id_that_is_not_known_is_a_file_fault(service, wrong):
    vm = find_vm(service, "tracked")
    now = take_snapshot(vm)
    uuid = change_id(now).partition("/")[0]
    with pytest.raises(vim.fault.FileFault):
        changed_areas(vm, now, wrong.format(uuid=uuid))


def test_a_change_id_of_another_disk_is_a_file_fault(service):
    vm = find_vm(service, "tracked")
    now = take_snapshot(vm)
    with pytest.raises(vim.fault.FileFault):
        changed_areas(vm, now, change_id(now, 1), disk=0)


@pytest.mark.parametrize("offset", [SIZE, SIZE + 1, -1])
def test_an_offset_outside_the_disk_is_an_invalid_argument(service, offset):
    vm = find_vm(service, "tracked")
    now = take_snapshot(vm)
    with pytest.raises(vmodl.fault.InvalidArgument):
        vm.QueryChangedDiskAreas(now, virtual_disks(vm)[0].key, offset, "*")


def test_a_device_that_is_no_disk_is_an_invalid_argument(service):
    vm = find_vm(service, "tracked")
    with pytest.raises(vmodl.fault.InvalidArgument):
        vm.QueryChangedDiskAreas(take_snapshot(vm), 4000, 0, "*")


def test_a_running_vm_is_asked_with_a_snapshot_and_an_off_one_without(service):
    running, off = find_vm(service, "tracked"), find_vm(service, "off")
    with pytest.raises(vim.fault.FileFault):
        changed_areas(running, None, "*")
    assert change_id(off) is not None
    assert changed_areas(off, None, "*") == [(0, BLOCK), (3 * MiB, BLOCK)]
    assert changed_areas(off, None, change_id(off)) == []


def test_what_the_guest_wrote_until_it_was_off_is_in_the_last_areas(vsphere, service):
    vm = find_vm(service, "guest")
    since = change_id(take_snapshot(vm))
    vsphere.write("guest", 0, 2 * BLOCK, b"x")
    vsphere.power("guest", "off")
    assert changed_areas(vm, None, since) == [(2 * BLOCK, BLOCK)]
    while_off = change_id(vm)
    vsphere.power("guest", "on")
    vsphere.write("guest", 0, 6 * BLOCK, b"y")
    assert changed_areas(vm, take_snapshot(vm), while_off) == [(6 * BLOCK, BLOCK)]


def test_a_reset_makes_the_old_change_ids_useless(vsphere, service):
    vm = find_vm(service, "tracked")
    old = take_snapshot(vm)
    since = change_id(old)
    remove_snapshot(old)
    vsphere.reset_cbt("tracked", 0)
    now = take_snapshot(vm)
    assert change_id(now).partition("/")[0] != since.partition("/")[0]
    with pytest.raises(vim.fault.FileFault):
        changed_areas(vm, now, since)


def test_a_copy_brought_up_to_date_by_the_areas_alone_is_the_snapshot(vsphere, service):
    vm = find_vm(service, "tracked")
    snapshot = take_snapshot(vm)
    copy = bytearray(vsphere.flat_file("tracked", snapshot=snapshot._moId).read_bytes())
    with vsphere.workload("tracked", disks=[0, 1], seed=11, writes_per_second=1000):
        for _ in range(5):
            since = change_id(snapshot)
            remove_snapshot(snapshot)
            snapshot = take_snapshot(vm)
            frozen = vsphere.flat_file("tracked", snapshot=snapshot._moId).read_bytes()
            areas = changed_areas(vm, snapshot, since)
            for start, length in areas:
                copy[start : start + length] = frozen[start : start + length]
            assert areas
            assert copy == frozen


def test_tracking_can_be_made_to_lie(vsphere, service):
    vm = find_vm(service, "tracked")
    since = change_id(take_snapshot(vm, "old"))
    vsphere.write("tracked", 0, 5 * BLOCK, b"x")
    vsphere.write("tracked", 0, 9 * BLOCK, b"x")
    now = take_snapshot(vm, "new")

    vsphere.omit("tracked", 0, 5 * BLOCK, 1)
    assert changed_areas(vm, now, since) == [(9 * BLOCK, BLOCK)]
    vsphere.omit("tracked", 0, 0, 0)
    vsphere.over_report("tracked", 0, 1.0)
    assert changed_areas(vm, now, since) == [(0, SIZE)]
    vsphere.over_report("tracked", 0, 0.3)
    blocks = sum(length for _, length in changed_areas(vm, now, since)) // BLOCK
    assert 2 < blocks < SIZE // BLOCK
    vsphere.over_report("tracked", 0, 0)
    assert changed_areas(vm, now, since) == [(5 * BLOCK, BLOCK), (9 * BLOCK, BLOCK)]


def test_an_answer_holds_2000_areas_and_the_last_one_reaches_the_end(vsphere, service):
    vm = find_vm(service, "tracked")
    now = take_snapshot(vm)
    vsphere.many_areas("tracked", 0, 5000)
    answers = list(change_pages(vm, now, change_id(now)))
    vsphere.many_areas("tracked", 0, 0)
    areas = [(a.start, a.start + a.length) for page in answers for a in page.changedArea]
    assert [len(page.changedArea) for page in answers] == [2000, 2000, 1000]
    assert len(areas) == 5000
    assert all(end < start for (_, end), (start, _) in pairwise(areas))
