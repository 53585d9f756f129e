"""The vCenter double's guests, sessions and failing calls, through pyVmomi; and one ESXi host."""

from __future__ import annotations

import time
from http.client import HTTPException
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
    session,
    take_snapshot,
    virtual_disks,
    wait_until,
)
from tests.doubles.served import Refused, served
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.small_disk import BLOCK, SIZE
from transferd.units import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return small_disk.write(tmp_path_factory.mktemp("image") / "disk.img")


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image) -> Iterator[VSphere]:
    vms = [
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
def as_it_was(vsphere) -> Iterator[None]:
    yield
    vsphere.shutdown("guest", delay=0.1)
    if vsphere.power_state("guest") == "off":
        vsphere.power("guest", "on")
    for name in ("off", "guest"):
        vsphere.snapshot_removed_by_admin(name)


# --- the guest -------------------------------------------------------------------------------------------


def test_a_workload_writes_until_the_guest_is_off_and_all_of_it_is_tracked(vsphere, service):
    vm, disk = find_vm(service, "guest"), vsphere.flat_file("guest")
    old = take_snapshot(vm)
    since, before = change_id(old), disk.read_bytes()
    remove_snapshot(old)
    with vsphere.workload("guest", seed=7, writes_per_second=500, sizes=(512, 8 * KiB), area=(MiB, 4 * MiB)):
        wait_until(lambda: disk.read_bytes() != before)
        with pytest.raises(ControlError):
            vsphere.start_workload("guest")
        vm.ShutdownGuest()
        wait_until(lambda: vsphere.power_state("guest") == "off")
        after = disk.read_bytes()
    assert disk.read_bytes() == after
    areas = changed_areas(vm, None, since)
    differing = {at // BLOCK for at in range(0, SIZE, 512) if before[at : at + 512] != after[at : at + 512]}
    reported = {at // BLOCK for start, length in areas for at in range(start, start + length, BLOCK)}
    assert differing
    assert differing <= reported
    assert all(MiB <= start and start + length <= 5 * MiB for start, length in areas)


def test_the_same_seed_writes_the_same(vsphere):
    seen = []
    for _ in range(2):
        vsphere.start_workload("guest", seed=3, writes_per_second=1000, area=(0, MiB))
        time.sleep(0.1)
        count = vsphere.stop_workload("guest")
        vsphere.start_workload("guest", seed=3, writes_per_second=0.001, sizes=(512, 512), area=(0, 512))
        assert vsphere.stop_workload("guest") == 1
        seen.append(vsphere.flat_file("guest").read_bytes()[:512])
        assert 1 <= count <= 1000
    assert seen[0] == seen[1]


def test_an_off_vm_has_no_guest_to_write(vsphere):
    with pytest.raises(ControlError, match="is off: its guest cannot write"):
        vsphere.write("off", 0, 0, b"x")
    with pytest.raises(ControlError, match='no VM is named "nobody"'):
        vsphere.write("nobody", 0, 0, b"x")
    with pytest.raises(ControlError, match="do not fit a disk"):
        vsphere.write("guest", 0, SIZE - 1, b"xx")


@pytest.mark.parametrize(
    ("state", "status"), [("notRunning", "toolsNotRunning"), ("notInstalled", "toolsNotInstalled")]
)
def test_a_guest_without_running_tools_cannot_be_asked(vsphere, service, state, status):
    vm = find_vm(service, "guest")
    vsphere.tools("guest", state)
    assert (vm.guest.toolsRunningStatus, vm.guest.toolsStatus) == ("guestToolsNotRunning", status)
    with pytest.raises(vim.fault.ToolsUnavailable):
        vm.ShutdownGuest()
    vsphere.tools("guest", "running")
    assert vm.guest.toolsStatus == "toolsOk"


def test_a_guest_may_refuse_to_shut_down_or_never_do_it(vsphere, service):
    vm = find_vm(service, "guest")
    vsphere.shutdown("guest", refuse=True)
    with pytest.raises(vim.fault.InvalidState):
        vm.ShutdownGuest()
    vsphere.shutdown("guest", delay=0, refuse="ignore")
    vm.ShutdownGuest()
    time.sleep(0.2)
    assert vsphere.power_state("guest") == "on"
    vsphere.shutdown("guest", delay=0)
    vm.ShutdownGuest()
    wait_until(lambda: vsphere.power_state("guest") == "off")


# --- sessions and calls ----------------------------------------------------------------------------------


def test_an_expired_session_can_neither_read_nor_act_until_it_logs_in_again(vsphere, service):
    vm = find_vm(service, "guest")
    assert vsphere.sessions() >= 1
    assert vsphere.expire_sessions() >= 1
    assert vsphere.sessions() == 0
    for call in (lambda: vm.name, lambda: vm.CreateSnapshot_Task("s", "", memory=False, quiesce=False)):
        with pytest.raises(vim.fault.NotAuthenticated):
            call()
    service.content.sessionManager.Login(vsphere.username, vsphere.password)
    assert vm.name == "guest"


def test_logging_out_ends_the_session(vsphere):
    before = vsphere.sessions()
    with vsphere.connect():
        assert vsphere.sessions() == before + 1
    assert vsphere.sessions() == before


def server(folder: Path, **settings: Any) -> VSphere:
    return VSphere(folder, [VM("web")], **settings)


def log_in(vsphere: VSphere, user: str | None = None, password: str | None = None) -> None:
    account = (user or vsphere.username, password or vsphere.password)
    with session(vsphere.url, vsphere.ca_file, *account):
        pass


def test_an_idle_session_ends(tmp_path):
    with server(tmp_path, session_idle=0.3) as vsphere, vsphere.connect() as service:
        for _ in range(4):
            time.sleep(0.15)
            assert service.CurrentTime()
        time.sleep(0.4)
        with pytest.raises(vim.fault.NotAuthenticated):
            service.CurrentTime()
        assert vsphere.sessions() == 0
        service.content.sessionManager.Login(vsphere.username, vsphere.password)


def test_one_session_too_many_is_refused(tmp_path):
    with server(tmp_path, max_sessions=2) as vsphere, vsphere.connect():
        with vsphere.connect():
            with pytest.raises(vmodl.fault.SystemError):
                log_in(vsphere)
            assert vsphere.sessions() == 2
        log_in(vsphere)


def test_failed_logins_are_counted_and_lock_the_account(tmp_path):
    with server(tmp_path, lock_after=3) as vsphere:
        for wrong in ({"password": "wrong"}, {"user": "nobody"}):
            with pytest.raises(vim.fault.InvalidLogin):
                log_in(vsphere, **wrong)
        log_in(vsphere)
        assert vsphere.failed_logins() == 2
        for _ in range(3):
            with pytest.raises(vim.fault.InvalidLogin):
                log_in(vsphere, password="wrong")
        with pytest.raises(vim.fault.InvalidLogin):
            log_in(vsphere)
        assert vsphere.failed_logins() == 6


def test_a_new_password_holds_for_logins_and_vddk_but_not_for_who_is_in(tmp_path, image):
    with VSphere(tmp_path, [VM("web", disks=[Disk(image)])]) as vsphere, vsphere.connect() as service:
        moref = f"moref={vsphere.moref('web')}"
        vsphere.set_password("n3w")
        assert service.CurrentTime()
        with pytest.raises(vim.fault.InvalidLogin):
            log_in(vsphere)
        log_in(vsphere, password="n3w")
        where = {"vm": moref, "file": "[datastore1] web/web.vmdk"}
        with pytest.raises(Refused, match="permissions"), served(vsphere, tmp_path, **where):
            pass


def test_clients_calls_are_counted(vsphere, service):
    vm = find_vm(service, "off")
    vsphere.reset_calls()
    take_snapshot(vm)
    vsphere.snapshot_removed_by_admin("off")  # which is no client's call
    calls = vsphere.calls()
    assert calls["CreateSnapshot_Task"] == 1
    assert "RemoveAllSnapshots_Task" not in calls
    assert "Login" not in calls


def test_a_fault_that_was_arranged_comes_as_often_as_was_said(vsphere, service):
    vsphere.fault("CurrentTime", "HostCommunication", times=2)
    for _ in range(2):
        with pytest.raises(vmodl.fault.HostCommunication):
            service.CurrentTime()
    assert service.CurrentTime()
    with pytest.raises(ControlError, match="no fault named"):
        vsphere.fault("CurrentTime", "Nonsense")


def test_a_session_can_end_at_a_certain_call(vsphere, service):
    vm = find_vm(service, "off")
    vsphere.fault("CreateSnapshot_Task", "NotAuthenticated")
    with pytest.raises(vim.fault.NotAuthenticated):
        vm.CreateSnapshot_Task("s", "", memory=False, quiesce=False)
    with pytest.raises(vim.fault.NotAuthenticated):
        service.CurrentTime()
    service.content.sessionManager.Login(vsphere.username, vsphere.password)
    assert vsphere.snapshots("off") == []


@pytest.mark.parametrize(("kind", "taken"), [("drop", ["lost"]), ("refuse", [])])
def test_a_connection_may_be_lost_before_or_after_the_call_was_executed(vsphere, service, kind, taken):
    vm = find_vm(service, "off")
    vsphere.fault("CreateSnapshot_Task", kind)
    with pytest.raises((OSError, HTTPException)):
        vm.CreateSnapshot_Task("lost", "", memory=False, quiesce=False)
    time.sleep(0.2)
    assert vsphere.snapshots("off") == taken


def test_calls_can_be_slow_and_the_server_can_hang(vsphere, service):
    def taken() -> float:
        begun = time.monotonic()
        service.CurrentTime()
        return time.monotonic() - begun

    vsphere.delay("CurrentTime", 0.3)
    assert taken() >= 0.3
    vsphere.delay("CurrentTime", 0)
    vsphere.freeze_server(0.5)
    assert taken() >= 0.4
    assert taken() < 0.3


# --- one ESXi host ---------------------------------------------------------------------------------------


def test_an_esxi_host_does_what_a_vcenter_does(tmp_path, image):
    vm = VM("web", disks=[Disk(image)], powered_on=True, change_tracking=True)
    with VSphere(tmp_path, [vm], endpoint="host") as vsphere, vsphere.connect() as service:
        assert service.content.about.apiType == "HostAgent"
        machine = find_vm(service, "web")
        since = change_id(take_snapshot(machine, "old"))
        vsphere.write("web", 0, 3 * BLOCK, b"x")
        now = take_snapshot(machine, "new")
        assert changed_areas(machine, now, since) == [(3 * BLOCK, BLOCK)]
        where = {"vm": f"moref={machine._moId}", "file": virtual_disks(now)[0].backing.fileName}
        with served(vsphere, tmp_path, snapshot=now._moId, **where) as connection:
            assert bytes(connection.pread(512, 3 * BLOCK))[:1] == b"x"
        with pytest.raises(ControlError, match="no other host"):
            vsphere.move("web")
