"""The vCenter double's snapshots and disks, held against what is known of vSphere's, through pyVmomi."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyVmomi import vim, vmodl

from tests import small_disk
from tests.doubles.control import ControlError
from tests.doubles.inventory import (
    change_id,
    changed_areas,
    find_vm,
    remove_snapshot,
    take_snapshot,
    virtual_disks,
    wait_for,
    wait_until,
)
from tests.doubles.served import Refused, served
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.small_disk import BLOCK, SIZE
from transferd.units import GiB, MiB

if TYPE_CHECKING:
    from collections.abc import Iterator

TIB = 1024 * GiB
SPARSE_HOME = Path("/dev/shm")  # noqa: S108 (a file system whose files may have 62 TIB)


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return small_disk.write(tmp_path_factory.mktemp("image") / "disk.img")


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image) -> Iterator[VSphere]:
    vms = [
        VM("tracked", disks=[Disk(image), Disk(image)], powered_on=True, change_tracking=True),
        VM("off", disks=[Disk(image)], change_tracking=True),
        VM("guest", disks=[Disk(image)], powered_on=True, change_tracking=True),
    ]
    with VSphere(tmp_path_factory.mktemp("vsphere"), vms, shutdown_delay=0.1) as running:
        yield running


@pytest.fixture
def service(vsphere) -> Iterator[Any]:
    with vsphere.connect() as connected:
        yield connected


def settled(vm: Any) -> None:
    wait_until(lambda: not vm.runtime.consolidationNeeded)


@pytest.fixture(autouse=True)
def no_snapshot_is_left(vsphere, service) -> Iterator[None]:
    yield
    for name in ("tracked", "off", "guest"):
        vsphere.consolidation(name)
        vsphere.snapshot_delay(name)
        settled(find_vm(service, name))
        vsphere.snapshot_removed_by_admin(name)


# --- chains, tasks, consolidation ------------------------------------------------------------------------


def test_a_snapshot_keeps_the_base_file_and_the_vm_goes_on_in_a_new_one(service):
    vm = find_vm(service, "tracked")
    first = take_snapshot(vm, "first")
    second = take_snapshot(vm, "second")
    base = "[datastore1] tracked/tracked"
    current = virtual_disks(vm)[0].backing
    assert current.fileName == f"{base}-000002.vmdk"
    assert current.parent.fileName == f"{base}-000001.vmdk"
    assert current.parent.parent.fileName == f"{base}.vmdk"
    assert virtual_disks(first)[0].backing.fileName == f"{base}.vmdk"
    assert virtual_disks(second)[0].backing.fileName == f"{base}-000001.vmdk"
    assert virtual_disks(second)[0].backing.uuid == current.uuid

    remove_snapshot(first)
    assert virtual_disks(second)[0].backing.fileName == f"{base}.vmdk"
    assert virtual_disks(vm)[0].backing.parent.fileName == f"{base}.vmdk"
    remove_snapshot(second)
    assert virtual_disks(vm)[0].backing.fileName == f"{base}.vmdk"
    assert virtual_disks(vm)[0].backing.parent is None


def test_vddk_reads_a_snapshot_by_its_own_file_and_by_the_vms(vsphere, service, tmp_path):
    vm = find_vm(service, "tracked")
    snapshot = take_snapshot(vm)
    for number, disk in enumerate((virtual_disks(snapshot)[0], virtual_disks(vm)[0])):
        folder = tmp_path / str(number)
        folder.mkdir()
        where = {"vm": f"moref={vm._moId}", "file": disk.backing.fileName, "snapshot": snapshot._moId}
        with served(vsphere, folder, **where) as connection:
            assert bytes(connection.pread(SIZE, 0)) == vsphere.flat_file("tracked").read_bytes()


def test_tasks_are_named_as_vcenter_names_them(service):
    vm = find_vm(service, "guest")
    taking = vm.CreateSnapshot_Task("named", "", memory=False, quiesce=False)
    snapshot = wait_for(taking)
    removing = snapshot.RemoveSnapshot_Task(removeChildren=False)
    wait_for(removing)
    switching = vm.PowerOffVM_Task()
    wait_for(switching)
    wait_for(vm.PowerOnVM_Task())
    named = [(t.info.name.info.name, t.info.descriptionId) for t in (taking, removing, switching)]
    assert named == [
        ("CreateSnapshot", "VirtualMachine.createSnapshot"),
        ("Remove", "vm.Snapshot.remove"),
        ("PowerOff", "VirtualMachine.powerOff"),
    ]
    assert {taking._moId, removing._moId, switching._moId} <= {task._moId for task in vm.recentTask}
    assert taking.info.entity._moId == vm._moId


def test_a_snapshot_may_take_its_time_and_fail(vsphere, service):
    vm = find_vm(service, "guest")
    vsphere.snapshot_delay("guest", 0.4, fail=1)
    task = vm.CreateSnapshot_Task("slow", "", memory=False, quiesce=True)
    assert task.info.state == "running"
    assert vsphere.power_state("guest") == "on"  # and meanwhile the VM can be looked at
    with pytest.raises(vim.fault.TaskInProgress):
        vm.CreateSnapshot_Task("second", "", memory=False, quiesce=True)
    with pytest.raises(vim.fault.ApplicationQuiesceFault):
        wait_for(task)
    assert vsphere.snapshots("guest") == []
    take_snapshot(vm, "works")
    assert vsphere.snapshots("guest") == ["works"]


def test_consolidation_takes_time_and_shows(vsphere, service):
    vm = find_vm(service, "guest")
    snapshot = take_snapshot(vm)
    vsphere.consolidation("guest", 0.4)
    task = snapshot.RemoveSnapshot_Task(removeChildren=False)
    wait_until(lambda: vm.runtime.consolidationNeeded)
    assert task.info.state == "running"
    assert virtual_disks(vm)[0].backing.fileName.endswith("-000001.vmdk")
    with pytest.raises(vim.fault.TaskInProgress):
        vm.CreateSnapshot_Task("too early", "", memory=False, quiesce=False)
    wait_for(task)
    assert not vm.runtime.consolidationNeeded
    assert virtual_disks(vm)[0].backing.fileName == "[datastore1] guest/guest.vmdk"


def test_consolidation_may_go_on_when_the_task_has_ended(vsphere, service):
    vm = find_vm(service, "guest")
    snapshot = take_snapshot(vm)
    vsphere.consolidation("guest", 0.4, background=True)
    remove_snapshot(snapshot)
    assert vm.runtime.consolidationNeeded
    with pytest.raises(vim.fault.TaskInProgress):
        vm.CreateSnapshot_Task("too early", "", memory=False, quiesce=False)
    wait_until(lambda: not vm.runtime.consolidationNeeded)
    assert virtual_disks(vm)[0].backing.parent is None


def test_a_removal_that_fails_leaves_files_to_consolidate_or_the_snapshot(vsphere, service):
    vm = find_vm(service, "guest")
    snapshot = take_snapshot(vm, "locked")
    vsphere.consolidation("guest", fail=1, leaves_needed=False)
    with pytest.raises(vim.fault.FileLocked):
        remove_snapshot(snapshot)
    assert vsphere.snapshots("guest") == ["locked"]

    vsphere.consolidation("guest", fail=2)
    with pytest.raises(vim.fault.FileLocked):
        remove_snapshot(snapshot)
    assert vsphere.snapshots("guest") == []
    assert vm.runtime.consolidationNeeded
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        snapshot.RemoveSnapshot_Task(removeChildren=False)
    with pytest.raises(vim.fault.FileLocked):
        wait_for(vm.ConsolidateVMDisks_Task())
    wait_for(vm.ConsolidateVMDisks_Task())
    assert not vm.runtime.consolidationNeeded
    assert virtual_disks(vm)[0].backing.parent is None


def test_the_33rd_snapshot_is_one_too_many(service):
    vm = find_vm(service, "off")
    for number in range(32):
        take_snapshot(vm, str(number))
    with pytest.raises(vim.fault.TooManySnapshotLevels):
        take_snapshot(vm, "one too many")


def test_an_administrator_removes_one_snapshot_or_all(vsphere, service, tmp_path):
    vm = find_vm(service, "tracked")
    snapshot = take_snapshot(vm, "ours")
    take_snapshot(vm, "theirs")
    file = virtual_disks(snapshot)[0].backing.fileName
    vsphere.snapshot_removed_by_admin("tracked", "ours")
    assert vsphere.snapshots("tracked") == ["theirs"]
    where = {"vm": f"moref={vm._moId}", "file": file, "snapshot": snapshot._moId}
    with pytest.raises(Refused), served(vsphere, tmp_path, **where):
        pass
    vsphere.snapshot_removed_by_admin("tracked")
    assert vsphere.snapshots("tracked") == []
    assert not list((vsphere.state / "frozen").iterdir())


def test_every_property_of_a_vm_with_a_snapshot_can_be_read(service):
    vm = find_vm(service, "tracked")
    for seen in (take_snapshot(vm), vm):
        for prop in type(seen)._GetPropertyList():
            getattr(seen, prop.name)


def test_what_would_leave_the_bytes_behind_is_refused(service):
    vm = find_vm(service, "tracked")
    snapshot = take_snapshot(vm)
    with pytest.raises(vmodl.fault.NotSupported):
        snapshot.RevertToSnapshot_Task()
    with pytest.raises(vmodl.fault.NotSupported):
        vm.CreateSnapshotEx_Task("other", "", memory=False)


# --- disks -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, image) -> Iterator[VSphere]:
    """A server of the test's own, for what cannot be undone."""
    vm = VM("web", disks=[Disk(image)], powered_on=True, change_tracking=True)
    with VSphere(tmp_path, [vm], shutdown_delay=0.1) as running:
        yield running


def test_a_grown_disk_is_larger_and_its_change_tracking_is_reset(own):
    with own.connect() as service:
        vm = find_vm(service, "web")
        old = take_snapshot(vm)
        since = change_id(old)
        with pytest.raises(ControlError):
            own.grow("web", 0, 2 * SIZE)
        remove_snapshot(old)
        own.grow("web", 0, 2 * SIZE)
        now = take_snapshot(vm)
        assert virtual_disks(vm)[0].capacityInBytes == 2 * SIZE
        assert own.flat_file("web").stat().st_size == 2 * SIZE
        with pytest.raises(vim.fault.FileFault):
            changed_areas(vm, now, since)
        assert changed_areas(vm, now, "*") == [(0, BLOCK), (3 * MiB, BLOCK)]


def test_disks_come_and_go(own, image):
    key = own.add_disk("web", image)
    with own.connect() as service:
        vm = find_vm(service, "web")
        assert [d.key for d in virtual_disks(vm)] == [2000, key]
        assert virtual_disks(vm)[1].backing.fileName == "[datastore1] web/web_1.vmdk"
        assert own.flat_file("web", 1).read_bytes() == image.read_bytes()
        own.write("web", 1, 0, b"written")
        assert change_id(take_snapshot(vm), 1) is not None
        own.snapshot_removed_by_admin("web")
        before = take_snapshot(vm)
        own.remove_disk("web", 0)
        assert [d.key for d in virtual_disks(vm)] == [key]
        assert own.add_disk("web", image) == virtual_disks(before)[0].key
        assert virtual_disks(before)[0].backing.fileName == "[datastore1] web/web.vmdk"
        assert virtual_disks(vm)[1].backing.fileName == "[datastore1] web/web_2.vmdk"
        assert own.flat_file("web", 0).read_bytes().startswith(b"written")


def test_the_vm_moves_to_another_host(own):
    with own.connect() as service:
        vm = find_vm(service, "web")
        before = vm.runtime.host._moId
        after = own.move("web")
        assert vm.runtime.host._moId == after != before


@pytest.mark.skipif(not os.access(SPARSE_HOME, os.W_OK), reason="no tmpfs to keep a sparse file of 62 TiB in")
def test_a_disk_of_62_tib_costs_nothing(tmp_path_factory):
    folder = SPARSE_HOME / tmp_path_factory.mktemp("sparse").name
    folder.mkdir()
    try:
        image = folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(62 * TIB)
            file.seek(40 * TIB)
            file.write(b"far out")
        vm = VM("huge", disks=[Disk(image)], powered_on=True, change_tracking=True)
        with VSphere(folder, [vm]) as vsphere, vsphere.connect() as service:
            machine = find_vm(service, "huge")
            now = take_snapshot(machine)
            assert virtual_disks(machine)[0].capacityInBytes == 62 * TIB
            assert changed_areas(machine, now, "*") == [(40 * TIB, BLOCK)]
            vsphere.many_areas("huge", 0, 1_000_000)
            page = machine.QueryChangedDiskAreas(now, 2000, 61 * TIB, "*")
            assert len(page.changedArea) == 2000
        assert sum(p.stat().st_blocks for p in folder.rglob("*")) * 512 < GiB // 100
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()
